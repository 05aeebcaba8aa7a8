"""What every test starts from, and the folders that several write to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


def pytest_collectstart() -> None:
    # A layer that a module makes when it is imported has the same weights in every run too.
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    """The same random numbers whatever ran before, and none of a test's reach the next."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` is fp32, as on a machine without native bfloat16, whose emulation would double the time of all tests."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ledger and outputs below a folder of the test's own."""
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("SDNET_OUTPUT", str(tmp_path / "outputs"))
    return tmp_path


def pytest_configure() -> None:
    # The tests' tensors are tiny: a second thread costs more than it computes.
    torch.set_num_threads(1)
    # And their channels are few, on which oneDNN's backward pass writes beyond its buffers: see safe_kernels.
    torch.backends.mkldnn.enabled = False
