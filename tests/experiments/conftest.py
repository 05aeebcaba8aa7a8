"""What tests of experiments share."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sdnet.data import datasets
from sdnet.data.datasets import Split

TRAIN, TEST = 256, 50


@pytest.fixture(scope="module", autouse=True)
def _few_digits() -> Iterator[None]:
    """A sixth of the digits: these tests look at what a run writes, and not at what a network learns."""
    digits = datasets._digits()

    def first(split: Split, count: int) -> Split:
        return Split(split.images[:count], split.labels[:count])

    few = replace(digits, train=first(digits.train, TRAIN), test=first(digits.test, TEST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_digits", lambda: few)
        yield
