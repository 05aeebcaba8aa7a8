"""One tally of all faults, which ``make faults`` keeps in ``data/faults.csv``."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import Tally


@pytest.fixture(scope="session")
def total() -> Iterator[Tally]:
    counted = Tally()
    yield counted
    if path := os.environ.get("SDNET_FAULTS"):
        counted.write(Path(path))


@pytest.fixture
def tally(total: Tally) -> Iterator[Tally]:
    """Fails at the test's end if a fault was not met."""
    yield total
    total.check()
