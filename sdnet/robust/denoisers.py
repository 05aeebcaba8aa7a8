"""Denoisers, from kept libraries, and quantisation: does a filter in front of a ResNet do what λ does in an SDNet?

Each maps images (N, 3, H, W) with pixels in [0, 1] and a strength to images of the same shape, type and device.
Strength 0 leaves them as they are.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.floating[Any]]


def gaussian_filter(images: Tensor, strength: float) -> Tensor:
    """Gaussian blur; the strength is its standard deviation in pixels."""
    if strength == 0:
        return images
    side = 2 * max(1, round(3 * strength)) + 1
    from torchvision.transforms.functional import gaussian_blur  # takes seconds to load

    return gaussian_blur(images, [side, side], [strength, strength])


def median(images: Tensor, strength: float) -> Tensor:
    """Median over a square, channel by channel; the strength is its side in pixels, less one: 2 for 3×3."""
    side = round(strength) + 1
    filters = _library("scipy.ndimage")
    return _with_numpy(images, lambda array: filters.median_filter(array, size=(1, 1, side, side), mode="reflect"))


def total_variation(images: Tensor, strength: float) -> Tensor:
    """Total-variation denoising of each colour image (Chambolle 2004); the strength is scikit-image's ``weight``."""
    if strength == 0:
        return images
    denoise = _library("skimage.restoration").denoise_tv_chambolle
    return _with_numpy(images, lambda array: np.stack([denoise(one, weight=strength, channel_axis=0) for one in array]))


def quantisation(images: Tensor, strength: float) -> Tensor:
    """Pixels rounded to multiples of the strength (bit-depth reduction, Xu et al. 2018); 0.25 leaves five levels.

    Its gradient is taken to be 1, since the true one, zero, would stop any attack without making it harder (Athalye et
    al. 2018).
    """
    if strength == 0:
        return images
    rounded = ((images / strength).round() * strength).clamp(0, 1)
    return images + (rounded - images).detach()


DENOISERS: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "gaussian_filter": (gaussian_filter, (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)),
    "median": (median, (0.0, 2.0, 4.0)),
    "quantisation": (quantisation, (0.0, 0.05, 0.1, 0.2, 0.25, 0.5)),
    "total_variation": (total_variation, (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15)),
}
"""Name → denoiser and the strengths among which an oracle may choose."""


def _library(name: str) -> Any:
    """A module that the package itself does without."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"this filter needs {error.name}; get it with: pip install 'sdnet[book]'.") from error


def _with_numpy(images: Tensor, function: Callable[[Array], Array]) -> Tensor:
    result = function(images.cpu().numpy())
    return torch.from_numpy(result).to(images)
