"""Estimates of a difference over seeds and images, and what they decide: one-sided tests, Holm's correction, power."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import pandas as pd
from scipy.stats import t as student

from sdnet.experiments.claims.outcome import FAILS, HOLDS, UNDECIDED

SEEDS = 3
"""Fewer give no verdict."""
LEVEL = 0.025
"""Of each one-sided test: a true difference that lies on its bound gives a verdict in 5 % of cases at most."""
POWER = 0.8
MOST_SEEDS = 100
"""More are not counted when a claim is undecided."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference with two levels of uncertainty: other seeds, and other images.

    The variance of the mean is ``spread / seeds + images``, with Satterthwaite's degrees of freedom, and Student's t
    makes intervals and tests of it. This takes the place of a bootstrap over seeds: resampling three of them leaves out
    a third of their variance and has no tails, and its 95 % interval misses the truth in about a quarter of cases.

    Attributes:
        mean: over the seeds.
        spread: variance of one seed's difference.
        seeds: how many.
        images: variance of the mean from the choice of test images, which more seeds do not lessen. The ledger holds
            accuracies with the number of images n. Where it has a bootstrap interval over images, this variance is read
            off that; elsewhere it is the binomial one, p(1 − p)/n. Of two networks the variances add up as if each had
            its own images. As they share them, this is an upper bound. 0 where the claim is about this test set.
        freedom: degrees of freedom that a further seed adds: 1 for pairs of seeds, up to 2 for Welch's test.
    """

    mean: float
    spread: float
    seeds: int
    images: float = 0.0
    freedom: float = 1.0

    def error(self, seeds: int | None = None) -> tuple[float, float]:
        """Standard error and degrees of freedom, with these or so many seeds of the same spread."""
        count = seeds or self.seeds
        part = self.spread / count
        total = part + self.images
        return total**0.5, inf if part == 0 else (total / part) ** 2 * self.freedom * (count - 1)

    def p_above(self, bound: float) -> float:
        """p-value of the one-sided test that the difference is above a bound."""
        error, df = self.error()
        if error == 0:
            return float(self.mean <= bound)
        return float(student.sf((self.mean - bound) / error, df))

    def p_below(self, bound: float) -> float:
        """p-value of the one-sided test that the difference is below a bound."""
        return Estimate(-self.mean, self.spread, self.seeds, self.images, self.freedom).p_above(-bound)

    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        error, df = self.error()
        half = error * float(student.ppf(0.975, df))
        return self.mean - half, self.mean + half

    def detectable(self, level: float = LEVEL, seeds: int | None = None) -> float:
        """How far beyond a bound the truth must lie to be told from it with probability 0.8.

        By the usual approximation (t₁₋level + t₀.₈) · standard error.
        """
        error, df = self.error(seeds)
        return error * float(student.ppf(1 - level, df) + student.ppf(POWER, df))

    def seeds_to_tell(self, distance: float, level: float = LEVEL) -> int | None:
        """The smallest number of seeds with which a truth so far beyond a bound is told from it with probability 0.8.

        None if more than :data:`MOST_SEEDS`.
        """
        counts = range(SEEDS, MOST_SEEDS + 1)
        return next((count for count in counts if self.detectable(level, count) <= distance), None)


def welch(ours: "pd.Series[float]", theirs: "pd.Series[float]") -> Estimate | None:
    """Ours minus theirs over the seeds that both have, as Welch's test sees it; None without a common seed.

    Args:
        ours, theirs: values by seed.
    """
    seeds = ours.index.intersection(theirs.index)
    if seeds.empty:
        return None
    first, second = ours[seeds], theirs[seeds]
    mean = float(first.mean() - second.mean())
    if len(seeds) == 1:
        return Estimate(mean, 0.0, 1)
    one, other = float(first.var()), float(second.var())
    squares = one**2 + other**2
    return Estimate(mean, one + other, len(seeds), freedom=(one + other) ** 2 / squares if squares else 1.0)


@dataclass(frozen=True)
class Requirement:
    """One condition of a claim: an estimate, and the bound above which the claim asks it to be.

    Attributes:
        label: of the condition, ``""`` if there is one only.
        estimate: in ``unit``.
        bound: the claim asks for more.
        role: ``"both"``; ``"for"`` if it can only support the claim, ``"against"`` if it can only speak against it.
        unit: in words.
    """

    label: str
    estimate: Estimate
    bound: float = 0.0
    role: str = "both"
    unit: str = "points"


def paired(
    values: Mapping[str, "pd.Series[float]"],
    bound: float = 0.0,
    *,
    images: Mapping[str, float] | None = None,
    role: str = "both",
    unit: str = "points",
) -> list[Requirement]:
    """A requirement per condition, over the seeds that all conditions have; empty if there is no such seed.

    Args:
        values: condition → difference by seed.
        images: condition → variance from the images, 0 for those left out.
    """
    common = set.intersection(*(set(series.index) for series in values.values())) if values else set()
    if not common:
        return []
    tests = []
    for label, series in values.items():
        chosen = series[sorted(common)]
        spread = float(chosen.var()) if len(chosen) > 1 else 0.0
        estimate = Estimate(float(chosen.mean()), spread, len(chosen), (images or {}).get(label, 0.0))
        tests.append(Requirement(label, estimate, bound, role, unit))
    return tests


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): those below a level may all be called so at that level."""
    adjusted, highest = [1.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


def decide(tests: Sequence[Requirement], level: float = LEVEL) -> str:
    """The verdict on a claim that asks every condition to be above its bound.

    It holds if each is, by a test of its own: that all pass by chance is rarer than that one does, so this needs no
    correction. It does not hold if some condition is below its bound after :func:`holm`.
    """
    supporting = [test for test in tests if test.role != "against"]
    if supporting and all(test.estimate.p_above(test.bound) < level for test in supporting):
        return HOLDS
    return FAILS if below(tests, level) else UNDECIDED


def below(tests: Sequence[Requirement], level: float = LEVEL) -> list[Requirement]:
    """The conditions that are below their bound, after Holm's correction."""
    against = [test for test in tests if test.role != "for"]
    adjusted = holm([test.estimate.p_below(test.bound) for test in against])
    return [test for test, value in zip(against, adjusted, strict=True) if value < level]
