"""What tests of experiments share."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sdnet.data import datasets
from sdnet.data.datasets import Dataset, Split

TRAIN, TEST = 256, 40


@pytest.fixture(scope="module")
def few_digits() -> Iterator[None]:
    """A sixth of the digits, for tests that look at what a run writes and not at what a network learns."""
    every = datasets._digits

    def first(split: Split, count: int) -> Split:
        return Split(split.images[:count], split.labels[:count])

    def few() -> Dataset:
        digits = every()
        return replace(digits, train=first(digits.train, TRAIN), test=first(digits.test, TEST))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_digits", few)
        yield
