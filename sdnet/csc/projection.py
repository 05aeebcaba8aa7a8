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
    """Make every ``optimizer.step()`` end with :func:`project_`: projected gradient descent, as below Eq. 5."""
    optimizer.register_step_post_hook(lambda *_: project_(model))
