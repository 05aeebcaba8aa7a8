"""Trained networks are loaded as they were stored, without side effects; what is broken is named and refused."""

import json
import math
import re
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from toys import TINY, untrained

from sdnet.results import networks
from sdnet.training.checkpoint import read_network, whole


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An untrained network with a CSC stem, in a file as a training leaves it."""
    return untrained(tmp_path / "network.safetensors", **TINY)


def rewrite(path: Path, state: dict[str, Tensor], said: str) -> None:
    """Put another file in its place: what safetensors has read may still lie in the old one."""
    with whole(path) as part:
        save_file(state, part, metadata={"sdnet": said})


def test_loading_leaves_the_random_numbers_alone(saved: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    networks.load(saved)
    assert torch.equal(torch.rand(3), expected)


def test_a_loaded_network_does_not_change_with_its_file(saved: Path) -> None:
    """What is read from a file is a window onto it, until it is copied."""
    model = networks.load(saved).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    size = saved.stat().st_size
    with saved.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("tensor", "number", "said"),
    [
        (".weight", math.nan, "holds numbers that are not finite"),
        (".bias", math.inf, "holds numbers that are not finite"),
        (".lam", math.nan, "holds numbers that are not finite"),
        (".lam", -0.1, "must be >= 0"),
        (".lipschitz", 0.0, "must be > 0"),
        (".lipschitz", -2.0, "must be > 0"),
        (".running_var", -1.0, "must be >= 0"),
    ],
)
def test_a_network_that_cannot_compute_is_refused(saved: Path, tensor: str, number: float, said: str) -> None:
    state, description = read_network(saved)
    name = next(name for name in state if name.endswith(tensor))
    state[name].view(-1)[0] = number
    rewrite(saved, state, json.dumps(description))
    with pytest.raises(ValueError, match=f"{re.escape(str(saved))}.*'{re.escape(name)}' {said}"):
        networks.load(saved)


@pytest.mark.parametrize("width", [300, 2000, 10**6])
def test_a_file_that_declares_a_larger_network_than_it_holds_is_refused_at_no_cost(saved: Path, width: int) -> None:
    state, description = read_network(saved)
    description["training"]["recipe"]["width"] = width
    rewrite(saved, state, json.dumps(description))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=f"{re.escape(str(saved))} does not ") as found:
        networks.load(saved)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("kept", [4, 100, -100])
def test_a_damaged_file_is_named(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"{re.escape(str(saved))} is not a readable network"):
        networks.load(saved)


def test_tensors_of_another_network_are_named(saved: Path) -> None:
    state, description = read_network(saved)
    name = next(name for name in state if state[name].dim() == 4)
    for changed in ({**state, name: state[name][:, :, :1].clone()}, {k: v for k, v in state.items() if k != name}):
        rewrite(saved, changed, json.dumps(description))
        with pytest.raises(ValueError, match=f"{re.escape(str(saved))} does not hold .*{re.escape(name)}") as error:
            networks.load(saved)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("said", ["{", "[]", "{}", '{"training": {"recipe": {}}, "classes": []}'])
def test_a_description_that_declares_no_training_is_named(saved: Path, said: str) -> None:
    state, _ = read_network(saved)
    rewrite(saved, state, said)
    with pytest.raises(ValueError, match=re.escape(str(saved))):
        networks.load(saved)
