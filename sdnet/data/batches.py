"""Batches made on the device: augmentation works on whole uint8 batches, not image by image."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet.data.datasets import Split


def crop_and_flip(images: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Random crops of the zero-padded images, each mirrored with probability ½ if ``flip``.

    The paper's augmentation (pad 4, crop 32, flip): images (N, H, W, 3) in, the same shape out.
    """
    count, height, width, _ = images.shape
    device = images.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count, 1), generator=generator).to(device, non_blocking=True)

    rows = torch.arange(height, device=device) + draw(2 * padding + 1)
    columns = torch.arange(width, device=device) + draw(2 * padding + 1)
    if flip:
        columns = torch.where(draw(2).bool(), columns.flip(1), columns)
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    index = torch.arange(count, device=device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]]


def to_pixels(images: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to floats in [0, 1], (N, 3, H, W) in channels-last memory, without moving a byte."""
    return images.permute(0, 3, 1, 2).float() / 255


def sometimes_noisy(pixels: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise on each image with probability ½, clipped to [0, 1]; the generator lies on the pixels' device."""
    chosen = torch.rand(len(pixels), 1, 1, 1, generator=generator, device=pixels.device) < 0.5
    noise = torch.randn(pixels.shape, generator=generator, device=pixels.device)
    return (pixels + std * chosen * noise).clamp_(0, 1)


def training_batches(
    split: Split, batch_size: int, *, seed: int, epoch: int, padding: int = 4, flip: bool = True, noise: float = 0.0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented batches: pixels (n, 3, H, W) in [0, 1] and labels (n,).

    ``noise`` is the standard deviation for :func:`sometimes_noisy`, 0 for none. Order and augmentation are a
    function of (seed, epoch) alone, so an interrupted run goes on with the batches it would have seen. The last
    batch may be smaller; it is dropped if it holds one image, on which batch normalisation is undefined.
    """
    device, number = split.images.device, seed * 100_003 + epoch
    generator, on_device = torch.Generator().manual_seed(number), torch.Generator(device).manual_seed(number)
    order = torch.randperm(len(split), generator=generator).to(device)
    for index in order.split(batch_size):
        if len(index) > 1:
            pixels = to_pixels(crop_and_flip(split.images[index], padding, flip, generator))
            yield sometimes_noisy(pixels, noise, on_device) if noise else pixels, split.labels[index]


def evaluation_batches(split: Split, batch_size: int = 500) -> Iterator[tuple[Tensor, Tensor]]:
    """The split in order: pixels (n, 3, H, W) in [0, 1] and labels (n,)."""
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        yield to_pixels(images), labels
