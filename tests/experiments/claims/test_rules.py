"""Every rule on a made-up ledger: a true effect, the opposite, nothing, too few seeds, other scales, other data."""

import numpy as np
import pandas as pd
import pytest
from claim_cells import cells_for, frame
from scipy.stats import binom

from sdnet.experiments.claims.estimates import decide
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Verdict
from sdnet.experiments.claims.rule import Rule, scales
from sdnet.experiments.claims.rules import RULES
from sdnet.results.cells import to_frame

EFFECTS = {
    "C1": 3, "C2": 3, "C5": 1, "C6": 6, "C7": 6, "C8": 6, "C9": 20, "C10": 6, "C11a": 3, "C11b": 1, "C12a": 4,
    "C12b": 8, "C13": 8,
}  # fmt: skip
"""Claim → an effect beyond doubt, in the rule's unit from its bound."""
claims = pytest.mark.parametrize("claim", EFFECTS)


def first(claim: str, *parts: list[dict[str, object]]) -> Verdict:
    return RULES[claim](frame(*parts))[0]


@claims
def test_a_true_effect_holds_its_opposite_does_not_and_nothing_is_undecided(claim: str) -> None:
    effect = EFFECTS[claim]
    found = first(claim, cells_for(claim, effect))
    assert (found.verdict, found.seeds, found.needed) == (HOLDS, 4, "")
    assert "width 16, 15 epochs" in found.scale
    assert first(claim, cells_for(claim, -effect)).verdict == FAILS
    nothing = first(claim, cells_for(claim, 0, seeds=3, rng=1))
    assert nothing.verdict == UNDECIDED
    assert "in 8 of 10 cases" in nothing.needed


@claims
@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_give_no_verdict(claim: str, seeds: int) -> None:
    found = first(claim, cells_for(claim, EFFECTS[claim], seeds))
    assert (found.verdict, found.seeds) == (UNDECIDED, seeds)
    assert found.needed == f"{seeds} of the 3 seeds that a verdict needs"
    assert "[" not in found.numbers


@claims
def test_a_small_wide_run_changes_nothing_and_a_complete_one_counts(claim: str) -> None:
    effect = EFFECTS[claim]
    usual = cells_for(claim, effect)
    few = {"width": 64, "n": 15, "images": 15}
    one, small = cells_for(claim, -effect, 1, width=64), cells_for(claim, -effect, **few)
    small = [{**row, "n": 15, "images": 15} for row in small]
    assert first(claim, usual, one, small) == first(claim, usual)
    wide = RULES[claim](frame(usual, cells_for(claim, -effect, 3, width=64)))
    assert [(v.verdict, v.seeds) for v in wide] == [(FAILS, 3), (HOLDS, 4)]
    assert "width 64" in wide[0].scale


@claims
def test_the_precision_of_an_evaluation_tells_no_scales_apart_and_that_of_a_training_does(claim: str) -> None:
    cells = cells_for(claim, EFFECTS[claim], 4)
    for cell in cells:
        cell["precision"] = "bf16" if cell["seed"] < 2 else "fp32"
    verdicts = RULES[claim](frame(cells))
    of_trainings = getattr(RULES[claim], "experiment", "") == "train"
    assert [one.seeds for one in verdicts] == ([2, 2] if of_trainings else [4])


@pytest.mark.parametrize("claim", [claim for claim in EFFECTS if claim != "C2"])
def test_the_papers_own_data_come_first_where_they_are_complete_and_data_are_never_mixed(claim: str) -> None:
    effect = EFFECTS[claim]
    copies = cells_for(claim, -effect, 5, dataset="cifar10-jpeg", width=64)
    assert first(claim, cells_for(claim, effect, 3), copies).verdict == HOLDS
    assert first(claim, cells_for(claim, effect, 2), copies).verdict == FAILS
    both = cells_for(claim, effect, 2), cells_for(claim, effect, 2, dataset="cifar10-jpeg")
    assert first(claim, *both).verdict == UNDECIDED
    assert first(claim, cells_for(claim, effect, dataset="digits")).verdict == NOT_RUN or claim == "C2"


@claims
def test_a_part_that_is_missing_from_a_seed_takes_the_seed_away(claim: str) -> None:
    rows = cells_for(claim, EFFECTS[claim], 3)
    left_out = next(row for row in reversed(rows) if row["seed"] == 2 and row["metric"] != "top1_over_severities")
    part = ("seed", "metric", "method", "weights_are") if claim == "C11b" else left_out  # inversion skips some depths
    without = [row for row in rows if any(row.get(key) != left_out.get(key) for key in part)]
    assert first(claim, without).verdict in (UNDECIDED, NOT_RUN)
    assert first(claim, [{**row, "arch": "mdeq"} for row in rows]).verdict == NOT_RUN
    assert RULES[claim](to_frame([]))[0].verdict == NOT_RUN


@pytest.mark.parametrize("claim", ["C5", "C6", "C7", "C8", "C9", "C10", "C12a", "C12b"])
def test_a_claim_on_every_noise_or_norm_needs_them_all(claim: str) -> None:
    part = {"fitted_on": "shot_noise", "corruption": "shot_noise"} if claim != "C9" else {"norm": "l2"}
    rows = [
        row for row in cells_for(claim, EFFECTS[claim]) if all(row.get(key) != value for key, value in part.items())
    ]
    found = first(claim, rows)
    assert (found.verdict, found.numbers) == (NOT_RUN, "no scale has all that the rule asks for")


@claims
def test_a_repeated_run_counts_once_and_the_latest_counts(claim: str) -> None:
    effect = EFFECTS[claim]
    older = cells_for(claim, -effect, started="2025")
    assert first(claim, cells_for(claim, effect), older) == first(claim, cells_for(claim, effect))


def test_more_seeds_make_support_easier_not_harder() -> None:
    for claim in ("C5", "C7", "C8"):
        assert first(claim, cells_for(claim, EFFECTS[claim], 20)).verdict == HOLDS
    rows = cells_for("C7", 3, 12)
    one_bad = [
        {**row, "value": -0.001} if row["seed"] == 7 and row["corruption"] == "shot_noise" else row for row in rows
    ]
    assert first("C7", one_bad).verdict == HOLDS


def simulated(claim: str, effect: float, count: int) -> "pd.Series[str]":
    """The verdicts on so many made-up ledgers of three seeds; the images deviate, too."""
    rule, rng = RULES[claim], np.random.default_rng(0)
    assert isinstance(rule, Rule)
    found = []
    for _ in range(count):
        cells = frame(cells_for(claim, effect, 3, rng))
        ((_, group),) = scales(cells, rule.experiment, rule.data, rule.images)
        found.append(decide(rule.requires(group), rule.level))
    return pd.Series(found)


@pytest.mark.parametrize("count", [15, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("claim", ["C5", "C6", "C7", "C8", "C9", "C10"])
def test_without_an_effect_a_verdict_is_rare(claim: str, count: int) -> None:
    """With the truth at the bound (a ρ of 0.5 on average for C5) at most 5 % of ledgers may give a verdict."""
    found = simulated(claim, 0.33 if claim == "C5" else 0, count)
    assert (found != UNDECIDED).sum() <= binom.ppf(0.9, count, 0.05), found.value_counts()


def test_random_best_lams_never_grow() -> None:
    assert HOLDS not in set(simulated("C5", 0, 30))
