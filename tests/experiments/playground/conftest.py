"""The playground's page, written once for every file of tests, and a browser to open it in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser

from sdnet.experiments.playground import export


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export.write(tmp_path_factory.mktemp("playground"))
