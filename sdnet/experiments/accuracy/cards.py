"""Trained networks made public: short names, storage, and cards whose every number comes from the ledger."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from sdnet.experiments.ablations.grid import knob_and_strengths, trained_at
from sdnet.experiments.corruptions.robustness import Row, over_severities, top1
from sdnet.results import cards, ledger
from sdnet.results.cards import Card
from sdnet.results.cells import identity, to_frame, variant
from sdnet.results.ledger import Record
from sdnet.results.networks import declaration
from sdnet.training.checkpoint import read_network, save_state
from sdnet.training.declaration import Training

LICENCES = {
    "cifar10": "CIFAR-10 (Krizhevsky, 2009): free to download for research; its authors state no licence",
    "cifar100": "CIFAR-100 (Krizhevsky, 2009): free to download for research; its authors state no licence",
    "cifar10-jpeg": "a JPEG copy of CIFAR-10 (Krizhevsky, 2009), whose authors state no licence",
    "digits": "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), UCI: CC BY 4.0",
    "tiny-imagenet-64": "Tiny ImageNet, from ImageNet: non-commercial research and education only",
}
"""Data set → the licence of its images."""
WIDE = 64
"""From this width on networks are stored in half precision: at 11 million parameters each byte counts."""


def publish(paths: Sequence[Path]) -> list[str]:
    """Store networks that trainings left in ``data/networks``, with their cards; returns their names.

    Raises:
        ValueError: for a file that is no network, or whose training is not in the ledger of the repository.
    """
    rows = ledger.read()
    stored = {}
    for path in paths:
        state, description = read_network(path)
        trained = declaration(description["training"])
        _row_of(trained, rows)  # refuse before anything is written
        file = cards.folder() / f"{name_of(trained)}.safetensors"
        save_state(file, halved(state) if trained.recipe.width >= WIDE else state, description)
        stored[file.stem] = _card(file, rows)
    cards.write({**cards.read(), **stored})
    return list(stored)


def renew() -> Path:
    """Make the cards of all stored networks anew, for instance after a sweep; a file keeps its checksum.

    Raises:
        ValueError: if a file is gone or is not the one of its card, or its training is not in the ledger.
    """
    return cards.write(made())


def made() -> dict[str, Card]:
    """The card of every stored network as the repository's ledger has it now; see :func:`renew`."""
    rows = ledger.read()
    found = {}
    for name, card in cards.read().items():
        path = cards.folder() / f"{name}.safetensors"
        card.check(path)
        found[name] = _card(path, rows)
    return found


def name_of(training: Training) -> str:
    """A stored network's name: architecture, what differs from its defaults, width, data set and seed.

    Epochs are named where they are not the 15 of ``quick``.
    """
    short = {"iterations": "n{}", "epochs": "e{}", "noise": "noise"}
    changes = {name: value for name, value in training.network.items() if value is not False}
    changes |= {"epochs": training.recipe.epochs} if training.recipe.epochs != 15 else {}
    changes |= {"noise": training.recipe.noise} if training.recipe.noise else {}
    parts = [short.get(name, f"{name}-{{}}").format(value) for name, value in changes.items()]
    parts += [f"no-{name}" for name, value in training.network.items() if value is False]
    where = [f"w{training.recipe.width}", training.config["dataset"], f"s{training.seed}"]
    return "-".join([training.arch, *(part.replace("_", "-") for part in parts), *where])


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of convolutions in half precision, whose rounding is below that of a test accuracy.

    Dictionaries stay as they are: their atoms have length one, and their Lipschitz constant is a bound for them alone.
    """
    dictionaries = {f"{name.rpartition('.')[0]}.weight" for name in state if name.endswith(".lipschitz")}
    filters = {name for name in state if name.endswith(".weight") and state[name].dim() == 4} - dictionaries
    return {name: tensor.half() if name in filters else tensor for name, tensor in state.items()}


def _card(path: Path, rows: Sequence[Record]) -> Card:
    state, description = read_network(path)
    training = declaration(description["training"])
    row = _row_of(training, rows)
    tested = next(cell for cell in row.results if cell["metric"] == "top1" and cell["split"] == "test")
    half = any(tensor.element_size() == 2 for tensor in state.values())
    return Card(
        sha256=cards.checksum(path),
        stored="float16" if half else "float32",
        training=training.config,
        command=shlex.join(["python", "-m", "sdnet", "train", *training.arguments]),
        top1=tested["value"],
        images=tested["n"],
        noise=_under_noise(training, rows),
        row=row.file_name,
        commit=row.code["commit"],
        licence=LICENCES.get(training.config["dataset"], "not known here: a folder of images"),
    )


def _row_of(training: Training, rows: Sequence[Record]) -> Record:
    """The latest training of that network in the ledger."""
    wanted = identity(training.config)
    found = [row for row in rows if row.experiment == "train" and identity(row.config) == wanted]
    if not found:
        raise ValueError(f"the ledger has no training of {name_of(training)}; add its row to data/runs first.")
    return found[-1]


def _under_noise(training: Training, rows: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Accuracy over the severities of each noise at the strength of training, by the rules of Tables 2 and 3."""
    wanted = identity(training.config)
    swept = [row for row in rows if row.experiment == "sweep" and identity(row.config) == wanted]
    knob, _ = knob_and_strengths(training)
    strength = trained_at(training.arch, training.network)
    own = Row("", training.arch, variant(training.config), knob=knob, strength=strength)
    found: pd.DataFrame = over_severities(top1(to_frame(swept), own))
    return {
        noise: {"top1": round(float(value), 5), "images": int(images)}
        for noise, value, images in zip(found["corruption"], found["value"], found["n"], strict=True)
    }
