"""The rules of claims C1 and C2: SDNet-18 beside ResNet-18, test accuracies over seeds.

They stand since 2026-11-25, before the first training on CIFAR-10 without loss was looked at. Until then C1
asked for an interval within ±0.3 points, and had been judged on JPEG copies with two seeds; that rule would
have refuted an SDNet that is better.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import t as student
from scipy.stats import ttest_ind

from sdnet.experiments.accuracy.scorecard import STAND_INS, trained_alike
from sdnet.experiments.claims.outcome import NOT_RUN, REFUTED, SUPPORTED, UNDECIDED, Verdict

SEEDS = 3
"""Fewer give no verdict on a difference of accuracies."""
MARGIN = 0.3
"""Points of accuracy within which claim C1 calls two networks on par."""


def on_par(cells: pd.DataFrame) -> Verdict:
    """C1: SDNet-18 is as accurate as ResNet-18 on CIFAR-10, to :data:`MARGIN`.

    Supported if it is not less accurate by the margin (one-sided Welch test over seeds at 5 %), refuted if it is. Where
    the opposite test holds too, the two are equivalent, and the numbers say so.
    """
    difference = _difference(cells, "cifar10")
    if isinstance(difference, Verdict):
        return difference
    not_worse, not_better = difference.above(-MARGIN), difference.below(MARGIN)
    verdict = SUPPORTED if not_worse else REFUTED if difference.below(-MARGIN) else UNDECIDED
    more = f"; equivalent within ±{MARGIN} points" if not_worse and not_better else ""
    if verdict == UNDECIDED:
        more = f"; these seeds tell it from {-MARGIN} points if it is {difference.detectable:.2f} away (power 0.8)"
    return Verdict(verdict, difference.text + more)


def better_on_cifar100(cells: pd.DataFrame) -> Verdict:
    """C2: SDNet-18 is more accurate than ResNet-18 on CIFAR-100 (two-sided Welch test over seeds at 5 %)."""
    difference = _difference(cells, "cifar100")
    if isinstance(difference, Verdict):
        return difference
    more, less = difference.above(0, 0.025), difference.below(0, 0.025)
    return Verdict(SUPPORTED if more else REFUTED if less else UNDECIDED, difference.text)


@dataclass(frozen=True, eq=False)
class Difference:
    """The accuracies of two networks, one per seed, and what was measured as a sentence."""

    ours: "pd.Series[float]"
    theirs: "pd.Series[float]"
    text: str

    @property
    def detectable(self) -> float:
        """The true difference beyond a bound, in points, that :meth:`above` finds with probability 0.8 at this spread.

        By the usual approximation (t₀.₉₅ + t₀.₈) · standard error, with Welch's degrees of freedom.
        """
        spread = self.ours.var() / len(self.ours) + self.theirs.var() / len(self.theirs)
        df = ttest_ind(self.ours, self.theirs, equal_var=False).df
        return float(100 * spread**0.5 * (student.ppf(0.95, df) + student.ppf(0.8, df)))

    def above(self, points: float, level: float = 0.05) -> bool:
        """Whether the difference of the means is above so many points (one-sided Welch test)."""
        return bool(
            ttest_ind(self.ours - points / 100, self.theirs, equal_var=False, alternative="greater").pvalue < level
        )

    def below(self, points: float, level: float = 0.05) -> bool:
        """Whether the difference of the means is below so many points (one-sided Welch test)."""
        return bool(
            ttest_ind(self.ours - points / 100, self.theirs, equal_var=False, alternative="less").pvalue < level
        )


def _difference(cells: pd.DataFrame, dataset: str) -> Difference | Verdict:
    """SDNet-18 minus ResNet-18 at the largest scale with enough seeds; a verdict where no scale has them."""
    found = [
        (setting, ours["value"], theirs["value"])
        for setting, ours, theirs in trained_alike(cells, "sdnet18", "resnet18")
        if setting["dataset"] in (dataset, *STAND_INS.get(dataset, ()))
    ]
    if not found:
        return Verdict(NOT_RUN)

    def size(one: tuple[dict[str, Any], "pd.Series[float]", "pd.Series[float]"]) -> tuple[object, ...]:
        setting, seeds = one[0], min(len(one[1]), len(one[2]))
        return seeds >= SEEDS, setting["dataset"] == dataset, setting["width"], setting["epochs"], seeds

    setting, ours, theirs = max(found, key=size)
    seeds = min(len(ours), len(theirs))
    scale = f"{setting['dataset']}, width {setting['width']}, {setting['epochs']} epochs, {seeds} seeds each"
    points = 100 * (ours.mean() - theirs.mean())
    if seeds < SEEDS:
        return Verdict(UNDECIDED, f"difference {points:+.2f} points ({scale}); a verdict needs {SEEDS} seeds")
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    half = 50 * (interval.high - interval.low)
    return Difference(ours, theirs, f"difference {points:+.2f} ± {half:.2f} points ({scale})")
