"""What a switch is worth: the released code's choice less the paper's, from the ledger, and whether it matters.

Runs are chosen by configuration: both sides of a difference have data set, width, epochs, precision, seed and number of
test images in common. Of several such scales the one with the most seeds counts, then the largest.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import sem, t

from sdnet.data.corruptions import NOISES
from sdnet.experiments.ablations.grid import Variant
from sdnet.experiments.ablations.table5 import NATURAL, accuracies
from sdnet.experiments.paper_versus_code.switches import BestEpoch, Effect, FittedPolicy, Ratio, Switch, Trained
from sdnet.results.select import select

MARGIN = 0.3
"""Points of accuracy below which a difference does not matter: the margin of claim C1."""
SCALE = ["dataset", "width", "epochs", "precision"]
MATTERS, NOT, UNDECIDED, NOT_RUN = "yes", "no", "undecided", "not run"


@dataclass(frozen=True)
class Estimate:
    """A difference or ratio with its 95 % interval.

    Attributes:
        what: ``"natural"``, ``"under noise"`` or ``"speed"``.
        value, low, high: in points of accuracy; for speed a ratio.
        by_seed: the value of every seed, in their order; for speed one.
        n: test images per seed; for speed repetitions.
        scale: data set, width and epochs, in words.
    """

    what: str
    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    n: int
    scale: str

    @property
    def of_seeds(self) -> bool:
        """Whether the interval holds the spread over seeds; with one seed it holds that over images only."""
        return len(self.by_seed) > 1


def worth(cells: pd.DataFrame, effect: Effect | None) -> list[Estimate]:
    """The estimates that the ledger allows; none where nothing was run.

    Args:
        cells: from :func:`sdnet.results.cells.to_frame`.
    """
    if isinstance(effect, Trained):
        return _of_trainings(cells, effect)
    if isinstance(effect, FittedPolicy):
        return _of_policy(cells, effect)
    if isinstance(effect, BestEpoch):
        return _of_best_epoch(cells)
    return _of_choice(cells, effect) if isinstance(effect, Ratio) else []


def decide(switch: Switch, estimates: list[Estimate]) -> str:
    """Whether the difference matters.

    ``"yes"`` if an interval over at least two seeds lies outside ± 0.3 points, ``"no"`` if all such intervals lie
    inside, or if arithmetic says so; ``"undecided"`` otherwise, always with one seed. A speed matters beyond 10 %.
    """
    if switch.exact:
        return switch.exact
    if not estimates:
        return NOT_RUN if switch.effect is not None else "—"
    bounds = [_bounds(one) for one in estimates]
    if any(low > 1 or high < -1 for low, high in bounds):
        return MATTERS
    return NOT if all(low >= -1 and high <= 1 for low, high in bounds) else UNDECIDED


def _bounds(estimate: Estimate) -> tuple[float, float]:
    """The interval in units of what would matter; everything is possible with one seed."""
    if estimate.what == "speed":
        return (estimate.low - 1) / 0.1, (estimate.high - 1) / 0.1
    return (estimate.low / MARGIN, estimate.high / MARGIN) if estimate.of_seeds else (-math.inf, math.inf)


def _estimate(what: str, by_seed: NDArray[np.floating[Any]], accuracy: float, n: int, scale: str) -> Estimate:
    """Student's interval over seeds. With one seed that of images, as if both sides had seen different ones: too wide.

    Args:
        by_seed: in points.
        accuracy: of either side about, in [0, 1].
    """
    if len(by_seed) > 1:
        half = float(sem(by_seed) * t.ppf(0.975, len(by_seed) - 1))
    else:
        half = 100 * 1.96 * math.sqrt(2 * accuracy * (1 - accuracy) / n)
    value = float(by_seed.mean())
    return Estimate(what, value, value - half, value + half, tuple(float(one) for one in by_seed), n, scale)


def _words(scale: Iterable[object]) -> str:
    dataset, width, epochs, *_ = scale
    return f"{dataset}, width {width:.0f}, {epochs:.0f} epochs"


def _scales(cells: pd.DataFrame) -> Iterator[tuple[tuple[object, ...], pd.DataFrame]]:
    for scale, part in cells.groupby(SCALE):
        yield tuple(scale), part


def _best(found: list[tuple[int, tuple[object, ...], list[Estimate]]]) -> list[Estimate]:
    """Of several scales the one with most seeds, then the widest, then the one with most epochs."""
    if not found:
        return []
    return max(found, key=lambda one: (one[0], one[1][1], one[1][2], str(one[1])))[2]


def _of_trainings(cells: pd.DataFrame, effect: Trained) -> list[Estimate]:
    # A number of the recipe is named in a variant as an option of the network is.
    paper, code = (Variant("", effect.arch, dict(side)) for side in (effect.paper, effect.code))
    known = select(cells, arch=effect.arch, variant=[paper.name, code.name])
    found = []
    for scale, part in _scales(known[known["experiment"].isin(["train", "sweep"])]):
        ours, theirs = (accuracies(part, side) for side in (paper, code))
        joined = ours.merge(theirs, on=["seed", "corruption", "n"], suffixes=("", "_code"))
        joined["gain"] = 100 * (joined["value_code"] - joined["value"])
        estimates = []
        natural = joined["corruption"] == NATURAL
        for what, chosen in (("natural", joined[natural]), ("under noise", joined[~natural])):
            if chosen.empty:
                continue
            by_seed = chosen.groupby("seed")["gain"].mean().to_numpy(float)
            accuracy, n = float(chosen["value"].mean()), int(chosen["n"].min())
            estimates.append(_estimate(what, by_seed, accuracy, n, _words(scale)))
        if estimates:
            found.append((len(estimates[0].by_seed), scale, estimates))
    return _best(found)


def _of_policy(cells: pd.DataFrame, effect: FittedPolicy) -> list[Estimate]:
    """Both policies in one run, on the same images: accuracy over the severities of the noise each is fitted on."""
    chosen = select(cells, experiment="policies", arch="sdnet18", variant="")
    chosen = chosen[(chosen["metric"] == "top1_over_severities") & (chosen["fitted_on"] == chosen["corruption"])]
    keys = ["seed", "started", "corruption", "n"]
    found = []
    for scale, part in _scales(chosen):
        written, released = (part[part["policy"] == name][[*keys, "value"]] for name in ("residual_fit", effect.policy))
        joined = written.merge(released, on=keys, suffixes=("", "_code"))
        complete = joined.groupby(["seed", "started"])["corruption"].transform("nunique") == len(NOISES)
        joined = select(joined[complete], one_per=("seed", "corruption"), prefer=("n", "started"))
        if joined.empty:
            continue
        gains = 100 * (joined["value_code"] - joined["value"]).astype(float)
        by_seed = gains.groupby(joined["seed"]).mean().to_numpy(float)
        accuracy, n = float(joined["value"].mean()), int(joined["n"].min())
        found.append((len(by_seed), scale, [_estimate("under noise", by_seed, accuracy, n, _words(scale))]))
    return _best(found)


def _of_best_epoch(cells: pd.DataFrame) -> list[Estimate]:
    chosen = select(cells, metric="top1_after_epoch", arch="sdnet18")
    found = []
    for scale, part in _scales(chosen):
        latest = part[part["started"] == part.groupby("seed")["started"].transform("max")].sort_values("epoch")
        seeds = latest.groupby("seed")["value"]
        by_seed = 100 * (seeds.max() - seeds.last()).to_numpy(float)
        accuracy, n = float(seeds.last().mean()), int(latest["n"].min())
        found.append((len(by_seed), scale, [_estimate("natural", by_seed, accuracy, n, _words(scale))]))
    return _best(found)


def _of_choice(cells: pd.DataFrame, effect: Ratio) -> list[Estimate]:
    chosen = select(cells, metric="choice_speed_ratio", case=effect.case)
    if chosen.empty:
        return []
    row = chosen.sort_values("started").iloc[-1]
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    scale = f"width {row['width']:.0f}, batches of {row['batch']:.0f}, {row['device']}; quartiles"
    return [Estimate("speed", value, low, high, (value,), int(row["n"]), scale)]
