"""Blur, weather and digital corruptions of ImageNet-C from a kept library: for seeing where λ does not help.

The library (``imagecorruptions-imaug``, an optional extra) has ImageNet-C's strengths, made for photographs of 224
pixels; on smaller images each severity is stronger than in CIFAR-10-C. Its glass blur is left out: it draws from
numba's generator, which cannot be seeded from here. The four noises are in :mod:`sdnet.data.corruptions`.
"""

import numpy as np
import torch
from torch import Tensor

from sdnet.names import unknown_name
from sdnet.parameters import Severity, check

COMMON = (
    "defocus_blur", "motion_blur", "zoom_blur", "gaussian_blur", "snow", "frost", "fog", "spatter",
    "brightness", "contrast", "saturate", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip


def add_corruption(images: Tensor, corruption: str, severity: int, *, seed: int = 0) -> Tensor:
    """Corrupt uint8 images (N, H, W, 3), one by one on the CPU; the result has their shape, type and device.

    The same seed gives the same corruption of the same images in the same order.

    Args:
        corruption: a name of :data:`COMMON`.
        severity: 1 to 5.

    Raises:
        ValueError: for an unknown name, a severity out of range, images that are not uint8 or smaller than the
            library's 32 pixels, or if the library is not installed.
    """
    if corruption not in COMMON:
        raise ValueError(unknown_name("corruption", corruption, COMMON))
    check("severity", severity, Severity)
    if images.dtype != torch.uint8 or min(images.shape[1:3]) < 32:
        what = f"{images.dtype} of {images.shape[1]}×{images.shape[2]} pixels"
        raise ValueError(f"images must be uint8 and at least 32×32 pixels; got {what}.")
    try:
        from imagecorruptions import corrupt
    except ImportError as error:
        raise ValueError(
            f"{corruption} needs the package imagecorruptions-imaug; install it with: pip install 'sdnet[corruptions]'."
        ) from error
    # The library draws from NumPy's global generator.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        corrupted = [corrupt(image, corruption_name=corruption, severity=severity) for image in images.cpu().numpy()]
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return torch.from_numpy(np.stack(corrupted)).to(images)
