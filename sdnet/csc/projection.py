"""Constraints on weights: layers that know their feasible set, and projected gradient descent (Eq. 5)."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.runtime import is_traced

COMPUTED = ("weight_orig", "weight_g", "parametrizations")
"""What a layer holds whose weight PyTorch computes anew from something else: pruning, weight and spectral norm."""


class Projected(nn.Module, ABC):
    """A layer whose parameters live in a set: unit-norm atoms, a λ >= 0."""

    @abstractmethod
    def project_(self, power_steps: int = 1) -> None:
        """Move the parameters to the nearest point of the set, and bring up to date what depends on them.

        ``power_steps`` counts the power iterations, where the layer needs any.
        """


class Watched(nn.Module, ABC):
    """A layer that notices when its weight was changed and what depends on it was not."""

    weight: nn.Parameter
    _seen: tuple[int, int] = (0, 0)

    @abstractmethod
    def fault(self) -> str | None:
        """What is wrong with the weight as it is, as the end of a sentence, or None: it is as ``project_`` leaves
        it, up to rounding."""

    def see(self) -> None:
        """Take the weight as it is for projected, until it changes."""
        self._seen = (self.weight.data_ptr(), self.weight._version)

    def check_projected(self) -> None:
        """Raise ValueError if the weight was changed and not projected. As long as nothing changes it costs nothing.

        A weight that is no parameter is another's affair (``torch.func.functional_call``, sharding), unless pruning or
        the like computes it. Where values cannot be looked at, as under ``torch.func.vmap`` or in a program that is
        being traced, nothing is.
        """
        if is_traced():
            return
        if not self._is_computed() and not isinstance(self.weight, nn.Parameter):
            return
        try:
            if self._seen == (self.weight.data_ptr(), self.weight._version):
                return
            fault = self.fault()
        except RuntimeError:
            return
        if fault is not None:
            raise ValueError(
                f"{type(self).__name__}: {fault}; after averaging, pruning (torch.nn.utils.prune.remove comes first) "
                "or setting weights by hand call sdnet.project_(model, power_steps=30), and before training "
                "sdnet.project_after_step(optimizer, model)."
            )
        self.see()

    def refuse_computed(self) -> None:
        """Raise ValueError if the weight is computed from something else, so that projecting it would not last."""
        if self._is_computed():
            raise ValueError(
                f"{type(self).__name__}: its weight is computed anew at every call by pruning or a parametrization, so "
                "a projection would not last; make the weight permanent with torch.nn.utils.prune.remove or "
                "torch.nn.utils.parametrize.remove_parametrizations, then project."
            )

    def _is_computed(self) -> bool:
        return any(hasattr(self, name) for name in COMPUTED)


def as_leaf(layer: nn.Module, signal: torch.fx.Proxy) -> Any:
    """The call of a layer as ``torch.fx`` records a convolution's: one node that keeps the layer, λ and all."""
    path = signal.tracer.path_of_module(layer)  # type: ignore[attr-defined]
    return signal.tracer.create_proxy("call_module", path, (signal,), {})


@torch.no_grad()
def off_sphere(weight: Tensor) -> str | None:
    """Says of atoms (C, ...) of which one has neither norm 1 nor norm 0, up to rounding (also to bfloat16 and
    back), how long it is; or None."""
    norms = torch.linalg.vector_norm(weight.flatten(1).float(), dim=1)
    off = torch.where(norms == 0, 0, (norms - 1).abs())
    rounding = max(5e-3, 4 * torch.finfo(weight.dtype).eps)
    if off.max().item() <= rounding:
        return None
    return f"it has an atom of norm {norms[off.argmax()].item():.4g}, where each should have norm 1"


def project_(model: nn.Module, power_steps: int = 1) -> None:
    """Project the parameters of every layer that has a constraint: the atoms of CSC layers onto the sphere (Eq. 5)."""
    for module in model.modules():
        if isinstance(module, Projected):
            module.project_(power_steps)


def project_after_step(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Make every ``optimizer.step()`` end with :func:`project_`: projected gradient descent, as below Eq. 5.

    Raises:
        ValueError: if the optimizer moves none of the parameters that are projected, as one made for another network.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Projected)]
    trained = {name: layer for name, layer in layers if any(p.requires_grad for p in layer.parameters())}
    if trained and not any(id(p) in held for layer in trained.values() for p in layer.parameters()):
        raise ValueError(
            f"the optimizer holds no weight of a layer that is projected ({', '.join(list(trained)[:3])}), so they "
            "would never move; make it from this network's parameters, after its last layer was replaced."
        )
    optimizer.register_step_post_hook(lambda *_: project_(model))
