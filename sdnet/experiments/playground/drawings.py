"""The playground's pictures: a photograph that is in the public domain, and drawings made here. None is of CIFAR.

Every drawing is made of a few shapes on a canvas of 512 × 512 and shrunk to the 32 × 32 pixels of a CIFAR image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from skimage import data
from torch import Tensor

from sdnet.data.pictures import resized

SIDE = 512
Colour = tuple[int, int, int]
WHITE, DARK, GLASS = (236, 238, 240), (24, 24, 26), (55, 75, 98)


@dataclass(frozen=True)
class Picture:
    """A picture of the playground.

    Attributes:
        label: the class of CIFAR-10 that it shows.
        credit: who made it, and under what licence it may be used.
        pixels: (32, 32, 3), uint8.
    """

    label: str
    credit: str
    pixels: Tensor


def pictures() -> list[Picture]:
    """All pictures, in the order in which the page shows them; the first is shown when the page opens."""
    found = [Picture(name, "drawn by sdnet's code, MIT", _shrunk(draw())) for name, draw in DRAWINGS.items()]
    found.append(Picture("horse", "silhouette by Andreas Preuss, CC0, coloured here", _shrunk(_horse())))
    cat = Image.fromarray(data.chelsea())
    left = (cat.width - cat.height) // 2
    square = cat.crop((left, 0, left + cat.height, cat.height))
    return [*found, Picture("cat", "photograph of Chelsea by Stéfan van der Walt, CC0", _shrunk(square))]


def _shrunk(image: Image.Image) -> Tensor:
    return (resized(image, 32)[0].permute(1, 2, 0) * 255).round().byte()


def _canvas(top: Colour, bottom: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A vertical gradient and a pen."""
    part = np.linspace(0, 1, SIDE)[:, None, None]
    rows = np.array(top) * (1 - part) + np.array(bottom) * part
    image = Image.fromarray(np.broadcast_to(rows, (SIDE, SIDE, 3)).astype(np.uint8))
    return image, ImageDraw.Draw(image)


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _wheel(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    _disc(pen, x, y, radius, DARK)
    _disc(pen, x, y, radius / 2, (170, 172, 176))


def _automobile() -> Image.Image:
    image, pen = _canvas((190, 205, 215), (220, 225, 225))
    pen.rectangle((0, 300, SIDE, 352), fill=(120, 140, 105))
    pen.rectangle((0, 350, SIDE, SIDE), fill=(105, 105, 108))
    pen.polygon([(130, 255), (185, 165), (345, 165), (410, 255)], fill=(185, 25, 30))
    pen.polygon([(155, 250), (197, 180), (258, 180), (258, 250)], fill=GLASS)
    pen.polygon([(272, 250), (272, 180), (337, 180), (385, 250)], fill=GLASS)
    pen.rounded_rectangle((35, 245, 480, 350), 28, fill=(205, 30, 35))
    pen.rectangle((40, 320, 476, 352), fill=(120, 18, 22))
    _wheel(pen, 125, 352, 52)
    _wheel(pen, 375, 352, 52)
    _disc(pen, 460, 282, 14, (250, 235, 170))
    return image


def _airplane() -> Image.Image:
    image, pen = _canvas((70, 130, 200), (180, 210, 235))
    pen.polygon([(60, 250), (30, 150), (85, 150), (135, 235)], fill=(225, 228, 232))
    pen.polygon([(230, 265), (120, 420), (180, 420), (340, 270)], fill=(170, 176, 184))
    pen.polygon([(240, 240), (180, 130), (225, 130), (335, 235)], fill=(190, 195, 202))
    pen.rounded_rectangle((45, 225, 440, 290), 30, fill=WHITE)
    pen.pieslice((380, 225, 500, 290), -90, 90, fill=WHITE)
    pen.rectangle((440, 234, 468, 252), fill=GLASS)
    for x in range(130, 420, 26):
        pen.rectangle((x, 244, x + 10, 256), fill=GLASS)
    return image


def _ship() -> Image.Image:
    image, pen = _canvas((150, 190, 225), (215, 230, 240))
    pen.rectangle((0, 330, SIDE, SIDE), fill=(38, 84, 120))
    for y in range(345, SIDE, 22):
        wave = [(x, y + 6 * math.sin(x / 23 + y)) for x in range(0, SIDE, 8)]
        pen.line(wave, fill=(60, 112, 150), width=5)
    pen.polygon([(40, 290), (480, 290), (430, 372), (90, 372)], fill=(120, 30, 30))
    pen.rectangle((40, 280, 480, 300), fill=WHITE)
    pen.rectangle((150, 215, 390, 282), fill=WHITE)
    pen.rectangle((190, 160, 330, 216), fill=WHITE)
    pen.rectangle((230, 90, 285, 162), fill=(200, 60, 40))
    pen.rectangle((230, 90, 285, 110), fill=DARK)
    for x in range(173, 385, 32):
        _disc(pen, x, 243, 8, GLASS)
    return image


def _truck() -> Image.Image:
    image, pen = _canvas((165, 195, 225), (225, 230, 232))
    pen.rectangle((0, 385, SIDE, SIDE), fill=(112, 110, 108))
    pen.rectangle((25, 95, 325, 350), fill=(235, 235, 228), outline=(150, 150, 148), width=6)
    pen.polygon([(335, 175), (420, 175), (475, 265), (475, 350), (335, 350)], fill=(40, 80, 150))
    pen.polygon([(355, 195), (410, 195), (448, 262), (355, 262)], fill=(30, 40, 52))
    pen.rectangle((25, 345, 480, 372), fill=(50, 50, 52))
    for x in (95, 195, 410):
        _wheel(pen, x, 380, 45)
    return image


def _frog() -> Image.Image:
    image, pen = _canvas((120, 95, 60), (95, 75, 48))
    pen.ellipse((90, 210, 420, 440), fill=(84, 120, 52))
    pen.ellipse((130, 130, 400, 330), fill=(96, 138, 60))
    for left in (60, 310):
        pen.ellipse((left, 330, left + 145, 450), fill=(76, 108, 46))
    for x in (202, 347):
        _disc(pen, x, 135, 39, (110, 150, 70))
        _disc(pen, x, 134, 22, (220, 190, 60))
        _disc(pen, x, 135, 12, DARK)
    pen.arc((160, 180, 370, 300), 20, 160, fill=(50, 70, 30), width=8)
    pen.ellipse((180, 310, 340, 430), fill=(190, 190, 130))
    return image


def _bird() -> Image.Image:
    image, pen = _canvas((150, 180, 150), (110, 140, 100))
    pen.line((0, 420, SIDE, 395), fill=(90, 65, 45), width=26)
    pen.polygon([(60, 375), (190, 260), (240, 330)], fill=(80, 70, 62))
    pen.ellipse((150, 190, 390, 400), fill=(150, 95, 60))
    pen.ellipse((210, 240, 400, 400), fill=(225, 190, 150))
    _disc(pen, 365, 170, 65, (120, 80, 55))
    pen.polygon([(420, 155), (490, 178), (420, 192)], fill=(225, 160, 40))
    _disc(pen, 384, 152, 12, DARK)
    for x in (260, 310):
        pen.line((x, 395, x, 418), fill=(60, 45, 35), width=10)
    return image


def _horse() -> Image.Image:
    """scikit-image's silhouette in brown, on a meadow."""
    image, pen = _canvas((150, 190, 225), (190, 215, 230))
    pen.rectangle((0, 300, SIDE, SIDE), fill=(95, 140, 65))
    silhouette = Image.fromarray((~data.horse().astype(bool) * 255).astype(np.uint8))
    width = 440
    silhouette = silhouette.resize((width, width * silhouette.height // silhouette.width))
    image.paste((110, 68, 40), ((SIDE - width) // 2, 470 - silhouette.height), silhouette)
    return image


DRAWINGS: dict[str, Callable[[], Image.Image]] = {
    "automobile": _automobile,
    "airplane": _airplane,
    "ship": _ship,
    "truck": _truck,
    "frog": _frog,
    "bird": _bird,
}
"""Class → what draws it."""
