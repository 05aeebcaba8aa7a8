"""Constraints on weights: layers that know their feasible set, and projected gradient descent (Eq. 5)."""

from abc import ABC, abstractmethod

import torch
from torch import nn


class Projected(nn.Module, ABC):
    """A layer whose parameters live in a set: unit-norm atoms, a λ >= 0."""

    @abstractmethod
    def project_(self, power_steps: int = 1) -> None:
        """Move the parameters to the nearest point of the set, and bring up to date what depends on them.

        ``power_steps`` counts the power iterations, where the layer needs any.
        """


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
