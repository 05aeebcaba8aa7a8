"""Model sizes, the first column of Table 1: exact, and the same on every machine."""

from dataclasses import asdict
from pathlib import Path

import torch

from sdnet import models
from sdnet.results import ledger
from sdnet.training.recipes import PRESETS

CLASSES = {"cifar10": (10, "cifar"), "cifar100": (100, "cifar"), "imagenet": (1000, "imagenet")}
"""Number of classes and stem for each data set of Table 1."""


def record_sizes() -> Path:
    """Count the parameters of every network of the registry for every data set of Table 1; write a ledger row."""
    start = ledger.start()
    results = []
    with torch.device("meta"):
        for dataset, (classes, stem) in CLASSES.items():
            for arch in (name for name in models.names() if stem in models.stems(name)):
                count = models.parameter_count(models.build(arch, classes, stem=stem))
                results.append({"metric": "parameters", "dataset": dataset, "arch": arch, "value": count, "n": 1})
    recipe = asdict(PRESETS["paper"])
    record = start.record(
        experiment="sizes",
        config={"preset": "paper", "recipe": {**recipe, "milestones": []}, "seed": 0},
        data_hash=None,
        device={"type": "none", "name": "any"},
        results=results,
    )
    return ledger.write(record, ledger.ledger_folder())
