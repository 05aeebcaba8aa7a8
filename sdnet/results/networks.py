"""Trained networks: those in the repository (``data/networks``), by name, and anybody's own, by path."""

import difflib
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.models.classifier import Classifier
from sdnet.parameters import Count, check
from sdnet.results import cards
from sdnet.results.cards import Card
from sdnet.training.checkpoint import check_numbers, read_network
from sdnet.training.declaration import Training
from sdnet.training.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Attributes:
        model: in eval mode; it maps images (N, 3, H, W) with pixels in [0, 1] to class scores (N, classes).
        training: its declaration.
        classes: their names.
        size: side of the images that it was trained on, in pixels.
        card: what is known of it; None for a file outside the repository.
    """

    model: Classifier
    training: Training
    classes: tuple[str, ...]
    size: int
    card: Card | None = None

    def preprocess(self, *pictures: str | os.PathLike[str]) -> Tensor:
        """The middle squares of image files as the network takes them: (N, 3, size, size), pixels in [0, 1].

        Raises:
            ValueError: for none, or for one that is not there or cannot be decoded.
        """
        from sdnet.data.pictures import load_picture  # scikit-learn comes with it

        if not pictures:
            raise ValueError("preprocess needs the path of an image file or more; got none.")
        return torch.cat([load_picture(picture, self.size) for picture in pictures])


def names() -> list[str]:
    """The networks in the repository."""
    return sorted(cards.read())


def label(network: str | os.PathLike[str]) -> str:
    """A network's name: of a run's output, which is always called ``network.safetensors``, its folder's."""
    path = Path(network)
    return path.parent.name if path.name == "network.safetensors" else path.stem


def load(network: str | os.PathLike[str]) -> Network:
    """Load a trained network by name (see :func:`names`), or from a file that a training run left.

    A file in the repository must have the checksum that stands on its card. What was stored in half precision computes
    in float32. Torch's random numbers go on as if nothing had been loaded.

    Raises:
        ValueError: if there is no such network (the message names those near it), or its file is damaged or holds
            numbers that no network computes with.
    """
    path, card = Path(network).expanduser(), None
    if path.suffix != ".safetensors":
        path, card = _in_repository(str(network))
    state, description = read_network(path)
    check_numbers(path, state, "copy the file again or train anew")
    try:
        training = declaration(description["training"])
        check("classes", description["classes"], tuple[str, ...])
        classes = tuple(description["classes"])
        # Files from before the size was stored hold networks for ImageNet or for 32 × 32 pixels.
        size = description.get("size", 224 if training.photographs else 32)
        check("size", size, Count)
        with torch.device("meta"):  # where a network that is too large for this machine takes no memory
            outline = _built(training, len(classes))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        why = textwrap.shorten(repr(error), 300, placeholder=" ...")
        raise ValueError(f"{path} does not declare a training that sdnet knows ({why}); train it anew.") from error
    _fill(outline, state, path)
    return Network(outline.float().eval(), training, classes, size, card)


def load_source(name: str | os.PathLike[str], target: Network) -> Network:
    """Load the network on which attacks on ``target`` are crafted that are transferred to it.

    Raises:
        ValueError: as :func:`load`, and if it was trained on other data or knows other classes.
    """
    source = load(name)
    if source.training.dataset != target.training.dataset:
        own, its = target.training.dataset, source.training.dataset
        raise ValueError(f"{name} was trained on {its}, this network on {own}; choose a source of the same data set.")
    if source.classes != target.classes:
        raise ValueError(f"{name} knows other classes than this network; choose a source trained on the same ones.")
    return source


def _in_repository(name: str) -> tuple[Path, Card]:
    """File and card of a network in the repository, the one checked against the other."""
    known = cards.read()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
        raise ValueError(
            f"network {name!r} does not exist; there is {', '.join(near)}, and any path of a .safetensors file."
        )
    path = cards.folder() / f"{name}.safetensors"
    known[name].check(path)
    return path, known[name]


def _fill(outline: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Put the weights where a network without numbers has shapes.

    Raises:
        ValueError: naming the file and what differs, if they are not those of the network.
    """
    try:
        # Copies: the tensors that were read are a window onto the file, which may change.
        outline.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=True)
    except RuntimeError as error:
        difference = str(error).splitlines()[1:2] or [str(error)]  # the first line names the class only
        text = textwrap.shorten(difference[0], 300, placeholder=" ...").rstrip(".")
        raise ValueError(
            f"{path} does not hold the weights of the network it describes ({text}); copy it again or train anew."
        ) from error


def _built(training: Training, classes: int) -> Classifier:
    """The network of a training, its weights yet to be loaded: the seed of the training is not left behind."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        return training.build(classes)


def declaration(config: dict[str, Any]) -> Training:
    """A training from :attr:`sdnet.training.declaration.Training.config`, as a network's file holds it."""
    numbers = config["recipe"]
    recipe = Recipe(**{**numbers, "milestones": tuple(numbers["milestones"])})
    return Training(**{**config, "recipe": recipe})
