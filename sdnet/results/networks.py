"""Trained networks: those in the repository (``data/networks``), by name, and anybody's own, by path."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdnet.models.resnet import ResNet
from sdnet.names import unknown_name
from sdnet.results.ledger import repository_data
from sdnet.training.checkpoint import read_network
from sdnet.training.declaration import Training
from sdnet.training.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network in eval mode, with the declaration of its training and the names of its classes."""

    model: ResNet
    training: Training
    classes: tuple[str, ...]


def names() -> list[str]:
    """The networks in the repository."""
    return sorted(path.stem for path in (repository_data() / "networks").glob("*.safetensors"))


def label(network: str | os.PathLike[str]) -> str:
    """A network's name: of a run's output, which is always called ``network.safetensors``, its folder's."""
    path = Path(network)
    return path.parent.name if path.name == "network.safetensors" else path.stem


def load(network: str | os.PathLike[str]) -> Network:
    """Load a trained network by name (see :func:`names`), or from a file that a training run left.

    Torch's random numbers go on as if nothing had been loaded.

    Raises:
        ValueError: if there is no such network (the message lists the names that exist), or it has no stem, as SCN and
            MDEQ: what is done with a trained network here turns λ or a threshold in the stem.
    """
    path = Path(network).expanduser()
    if path.suffix != ".safetensors":
        if str(network) not in names():
            raise ValueError(unknown_name("network", network, names()) + " Or give the path of a .safetensors file.")
        path = repository_data() / "networks" / f"{network}.safetensors"
    state, description = read_network(path)
    training = _declaration(description["training"])
    model = _built(training, len(description["classes"]))
    if not isinstance(model, ResNet):
        raise ValueError(
            f"{network} holds {training.arch}, which has no stem to turn a knob of; give a ResNet or SDNet."
        )
    model.load_state_dict(state)
    return Network(model.eval(), training, tuple(description["classes"]))


def _built(training: Training, classes: int) -> nn.Module:
    """The network of a training, its weights yet to be loaded: the seed of the training is not left behind."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        return training.build(classes)


def _declaration(config: dict[str, Any]) -> Training:
    numbers = config["recipe"]
    recipe = Recipe(**{**numbers, "milestones": tuple(numbers["milestones"])})
    return Training(**{**config, "recipe": recipe})
