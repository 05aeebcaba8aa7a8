"""Readers of the official corruption benchmarks, CIFAR-10-C and CIFAR-100-C (arrays) and ImageNet-C (folders).

An image's label is that of a network's class of the same name, or the benchmark is refused.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sdnet.data import content
from sdnet.data.datasets import Dataset, Split, check_known
from sdnet.data.listing import Files, class_names, list_images
from sdnet.data.photographs import Photographs, PhotographSet
from sdnet.names import unknown_name
from sdnet.parameters import Severity, check

IMAGES = 10_000
"""Test images of CIFAR-10-C and CIFAR-100-C, once per severity, below each other in one array."""
Published = Callable[[str, int], Split]
"""Corruption, severity → the images of a benchmark, labelled as a network's classes."""


def of_cifar(root: Path, data: Dataset, name: str | None = None) -> Published:
    """The benchmark for networks of a data set: CIFAR-10-C for CIFAR-10 and what has its classes, or CIFAR-100-C.

    Args:
        root: the unpacked folder.
        data: the network's data set, labelled as its classes.
        name: ``cifar10`` or ``cifar100`` if the data set is known to be that; by default it is told by its classes.

    Raises:
        ValueError: if it has other classes, or another number or size of test images.
    """
    name = name or next((name for name, classes in content.CLASSES.items() if classes == data.classes), None)
    if name is None:
        raise ValueError(
            f"{root} is read as CIFAR-10-C or CIFAR-100-C, and the network's data set {data.name} has not the classes "
            "of CIFAR-10 or CIFAR-100; choose a network that was trained on these, or leave official out."
        )
    if data.test.images.shape != (IMAGES, *content.PIXELS):
        count, *size = data.test.images.shape[:3]
        raise ValueError(
            f"{data.name} has {count} test images of {size[0]}×{size[1]} pixels, the benchmark at {root} {IMAGES} of "
            "32×32; choose a network whose test images it was made of, or leave official out."
        )
    classes = len(content.CLASSES[name])
    _labels(root / "labels.npy", classes)  # before a network is run
    return partial(cifar_c, root, classes=classes)


def of_photographs(root: Path, data: PhotographSet, known: Sequence[str], count: int) -> Published:
    """ImageNet-C for networks of photographs: of each corruption ``count`` images, of the same places as
    :meth:`sdnet.data.photographs.Photographs.decoded` takes of the test images.

    Args:
        root: the unpacked folder.
        data: the network's data set.
        known: the network's classes.
    """

    def read(corruption: str, severity: int) -> Split:
        files = imagenet_c(root, corruption, severity, known)
        if len(files) != len(data.test):
            raise ValueError(
                f"{root / corruption / str(severity)} has {len(files)} images and {data.name} {len(data.test)} test "
                "images, which must be as many; unpack the benchmark again, or leave official out."
            )
        return Photographs(files, workers=data.test.workers, cropped=True).decoded(count)

    return read


def cifar_c(root: Path, corruption: str, severity: int, classes: int) -> Split:
    """One corruption at one severity of CIFAR-10-C or CIFAR-100-C as published: ``<corruption>.npy``, ``labels.npy``.

    Args:
        root: the unpacked folder.
        corruption: a file's name without its ending, for instance ``gaussian_noise``.
        severity: 1 to 5 (the paper counts them from 0).
        classes: how many the labels must name: 10 for CIFAR-10-C, 100 for CIFAR-100-C.

    Raises:
        ValueError: if a file is missing or is not what the benchmark publishes.
    """
    check("severity", severity, Severity)
    names = sorted(path.stem for path in root.glob("*.npy") if path.stem != "labels")
    if corruption not in names:
        raise ValueError(unknown_name("corruption", corruption, names) + f" Unpack the benchmark's archive to {root}.")
    images = _array(root / f"{corruption}.npy", (5 * IMAGES, 32, 32, 3), np.uint8)
    labels = _labels(root / "labels.npy", classes)
    part = slice((severity - 1) * IMAGES, severity * IMAGES)
    return Split(torch.from_numpy(images[part].copy()), torch.from_numpy(labels[part].astype(np.int64)))


def _labels(path: Path, classes: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    labels = _array(path, (5 * IMAGES,), None)
    if not np.issubdtype(labels.dtype, np.integer) or not (labels.reshape(5, IMAGES) == labels[:IMAGES]).all():
        raise ValueError(f"{path} must hold the same {IMAGES} integer labels for each severity.")
    low, high = int(labels.min()), int(labels.max())
    if (low, high) != (0, classes - 1):
        raise ValueError(
            f"{path} has labels from {low} to {high}; those of CIFAR-{classes}-C are from 0 to {classes - 1}: unpack "
            "that benchmark and give its folder."
        )
    return labels


def _array(
    path: Path, shape: tuple[int, ...], dtype: type | None
) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """Map an array without executing anything that a file could hold (no pickles)."""
    if path.exists() and not path.is_file():  # a pipe would keep its reader waiting
        raise ValueError(f"{path} is not a readable .npy array (not a file); unpack the benchmark again.")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a header is Python, and its reader raises whatever Python's tokeniser does
        raise ValueError(f"{path} is not a readable .npy array ({error}); unpack the benchmark again.") from error
    if array.shape != shape or (dtype is not None and array.dtype != dtype):
        wanted = f"shape {shape}" + (f" and type {np.dtype(dtype)}" if dtype is not None else "")
        raise ValueError(f"{path} has shape {array.shape} and type {array.dtype}; the benchmark's has {wanted}.")
    return array


def imagenet_c(root: Path, corruption: str, severity: int, known: Sequence[str]) -> Files:
    """One corruption at one severity of ImageNet-C as published: ``<root>/<corruption>/<severity>/<wnid>/*.JPEG``.

    Args:
        known: a network's classes; a label is an index into them, matched by name.

    Raises:
        ValueError: if the folder is missing, or a class is empty or not known.
    """
    check("severity", severity, Severity)
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if corruption not in names:
        raise ValueError(unknown_name("corruption", corruption, names) + f" Unpack the benchmark's archives to {root}.")
    folder = root / corruption / str(severity)
    if not folder.is_dir():
        raise ValueError(
            f"{root / corruption} is not complete: it has no folder {severity}; unpack the benchmark again."
        )
    found = class_names(folder, root)
    check_known(str(folder), found, known)
    return tuple((path, known.index(found[label])) for path, label in list_images(folder, found, root))
