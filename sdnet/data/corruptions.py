"""The four additive noises of CIFAR-10-C and ImageNet-C, on whole batches of uint8 images on their device.

Hendrycks & Dietterich (2019) add noise to pixels in [0, 1], clip, scale to 255 and cut the fraction off; so
does this file. Each noise has one level; the benchmark's five severities are five levels of it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sdnet.names import unknown_name
from sdnet.parameters import Positive, Seed, Severity, Share, check

SEVERITIES = {
    "cifar": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500.0, 250.0, 100.0, 75.0, 50.0),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "speckle_noise": (0.06, 0.10, 0.12, 0.16, 0.20),
    },
    "imagenet": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60.0, 25.0, 12.0, 5.0, 3.0),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "speckle_noise": (0.15, 0.20, 0.35, 0.45, 0.60),
    },
}
"""Benchmark → noise → level at severity 1 to 5: standard deviation of Gaussian and speckle noise, photons per
unit of brightness of shot noise (fewer is noisier), share of destroyed values of impulse noise."""

CHUNK = 1000
"""Images corrupted at a time; part of what a seed means, so it never changes."""


def _gaussian(pixels: Tensor, level: float, generator: torch.Generator) -> Tensor:
    return pixels + level * _normal(pixels, generator)


def _shot(pixels: Tensor, level: float, generator: torch.Generator) -> Tensor:
    return torch.poisson(pixels * level, generator=generator) / level


def _impulse(pixels: Tensor, level: float, generator: torch.Generator) -> Tensor:
    chance = torch.rand(pixels.shape, generator=generator, device=pixels.device)
    # The lower half of the destroyed values turns black, the upper half white; each value for itself.
    black_or_white = (chance >= level / 2).to(pixels.dtype)
    return torch.where(chance < level, black_or_white, pixels)


def _speckle(pixels: Tensor, level: float, generator: torch.Generator) -> Tensor:
    return pixels + level * pixels * _normal(pixels, generator)


def _normal(pixels: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(pixels.shape, generator=generator, device=pixels.device)


NOISES: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "gaussian_noise": _gaussian,
    "shot_noise": _shot,
    "impulse_noise": _impulse,
    "speckle_noise": _speckle,
}


def add_noise(images: Tensor, noise: str, level: float, *, seed: int = 0) -> Tensor:
    """Corrupt uint8 images (N, H, W, 3); the result has the same shape, type and device.

    The same seed, images and device give the same noise, and image number i gets the same noise however many
    images follow it within its thousand.

    Args:
        noise: a name of :data:`NOISES`.
        level: its strength, > 0, in the noise's own unit (see :data:`SEVERITIES`); at most 1 for impulse noise.
        seed: an integer >= 0, below 2³².

    Raises:
        ValueError: for an unknown noise, a level or seed out of range, or images that are not a batch of uint8.
    """
    if noise not in tuple(NOISES):
        raise ValueError(unknown_name("noise", noise, NOISES))
    check(f"the level of {noise}", level, Share if noise == "impulse_noise" else Positive)
    check("seed", seed, Seed)
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        given = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images must be a tensor of uint8, 0 to 255; got {given}. Noise is added before normalisation."
        )
    if images.dim() != 4:
        raise ValueError(f"images must be a batch (N, H, W, 3); got shape {tuple(images.shape)}.")
    generator = torch.Generator(images.device).manual_seed(seed)
    corrupted = torch.empty_like(images)
    for index in range(0, len(images), CHUNK):
        pixels = images[index : index + CHUNK].float() / 255
        noisy = NOISES[noise](pixels, level, generator).clamp(0, 1)
        # A hair against single precision: 128/255 times 255 must not fall below 128 before its fraction goes.
        corrupted[index : index + CHUNK] = (noisy.double() * 255 + 1e-5).to(torch.uint8)
    return corrupted


def level_of(noise: str, severity: int, benchmark: str = "cifar") -> float:
    """The level that a benchmark (``"cifar"`` or ``"imagenet"``) gives a noise at severity 1 to 5.

    Raises:
        ValueError: naming what exists.
    """
    if benchmark not in tuple(SEVERITIES):
        raise ValueError(unknown_name("benchmark", benchmark, SEVERITIES))
    if noise not in tuple(SEVERITIES[benchmark]):
        raise ValueError(unknown_name("noise", noise, SEVERITIES[benchmark]))
    check("severity", severity, Severity)
    return SEVERITIES[benchmark][noise][severity - 1]
