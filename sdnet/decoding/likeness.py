"""How alike two images are: PSNR and SSIM of scikit-image, as they are and after a colour correction.

Decoding loses contrast from layer to layer, which says little about what it keeps; so likeness is also measured after
the best affine correction of the colours.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

Values = NDArray[np.floating[Any]]


def psnr(shown: Tensor, images: Tensor) -> Values:
    """Peak signal-to-noise ratio in dB, per image (N,); ``shown`` (N, 3, H, W) is clipped to [0, 1] first."""
    return np.array([peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in _pairs(shown, images)])


def ssim(shown: Tensor, images: Tensor) -> Values:
    """Structural similarity (Wang et al., 2004: Gaussian window of 11 pixels), per image (N,); colours averaged.

    ``shown`` (N, 3, H, W) is clipped to [0, 1] first; images have at least 11 pixels along each side.
    """
    options = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "use_sample_covariance": False}
    return np.array([structural_similarity(a, b, **options) for a, b in _pairs(shown, images)])


def colour_corrected(shown: Tensor, images: Tensor) -> Tensor:
    """a · shown + b with the a and b of least squares against ``images``, for every image and colour channel.

    It can do no worse than the best single colour, so that is what its likeness has to be compared with. The result is
    float64 on the CPU.
    """
    flat, wanted = shown.detach().cpu().double().flatten(2), images.detach().cpu().double().flatten(2)
    centred = flat - flat.mean(2, keepdim=True)
    variance = centred.square().sum(2, keepdim=True)
    slope = (centred * wanted).sum(2, keepdim=True) / variance.clamp_min(torch.finfo(variance.dtype).tiny)
    fitted = slope * centred + wanted.mean(2, keepdim=True)
    return fitted.view(shown.shape)


def contrast(shown: Tensor, images: Tensor) -> float:
    """How much ``shown`` (N, 3, H, W) varies from image to image, as a fraction of how much ``images`` do.

    Zero if it is the same for every image, however much of a pattern it has; N is at least 2.
    """
    ours, theirs = (batch.detach().cpu().double().var(0).mean().sqrt() for batch in (shown, images))
    return (ours / theirs).item()


def _pairs(shown: Tensor, images: Tensor) -> list[tuple[Values, Values]]:
    if shown.shape != images.shape:
        raise ValueError(f"likeness compares images of one shape; got {tuple(shown.shape)} and {tuple(images.shape)}.")
    ours, theirs = shown.detach().clamp(0, 1).cpu().double().numpy(), images.detach().cpu().double().numpy()
    return list(zip(theirs, ours, strict=True))
