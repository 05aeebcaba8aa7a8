"""One way from an image file to 8-bit RGB, for every reader of images."""

import os
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

BACKGROUND = (255, 255, 255, 255)
"""What transparent pixels lie on: white."""
CONVERTED = frozenset({"1", "L", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
"""Modes without alpha of which Pillow makes RGB without loss of range."""
LAYERED = frozenset({"P", "PA", "LA", "RGBA", "RGBa"})
"""Modes with alpha; a palette may hold some."""
GREY_16 = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
"""16-bit grey, which Pillow cuts off at 255 instead of scaling it."""
GREY_16_FORMATS = frozenset({"PNG", "PPM"})
"""Formats whose mode I is 16-bit grey too; of others it is a 32-bit or a signed integer of unknown range."""
_DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


class Unreadable(ValueError):
    """An image file of which no RGB image can be made, and why."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = os.fspath(path), reason

    def __str__(self) -> str:
        return f"{self.path} cannot be decoded ({self.reason}); replace it by an 8-bit RGB or grey image."


def open_rgb(path: str | os.PathLike[str], *, oriented: bool = False) -> Image.Image:
    """The image in a file as 8-bit RGB, decoded.

    8-bit images without alpha are what ``convert("RGB")`` makes of them. 16-bit grey v becomes v / 257, rounded.
    Transparent pixels lie on white.

    Args:
        oriented: turn the image as its EXIF orientation says. Images of a data set stay as they are stored.

    Raises:
        Unreadable: (a ValueError) if there is no regular file, it is no image or a broken one, it has more pixels than
            ``PIL.Image.MAX_IMAGE_PIXELS``, or its mode has no range that could be scaled, as floats have none.
    """
    try:
        if not os.path.isfile(path):  # to open a named pipe would wait for its writer for ever
            raise Unreadable(path, "there is no regular file")
        with Image.open(path) as image:
            # Pillow only warns up to twice the limit, and warnings cannot be caught safely in several threads.
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise Unreadable(path, f"it has {image.width}×{image.height} pixels, more than {limit} in all")
            grey = image.mode in GREY_16 or (image.mode == "I" and image.format in GREY_16_FORMATS)
            if not grey and image.mode not in CONVERTED | LAYERED:
                raise Unreadable(path, f"its mode is {image.mode}, which has no fixed range")
            turned = ImageOps.exif_transpose(image) if oriented else image
            return _scaled(turned) if grey else _flat(turned)
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        raise Unreadable(path, "it is no image in a known format") from error
    except _DECODE_ERRORS as error:
        raise Unreadable(path, str(error) or type(error).__name__) from error


def _scaled(image: Image.Image) -> Image.Image:
    """RGB of 16-bit grey; a grey value that is declared transparent becomes the background."""
    values: np.ndarray[Any, np.dtype[np.int64]] = np.asarray(image).astype(np.int64)
    pixels = ((values + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = BACKGROUND[0]
    return Image.fromarray(pixels).convert("RGB")


def _flat(image: Image.Image) -> Image.Image:
    """RGB of an 8-bit image, over the background if it has alpha or a transparent colour."""
    if image.mode not in LAYERED and "transparency" not in image.info:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, BACKGROUND), layer).convert("RGB")
