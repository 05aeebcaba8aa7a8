"""The ledger as one table: a row per result, with the configuration that it belongs to."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pandas as pd

from sdnet.results.ledger import Record
from sdnet.training.recipes import PRESETS, Recipe

CELL_COLUMNS = (
    *("experiment", "arch", "dataset", "preset", "width", "epochs", "precision", "seed", "paper_scale", "variant"),
    *("started", "metric", "split", "value", "n"),
    *("knob", "strength", "corruption", "severity", "policy", "fitted_on", "power", "lam", "images", "low", "high"),
    *("protocol", "attack", "norm", "epsilon", "units", "steps", "restarts", "crafted_at"),
    *("device", "device_type", "case", "axis", "at", "compiled", "stem", "batch", "baseline"),
    *("method", "weights_are", "depth", "layer", "weights"),
    *("blocks", "iterations", "iteration", "epoch"),
)
"""Columns that :func:`to_frame` has even if no record fills them."""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per result: the configuration's fields, the result's own, and where it comes from.

    Of the recipe only ``width`` and ``epochs`` are kept, and ``paper_scale``: whether network and recipe are the
    paper's, unchanged. Of the network's options, :func:`variant`.
    """
    rows = []
    for record in records:
        config = {key: value for key, value in record.config.items() if key not in ("recipe", "network")}
        recipe = record.config.get("recipe", {})
        origin = {
            "experiment": record.experiment,
            "width": recipe.get("width"),
            "epochs": recipe.get("epochs"),
            "paper_scale": _is_paper_scale(record.config),
            "variant": variant(record.config),
            "config_hash": record.config_hash,
            "data_hash": record.data_hash,
            "commit": record.code.get("commit"),
            "device": record.device.get("name"),
            "device_type": record.device.get("type"),
            "started": record.started,
        }
        rows += [{**config, **origin, **result} for result in record.results]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *frame.columns])))


OTHERWISE = {"hold_out": 0.0, "ranks": 1, "accumulate": 1, "sync_batchnorm": False}
"""What a training may differ in beside recipe and network: its images, and those that normalise each other."""


def variant(config: dict[str, Any]) -> str:
    """How a run differs from its architecture's and its preset's defaults, for instance ``"iterations=1"``.

    Empty if it does not. Width and number of epochs are the run's scale, not a variant.
    """
    usual = _numbers(PRESETS[config["preset"]]) if config.get("preset") in PRESETS else {}
    recipe = {name: value for name, value in config.get("recipe", {}).items() if value != usual.get(name, value)}
    changes = {name: value for name, value in recipe.items() if name not in ("width", "epochs")}
    changes |= {name: config[name] for name, value in OTHERWISE.items() if config.get(name, value) != value}
    return ", ".join(f"{name}={value}" for name, value in sorted({**changes, **config.get("network", {})}.items()))


def name_of(config: dict[str, Any]) -> str:
    """The architecture, with its variant in brackets if it is one."""
    return f"{config['arch']} ({variant(config)})" if variant(config) else str(config["arch"])


def _is_paper_scale(config: dict[str, Any]) -> bool:
    preset = config.get("preset", "")
    if not preset.startswith("paper"):
        return False
    usual = _numbers(PRESETS[preset])
    # What a recipe did not have yet when it was recorded, noise for instance, it did not do.
    recorded = {**usual, **config.get("recipe", {})}
    return recorded == usual and not config.get("network") and not config.get("hold_out")


def _numbers(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it stands in a record."""
    numbers: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return numbers
