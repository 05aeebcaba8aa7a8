"""What tests of experiments share."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from sdnet.data import datasets
from sdnet.data.datasets import Dataset, Split

TRAIN, TEST = 256, 50
all_digits = datasets._digits


@cache
def few_digits() -> Dataset:
    digits = all_digits()

    def first(split: Split, count: int) -> Split:
        return Split(split.images[:count], split.labels[:count])

    return replace(digits, train=first(digits.train, TRAIN), test=first(digits.test, TEST))


@pytest.fixture(scope="module", autouse=True)
def _few_digits() -> Iterator[None]:
    """A sixth of the digits: these tests look at what a run writes, and not at what a network learns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_digits", few_digits)
        yield
