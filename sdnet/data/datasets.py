"""Data sets by name or by folder, as uint8 tensors with a seeded train / validation / test split.

``digits`` comes with scikit-learn; ``cifar10`` and ``cifar100`` are a folder of lossless images or torchvision's
archive; every other name is a folder of images, decoded once and cached.
"""

import hashlib
import os
import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet.data import content
from sdnet.data.folders import is_image_folder, load_image_folder
from sdnet.names import unknown_name
from sdnet.runtime import random_order

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
        name: ``cifar10`` or ``cifar100`` if the content is that; else as given to :func:`load`, of a folder its name.
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
        order = random_order(len(self.train), seed)
        held, kept = order.tensor_split([round(fraction * len(self.train))])
        return replace(self, train=_take(self.train, kept), validation=_take(self.train, held))

    def for_classes(self, known: Sequence[str]) -> "Dataset":
        """The same images, a label now an index into ``known``, the classes of a network: matched by name.

        Raises:
            ValueError: if there are classes that are not known, which have no right answer.
        """
        if self.classes == tuple(known):
            return self
        check_known(self.name, self.classes, known)
        indices = torch.tensor([known.index(name) for name in self.classes])
        train, validation, test = (
            Split(split.images, indices[split.labels.long()]) for split in (self.train, self.validation, self.test)
        )
        return replace(self, classes=tuple(known), train=train, validation=validation, test=test)

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


def check_root(name: str, root: str | os.PathLike[str] | None) -> None:
    """Raise ValueError for a data root that is given and without effect: for a data set that lies elsewhere."""
    if root and (name in EMBEDDED or os.sep in name):
        why = "is a path of its own" if os.sep in name else "comes with scikit-learn"
        raise ValueError(f"data_root {os.fspath(root)!r} has no effect on dataset {name!r}, which {why}; leave it out.")


def available(root: str | os.PathLike[str] | None = None) -> list[str]:
    """The names :func:`load` accepts: the built-in ones and the image folders below the data root."""
    folder = data_root(root)
    found = [path.name for path in sorted(folder.iterdir()) if is_image_folder(path)] if folder.is_dir() else []
    return [*EMBEDDED, *DOWNLOADED, *(name for name in found if name not in DOWNLOADED)]


def load(name: str, root: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set; nothing is held out yet.

    CIFAR-10 and CIFAR-100 are known by their content: a folder that holds exactly their images is them, under their
    name and in an order of its own, so that a training on them is the same however they are stored. A folder that looks
    like them and differs keeps its name, and a line says so.

    Args:
        name: ``"digits"``, ``"cifar10"``, ``"cifar100"``, the name of an image folder below ``root``, or a path
            to one. An image folder has the form ``{train,test}/<class>/*`` or ``{train,val}/<class>/*``. ``"cifar10"``
            is the folder ``cifar10`` or ``cifar10-png`` below ``root`` if there is one, else torchvision's archive,
            which is downloaded if it is missing.
        root: see :func:`data_root`; for what lies below it only.

    Raises:
        ValueError: if there is no such data set, ``root`` has no effect on it, or its files are missing, corrupt
            or incomplete; the message says what to do.
    """
    check_root(name, root)
    if name == "digits":
        return _digits()
    if name in DOWNLOADED:
        return _cifar(name, data_root(root))
    folder = Path(name).expanduser() if os.sep in name else data_root(root) / name
    if not folder.is_dir():
        where = f" No folder {folder} either; say where it is with data_root or SDNET_DATA."
        raise ValueError(unknown_name("dataset", name, available(root)) + where)
    return _image_folder(folder)


def _image_folder(folder: Path) -> Dataset:
    classes, *decoded = load_image_folder(folder)
    train, test = (Split(*split) for split in decoded)
    name = content.resembles(len(classes), train.images, test.images)
    if name is not None:
        digests = [content.image_digests(split.images, split.labels) for split in (train, test)]
        different = content.difference(name, *digests)
        if different is None:
            return _known(name, classes, train, test, digests)
        print(f"{folder} looks like {name} and is not: its {different} images or labels differ.", flush=True)
    if folder.name in DOWNLOADED:
        raise ValueError(f"{folder} does not hold the images of {folder.name}; give the folder another name.")
    return _dataset(folder.name, classes, train, test, flip=True)


def _known(name: str, classes: tuple[str, ...], train: Split, test: Split, digests: list[list[bytes]]) -> Dataset:
    """A data set whose content is known, in the order of its images' digests."""
    splits = [_take(split, content.order(found)) for split, found in zip((train, test), digests, strict=True)]
    return _dataset(name, classes, *splits, flip=True)


def _dataset(name: str, classes: tuple[str, ...], train: Split, test: Split, *, flip: bool) -> Dataset:
    digest = hashlib.sha256()
    for tensor in (train.images, train.labels, test.images, test.labels):
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    nothing = _take(train, torch.arange(0))
    return Dataset(name, classes, train, nothing, test, flip, digest.hexdigest())


def check_known(data: str, classes: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError if a data set has classes that a network does not know, so that no answer to them is right."""
    others = [name for name in classes if name not in known]
    if others:
        raise ValueError(
            f"{data} has {_some(others)}, which the network does not know; it knows {_some(list(known))}: give it "
            "images of these classes only, in folders of these names."
        )


def _some(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
    order = random_order(len(split))
    test, train = order.tensor_split([360])
    return _dataset("digits", tuple("0123456789"), _take(split, train), _take(split, test), flip=False)


def _cifar(name: str, root: Path) -> Dataset:
    for folder in (root / name, root / f"{name}-png"):
        if is_image_folder(folder):
            data = _image_folder(folder)
            if data.name != name:
                raise ValueError(f"{folder} does not hold the images of {name}; give the folder another name.")
            return data
    return _torchvision_cifar(name, root)


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
    digests = [content.image_digests(split.images, split.labels) for split in splits]
    different = content.difference(name, *digests)
    if different:
        raise ValueError(f"the {different} images or labels of {name} at {root} are not the published ones; delete it.")
    return _known(name, tuple(train.classes), splits[0], splits[1], digests)
