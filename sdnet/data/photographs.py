"""Photographs of any size, read from their files when a batch needs them: ImageNet, or a folder laid out like it.

``<root>/{train,val}/<class>/*``, see :mod:`sdnet.data.listing`. Training images are random crops
(``RandomResizedCrop``) and flips, test images are resized and cropped in the middle, as for every ImageNet ResNet.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sdnet.data.datasets import Dataset, Split, check_root, data_root
from sdnet.data.folders import is_image_folder, test_folder
from sdnet.data.images import Unreadable, open_rgb
from sdnet.data.listing import class_names, list_images
from sdnet.names import unknown_name
from sdnet.runtime import random_order

SIZE = 224
"""Pixels of a crop; the shorter side of a test image is resized to 8/7 of it, 256."""
CLASSES = {"imagenet": 1000}
"""Number of classes that a data set of this name must have."""
IMAGES = {"imagenet": (1_281_167, 50_000)}
"""Training and test images of a complete data set of this name (ILSVRC 2012)."""
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""Statistics of ImageNet's pixels per channel, as torchvision's recipes use them."""

Unread = tuple[str, str]
"""A path that could not be read, and why."""
Item = tuple[Tensor, int, list[Unread]]


class _Reader(TorchDataset[Item]):
    """Item (number, index): the image at that index, its label, and what could not be read on the way.

    ``number`` seeds the crop, together with the index; None asks for the middle of the image.
    """

    def __init__(self, files: Sequence[tuple[str, int]], size: int, cropped: bool) -> None:
        from torchvision.transforms import v2  # torchvision takes seconds to load, which most commands need not wait

        self.files, self.size = files, size
        self.random = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), v2.PILToTensor()])
        resize = [] if cropped else [v2.Resize(size * 8 // 7)]
        self.middle = v2.Compose([*resize, v2.CenterCrop(size), v2.PILToTensor()])

    def __getitem__(self, key: tuple[int | None, int]) -> Item:
        number, index = key
        unreadable: list[Unread] = []
        for offset in range(len(self.files)):
            path, label = self.files[(index + offset) % len(self.files)]
            try:
                return self._cropped(open_rgb(path), number, index), label, unreadable
            except Unreadable as error:
                unreadable.append((error.path, error.reason))
            if number is None:  # a test image is not replaced by another
                break
        return torch.zeros(3, self.size, self.size, dtype=torch.uint8), -1, unreadable

    def _cropped(self, image: Image.Image, number: int | None, index: int) -> Tensor:
        if number is None:
            return self.middle(image)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((number * 2**24 + index) % 2**63)
            return self.random(image)


def _together(items: Sequence[Item]) -> tuple[Tensor, Tensor, set[Unread]]:
    unreadable = {unread for _, _, passed in items for unread in passed}
    return torch.stack([image for image, _, _ in items]), torch.tensor([label for _, label, _ in items]), unreadable


@dataclass(frozen=True, eq=False)
class Photographs:
    """A split of photographs.

    Attributes:
        files: paths and labels.
        size: pixels of the crops.
        workers: processes that read; at most as many as there are cores.
        cropped: whether the files are middles already, as ImageNet-C's are.
        device: where batches go.
        corrupt: the paths that could not be read so far. In training the next photograph takes the place of such a
            one; in a test it is skipped.
    """

    files: tuple[tuple[str, int], ...]
    size: int = SIZE
    workers: int = 0
    cropped: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    corrupt: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.files)

    def to(self, device: torch.device | str) -> "Photographs":
        """The same split with batches on another device."""
        return replace(self, device=torch.device(device))

    def training_batches(self, indices: list[Tensor], number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Random crops of the photographs at these indices, a batch per tensor; ``number`` seeds them.

        Pixels (n, 3, size, size) in [0, 1] and labels (n,).
        """
        for images, labels in self._batches([[(number, index) for index in batch.tolist()] for batch in indices]):
            if (labels < 0).any():
                raise ValueError(f"none of the {len(self)} training images can be read; replace them.")
            yield self._placed(images, labels)

    def evaluation_batches(self, indices: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """The middle of the photographs at these indices that can be read, a batch per tensor."""
        for images, labels in self._batches([[(None, index) for index in batch.tolist()] for batch in indices]):
            read = labels >= 0
            yield self._placed(images, labels) if read.all() else self._placed(images[read], labels[read])

    def _placed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.to(self.device, non_blocking=True).float() / 255
        return pixels.contiguous(memory_format=torch.channels_last), labels.to(self.device, non_blocking=True)

    def _batches(self, keys: list[list[tuple[int | None, int]]]) -> Iterator[tuple[Tensor, Tensor]]:
        """uint8 images (n, 3, size, size) and labels, still on the CPU: there to look at them waits for no device."""
        loader: DataLoader[Any] = DataLoader(
            _Reader(self.files, self.size, self.cropped),
            batch_sampler=keys,
            num_workers=min(self.workers, len(os.sched_getaffinity(0))),
            collate_fn=_together,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else the global one loses a number to every epoch
        )
        for images, labels, unreadable in loader:
            for path, reason in sorted(unreadable):
                if path not in self.corrupt:
                    print(f"cannot be read: {path} ({reason})", flush=True)
                    self.corrupt.add(path)
            yield images, labels

    def decoded(self, count: int, seed: int = 0) -> Split:
        """The middle of ``count`` photographs in random order, or of all if there are fewer, in memory.

        Raises:
            ValueError: naming the first that cannot be read.
        """
        order = random_order(len(self), seed)[:count].sort().values
        batches = list(self._batches([[(None, index) for index in part.tolist()] for part in order.split(100)]))
        if self.corrupt:
            raise ValueError(
                f"{len(self.corrupt)} images cannot be read, the first is {min(self.corrupt)}; replace it."
            )
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return Split(images.permute(0, 2, 3, 1).contiguous(), labels)


@dataclass(frozen=True, eq=False)
class PhotographSet:
    """A data set of photographs; what :class:`sdnet.data.datasets.Dataset` is for images in memory.

    ``data_hash`` is the SHA-256 of the names, labels and sizes of all files: reading a hundred gigabytes before a
    training starts is too much, so a file that was exchanged for another of its name and size is not noticed.
    """

    name: str
    classes: tuple[str, ...]
    train: Photographs
    validation: Photographs
    test: Photographs
    data_hash: str
    flip: bool = True

    def hold_out(self, fraction: float, seed: int = 0) -> "PhotographSet":
        """As :meth:`sdnet.data.datasets.Dataset.hold_out`."""
        if not 0 <= fraction < 1:
            raise ValueError(f"the held-out fraction must be in [0, 1); got {fraction}.")
        order = random_order(len(self.train), seed)
        held, kept = order.tensor_split([round(fraction * len(self.train))])
        parts = [tuple(self.train.files[index] for index in part.tolist()) for part in (kept, held)]
        return replace(self, train=replace(self.train, files=parts[0]), validation=replace(self.train, files=parts[1]))

    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """ImageNet's mean and standard deviation per channel."""
        return MEAN, STD

    def decoded(self, train: int, test: int) -> Dataset:
        """So many images of each split in memory, cropped in the middle: for experiments on a trained network."""
        splits = (self.train.decoded(train), Split(torch.empty(0), torch.empty(0)), self.test.decoded(test))
        return Dataset(self.name, self.classes, *splits, self.flip, self.data_hash)


def load(name: str, root: str | os.PathLike[str] | None = None, *, workers: int = 4) -> PhotographSet:
    """A data set of photographs by name below the data root, or by path.

    Raises:
        ValueError: if there is none, ``root`` has no effect on it, a split or a class is missing or empty, or one
            called ``imagenet`` has not 1000 classes.
    """
    check_root(name, root)
    folder = Path(name).expanduser() if os.sep in name else data_root(root) / name
    if not is_image_folder(folder):
        known = [path.name for path in sorted(data_root(root).glob("*")) if is_image_folder(path)]
        where = f" No folder {folder} with train and val either; say where it is with data_root or SDNET_DATA."
        raise ValueError(unknown_name("dataset", name, known) + where)
    splits = (folder / "train", test_folder(folder) or folder)
    classes, others = (class_names(split, folder) for split in splits)
    if others != classes:
        odd = sorted(set(classes) ^ set(others))
        raise ValueError(f"{folder} has different classes in its two splits, for instance {odd[0]}; unpack it again.")
    if len(classes) != CLASSES.get(folder.name, len(classes)):
        raise ValueError(
            f"{folder} has {len(classes)} classes; {folder.name} has {CLASSES[folder.name]}. Unpack it again."
        )
    train, test = (Photographs(list_images(split, classes, folder), workers=workers) for split in splits)
    digest = hashlib.sha256()
    for path, label in (*train.files, *test.files):
        digest.update(f"{Path(path).relative_to(folder)}\0{label}\0{os.path.getsize(path)}\n".encode())
    return PhotographSet(folder.name, classes, train, replace(train, files=()), test, digest.hexdigest())
