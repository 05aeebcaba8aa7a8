"""Trained networks are loaded as they were stored, without side effects; what is broken is named and refused."""

from pathlib import Path

import pytest
import torch
from toys import TINY

from sdnet.results import networks
from sdnet.training.checkpoint import save_network
from sdnet.training.declaration import training


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An untrained network with a CSC stem, in a file as a training leaves it."""
    declared = training("sdnet18", "digits", "smoke", **TINY)
    path = tmp_path / "network.safetensors"
    save_network(path, declared.build(10), {"training": declared.config, "classes": list("0123456789")})
    return path


def test_loading_leaves_the_random_numbers_alone(saved: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    networks.load(saved)
    assert torch.equal(torch.rand(3), expected)
