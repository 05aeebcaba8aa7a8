"""The ledger as one table: a row per result, with the configuration that it belongs to."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from sdnet.results.commands import commands
from sdnet.results.ledger import Record
from sdnet.training.recipes import PRESETS

CELL_COLUMNS = (
    *("experiment", "arch", "dataset", "preset", "width", "epochs", "precision", "seed", "paper_scale", "variant"),
    *("started", "metric", "split", "value", "n"),
    *("knob", "strength", "corruption", "severity", "policy", "fitted_on", "power", "lam", "images", "low", "high"),
    *("protocol", "attack", "norm", "epsilon", "units", "steps", "restarts", "crafted_at"),
    *("device", "device_type", "case", "axis", "at", "compiled", "stem", "batch", "baseline"),
    *("method", "weights_are", "depth", "layer", "weights"),
    *("run", "commit", "commands"),
    *("blocks", "iterations", "iteration", "epoch"),
    *("down", "across", "sigma"),
)
"""Columns that :func:`to_frame` has even if no record fills them."""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per result: the configuration's fields, the result's own, and where it comes from.

    Of the recipe only ``width`` and ``epochs`` are kept, and ``paper_scale``: whether network and recipe are the
    paper's, unchanged. Of the network's options, :func:`variant`. ``run`` is the name of the row's file, and
    ``commands`` what makes it again (:func:`sdnet.results.commands.commands`).
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
            "dirty": record.code.get("dirty"),
            "run": record.file_name.removesuffix(".json"),
            "commands": commands(record),
            "device": record.device.get("name"),
            "device_type": record.device.get("type"),
            "started": record.started,
        }
        rows += [{**config, **origin, **result} for result in record.results]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *frame.columns])))


RECORDED = {name: recipe.recorded for name, recipe in PRESETS.items()}
"""Preset → its numbers as they stand in a row, found once: every row is compared with them, by some several times."""
OTHERWISE = {"hold_out": 0.0, "keep": "last", "ranks": 1, "accumulate": 1, "sync_batchnorm": False}
"""What a training may differ in beside recipe and network: its images, and those that normalise each other."""


def variant(config: dict[str, Any]) -> str:
    """How a run differs from its architecture's and its preset's defaults, for instance ``"iterations=1"``.

    Empty if it does not. Width and number of epochs are the run's scale, not a variant.
    """
    defaults = RECORDED.get(config.get("preset", ""), {})
    recipe = {name: value for name, value in config.get("recipe", {}).items() if value != defaults.get(name, value)}
    changes = {name: value for name, value in recipe.items() if name not in ("width", "epochs")}
    changes |= {name: config[name] for name, value in OTHERWISE.items() if config.get(name, value) != value}
    return ", ".join(f"{name}={value}" for name, value in sorted({**changes, **config.get("network", {})}.items()))


def identity(config: dict[str, Any]) -> tuple[Any, ...]:
    """What a training is known by in all tables: two configurations with the same identity are the same network.

    Architecture, data set, preset, width, epochs, seed and :func:`variant`; of a training, or of a measurement of a
    trained network, whose configuration holds the training's.
    """
    recipe = config.get("recipe", {})
    names = (config.get(name) for name in ("arch", "dataset", "preset", "seed"))
    return (*names, recipe.get("width"), recipe.get("epochs"), variant(config))


def name_of(config: dict[str, Any]) -> str:
    """The architecture, with its variant in brackets if it is one."""
    return f"{config['arch']} ({variant(config)})" if variant(config) else str(config["arch"])


def _is_paper_scale(config: dict[str, Any]) -> bool:
    preset = config.get("preset", "")
    if not preset.startswith("paper"):
        return False
    defaults = RECORDED[preset]
    # What a recipe did not have yet when it was recorded, noise for instance, it did not do.
    recorded = {**defaults, **config.get("recipe", {})}
    return recorded == defaults and not config.get("network") and not config.get("hold_out") and "keep" not in config
