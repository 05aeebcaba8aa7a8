"""Data sets by name or by folder, as uint8 tensors with a seeded train / validation / test split.

``digits`` comes with scikit-learn; ``cifar10`` and ``cifar100`` are downloaded and verified by torchvision;
every other name is a folder of images, decoded once and cached.
"""

import hashlib
import os
import urllib.error
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet.data.folders import is_image_folder, load_image_folder
from sdnet.names import unknown_name

EMBEDDED = ("digits",)
DOWNLOADED = ("cifar10", "cifar100")


@dataclass(frozen=True, eq=False)
class Split:
    """Images (N, H, W, 3) as uint8 and their labels (N,) as int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        """The same split on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes:
        name: as given to :func:`load`; for a folder, its name.
        classes: class names; a label is an index into them.
        train, validation, test: disjoint splits. ``validation`` is empty unless :meth:`hold_out` made it.
        flip: whether a mirrored image keeps its class (not so for digits).
        data_hash: SHA-256 of the training and test images and labels, as hexadecimal.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    flip: bool
    data_hash: str

    def hold_out(self, fraction: float, seed: int = 0) -> "Dataset":
        """Move a random fraction (0 <= fraction < 1) of the training split to the validation split.

        Whatever is chosen by looking at accuracies, such as λ or an epoch, is chosen on that split.
        """
        if not 0 <= fraction < 1:
            raise ValueError(f"the held-out fraction must be in [0, 1); got {fraction}.")
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        held, kept = order.tensor_split([round(fraction * len(self.train))])
        return replace(self, train=_take(self.train, kept), validation=_take(self.train, held))

    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel of the training images, in units of pixels in [0, 1]."""
        total, squares, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
        for chunk in self.train.images.split(4096):
            pixels = chunk.reshape(-1, 3).double() / 255
            total, squares, count = total + pixels.sum(0), squares + pixels.square().sum(0), count + len(pixels)
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(1e-12).sqrt()
        return mean.tolist(), std.tolist()


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Where data sets lie: ``root`` if given, else ``$SDNET_DATA``, else ``~/.cache/sdnet/data``."""
    return Path(root or os.environ.get("SDNET_DATA") or Path.home() / ".cache" / "sdnet" / "data").expanduser()


def available(root: str | os.PathLike[str] | None = None) -> list[str]:
    """The names :func:`load` accepts: the built-in ones and the image folders below the data root."""
    folder = data_root(root)
    found = [path.name for path in sorted(folder.iterdir()) if is_image_folder(path)] if folder.is_dir() else []
    return [*EMBEDDED, *DOWNLOADED, *(name for name in found if name not in DOWNLOADED)]


def load(name: str, root: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set; nothing is held out yet.

    Args:
        name: ``"digits"``, ``"cifar10"``, ``"cifar100"``, the name of an image folder below ``root``, or a path
            to one. An image folder has the form ``{train,test}/<class>/*`` or ``{train,val}/<class>/*``.
        root: see :func:`data_root`.

    Raises:
        ValueError: if there is no such data set, or its files are missing, corrupt or incomplete; the
            message says what to do.
    """
    if name == "digits":
        return _digits()
    if name in DOWNLOADED:
        return _torchvision_cifar(name, data_root(root))
    folder = Path(name).expanduser() if os.sep in name else data_root(root) / name
    if not folder.is_dir():
        where = f" No folder {folder} either; say where it is with data_root or SDNET_DATA."
        raise ValueError(unknown_name("dataset", name, available(root)) + where)
    classes, train, test = load_image_folder(folder)
    return _dataset(folder.name, classes, Split(*train), Split(*test), flip=True)


def _dataset(name: str, classes: tuple[str, ...], train: Split, test: Split, *, flip: bool) -> Dataset:
    digest = hashlib.sha256()
    for tensor in (train.images, train.labels, test.images, test.labels):
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    nothing = _take(train, torch.arange(0))
    return Dataset(name, classes, train, nothing, test, flip, digest.hexdigest())


def _take(split: Split, index: Tensor) -> Split:
    return Split(split.images[index], split.labels[index])


def _digits() -> Dataset:
    """The 1797 handwritten digits of the UCI repository that scikit-learn bundles, 8×8 enlarged to 32×32."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) * (255 / 16)
    images = F.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    split = Split(
        images.round().to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous(),
        torch.from_numpy(digits.target).long(),
    )
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    test, train = order.tensor_split([360])
    return _dataset("digits", tuple("0123456789"), _take(split, train), _take(split, test), flip=False)


def _torchvision_cifar(name: str, root: Path) -> Dataset:
    from torchvision import datasets

    cls = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    try:
        root.mkdir(parents=True, exist_ok=True)
        train, test = (cls(root, train=part, download=True) for part in (True, False))
    except (RuntimeError, urllib.error.URLError, OSError) as error:
        raise ValueError(
            f"{name} could not be had at {root} ({error}); put its verified archive there, or delete a broken one "
            "so that it is downloaded again."
        ) from error
    splits = [Split(torch.from_numpy(part.data), torch.tensor(part.targets)) for part in (train, test)]
    return _dataset(name, tuple(train.classes), *splits, flip=True)
