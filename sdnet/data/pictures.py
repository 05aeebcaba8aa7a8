"""One picture to look at: a reader's own, or a photograph that comes with scikit-learn."""

import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor


def load_picture(path: str | os.PathLike[str] | None, size: int) -> Tensor:
    """The middle square of a picture at ``size`` × ``size``, as pixels (1, 3, size, size) in [0, 1].

    Args:
        path: an image file; None for scikit-learn's ``flower.jpg`` (by vultilion, CC BY 2.0).

    Raises:
        ValueError: if there is no image at ``path``.
    """
    if path is None:
        from sklearn.datasets import load_sample_image

        image = Image.fromarray(load_sample_image("flower.jpg"))
    else:
        try:
            image = Image.open(os.path.expanduser(path)).convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"there is no picture at {path}; give the path of an image file.") from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = np.array(image.crop((left, top, left + side, top + side)))
    pixels = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
    mode = "area" if side >= size else "bilinear"
    return F.interpolate(pixels, size=(size, size), mode=mode)
