"""Put convolutional sparse coding layers into anybody's network."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from torch import nn

from sdnet.csc.dictionary import PADDING_MODES
from sdnet.csc.layers import CSCConv1d, CSCConv2d
from sdnet.names import unknown_name
from sdnet.parameters import SolverOptions, check

Predicate = Callable[[str, nn.Module], bool]
WHERE = ("first", "all")
_LAYERS: dict[type, type[CSCConv1d] | type[CSCConv2d]] = {nn.Conv1d: CSCConv1d, nn.Conv2d: CSCConv2d}


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` did; printing it says so.

    Attributes:
        model: the network, now holding CSC layers.
        converted: the names of the convolutions that were replaced, in the order of the network.
        skipped: name → reason for every convolution that was asked for and could not be replaced.
    """

    model: nn.Module
    converted: tuple[str, ...]
    skipped: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.converted)} converted: {', '.join(self.converted)}"]
        lines += [f"not converted: {name} {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def convert(
    model: nn.Module,
    where: str | Predicate = "first",
    *,
    lam: float = 0.1,
    iterations: int = 2,
    keep_weights: bool = True,
    **csc: Unpack[SolverOptions],
) -> Conversion:
    """Replace convolutions of a network by CSC layers of the same geometry, in place.

    Every replacement has the channels, kernel, stride, padding, dilation, groups, type and device of the
    convolution it stands for, so that all shapes stay what they were. Within a network it takes over the parameters
    themselves, so that an optimizer made before moves the atoms. Its output is a sparse code, so the network has to be
    trained (again). To keep the original, convert a ``copy.deepcopy`` of it.

    Args:
        model: any network; a single convolution is returned converted, as ``Conversion.model``.
        where: ``"first"``: the first convolution, as in the paper's SDNet. ``"all"``: each one that can be
            converted. Or a function of (name, module) that says of a convolution whether to convert it.
        lam, iterations, **csc: options of the layers; see :class:`sdnet.CSCConv2d`.
        keep_weights: begin with the convolution's filters, projected to unit norm, as atoms, and with its
            bias; otherwise with random atoms and a bias of zero.

    Raises:
        ValueError: for an unknown ``where``, if it selects no convolution, or none that can be converted; for weights
            to keep that are not finite.
    """
    check("keep_weights", keep_weights, bool)
    convolutions = _convolutions(model)
    chosen = _choose(convolutions, where)
    skipped = {name: reason for name, module in chosen if (reason := _obstacle(module))}
    convertible = [(name, module) for name, module in chosen if name not in skipped]
    if not convertible:
        name, reason = next(iter(skipped.items()))
        raise ValueError(
            f"where={_shown(where)} selects no convolution that can be converted: {name or 'the model itself'} {reason}"
            f"{f' (and {len(skipped) - 1} more)' if len(skipped) > 1 else ''}; select others with a function."
        )
    layers: dict[nn.Module, CSCConv1d | CSCConv2d] = {}
    for name, module in convertible:
        if module not in layers:
            if keep_weights:
                _check_finite(name, module)
            layers[module] = _layer(module, {"lam": lam, "iterations": iterations, **csc})
    # Nothing is changed before every layer exists: an option out of range leaves the network as it was.
    for module, layer in layers.items():
        _hand_over(copy.deepcopy(module) if module is model else module, layer, keep_weights)
    for name, module in convertible:
        if not name:
            return Conversion(layers[module], ("",), {})
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, layers[module])
    return Conversion(model, tuple(name for name, _ in convertible), skipped)


def _convolutions(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Everything that convolves, by name; a module that the network holds twice appears twice."""
    named = model.named_modules(remove_duplicate=False)
    return [(name, module) for name, module in named if isinstance(module, nn.modules.conv._ConvNd)]


def _choose(convolutions: list[tuple[str, nn.Module]], where: str | Predicate) -> list[tuple[str, nn.Module]]:
    if where not in WHERE if isinstance(where, str) else not callable(where):
        raise ValueError(f"{unknown_name('where', where, WHERE)} Or give a function of (name, module).")
    if not convolutions:
        raise ValueError("model must hold a convolution (nn.Conv1d or nn.Conv2d) to convert; it holds none.")
    if not isinstance(where, str):
        chosen = [(name, module) for name, module in convolutions if where(name, module)]
        if not chosen:
            some = ", ".join(name for name, _ in convolutions[:3])
            raise ValueError(
                f"where={_shown(where)} accepts none of the {len(convolutions)} convolutions ({some}, ...); "
                "accept at least one of them."
            )
        return chosen
    first = convolutions[0][1]
    return [pair for pair in convolutions if where == "all" or pair[1] is first]


def _obstacle(module: nn.Module) -> str | None:
    """Why a convolution cannot be converted, as the end of a sentence that begins with its name."""
    kind = type(module).__name__
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return f"is a {kind} whose shape is not known yet: run the network once before converting it"
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return f"is a {kind}: it synthesises, where a CSC layer analyses"
    if isinstance(module, nn.Conv3d):
        return f"is a {kind}: CSC layers are for 1-D and 2-D signals"
    if type(module) not in _LAYERS:
        return f"is a {kind}, which may compute something else than the nn.Conv it derives from"
    if module._forward_hooks or module._forward_pre_hooks:
        return "has forward hooks (as weight_norm or pruning add), which a replacement would lose"
    if module.padding_mode not in PADDING_MODES:
        return f"has padding_mode={module.padding_mode!r}: CSC layers know {' and '.join(map(repr, PADDING_MODES))}"
    return None


def _check_finite(name: str, conv: nn.Module) -> None:
    for of, parameter in conv.named_parameters():
        if not (parameter.is_meta or parameter.isfinite().all()):
            full = f"{name}.{of}".lstrip(".")
            raise ValueError(f"{full} holds NaN or infinity, which has no atoms; mend it, or take keep_weights=False.")


def _layer(conv: nn.Module, options: dict[str, Any]) -> CSCConv1d | CSCConv2d:
    assert isinstance(conv, nn.Conv1d | nn.Conv2d)
    layer = _LAYERS[type(conv)](
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
        **options,
    )
    return layer.train(conv.training)


def _hand_over(conv: nn.Module, layer: CSCConv1d | CSCConv2d, keep_weights: bool) -> None:
    """Give the layer the convolution's own parameters, with their values or with the layer's."""
    for name, theirs in conv.named_parameters():
        if not keep_weights:
            theirs.detach().copy_(getattr(layer, name).detach())
        setattr(layer, name, theirs)
    if keep_weights:
        layer.begin_()
    else:
        layer.see()


def _shown(where: str | Predicate) -> str:
    return repr(where) if isinstance(where, str) else getattr(where, "__name__", repr(where))
