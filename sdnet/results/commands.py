"""The commands that make a row of the ledger again, written from what the row says of itself."""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sdnet.names import config_hash
from sdnet.results import networks
from sdnet.results.ledger import Record
from sdnet.training.declaration import OPTIONS
from sdnet.training.recipes import PRESETS

PROGRAM = "python -m sdnet"
CALIBRATED = {5000: "paper", 1000: "quick", 40: "smoke"}
"""Training images that Algorithm 1 was calibrated on → size of the run."""
CHOSEN = (
    "preset",
    "images",
    "norms",
    "attacks",
    "protocols",
    "knob",
    "crafted",
    "epsilon",
    "units",
    "steps",
    "restarts",
)


def commands(record: Record) -> tuple[str, ...]:
    """What to type, in this order: the row's own command is the last.

    The training of a measured network comes before it where the repository does not hold the network. Folders that only
    their owner knows stand in capitals. Empty for an experiment that this version does not know.
    """
    write = WRITTEN.get(record.experiment)
    if write is None:
        return ()
    name = record.config.get("weights")
    before = () if name is None or name in networks.names() or "recipe" not in record.config else (_train(record),)
    return (*before, write(record))


def words(given: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line: lists are repeated, True and False are flags, None is skipped."""
    found: list[str] = []
    for name, value in given.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            found += [word for one in value for word in (f"--{flag}", _text(one))]
        elif value is not None:
            found += [f"--{flag}", _text(value)]
    return found


def _options(given: Mapping[str, Any]) -> str:
    return shlex.join(words(given))


def _text(value: Any) -> str:
    return f"{value:.17g}" if isinstance(value, float) and f"{value:g}" != str(value) else str(value)


def _train(record: Record, command: str = "train") -> str:
    """The training that a row is, or that its network came from."""
    config, options = record.config, {name: record.config.get(name) for name in ("arch", "dataset", "preset", "seed")}
    defaults = PRESETS[config["preset"]].recorded if config.get("preset") in PRESETS else {}
    changed = {name: value for name, value in config.get("recipe", {}).items() if defaults.get(name) != value}
    changed |= {**config.get("network", {}), "hold_out": config.get("hold_out") or None}
    if record.experiment in ("train", "pursuit_curve"):  # a measurement's precision is its own
        changed["precision"] = config.get("precision")
    own = {name: changed.pop(name) for name in OPTIONS if name in changed}
    own |= {"shortcut": changed.pop("shortcut", None)}
    own["set"] = [
        f"{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in changed.items()
    ]
    if (ranks := config.get("ranks", 1)) > 1:
        own |= {"accumulate": config.get("accumulate", 1), "sync_batchnorm": config.get("sync_batchnorm") or None}
        return f"{PROGRAM} launch --ranks-per-node {ranks} {_options({**options, **own})}"
    if command == "follow":
        own["images"] = config.get("images")
    return f"{PROGRAM} {command} {_options({**options, **own})}"


def _network(config: Mapping[str, Any]) -> str:
    """The network that a row is about: its name in the repository, or the file that its training leaves."""
    name = config.get("weights")
    if name is None:  # rows from before the network's name was written down: the configuration is the training's
        name = "-".join([*(str(config.get(key)) for key in ("arch", "dataset", "preset")), config_hash(dict(config))])
    return shlex.quote(name if name in networks.names() else str(Path("outputs", name, "network.safetensors")))


def _answers(record: Record, metric: str, field: str) -> list[Any]:
    """The values of a field among the row's cells of one metric, in their order."""
    found = (cell.get(field) for cell in record.results if cell["metric"] == metric)
    return [value for value in dict.fromkeys(found) if value is not None]


def _sweep(record: Record) -> str:
    config = record.config
    options = {
        "knob": config.get("knob"),
        "images": config.get("images"),
        "corruption": [name for name in _answers(record, "top1", "corruption") if name != "clean"],
        "strength": _answers(record, "top1", "strength"),
        "official": "CIFAR-10-C" if config.get("noise") == "official" else None,
    }
    return f"{PROGRAM} sweep {_network(config)} {_options(options)}"


def _policies(record: Record) -> str:
    config = record.config
    crossed = any(
        cell.get("fitted_on") not in (None, "", "all", cell.get("corruption")) for cell in _noisy_cells(record)
    )
    options = {
        "preset": CALIBRATED.get(config.get("calibration_images", 0), "paper"),
        "images": config.get("images"),
        "official": "CIFAR-10-C" if config.get("noise") == "official" else None,
        "policy": [] if crossed else [name for name in _answers(record, "top1", "policy") if name != "fixed"],
    }
    return f"{PROGRAM} policies {_network(config)} {_options(options)}"


def _noisy_cells(record: Record) -> Iterable[dict[str, Any]]:
    return (cell for cell in record.results if cell["metric"] == "top1" and cell.get("corruption") != "clean")


def _attack(record: Record) -> str:
    chosen, singular = record.config.get("choices", {}), {"norms": "norm", "attacks": "attack", "protocols": "protocol"}
    options = {singular.get(name, name): chosen.get(name) for name in (*CHOSEN, "source", "policy", "sanity")}
    if options["source"] is not None:
        options["source"] = _network({"weights": options["source"]})
    options["precision"] = record.config.get("precision")
    return f"{PROGRAM} attack {_network(record.config)} {_options(options)}"


def _visual(record: Record) -> str:
    config = record.config
    options = {"images": config.get("images"), "method": config.get("methods"), "depth": config.get("depths")}
    options |= {"steps": config.get("inversion_steps"), "seed": config.get("inversion_seed")}
    return f"{PROGRAM} visual {_network(config)} {_options(options)}"


def _pursuit(record: Record) -> str:
    config, source = record.config, record.config.get("source")
    options = {"preset": config.get("size"), "images": config.get("images"), "attacked": config.get("attacked")}
    options["source"] = None if source is None else _network({"weights": source})
    return f"{PROGRAM} pursuit {_network(config)} {_options(options)}"


def _turned(record: Record) -> str:
    """What page 13 measures: a knob of a network at some strengths."""
    config = record.config
    options = {name: config.get(name) for name in ("knob", "images", "sigma", "samples")}
    options |= {"preset": config.get("size"), "strength": config.get("strengths")}
    options["corruption"] = config.get("corruptions")
    return f"{PROGRAM} {record.experiment} {_network(config)} {_options(options)}"


def _benchmark(record: Record) -> str:
    config = record.config
    if config.get("what") == "sweep":
        options = {"images": next(iter(_answers(record, "time_ratio", "n")), None)}
        return f"{PROGRAM} bench sweep {_network(config)} {_options(options)}"
    what = config.get("what") or ("attacks" if config.get("mode") == "attack" else "networks")
    known = ("width", "batch", "stem", "repeats")
    options = {name: config[name] for name in known if name in config} | {"arch": config.get("archs")}
    if what == "networks":
        compiled = config.get("compiled") or None  # once it was yes or no
        options |= {"compile": "default" if compiled is True else compiled, "precision": config.get("precision")}
        options["reference"] = "AUTHORS" if config.get("authors") else None
    return f"{PROGRAM} bench {what} {_options(options)}"


def _ranks(record: Record) -> str:
    config = record.config
    options = {name: config.get(name) for name in ("arch", "width", "batch", "stem", "repeats")}
    return f"torchrun --nproc-per-node {config.get('ranks', 1)} -m sdnet bench ranks {_options(options)}"


WRITTEN: Mapping[str, Callable[[Record], str]] = {
    "train": _train,
    "sweep": _sweep,
    "policies": _policies,
    "attack": _attack,
    "visual": _visual,
    "pursuit": _pursuit,
    "pursuit_curve": lambda record: _train(record, "follow"),
    "benchmark": _benchmark,
    "solvers": _benchmark,
    "ranks": _ranks,
    **dict.fromkeys(("fourier", "confidence", "certify"), _turned),
    "sizes": lambda record: f"{PROGRAM} sizes",
    "precision": lambda record: f"{PROGRAM} precision {_network(record.config)}",
    "guarantee": lambda record: (
        f"{PROGRAM} guarantee {_network(record.config)} --images {record.config.get('images', 50)}"
    ),
}
"""Experiment → how its command is written."""
