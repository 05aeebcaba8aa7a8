"""Feature inversion: search the image whose features are those of a given one (Mahendran and Vedaldi, 2015).

It works for every network, also for those that cannot be decoded, and it is the control for decoding: an image is
searched for by gradient descent until the network gives it the same features, with total variation as the only idea
of what images look like.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Search:
    """How the image is searched for: Adam with a step size that falls to zero along a cosine.

    Attributes:
        steps: of Adam, >= 1.
        lr: first step size, in units of pixels in [0, 1].
        total_variation: weight of the prior, the mean squared difference of neighbouring pixels.
        seed: of the noise at which the search starts, the same for every image.
    """

    steps: int = 200
    lr: float = 0.1
    total_variation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps must be a positive integer; got {self.steps!r}.")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be finite and > 0; got {self.lr}.")
        if not (math.isfinite(self.total_variation) and self.total_variation >= 0):
            raise ValueError(f"total_variation must be finite and >= 0; got {self.total_variation}.")


@dataclass(frozen=True, eq=False)
class Inverted:
    """What a search found: images (N, 3, H, W) in [0, 1], and the objective before every step and at the end
    (steps + 1, N)."""

    images: Tensor
    objective: Tensor


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, down plus across, per image (N,)."""
    return images.diff(dim=2).square().mean((1, 2, 3)) + images.diff(dim=3).square().mean((1, 2, 3))


def mismatch(features: Tensor, target: Tensor) -> Tensor:
    """‖Φ − Φ₀‖²/‖Φ₀‖² per image (N,): what a search has left to find."""
    energy = target.flatten(1).square().sum(1).clamp_min(1e-12)
    return (features - target).flatten(1).square().sum(1) / energy


@torch.enable_grad()
def invert(network: nn.Module, target: Tensor, size: Sequence[int], search: Search | None = None) -> Inverted:
    """Images whose features match ``target``: minimise ‖Φ(x) − Φ₀‖²/‖Φ₀‖² + weight · TV(x) over x in [0, 1].

    Every image is a search of its own, whatever else is in the batch. Neither weights nor their gradients are touched.

    Args:
        network: Φ in eval mode, from pixels (N, 3, H, W) to features, such as
            :attr:`sdnet.decoding.decode.Layer.to_output`.
        target: the features Φ₀.
        size: (H, W) of the images.
        search: how to search; by default :class:`Search`'s numbers.

    Raises:
        ValueError: if a batch normalisation is in train mode, or the target is no output of the network.
    """
    search = search or Search()
    if any(isinstance(module, nn.BatchNorm2d) and module.training for module in network.modules()):
        raise ValueError("the network is in train mode, where features depend on the batch; call eval() first.")
    generator = torch.Generator().manual_seed(search.seed)
    noise = 0.5 + 0.1 * torch.randn(1, 3, *size, generator=generator, device=generator.device)
    images = noise.clamp(0, 1).to(target).repeat(len(target), 1, 1, 1).requires_grad_()
    target = target.detach()
    adam = torch.optim.Adam([images], lr=search.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, search.steps)
    history = []
    for step in range(search.steps + 1):
        features = network(images)
        if features.shape != target.shape:
            raise ValueError(
                f"features of images of size {tuple(size)} have shape {tuple(features.shape)}; got a target of shape "
                f"{tuple(target.shape)}."
            )
        objective = mismatch(features, target) + search.total_variation * total_variation(images)
        history.append(objective.detach())
        if step < search.steps:
            (images.grad,) = torch.autograd.grad(objective.sum(), images)
            adam.step()
            schedule.step()
            images.data.clamp_(0, 1)
    return Inverted(images.detach(), torch.stack(history))
