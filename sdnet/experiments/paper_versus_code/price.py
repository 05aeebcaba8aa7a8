"""About how long a switch's command takes on the machine of the ledger, from the speed of runs like it."""

from collections.abc import Callable, Iterable

import pandas as pd

from sdnet.data.photographs import IMAGES
from sdnet.experiments.paper_versus_code.switches import Switch
from sdnet.results.ledger import Record
from sdnet.results.select import select
from sdnet.training.progress import duration
from sdnet.training.recipes import PRESETS

CIFAR = 50_000
"""Training images."""
TABLE_4 = ("oblivious", "adaptive", "worst_case")
"""Its protocols a, b and c."""


def price(cells: pd.DataFrame, records: Iterable[Record], switch: Switch) -> str:
    """A time with what it was computed from; empty without a command, or where the ledger has no run like it.

    Args:
        cells, records: the same ledger, as a table and as it is.
    """
    kind, *words = switch.command.removeprefix("python -m sdnet").split() or [""]
    if kind == "train":
        return _of_training(cells, words[words.index("--arch") + 1] if "--arch" in words else "sdnet18", words)
    likes: dict[str, tuple[Callable[[Record], bool], str]] = {
        "policies": (_fits, "all policies on {images:,} images"),
        "attack": (_attacks, "protocols a, b and c on {images:,} images"),
        "bench": (_times_choices if "choices" in words else _times_two_networks, "a run like it"),
    }
    if kind not in likes:
        return ""
    like, what = likes[kind]
    runs = [record for record in records if like(record)]
    if not runs:
        return ""
    run = min(runs, key=lambda record: (_images(record), record.started))
    some = "less than " if {"--policy", "--protocol"} & {*words} else ""
    per = "" if kind == "bench" else " a network"
    what = what.format(images=_images(run))
    return f"{some}{duration(run.seconds)}{per}, the time that {what} took on {run.device['name']}"


def _of_training(cells: pd.DataFrame, arch: str, words: list[str]) -> str:
    if "imagenet" in words:
        recipe, images = PRESETS["paper_imagenet"], IMAGES["imagenet"][0]
        found, least = _imagenet_speed(cells, arch)
    else:
        recipe, images = PRESETS["quick"], CIFAR
        chosen = select(cells, experiment="train", arch=arch, width=recipe.width)
        found, least = _median_speed(chosen), ""
    if found is None:
        return ""
    speed, device = found
    time = duration(recipe.epochs * images / speed)
    return f"{least}{time} a training: {recipe.epochs} epochs at {speed:,.0f} images/s on {device}"


def _imagenet_speed(cells: pd.DataFrame, arch: str) -> tuple[tuple[float, str] | None, str]:
    """Of the network, or if nobody timed it of SDNet-18, which is faster than any network with more CSC layers."""
    timed = select(cells, experiment="benchmark", stem="imagenet")
    own = _median_speed(timed[timed["arch"] == arch])
    return (own, "") if own is not None else (_median_speed(timed[timed["arch"] == "sdnet18"]), "more than ")


def _median_speed(runs: pd.DataFrame) -> tuple[float, str] | None:
    """Training images per second, with the machine."""
    chosen = runs[runs["metric"] == "train_images_per_second"].sort_values(["value", "started"])
    if chosen.empty:
        return None
    row = chosen.iloc[len(chosen) // 2]
    return float(row["value"]), str(row["device"])


def _fits(run: Record) -> bool:
    return run.experiment == "policies"


def _attacks(run: Record) -> bool:
    """What ``python -m sdnet attack`` does to an SDNet unless told otherwise."""
    protocols = run.config.get("choices", {}).get("protocols") or ()
    return run.experiment == "attack" and run.config["arch"] == "sdnet18" and {*TABLE_4} <= {*protocols}


def _times_choices(run: Record) -> bool:
    return run.experiment == "benchmark" and run.config.get("what") == "choices"


def _times_two_networks(run: Record) -> bool:
    """At full width, whatever the number of repetitions."""
    asked = {"archs": ["resnet18", "sdnet18"], "width": PRESETS["paper"].width, "stem": "cifar"}
    return run.experiment == "benchmark" and all(run.config.get(name) == value for name, value in asked.items())


def _images(run: Record) -> int:
    """Test images; 0 where none are tested."""
    return int(run.config.get("images") or run.config.get("choices", {}).get("images") or 0)
