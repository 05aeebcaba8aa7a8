"""CIFAR-10 and CIFAR-100, recognised by what they hold: pixels and labels, not file names, format or order."""

import hashlib

import numpy as np
import torch
from torch import Tensor

DIGESTS = {
    "cifar10": (
        "d59acf989e068e709ce686cda292672c7b212c08d29d3d3e6d8c3aa99eba6a85",
        "899683d46c3a8c66fd56e1af12202e69fe5a4517be10b0f68e04c78fe585c57c",
    ),
    "cifar100": (
        "36ce7a701fbea47796e570c34382aad50f2539687cfcbc6ae96e2f56530d29b6",
        "d3cd5d87a1b9317a0982c8ef5535fe3b86da8da90b13ce5e9b23ea06400dd5eb",
    ),
}
"""Digest (:func:`digest`) of the training and of the test split of each data set."""
SHAPES = {"cifar10": 10, "cifar100": 100}
"""Number of classes; both have 50,000 training and 10,000 test images of 32×32 pixels."""
COUNTS = (50_000, 10_000)
PIXELS = (32, 32, 3)


def image_digests(images: Tensor, labels: Tensor) -> list[bytes]:
    """SHA-256 of each image: its label as one byte, then its pixels, rows of RGB.

    Args:
        images: (N, H, W, 3) uint8.
        labels: (N,), each in [0, 255].
    """
    pixels = np.ascontiguousarray(images.numpy()).reshape(len(images), -1)
    rows = np.concatenate([labels.numpy().astype(np.uint8)[:, None], pixels], axis=1)
    return [hashlib.sha256(row.data).digest() for row in rows]


def digest(digests: list[bytes]) -> str:
    """SHA-256 of the sorted digests of a split's images: the same in whatever order they are stored."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def order(digests: list[bytes]) -> Tensor:
    """The indices that sort images by their digests: an order that depends on the content alone."""
    return torch.tensor(sorted(range(len(digests)), key=digests.__getitem__))


def resembles(classes: int, train: Tensor, test: Tensor) -> str | None:
    """The known data set that has this many classes and images of this size, or None."""
    if (len(train), len(test)) != COUNTS or train.shape[1:] != PIXELS or test.shape[1:] != PIXELS:
        return None
    return next((name for name, number in SHAPES.items() if number == classes), None)


def difference(name: str, train: list[bytes], test: list[bytes]) -> str | None:
    """In which split images or labels differ from the known data set's, or None if they are the same."""
    found = {"training": digest(train), "test": digest(test)}
    different = [part for (part, value), known in zip(found.items(), DIGESTS[name], strict=True) if value != known]
    return " and ".join(different) or None
