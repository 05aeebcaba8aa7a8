"""Batches made on the device: augmentation works on whole uint8 batches, not image by image."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet.data.datasets import Split
from sdnet.data.photographs import Photographs

Windows = tuple[Tensor, Tensor]
Shard = Callable[[int], slice]
"""Which of so many consecutive items are mine: :meth:`sdnet.training.distributed.Ranks.shard`."""


def everything(count: int) -> slice:
    """All of them: one process has no other to share with."""
    return slice(0, count)


def draw_windows(count: int, size: tuple[int, int], padding: int, flip: bool, generator: torch.Generator) -> Windows:
    """Random crops of ``count`` padded images of one size, as row and column indices (N, H) and (N, W).

    The columns of a mirrored image run backwards; each is mirrored with probability ½ if ``flip``.
    """

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count, 1), generator=generator, device=generator.device)

    rows, columns = (torch.arange(side, device=generator.device) + draw(2 * padding + 1) for side in size)
    if flip:
        columns = torch.where(draw(2).bool(), columns.flip(1), columns)
    return rows, columns


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what the device is doing."""
    # Only out of pinned memory a copy to CUDA never waits.
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def cut(images: Tensor, padding: int, windows: Windows) -> Tensor:
    """The windows of the zero-padded images (N, H, W, 3), of the same shape: the paper's crops and flips."""
    rows, columns = (sent(window, images.device) for window in windows)
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    index = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]]


def to_pixels(images: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to floats in [0, 1], (N, 3, H, W) in channels-last memory, without moving a byte."""
    return images.permute(0, 3, 1, 2).float() / 255


def draw_noise(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise for each image of a batch with probability ½, zero for the others; on the generator's device."""
    chosen = torch.rand(shape[0], 1, 1, 1, generator=generator, device=generator.device) < 0.5
    return std * chosen * torch.randn(shape, generator=generator, device=generator.device)


def training_batches(
    split: Split | Photographs,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    padding: int = 4,
    flip: bool = True,
    noise: float = 0.0,
    start: int = 0,
    least: int = 2,
    shard: Shard = everything,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented batches: pixels (n, 3, H, W) in [0, 1] and labels (n,).

    Order and augmentation are a function of (seed, epoch) and of an image's place in the epoch alone, so an
    interrupted run resumes with the batches it would have seen, on however many ranks. The last batch may be smaller.
    (Of :class:`Photographs` crop and flip are torchvision's, and ``padding``, ``flip`` and ``noise`` do not apply.)

    Args:
        noise: standard deviation for :func:`draw_noise`, 0 for none.
        start: batches at the beginning of the epoch to skip.
        least: a last batch of fewer images is dropped. Batch normalisation is undefined on one image, so this is two
            for every piece into which a batch will be cut.
        shard: the part of every batch that is wanted.
    """
    number = seed * 100_003 + epoch
    generator = torch.Generator().manual_seed(number)
    order = torch.randperm(len(split), generator=generator, device=generator.device)
    batches = [index for index in order.split(batch_size) if len(index) >= least]
    if isinstance(split, Photographs):
        yield from split.training_batches([index[shard(len(index))] for index in batches[start:]], number)
        return
    device, size = split.images.device, (split.images.shape[1], split.images.shape[2])
    on_device = torch.Generator(device).manual_seed(number)
    for step, index in enumerate(batches):
        # Drawn for the whole batch, and for skipped batches too: an image's crop depends on its place alone.
        rows, columns = draw_windows(len(index), size, padding, flip, generator)
        grain = draw_noise((len(index), 3, *size), noise, on_device) if noise else None
        if step < start:
            continue
        mine = shard(len(index))
        chosen = sent(index[mine], device)
        pixels = to_pixels(cut(split.images[chosen], padding, (rows[mine], columns[mine])))
        yield pixels if grain is None else (pixels + grain[mine]).clamp_(0, 1), split.labels[chosen]


def evaluation_batches(
    split: Split | Photographs, batch_size: int = 500, shard: Shard = everything
) -> Iterator[tuple[Tensor, Tensor]]:
    """The split in order: pixels (n, 3, H, W) in [0, 1] and labels (n,).

    ``shard`` says which of the batches are wanted. Photographs that cannot be read are skipped.
    """
    starts = range(0, len(split), batch_size)
    parts = [slice(first, first + batch_size) for first in starts[shard(len(starts))]]
    if isinstance(split, Photographs):
        yield from split.evaluation_batches([torch.arange(len(split))[part] for part in parts])
        return
    for part in parts:
        yield to_pixels(split.images[part]), split.labels[part]
