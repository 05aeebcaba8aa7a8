"""A training, declared completely: network, data, recipe and seed."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Unpack

import torch

from sdnet import models, parameters
from sdnet.data import datasets, photographs
from sdnet.data.datasets import Dataset
from sdnet.data.photographs import PhotographSet
from sdnet.models.classifier import Classifier
from sdnet.names import config_hash, unknown_name
from sdnet.parameters import Amount, Batch, Count, Fraction, Natural, NetworkOptions, Rate, Seed
from sdnet.training.recipes import Recipe, recipe

KEPT = ("last", "best_on_test")
PRECISIONS = ("auto", "fp32", "bf16")
OPTIONS = ("epochs", "batch_size", "lr", "width", "lam", "iterations", "noise", "hold_out", "precision")
"""Parameters that have an option of their own in ``python -m sdnet train``; the others are ``--set NAME=VALUE``."""


@dataclass(frozen=True)
class Training:
    """One training run, completely. Make it with :func:`training`.

    Attributes:
        arch: a name of :func:`sdnet.models.names`.
        dataset: a name that :func:`sdnet.data.datasets.load` accepts.
        preset: the recipe's name.
        recipe: its numbers, after any were changed.
        seed: of the initial weights, the order of the images, and their augmentation.
        network: options of :func:`sdnet.models.build` that differ from its defaults.
        hold_out: fraction of the training images kept for validation.
        precision: ``"fp32"``, ``"bf16"``, or ``"auto"``: bf16 where the hardware multiplies it natively.
        keep: which epoch's network is the result: the ``"last"``, or the one that is ``"best_on_test"``, as in the
            authors' script. The latter is an oracle: it is for measuring what that choice is worth.
    """

    arch: str
    dataset: str
    preset: str
    recipe: Recipe
    seed: Seed = 0
    network: dict[str, Any] = field(default_factory=dict)
    hold_out: Fraction = 0.0
    precision: str = "auto"
    keep: str = "last"

    def __post_init__(self) -> None:
        known = {name: kind for name, kind in parameters.kinds(Training).items() if name not in ("recipe", "network")}
        for name, kind in known.items():
            parameters.check(name, getattr(self, name), kind)
        for name, values in (("precision", PRECISIONS), ("keep", KEPT)):
            if getattr(self, name) not in values:
                raise ValueError(unknown_name(name, getattr(self, name), values))

    @property
    def config(self) -> dict[str, Any]:
        """Everything, as plain values for the ledger."""
        config = asdict(self)
        config["dataset"] = Path(self.dataset).name
        config["recipe"]["milestones"] = list(self.recipe.milestones)
        if self.keep == "last":
            del config["keep"]  # trainings from before there was a choice keep their names
        return config

    @property
    def name(self) -> str:
        """Names this run's output folder."""
        return "-".join([self.arch, self.config["dataset"], self.preset, config_hash(self.config)])

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``python -m sdnet train`` that declare it."""
        defaults, own = recipe(self.preset), {"hold_out": self.hold_out, "precision": self.precision}
        changes = {name: value for name, value in asdict(self.recipe).items() if value != getattr(defaults, name)}
        changes |= self.network | {name: value for name, value in own.items() if value != getattr(Training, name)}
        words = ["--arch", self.arch, "--dataset", self.dataset, "--preset", self.preset, "--seed", f"{self.seed}"]
        for name, value in changes.items():
            text = json.dumps(value).strip('"')
            words += [f"--{name.replace('_', '-')}", text] if name in OPTIONS else ["--set", f"{name}={text}"]
        return words

    @property
    def photographs(self) -> bool:
        """Whether it is about photographs of any size, read from files and cropped to 224 pixels, as ImageNet's are."""
        return self.preset.endswith("imagenet")

    @property
    def options(self) -> dict[str, Any]:
        """What :func:`sdnet.models.build` is given beside the architecture's name and the number of classes."""
        return {"stem": "imagenet" if self.photographs else "cifar", "width": self.recipe.width, **self.network}

    def load(self, data_root: str | os.PathLike[str] | None, workers: int = 4) -> Dataset | PhotographSet:
        """Its data, with the validation images held out; ``workers`` read photographs.

        Raises:
            ValueError: for data that is missing, broken or of one class, or if fewer than two images are left to train
                on.
        """
        data: Dataset | PhotographSet
        if self.photographs:
            data = photographs.load(self.dataset, data_root, workers=workers)
        else:
            data = datasets.load(self.dataset, data_root)
        if len(data.classes) < 2:
            raise ValueError(
                f"{data.name} has one class only, {data.classes[0]!r}, so there is nothing to learn; sort its images "
                "into one folder per class."
            )
        kept = data.hold_out(self.hold_out, self.seed)
        if len(kept.train) < 2:
            raise ValueError(
                f"hold_out {self.hold_out} leaves {len(kept.train)} of {len(data.train)} training images, and batch "
                "normalisation needs two; hold out fewer."
            )
        return kept

    def build(self, num_classes: int) -> Classifier:
        """The untrained network, its initial weights drawn with the seed."""
        torch.manual_seed(self.seed)
        return models.build(self.arch, num_classes, **self.options)


