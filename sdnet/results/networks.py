"""Trained networks: those in the repository (``data/networks``), by name, and anybody's own, by path."""

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.models.classifier import Classifier
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
    """Load a trained ResNet or SDNet: :func:`read`, for what turns λ or a threshold in the stem.

    Raises:
        ValueError: as :func:`read`, and for a network without a stem, as SCN and MDEQ.
    """
    model, training, classes = read(network)
    if not isinstance(model, ResNet):
        raise ValueError(
            f"{network} holds {training.arch}, which has no stem to turn a knob of; give a ResNet or SDNet."
        )
    return Network(model, training, classes)


def read(network: str | os.PathLike[str]) -> tuple[Classifier, Training, tuple[str, ...]]:
    """A trained network of any architecture in eval mode, by name (see :func:`names`) or from a file that a training
    run left, with the declaration of its training and its classes.

    Torch's random numbers go on as if nothing had been loaded.

    Raises:
        ValueError: if there is no such network (the message lists the names that exist), or its file is damaged or
            holds numbers that no network computes with.
    """
    path = Path(network).expanduser()
    if path.suffix != ".safetensors":
        if str(network) not in names():
            raise ValueError(unknown_name("network", network, names()) + " Or give the path of a .safetensors file.")
        path = repository_data() / "networks" / f"{network}.safetensors"
    state, description = read_network(path)
    _check_numbers(path, state)
    try:
        training = _declaration(description["training"])
        classes = tuple(description["classes"])
        model = _built(training, len(classes))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not declare a training that sdnet knows ({error!r}); train it anew.") from error
    _fill(model, state, path)
    return model.eval(), training, classes


LEAST = {"lam": 0.0, "running_var": 0.0, "lipschitz": torch.finfo(torch.float32).tiny}
"""What the numbers of a tensor with this name must at least be for a network to compute."""


def _check_numbers(path: Path, state: dict[str, Tensor]) -> None:
    """Refuse what would make every score NaN, of which the prediction is class 0 and the accuracy looks like one.

    Raises:
        ValueError: naming file and tensor, if a number is not finite, a λ or a variance negative, or a Lipschitz
            constant not positive.
    """
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: '{name}' holds numbers that are not finite; copy the file again or train anew.")
        least = LEAST.get(name.rpartition(".")[2])
        if least is not None and (tensor < least).any():
            bound = ">= 0" if least == 0 else "> 0"
            raise ValueError(
                f"{path}: '{name}' must be {bound}; got {tensor.min().item():g}; copy the file again or train anew."
            )


def _fill(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load the weights.

    Raises:
        ValueError: naming the file and what differs, if they are not those of the network.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        difference = str(error).splitlines()[1:2] or [str(error)]  # the first line names the class only
        said = textwrap.shorten(difference[0], 300, placeholder=" ...").rstrip(".")
        raise ValueError(
            f"{path} does not hold the weights of the network it describes ({said}); copy it again or train anew."
        ) from error


def _built(training: Training, classes: int) -> Classifier:
    """The network of a training, its weights yet to be loaded: the seed of the training is not left behind."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        return training.build(classes)


def _declaration(config: dict[str, Any]) -> Training:
    numbers = config["recipe"]
    recipe = Recipe(**{**numbers, "milestones": tuple(numbers["milestones"])})
    return Training(**{**config, "recipe": recipe})
