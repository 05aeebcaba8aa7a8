"""What the layer does, in one picture: an image's code, what it explains and what it leaves, beside a convolution."""

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from sdnet.csc.lam import at_lam
from sdnet.csc.layers import CSCConv2d
from sdnet.data.batches import to_pixels
from sdnet.data.corruptions import add_noise, level_of
from sdnet.data.pictures import resized
from sdnet.models.resnet import ResNet
from sdnet.report.plots import Array, image_grid
from sdnet.report.shown import Shown
from sdnet.results import networks

SIZE = 64
"""Height and width of the picture in pixels. (The layer takes any; at the networks' 32 little is seen.)"""
LAMS = (0.1, 0.8)
"""λ of training, and one as Algorithm 1 chooses under strong noise."""


@torch.no_grad()
def show_idea(sdnet: str, resnet: str, noise: str = "gaussian_noise", severity: int = 3) -> Shown:
    """The first layers of two trained networks at work on a noisy photograph.

    Args:
        sdnet, resnet: names in ``data/networks``.
        noise, severity: of :mod:`sdnet.data.corruptions`.
    """
    coding, plain = (_resnet(name) for name in (sdnet, resnet))
    image = to_pixels(add_noise(_cat(), noise, level_of(noise, severity)))
    layer = coding.stem[0]
    assert isinstance(layer, CSCConv2d)
    signal, blank = coding.normalize(image), np.ones((SIZE, SIZE, 3))
    rows = {"convolution": [_pixels(image), _mosaic(plain.stem(plain.normalize(image))[0]), blank, blank]}
    for lam in LAMS:
        code = at_lam(layer, torch.tensor(lam), signal)
        explained = layer.dictionary.synthesis(code, signal.shape[2:])
        shown = explained * coding.normalize.std + coding.normalize.mean
        label = f"sparse coding,\nλ = {lam:g}:\n{100 * float((code == 0).float().mean()):.0f} % zeros"
        left = 0.5 + (image - shown) / 2
        rows[label] = [_pixels(image), _mosaic(code[0]), _pixels(shown), _pixels(left)]
    return image_grid(
        rows,
        ("image $x$", "64 channels", "explained, $A(z)$", "left over"),
        caption="A convolution turns an image into 64 channels and keeps no account of it. A CSC layer finds a code of "
        "64 channels, most of it zero (white), whose atoms add up to an approximation of the image. A larger λ allows "
        "fewer atoms: what is left over then is noise, and also some of the cat.",
        identity="idea",
        made_from=f"the networks {sdnet} and {resnet}, {noise.replace('_', ' ')} of severity {severity}; seed 0; n = 1 "
        "photograph (Chelsea, by Stéfan van der Walt, CC0)",
    )


def _resnet(name: str) -> ResNet:
    model = networks.load(name).model
    assert isinstance(model, ResNet)
    return model


def _cat() -> Tensor:
    """The middle square of scikit-image's cat as uint8 (1, SIZE, SIZE, 3)."""
    photo = Image.fromarray(data.chelsea())
    left = (photo.width - photo.height) // 2
    pixels = resized(photo.crop((left, 0, left + photo.height, photo.height)), SIZE)
    return (255 * pixels).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _pixels(image: Tensor) -> Array:
    shown: Array = image[0].clamp(0, 1).permute(1, 2, 0).numpy()
    return shown


def _mosaic(channels: Tensor, columns: int = 8) -> Array:
    """Channels (C, H, W) as tiles, from white for 0 to black for the largest."""
    size = channels.shape[1:]
    tiles = (channels / channels.max()).reshape(-1, columns, *size).permute(0, 2, 1, 3)
    grey = 1 - tiles.reshape(-1, columns * size[1]).clamp(0, 1).sqrt()
    return grey[..., None].expand(-1, -1, 3).numpy()
