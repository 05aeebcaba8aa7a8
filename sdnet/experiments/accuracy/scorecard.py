"""The scorecard: every cell of the paper's Table 1 beside what was measured, with a status."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from scipy.stats import norm, ttest_ind

from sdnet.experiments.performance.benchmarks import benchmark_of, scale_of
from sdnet.results.paper import paper_table
from sdnet.results.select import like_largest, select

DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
"""Data set of Table 1 → as the paper calls it."""

STAND_INS = {"cifar10": ("cifar10-jpeg",)}
"""Data that may stand in for a data set of the paper; what is measured on them counts as scaled down."""

UNITS = {"parameters": 1e-6, "top1": 100.0}
"""Factor from the ledger's unit to the one that the paper prints."""

TOLERANCE = {"parameters": 0.05, "top1": 0.3}
"""Largest difference that counts as reproduced, in printed units: half the last digit of the model size, and
0.3 points of accuracy, the margin within which claim C1 calls two networks on par."""

ANSWERED_BY = {
    "parameters": "sizes",
    "top1": "train",
    "train_memory": "benchmark",
    "train_images_per_second": "benchmark",
}
"""The experiment whose cells answer a metric of Table 1. A training run is no measurement of speed: nothing else
ran beside it to compare with, and other things may have."""

STEMS = {"cifar10": "cifar", "cifar100": "cifar", "imagenet": "imagenet"}
"""The size of images that answers for a data set in a benchmark, which needs no data."""

STATUSES = ("reproduced", "differs", "scaled down", "not run")


@dataclass(frozen=True)
class Measured:
    """What answers one number of the paper: the mean of ``cells``, how many seeds, and at what scale."""

    value: float
    seeds: int
    scale: str
    full: bool
    cells: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False, repr=False)


def table1(cells: pd.DataFrame) -> pd.DataFrame:
    """Table 1 joined with the ledger: the paper's columns plus :class:`Measured`'s and ``status``.

    Args:
        cells: from :func:`sdnet.results.cells.to_frame`.
    """
    joined = paper_table(1)
    answers = [
        find(cells, dataset, arch, metric)
        for dataset, arch, metric in zip(joined["dataset"], joined["arch"], joined["metric"], strict=True)
    ]
    joined["measured"] = [answer.value if answer else None for answer in answers]
    joined["seeds"] = [answer.seeds if answer else 0 for answer in answers]
    joined["scale"] = [answer.scale if answer else "" for answer in answers]
    joined["cells"] = pd.Series([answer.cells if answer else cells[:0] for answer in answers], dtype=object)
    joined["status"] = [
        status(metric, printed, answer)
        for metric, printed, answer in zip(joined["metric"], joined["value"], answers, strict=True)
    ]
    return joined


def find(cells: pd.DataFrame, dataset: str, arch: str, metric: str) -> Measured | None:
    """The measured value for one cell of the paper: the largest scale at which it was run, mean over seeds.

    Of repeated runs with one configuration and seed the latest counts. Memory and speed of all networks come from one
    run, in which they took turns.
    """
    if ANSWERED_BY[metric] == "benchmark":
        return _timed(cells, dataset, arch, metric)
    names = (dataset, *STAND_INS.get(dataset, ()))
    chosen = select(cells, dataset=names, arch=arch, metric=metric, experiment=ANSWERED_BY[metric], variant="")
    chosen = chosen[chosen["split"].fillna("test") == "test"]
    if chosen.empty:
        return None
    chosen = chosen.assign(full=(chosen["dataset"] == dataset) & chosen["paper_scale"])
    size = ("full", "width", "epochs")
    same = select(chosen[like_largest(chosen, chosen, (*size, "started"), (*size, "dataset"))], one_per=["seed"])
    largest = same.iloc[-1]
    scale = (
        "" if largest["full"] else f"{largest['dataset']}, width {largest['width']:.0f}, {largest['epochs']:.0f} epochs"
    )
    value = float(same["value"].mean()) * UNITS.get(metric, 1.0)
    return Measured(value, len(same), scale, bool(largest["full"]), same)


def _timed(cells: pd.DataFrame, dataset: str, arch: str, metric: str) -> Measured | None:
    run = benchmark_of(cells, ("resnet18",), STEMS[dataset])
    if run is None:
        return None
    timed = select(run, arch=arch, metric=metric)
    return None if timed.empty else Measured(float(timed["value"].iloc[0]), 1, scale_of(run), False, timed)


def status(metric: str, printed: float, answer: Measured | None) -> str:
    """``not run``, ``scaled down``, or at the paper's scale ``reproduced`` or ``differs``.

    Memory and speed depend on the machine; without a tolerance they stay ``scaled down`` on any other.
    """
    if answer is None:
        return "not run"
    tolerance = TOLERANCE.get(metric)
    if not answer.full or tolerance is None:
        return "scaled down"
    return "reproduced" if abs(answer.value - printed) <= tolerance + 1e-9 else "differs"


SETTING = ("dataset", "preset", "width", "epochs", "precision")
"""What two trainings must share to be compared."""


def trained(cells: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Test accuracies of trainings whose network is the architecture's own: one per setting, network and seed."""
    conditions = {"experiment": "train", "metric": "top1", "split": "test", "variant": "", **where}
    return select(cells, one_per=(*SETTING, "arch", "seed"), **conditions)


def trained_alike(
    cells: pd.DataFrame, arch: str, baseline: str
) -> Iterator[tuple[dict[str, Any], "pd.DataFrame", "pd.DataFrame"]]:
    """The settings in which both networks were trained, with the test cells of each, a row per seed."""
    # Records without a recipe, benchmarks for instance, make these columns floating point.
    chosen = trained(cells, arch=(arch, baseline)).astype({"width": int, "epochs": int})
    for values, group in chosen.groupby(list(SETTING)):
        ours, theirs = (group[group["arch"] == name] for name in (arch, baseline))
        if len(ours) and len(theirs):
            yield dict(zip(SETTING, values, strict=True)), ours, theirs


def comparison(cells: pd.DataFrame, arch: str, baseline: str) -> pd.DataFrame:
    """Test accuracy of two networks wherever both were trained alike: same data, width, recipe and precision.

    Returns one row per setting: accuracies (mean over seeds, in points), their difference, and half the width of
    its 95 % interval: Welch's over the seeds, which is wide where these are few. With one seed it reflects the
    number of test images only (independent binomials).
    """
    rows = []
    for setting, ours, theirs in trained_alike(cells, arch, baseline):
        first, second = ours["value"], theirs["value"]
        rows.append(
            {
                **setting,
                "seeds": min(len(first), len(second)),
                arch: 100 * first.mean(),
                baseline: 100 * second.mean(),
                "difference": 100 * (first.mean() - second.mean()),
                "interval": 100 * _half_interval(first, second, int(ours["n"].iloc[0])),
            }
        )
    return pd.DataFrame(rows)


def _half_interval(first: "pd.Series[float]", second: "pd.Series[float]", images: int) -> float:
    """Half the width of the 95 % interval of the difference of two mean accuracies."""
    if min(len(first), len(second)) > 1:
        interval = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
        return float(interval.high - interval.low) / 2
    variance = sum(float(part.mean() * (1 - part.mean())) / images for part in (first, second))
    return float(norm.ppf(0.975)) * variance**0.5