class Changes(NetworkOptions, total=False):
    """What a training may be told beside its names and seed: the network's options, the recipe's numbers, how many
    images are held out, in which precision, and which epoch is kept. None means: unchanged."""

    epochs: Count | None
    batch_size: Batch | None
    lr: Rate | None
    momentum: Fraction | None
    nesterov: bool | None
    weight_decay: Amount | None
    schedule: str | None
    milestones: tuple[Natural, ...] | None
    warmup: Fraction | None
    padding: Natural | None
    noise: Amount | None
    width: Count | None
    hold_out: Fraction | None
    precision: str | None
    keep: str | None
    stem: str | None


def default_dataset(preset: str) -> str:
    """What a preset trains on unless told: the bundled digits at the smallest size, else CIFAR-10 or ImageNet."""
    return "digits" if preset == "smoke" else "imagenet" if preset.endswith("imagenet") else "cifar10"


def training(arch: str, dataset: str | None, preset: str, *, seed: Any = 0, **changes: Unpack[Changes]) -> Training:
    """Declare a training run.

    Args:
        arch, dataset, preset: names; the data set None for that of :func:`default_dataset`.
        seed: any integer >= 0, below 2³².
        **changes: of :class:`Changes`. Every value may be text as YAML, JSON or a command line spells it (``"no"``,
            ``"1e-3"``, ``"null"``), and is kept in its own type, so that one training has one name.

    Raises:
        ValueError: for a name that does not exist, or a value of another type or out of its range, before anything is
            loaded.
    """
    own, of_recipe = parameters.kinds(Training), parameters.kinds(Recipe)
    own = {name: own[name] for name in ("hold_out", "precision", "keep")}
    kinds = {**of_recipe, **own, **parameters.NETWORK}
    named = dataset if not isinstance(dataset, os.PathLike) else os.fspath(dataset)
    for name, value in (("arch", arch), ("dataset", named or ""), ("preset", preset)):
        parameters.check(name, value, str)
    if named == "":
        raise ValueError("dataset must be a name or a folder; got ''. Choose digits, cifar10, cifar100 or a folder.")
    dataset = default_dataset(preset) if dataset is None else dataset
    seed = parameters.read("seed", seed, Seed)
    for name in changes:
        if name not in kinds:
            raise ValueError(unknown_name("parameter", name, kinds))
    given = {
        name: parameters.read(name, value, kinds[name])
        for name, value in changes.items()
        if not parameters.is_nothing(value)
    }
    run = Training(
        arch,
        dataset,
        preset,
        replace(recipe(preset), **{name: given[name] for name in of_recipe if name in given}),
        seed,
        {name: given[name] for name in parameters.NETWORK if name in given},
        **{name: given[name] for name in own if name in given},
    )
    _check_effect(run, given)
    _check_network(run.arch, tuple(run.options.items()))
    return run


@cache
def _check_network(arch: str, options: tuple[tuple[str, Any], ...]) -> None:
    """Raise ValueError for what one number of a network forbids another, found by building its shapes, once for all."""
    with torch.device("meta"):
        models.build(arch, **dict(options))


def _check_effect(run: Training, given: dict[str, Any]) -> None:
    """Raise ValueError for a number that was given and changes nothing. A stored training may have it."""
    defaults = recipe(run.preset)
    for name in ("padding", "noise") if run.photographs else ():
        if name in given and given[name] != getattr(defaults, name):
            raise ValueError(
                f"{name} {given[name]} has no effect with preset {run.preset!r}, which crops photographs and adds no "
                "noise; leave it out."
            )
