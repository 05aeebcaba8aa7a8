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
_OF_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": tuple(_OF_CIFAR100.split()),
}
"""Names of the classes, by label."""
COUNTS = (50_000, 10_000)
"""Training and test images of both."""
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
    return next((name for name, names in CLASSES.items() if len(names) == classes), None)


def difference(name: str, train: list[bytes], test: list[bytes]) -> str | None:
    """In which split images or labels differ from the known data set's, or None if they are the same."""
    found = {"training": digest(train), "test": digest(test)}
    different = [part for (part, value), known in zip(found.items(), DIGESTS[name], strict=True) if value != known]
    return " and ".join(different) or None
