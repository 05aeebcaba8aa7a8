"""About how long a switch's command takes on the machine of the ledger, from the speed of runs like it."""

from collections.abc import Iterable

import pandas as pd

from sdnet.data.photographs import IMAGES
from sdnet.experiments.paper_versus_code.switches import IMAGENET, BestEpoch, FittedPolicy, Switch, Trained
from sdnet.results.ledger import Record
from sdnet.results.select import select
from sdnet.training.progress import duration
from sdnet.training.recipes import PRESETS

CIFAR = 50_000
"""Training images."""


def price(cells: pd.DataFrame, records: Iterable[Record], switch: Switch) -> str:
    """A time with what it was computed from; empty where the ledger has no run like it.

    Args:
        cells, records: the same ledger, as a table and as it is.
    """
    if isinstance(switch.effect, FittedPolicy):
        return _of_policy(records)
    if not isinstance(switch.effect, Trained | BestEpoch):
        return ""
    arch = switch.effect.arch if isinstance(switch.effect, Trained) else "sdnet18"
    if IMAGENET in switch.command:
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


def _of_policy(records: Iterable[Record]) -> str:
    runs = [record for record in records if record.experiment == "policies"]
    if not runs:
        return ""
    run = min(runs, key=lambda record: (int(record.config["images"]), record.started))
    return (
        f"less than {duration(run.seconds)} a network: so long took all policies on "
        f"{run.config['images']:,} images on {run.device['name']}"
    )
