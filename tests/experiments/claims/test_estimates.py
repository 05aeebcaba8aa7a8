"""Estimates over seeds and images: coverage, power, Welch's test as scipy has it, Holm's correction."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from sdnet.experiments.claims.estimates import Estimate, Requirement, decide, holm, paired, welch
from sdnet.experiments.claims.outcome import FAILS, HOLDS, UNDECIDED

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("seeds", "between", "images"), [(3, 0.5, 0.0), (3, 0.5, 0.3), (3, 0.1, 0.5), (8, 0.5, 0.2)])
def test_intervals_hold_the_truth_in_nineteen_of_twenty_cases(seeds: int, between: float, images: float) -> None:
    """Each case has its seeds, and one draw of the images that all of them share."""
    values = RNG.normal(0, between, (2000, seeds)) + RNG.normal(0, images, (2000, 1))
    held = [low <= 0 <= high for low, high in (_estimate(row, images).interval() for row in values)]
    assert 0.935 <= np.mean(held) <= 0.99


def test_a_bootstrap_over_three_seeds_would_not() -> None:
    """Why intervals are Student's: resampling three values misses the truth in more than a sixth of cases."""
    values = RNG.normal(0, 0.5, (1000, 3))
    means = values[:, RNG.integers(0, 3, (400, 3))].mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.83


def _estimate(values: np.ndarray, images: float) -> Estimate:
    return Estimate(float(values.mean()), float(values.var(ddof=1)), len(values), images**2)


@pytest.mark.parametrize(("seeds", "images"), [(5, 0.0), (5, 0.2), (8, 0.0)])
def test_a_detectable_difference_is_detected_in_four_of_five_cases(seeds: int, images: float) -> None:
    far = Estimate(0.0, 0.25, seeds, images**2).detectable()
    values = far + RNG.normal(0, 0.5, (3000, seeds)) + RNG.normal(0, images, (3000, 1))
    found = np.mean([_estimate(row, images).p_above(0) < 0.025 for row in values])
    assert 0.73 < found < 0.88


def test_the_seeds_that_would_decide_are_the_fewest_that_do() -> None:
    estimate = Estimate(0.5, 0.25, 3)
    seeds = estimate.seeds_to_tell(0.5)
    assert seeds is not None
    assert estimate.detectable(seeds=seeds) <= 0.5 < estimate.detectable(seeds=seeds - 1)
    assert Estimate(0.5, 0.25, 3, images=1.0).seeds_to_tell(0.5) is None  # more seeds do not help against few images


def test_welch_is_scipys_over_the_seeds_both_have() -> None:
    ours, theirs = pd.Series([95.0, 95.3, 95.9, 80.0], [0, 1, 2, 7]), pd.Series([94.8, 95.5, 94.4], [0, 1, 2])
    found = welch(ours, theirs)
    assert found is not None
    other = ttest_ind(ours[:3], theirs, equal_var=False)
    low, high = other.confidence_interval(0.95)
    assert found.interval() == pytest.approx((low, high))
    assert 2 * found.p_above(0) == pytest.approx(other.pvalue)
    assert found.p_above(0) + found.p_below(0) == pytest.approx(1)
    assert welch(ours[3:], theirs) is None


def test_pairs_are_of_the_seeds_that_every_condition_has() -> None:
    values = {"a": pd.Series([1.0, 2.0, 3.0], [0, 1, 2]), "b": pd.Series([1.0, 5.0], [1, 2])}
    a, b = paired(values)
    assert (a.estimate.mean, a.estimate.seeds, b.estimate.mean) == (2.5, 2, 3.0)
    assert paired({}) == paired({"a": values["a"], "b": pd.Series([1.0], [9])}) == []


def test_holm_adjusts_by_rank_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_all_conditions_support_one_that_fails_after_correction_refutes() -> None:
    def asked(*means: float, role: str = "both") -> list[Requirement]:
        return [Requirement(str(mean), Estimate(mean, 1.0, 9), role=role) for mean in means]

    assert decide(asked(2, 2, 2)) == HOLDS
    assert decide(asked(2, 2, 0.1)) == UNDECIDED
    assert decide(asked(2, 2, -2)) == FAILS
    once = -0.8  # below 0 at 2.5 % if it is the only condition, not among eight
    assert decide(asked(once)) == FAILS
    assert decide(asked(once, *[2] * 7)) == UNDECIDED
    assert decide(asked(-2, role="for")) == UNDECIDED
    assert decide(asked(2, role="against")) == UNDECIDED
