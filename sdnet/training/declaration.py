"""A training, declared completely: network, data, recipe and seed."""

import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from sdnet import models
from sdnet.data import datasets, photographs
from sdnet.data.datasets import Dataset
from sdnet.data.photographs import PhotographSet
from sdnet.models.classifier import Classifier
from sdnet.names import config_hash, unknown_name
from sdnet.training.recipes import Recipe, recipe


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
    """

    arch: str
    dataset: str
    preset: str
    recipe: Recipe
    seed: int = 0
    network: dict[str, Any] = field(default_factory=dict)
    hold_out: float = 0.0
    precision: str = "auto"

    @property
    def config(self) -> dict[str, Any]:
        """Everything, as plain values for the ledger."""
        config = asdict(self)
        config["dataset"] = Path(self.dataset).name
        config["recipe"]["milestones"] = list(self.recipe.milestones)
        return config

    @property
    def name(self) -> str:
        """Names this run's output folder."""
        return "-".join([self.arch, self.config["dataset"], self.preset, config_hash(self.config)])

    @property
    def photographs(self) -> bool:
        """Whether it is about photographs of any size, read from files and cropped to 224 pixels, as ImageNet's are."""
        return self.preset.endswith("imagenet")

    def load(self, data_root: str | os.PathLike[str] | None, workers: int = 4) -> Dataset | PhotographSet:
        """Its data, with the validation images held out; ``workers`` read photographs."""
        if self.photographs:
            return photographs.load(self.dataset, data_root, workers=workers).hold_out(self.hold_out, self.seed)
        return datasets.load(self.dataset, data_root).hold_out(self.hold_out, self.seed)

    def build(self, num_classes: int) -> Classifier:
        """The untrained network, its initial weights drawn with the seed."""
        torch.manual_seed(self.seed)
        options = {"stem": "imagenet" if self.photographs else "cifar", "width": self.recipe.width, **self.network}
        return models.build(self.arch, num_classes, **options)


def training(arch: str, dataset: str, preset: str, *, seed: int = 0, **changes: Any) -> Training:
    """Declare a training run.

    Args:
        arch, dataset, preset: names.
        seed: any integer >= 0.
        **changes: numbers of the recipe (``epochs``, ``lr``, ``width``, ...), options of the network (``lam``,
            ``iterations``, ``shortcut``, ...), ``hold_out`` or ``precision``. None means: unchanged.

    Raises:
        ValueError: for a name or number that does not exist, before anything is loaded.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    recipe_names = [f.name for f in fields(Recipe)]
    own_names, network_names = ["hold_out", "precision"], [*models.RESIDUAL, "csc_shortcut", *models.CSC_OPTIONS]
    for name in changes:
        if name not in [*recipe_names, *own_names, *network_names]:
            raise ValueError(unknown_name("parameter", name, [*recipe_names, *own_names, *network_names]))
    if changes.get("precision", "auto") not in ("auto", "fp32", "bf16"):
        raise ValueError(unknown_name("precision", changes["precision"], ("auto", "fp32", "bf16")))
    run = Training(
        arch,
        dataset,
        preset,
        replace(recipe(preset), **{name: changes[name] for name in recipe_names if name in changes}),
        seed,
        {name: changes[name] for name in network_names if name in changes},
        **{name: changes[name] for name in own_names if name in changes},
    )
    with torch.device("meta"):
        run.build(num_classes=10)  # every number of the network is checked here, at no cost
    return run
