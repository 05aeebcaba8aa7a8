"""Readers of the official corruption benchmarks, CIFAR-10-C (arrays) and ImageNet-C (folders)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sdnet.data.datasets import Split
from sdnet.data.listing import Files, class_names, list_images
from sdnet.names import unknown_name

IMAGES = 10_000
"""Test images of CIFAR-10-C and CIFAR-100-C, once per severity, below each other in one array."""


def cifar_c(root: Path, corruption: str, severity: int, classes: int = 100) -> Split:
    """One corruption at one severity of CIFAR-10-C or CIFAR-100-C as published: ``<corruption>.npy``, ``labels.npy``.

    Args:
        root: the unpacked folder.
        corruption: a file's name without its ending, for instance ``gaussian_noise``.
        severity: 1 to 5 (the paper counts them from 0).
        classes: labels must be below it: 10 for CIFAR-10-C; 100, which both benchmarks keep, if it is not known which.

    Raises:
        ValueError: if a file is missing or is not what the benchmark publishes.
    """
    _check_severity(severity)
    names = sorted(path.stem for path in root.glob("*.npy") if path.stem != "labels")
    if corruption not in names:
        raise ValueError(unknown_name("corruption", corruption, names) + f" Unpack the benchmark's archive to {root}.")
    images = _array(root / f"{corruption}.npy", (5 * IMAGES, 32, 32, 3), np.uint8)
    labels = _array(root / "labels.npy", (5 * IMAGES,), None)
    if not np.issubdtype(labels.dtype, np.integer) or not (labels.reshape(5, IMAGES) == labels[:IMAGES]).all():
        raise ValueError(f"{root / 'labels.npy'} must hold the same {IMAGES} integer labels for each severity.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"{root / 'labels.npy'} has labels from {low} to {high}; they must be in [0, {classes}). "
            "Unpack the benchmark again."
        )
    part = slice((severity - 1) * IMAGES, severity * IMAGES)
    return Split(torch.from_numpy(images[part].copy()), torch.from_numpy(labels[part].astype(np.int64)))


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


@dataclass(frozen=True)
class Listing:
    """The classes of a folder of images, and the paths and labels (indices into ``classes``) of its images."""

    classes: tuple[str, ...]
    samples: Files


def imagenet_c(root: Path, corruption: str, severity: int, classes: int = 1000) -> Listing:
    """One corruption at one severity of ImageNet-C as published: ``<root>/<corruption>/<severity>/<wnid>/*.JPEG``.

    Args:
        classes: how many class folders there must be.

    Raises:
        ValueError: if the folder is missing, a class is empty, or the number of classes is another.
    """
    _check_severity(severity)
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if corruption not in names:
        raise ValueError(unknown_name("corruption", corruption, names) + f" Unpack the benchmark's archives to {root}.")
    folder = root / corruption / str(severity)
    if not folder.is_dir():
        raise ValueError(
            f"{root / corruption} is not complete: it has no folder {severity}; unpack the benchmark again."
        )
    found = class_names(folder)
    if len(found) != classes:
        raise ValueError(f"{folder} has {len(found)} class folders; the benchmark has {classes}.")
    return Listing(found, list_images(folder, found))


def _check_severity(severity: int) -> None:
    if severity not in range(1, 6):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5; got {severity!r}.")
