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
        ValueError: if the optimizer does not hold a parameter that a projected layer trains, as one made for another
            network, or before :func:`sdnet.convert` gave a layer a λ that is learned.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Projected)]
    trained = {f"{of}.{name}".lstrip("."): p for of, layer in layers for name, p in layer.named_parameters()}
    missing = [name for name, parameter in trained.items() if parameter.requires_grad and id(parameter) not in held]
    if missing:
        raise ValueError(
            f"the optimizer does not hold {', '.join(missing[:3])}{' and more' if missing[3:] else ''} of layers that "
            "are projected, which would never move; make it from this network's parameters, after its last layer was "
            "replaced, or freeze what is not to move with requires_grad_(False)."
        )
    optimizer.register_step_post_hook(lambda *_: project_(model))
