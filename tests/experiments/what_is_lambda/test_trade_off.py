"""Remedies at equal clean cost: envelopes and areas that are known, and what a seed without a part is worth."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from claim_cells import BASE, frame

from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN
from sdnet.experiments.claims.rules import RULES
from sdnet.experiments.corruptions.robustness import NOISES
from sdnet.experiments.what_is_lambda import figures
from sdnet.experiments.what_is_lambda.trade_off import FILTERS, LAM, REMEDIES, area, areas, envelope, trade_offs
from sdnet.report.shown import Shown


def test_the_envelope_is_the_least_concave_curve_above_all_points() -> None:
    cost, gain = np.array([1.0, 2.0, 3.0, 4.0, 8.0]), np.array([1.0, 6.0, 5.0, 7.0, 2.0])
    x, y = envelope(cost, gain)
    assert (x.tolist(), y.tolist()) == ([0.0, 2.0, 4.0], [0.0, 6.0, 7.0])


def test_areas_are_those_of_the_trapezoids_below() -> None:
    """To (2, 6) and (4, 7), then flat: 6 + 13 + 7 over five points of clean accuracy."""
    assert area(np.array([2.0, 4.0]), np.array([6.0, 7.0])) == pytest.approx(26 / 5)
    assert area(np.array([10.0]), np.array([10.0])) == pytest.approx(2.5)  # a mixture with the untouched network
    assert area(np.array([-1.0]), np.array([3.0])) == pytest.approx(3)  # better on clean images, too
    assert area(np.array([2.0]), np.array([-4.0])) == 0  # whoever gains nothing leaves it alone


Gains = dict[float, tuple[float, float]]


def swept(knob: str, gains: Gains, seeds: int = 3, **changes: object) -> list[dict[str, object]]:
    """Cells of a network whose knob costs and gains so much at each strength, but for a seed's own deviation."""
    base = {**BASE, "experiment": "sweep", "knob": knob, "metric": "top1", **changes}
    rows: list[dict[str, object]] = []
    for seed, (strength, (cost, gain)) in product(range(seeds), gains.items()):
        own = {**base, "seed": seed, "strength": strength}
        rows.append({**own, "corruption": "clean", "severity": 0, "value": (80 - cost) / 100})
        value = (40 + gain * (1 + 0.01 * seed)) / 100
        where = product(NOISES, range(1, 6))
        rows += [{**own, "corruption": noise, "severity": severity, "value": value} for noise, severity in where]
    return rows


STRONG, WEAK = {0.1: (0.0, 0.0), 0.4: (2.0, 12.0)}, {0.0: (0.0, 0.0), 2.0: (2.0, 6.0)}


def test_costs_and_gains_are_against_the_network_untouched() -> None:
    found = trade_offs(frame(swept("lam", STRONG)), LAM)
    first = found[found["seed"] == 0]
    assert first["strength"].tolist() == [0.1, 0.4]
    assert first["cost"].tolist() == pytest.approx([0, 2])
    assert first["gain"].tolist() == pytest.approx([0, 12])
    assert areas(frame(swept("lam", STRONG)), LAM)[0] == pytest.approx((12 + 3 * 12) / 5)


def test_a_strength_without_all_conditions_is_left_out() -> None:
    cells = frame(swept("lam", STRONG))
    more = frame(swept("lam", {**STRONG, 0.2: (1.0, 8.0)}))
    gone = (more["strength"] == 0.4) & (more["corruption"] == "shot_noise") & (more["severity"] == 5)
    assert set(trade_offs(more[~gone], LAM)["strength"]) == {0.1, 0.2}
    assert areas(cells[cells["strength"] == 0.1], LAM).empty  # what was never turned up has gained nothing, not 0
    assert trade_offs(cells[cells["strength"] != 0.1], LAM).empty
    assert areas(pd.DataFrame(cells[:0]), LAM).empty


def test_curves_and_areas_are_shown_with_what_lam_has_more() -> None:
    cells = frame(swept("lam", STRONG), swept("gaussian_filter", WEAK))
    drawn = figures.equal_cost(cells, (LAM, *FILTERS.values()), "equal")
    assert isinstance(drawn, Shown)
    assert drawn.values is not None
    assert drawn.values.select_dtypes("number").to_numpy().max() == pytest.approx(12.12)
    shown = figures.show_areas(cells)
    assert isinstance(shown, Shown)
    assert "+9.70 [" in shown.content  # (12 + 36) / 5 = 9.6, of seed 1 a hundredth more, of seed 2 two
    assert "+4.85 [" in shown.content
    assert shown.content.count(">not run<") == len(REMEDIES) - 2


def test_l1a_asks_for_more_than_every_filter_and_names_other_remedies() -> None:
    def judged(*knobs: tuple[str, Gains]) -> tuple[str, str]:
        rows = [swept("lam", STRONG), *(swept(knob, gains) for knob, gains in knobs)]
        (found,) = RULES["L1a"](frame(*rows))
        return found.verdict, found.controls

    filters = [(str(row.knob), WEAK) for row in FILTERS.values()]
    assert judged(*filters)[0] == HOLDS
    better = {0.0: (0.0, 0.0), 1.0: (1.0, 20.0)}
    assert judged(*filters[1:], (filters[0][0], better))[0] == FAILS
    assert judged(*filters[1:])[0] == NOT_RUN
    assert judged(*filters, ("batch_statistics", better))[1].endswith("(match)")
    assert judged(*filters, ("batch_statistics", WEAK))[1].endswith("(do not match)")
