"""λ, the number that Algorithm 1 turns: which layers have one, and a network's output at another λ than its own.

Policies, sweeps, attacks and the export evaluate a network through :func:`at_lam` and :func:`at_lams`, which leave it
as it is. :func:`set_lam` changes it, for whoever wants that.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sdnet.csc.lasso import check_finite, check_lam, is_allowed, is_finite
from sdnet.csc.projection import Projected
from sdnet.parameters import Amount, check


class CodingLayer(Projected):
    """A layer that codes its input sparsely: :class:`sdnet.CSCConv2d`, and the layer of SCN.

    Attributes:
        lam: λ >= 0, a buffer, or a parameter where it is learned: of shape (), (N,) for one per image of a batch,
            (N or 1, C or 1) for one per channel. If it :func:`is_many`, the layer gives :meth:`many_codes`.
        iterations: steps of its solver.
    """

    weight: nn.Parameter
    lam: Tensor
    iterations: int
    _lam_seen: tuple[int, int] | None = None
    """What :func:`_writes` said of λ when it was last looked at where looking waits for a device."""

    def __setattr__(self, name: str, value: Any) -> None:
        """As of any module; a λ set by hand is looked at: where it lies on a device, once and not at every call."""
        if name == "lam" and isinstance(value, Tensor) and not is_allowed(value):
            check_lam(value)
        super().__setattr__(name, value)

    @abstractmethod
    def many_codes(self, signal: Tensor, lams: Tensor) -> Tensor:
        """The codes of N signals at each of K λ, (K·N, C, ...): all signals at the first λ, then at the second, ...

        Equal to K calls of the layer; what does not depend on λ, the Aᵀx from which a solver starts, is computed once.

        Args:
            lams: (K,), or (K, C) for one per channel, each >= 0; the layer's own λ is not looked at.
        """

    @abstractmethod
    def residual(self, signal: Tensor, code: Tensor | None = None) -> Tensor:
        """What a code leaves unexplained of N signals, (N, ...).

        Args:
            code: what the layer gave for the signal, at whatever λ; None for the code at its own λ, detached.
        """

    def look_at(self, signal: Tensor) -> None:
        """Raise ValueError for a signal or a λ with which nothing can be coded.

        Where looking waits for a device, λ is looked at once after it was written into, and the signal never.
        """
        if signal.device.type == "cpu":
            if not (is_finite(signal) and is_allowed(self.lam)):
                check_finite(signal)
                check_lam(self.lam)
        elif (written := _writes(self.lam)) and written != self._lam_seen:
            check_lam(self.lam)
            self.see_lam()

    def see_lam(self) -> None:
        """Take λ as it is for looked at, until it is written into."""
        self._lam_seen = _writes(self.lam)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        saved = state_dict.get(prefix + "lam")
        if saved is not None and not saved.is_meta:
            check_lam(saved)
        super()._load_from_state_dict(state_dict, prefix, *args)


def coding_layers(model: nn.Module) -> list[tuple[str, CodingLayer]]:
    """The layers of a network that have a λ with their names, in the order in which it holds them."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, CodingLayer)]


def is_many(lam: Tensor) -> bool:
    """Whether a λ has the shape (K, 1, 1 or C), by which :func:`at_lams` asks for :meth:`CodingLayer.many_codes`."""
    return lam.dim() == 3 and lam.shape[1] == 1


def flat(many: Tensor) -> Tensor:
    """A λ that :func:`is_many`, as :meth:`CodingLayer.many_codes` takes it: (K, 1, 1) to (K,), (K, 1, C) to (K, C)."""
    return many.flatten() if many.shape[2] == 1 else many.squeeze(1)


def slowed(lam: Tensor, rate: float) -> Tensor:
    """A λ with a fraction of its gradient: one number collects the gradients of all entries of a code.

    Where these do not cancel, λ can leap beyond every correlation in a few steps, and no gradient leads back from a
    code of zeros.
    """
    return torch.lerp(lam.detach(), lam, rate)


