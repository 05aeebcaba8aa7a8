"""λ without labels, and λ learned, on cells whose answers are known."""

from itertools import product

import numpy as np
import pytest
from claim_cells import BASE, LAMS, Cells, frame

from sdnet.experiments.claims import adaptation
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Verdict
from sdnet.experiments.claims.rules import RULES
from sdnet.experiments.corruptions.robustness import NOISES
from sdnet.experiments.what_is_lambda import figures
from sdnet.experiments.what_is_lambda.trade_off import LAM

SPREAD = (0.0, 0.001, -0.001, 0.0005)
INFORMED, COLLAPSED, BEST = 0.4, 0.7, 0.3
"""λ of most information, λ of least entropy (where one class is answered to everything), and the most accurate λ."""


def adapted(effect: float, seeds: int, knob: str = "lam", start: float = 0.5) -> Cells:
    rows: Cells = []
    for seed, noise, severity, lam in product(range(seeds), NOISES, range(1, 6), LAMS):
        own = {**BASE, "experiment": "confidence", "knob": knob, "seed": seed, "strength": lam}
        own |= {"corruption": noise, "severity": severity}
        gain = {INFORMED: effect + SPREAD[seed], COLLAPSED: -0.3, BEST: 0.2}.get(lam, 0.0)
        values = {"top1": start + gain, "information": 1 - abs(lam - INFORMED), "entropy": 2 - lam}
        rows += [{**own, "metric": metric, "value": value} for metric, value in values.items()]
    return rows


def learned(effect: float, seeds: int, variant: str = "learn_lam=layer") -> Cells:
    rows: Cells = []
    for seed in range(seeds):
        for name, knob, strength, level in (("", "lam", 0.1, 0.0), (variant, "lam_shift", 0.0, effect)):
            own = {**BASE, "experiment": "sweep", "metric": "top1", "variant": name, "knob": knob, "seed": seed}
            where = [("clean", 0), *product(NOISES, range(1, 6))]
            rows += [
                {**own, "strength": strength, "corruption": noise, "severity": severity,
                 "value": 0.5 + level * (1 + SPREAD[seed])}
                for noise, severity in where
            ]  # fmt: skip
    return rows


CELLS = {
    "L4a": adapted,
    "L4b": lambda effect, seeds: adapted(effect, seeds, "lam_with_batch_statistics"),
    "L4c": learned,
}


def judged(claim: str, *parts: Cells) -> Verdict:
    return RULES[claim](frame(*parts))[0]


@pytest.mark.parametrize("claim", CELLS)
def test_a_true_effect_holds_and_its_opposite_does_not(claim: str) -> None:
    assert judged(claim, CELLS[claim](0.05, 4)).verdict == HOLDS
    assert judged(claim, CELLS[claim](-0.05, 4)).verdict == FAILS
    assert judged(claim, CELLS[claim](0.05, 2)).verdict == UNDECIDED
    assert judged(claim, [{**row, "arch": "scn"} for row in CELLS[claim](0.05, 4)]).verdict == NOT_RUN


def test_lam_is_chosen_by_what_is_said_and_from_enough() -> None:
    cells = frame(adapted(0.05, 2))
    expected = {"most information": 55.0, "least entropy": 20.0, "labels": 70.0, None: 50.0}
    for objective, points in expected.items():
        found = adaptation.chosen(cells, LAM, objective)
        assert found.shape == (2, 4)
        np.testing.assert_allclose(found, points, atol=0.11)
    few = [row for row in adapted(0.05, 4) if row["strength"] != 0.6]
    assert judged("L4a", few).verdict == NOT_RUN
    gone = [row for row in adapted(0.05, 4) if (row["corruption"], row["severity"]) != (NOISES[0], 3)]
    assert judged("L4a", gone).verdict == NOT_RUN


def test_controls_are_put_beside() -> None:
    statistics = adapted(0.0, 4, "lam_with_batch_statistics", start=0.6)
    said = judged("L4a", adapted(0.05, 4), statistics).controls
    assert said == "least entropy: -35.01 (do not match); statistics alone: +4.99 (match)"
    assert judged("L4b", adapted(0.05, 4, "lam_with_batch_statistics")).controls.endswith("(do not match)")
    other = learned(0.08, 4, "learn_lam=channel")
    assert judged("L4c", learned(0.05, 4), other).controls == "λ learned per channel: +3.00 (match)"


def test_the_table_has_a_line_per_way_to_choose() -> None:
    shown = figures.show_chosen(frame(adapted(0.05, 3), adapted(0.02, 3, "lam_with_batch_statistics")))
    assert "of most information" in shown.data
    assert shown.data.count("<td>of the batch") + shown.data.count(">of the batch<") >= 4
