"""Pictures to look at without a data set: a reader's own, or the photographs that come with scikit-learn."""

import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_sample_image, load_sample_images
from torch import Tensor

from sdnet.data.images import open_rgb
from sdnet.parameters import Count, Seed, Side, check


def load_picture(path: str | os.PathLike[str] | None, size: int) -> Tensor:
    """The middle square of a picture at ``size`` × ``size``, as pixels (1, 3, size, size) in [0, 1].

    Args:
        path: an image file, turned as its EXIF orientation says; None for scikit-learn's ``flower.jpg`` (by vultilion,
            CC BY 2.0).

    Raises:
        ValueError: for a size out of its range, or if there is no file at ``path``, or
            :func:`sdnet.data.images.open_rgb` cannot read it.
    """
    check("size", size, Side)
    if path is None:
        image = Image.fromarray(load_sample_image("flower.jpg"))
    else:
        given = os.fspath(path) if isinstance(path, os.PathLike) else path
        check("path", given, str)
        file = os.path.expanduser(given)
        if not os.path.isfile(file):
            raise ValueError(f"there is no picture at {given!r}; give the path of an image file.")
        image = open_rgb(file, oriented=True)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return resized(image.crop((left, top, left + side, top + side)), size)


def photo_crops(count: int, size: int, seed: int = 0) -> Tensor:
    """Random squares of scikit-learn's two photographs, half to all of their height, at ``size`` × ``size``.

    Natural images (count, 3, size, size) in [0, 1] for statistics where no data set is at hand.
    """
    check("count", count, Count)
    check("seed", seed, Seed)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    generator = np.random.default_rng(seed)
    crops = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(photo.height * generator.uniform(0.5, 1))
        left, top = (int(generator.integers(extent - side + 1)) for extent in photo.size)
        crops.append(resized(photo.crop((left, top, left + side, top + side)), size))
    return torch.cat(crops)


def resized(square: Image.Image, size: int) -> Tensor:
    """A square picture at ``size`` × ``size``, as pixels (1, 3, size, size) in [0, 1]; shrunk by averaging areas.

    Raises:
        ValueError: for a size out of its range, or a picture that is not square or not RGB.
    """
    check("size", size, Side)
    if square.mode != "RGB" or square.width != square.height:
        raise ValueError(
            f"square must be an RGB image as wide as high; got {square.mode} of {square.width}×{square.height} pixels. "
            "Crop it, and convert it with convert('RGB')."
        )
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(pixels, size=(size, size), mode="area" if square.width >= size else "bilinear")