def own_lam(model: nn.Module) -> float:
    """The λ of a network, in as few digits as tell it from its neighbours in float32.

    Raises:
        ValueError: if it has none, or its layers do not share one number.
    """
    lams = [layer.lam.detach().float().cpu() for _, layer in coding_layers(model)]
    if not lams:
        raise ValueError("this network has no layer with a λ; choose an sdnet, or convert one with sdnet.convert.")
    numbers = torch.cat([lam.reshape(-1) for lam in lams])
    if numbers.unique().numel() > 1 or any(lam.dim() for lam in lams):
        low, high = numbers.min().item(), numbers.max().item()
        raise ValueError(
            f"this network has no one λ of its own: its {len(lams)} layers have {numbers.numel()} from {low:.3g} to "
            f"{high:.3g}; shift them all with the knob 'lam_shift', or choose an sdnet or scn18."
        )
    return float(str(numbers[0].numpy()))


def at_lam(model: nn.Module, lam: Tensor, images: Tensor) -> Tensor:
    """The network's output (N, ...) for N images at one λ for all its layers; differentiable in λ.

    Args:
        lam: of shape () for all images, (N,) for one each, or another that :func:`set_lam` takes.
    """
    lams = {_entry(name): lam.to(layer.weight) for name, layer in coding_layers(model)}
    output: Tensor = functional_call(model, lams, (images,), tie_weights=False)  # each is named
    return output


def at_lams(model: nn.Module, lams: Tensor, images: Tensor, *, shift: bool = False) -> Tensor:
    """The network's outputs (K, N, ...) for N images at each of K λ, the same for all its layers.

    The first of its layers that has a λ, which must be the first that the images reach, shares its work between all λ
    (:meth:`CodingLayer.many_codes`).

    Args:
        lams: (K,), each >= 0; looked at on the CPU only, since to look at numbers on another device waits for it.
        shift: whether they are added to every layer's own λ instead of replacing it.

    Raises:
        ValueError: for a λ that is negative or not finite, on the CPU.
    """
    if lams.device.type == "cpu":
        check_lam(lams)
    chosen: dict[str, Tensor] = {}
    for name, layer in coding_layers(model):
        values = lams.to(layer.weight).view(-1, 1, 1)
        values = values + layer.lam if shift else values
        chosen[_entry(name)] = flat(values).repeat_interleave(len(images), 0) if chosen else values
    output: Tensor = functional_call(model, chosen, (images,), tie_weights=False)
    return output.unflatten(0, (len(lams), len(images)))


def set_lam(model: nn.Module, lam: Tensor | float, where: Callable[[str], bool] = lambda name: True) -> None:
    """Set λ of every CSC layer of a network: the one knob that Algorithm 1 turns.

    Args:
        lam: a number, or a tensor of shape () for all images, (N,) for one λ per image of the batches to
            come, (1, C) per channel, or (N, C). A λ that is learned, as SCN's, keeps its own shape.
        where: which layers, by name; all by default.

    Raises:
        ValueError: if a λ is negative, not finite or of another shape, or the network has no CSC layer that ``where``
            accepts.
    """
    if not isinstance(lam, Tensor):
        check("lam", lam, Amount)
        lam = torch.tensor(float(lam))
    check_lam(lam)
    layers = [layer for name, layer in coding_layers(model) if where(name)]
    if not layers:
        raise ValueError("set_lam found no CSC layer in this network; convert one with sdnet.convert first.")
    learned = {tuple(layer.lam.shape) for layer in layers if isinstance(layer.lam, nn.Parameter)}
    if is_many(lam) or (lam.dim() and learned - {tuple(lam.shape)}):
        own = " or ".join(dict.fromkeys(map(str, ((), *sorted(learned)))))
        allowed = f"{own}, since a layer here learns its λ" if learned else "(), (N,) or (N or 1, C or 1)"
        raise ValueError(f"lam must have the shape {allowed}; got {tuple(lam.shape)}.")
    for layer in layers:
        if isinstance(layer.lam, nn.Parameter):
            layer.lam.detach().copy_(lam)  # the parameter that an optimizer knows
        else:
            layer.lam = lam.to(layer.weight).clone()


def _writes(lam: Tensor) -> tuple[int, int] | None:
    """Which tensor λ is, and how often it was written into; None for never, as far as PyTorch counts."""
    return None if lam.is_inference() or not lam._version else (id(lam), lam._version)


def _entry(name: str) -> str:
    """The name of a layer's λ in the network's state; the network may be the layer itself."""
    return f"{name}.lam".lstrip(".")
