"""Tables 2 and 3 and Figures 2 and 3, from cells whose answers are known."""

import numpy as np
import pandas as pd
import pytest
from robustness_cells import FIXED, ORACLE, frame, policies_cells, sweep_cells

from sdnet.experiments.corruptions import robust_figures, robust_tables
from sdnet.experiments.corruptions.robustness import (
    NOISES,
    ONE_STEP,
    ROWS,
    Row,
    clean_drops,
    cross_type,
    one_scale,
    optimal_strengths,
    over_severities,
    top1,
)
from sdnet.report import plots
from sdnet.report.shown import Shown
from sdnet.results.cells import to_frame


def test_a_fixed_strength_and_an_oracle() -> None:
    cells = frame(sweep_cells())
    fixed, oracle = top1(cells, FIXED), top1(cells, ORACLE)
    assert len(fixed) == len(oracle) == 2 * (1 + 4 * 5)
    assert set(fixed["strength"]) == {0.1}
    here = oracle[(oracle["seed"] == 0) & (oracle["corruption"] == "shot_noise")].sort_values("severity")
    assert here["strength"].tolist() == [0.5, 0.5, 1.0, 1.0, 1.0]
    assert here["value"].tolist() == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4])
    means = over_severities(oracle)
    assert means["value"].tolist() == pytest.approx([0.6] * 4 + [0.61] * 4)
    assert over_severities(oracle[oracle["severity"] < 5]).empty


def test_the_clean_column_of_a_policy_is_the_fit_of_that_tables_noise() -> None:
    rows = policies_cells()
    policy = Row("", "sdnet18", policy="residual_fit")
    clean = {**rows[0], "policy": "residual_fit", "corruption": "clean", "severity": 0}
    rows += [{**clean, "fitted_on": noise, "value": 0.8 + 0.01 * i} for i, noise in enumerate(NOISES)]
    values = top1(frame(rows), policy, "shot_noise")
    assert values[values["corruption"] == "clean"]["value"].tolist() == pytest.approx([0.81])
    assert set(values["corruption"]) == {"clean", *NOISES}


def test_the_largest_then_the_latest_run_counts() -> None:
    cells = frame(sweep_cells(), sweep_cells("2027", n=10, seeds=(0,)), sweep_cells("2028", seeds=(1,)))
    chosen = top1(cells.assign(value=cells["value"] + (cells["started"] == "2028")), FIXED)
    assert set(chosen["n"]) == {100}
    assert (chosen[chosen["seed"] == 1]["value"] > 1).all()
    assert (chosen[chosen["seed"] == 0]["value"] < 1).all()


def test_a_sweep_of_other_corruptions_does_not_push_the_noises_out() -> None:
    fog = [{**line, "corruption": "fog"} for line in sweep_cells("2030", n=900) if line["corruption"] == NOISES[0]]
    clean = [{**line, "value": 0.5} for line in sweep_cells("2030", n=900) if line["corruption"] == "clean"]
    found = top1(frame(sweep_cells(), fog, clean), Row("", "sdnet18", knob="lam"))
    assert set(found["corruption"]) == {"clean", "fog", *NOISES}
    assert found[found["corruption"] == "clean"]["n"].tolist() == [900, 900]


def test_only_one_scale_is_compared() -> None:
    cells = frame(sweep_cells(), sweep_cells(width=64, n=10), sweep_cells(arch="resnet18", width=16, knob="median"))
    chosen = one_scale(cells.assign(paper_scale=False))
    assert set(chosen["width"]) == {64}
    assert one_scale(to_frame([])).empty


def test_a_larger_run_at_one_strength_answers_for_that_strength_only() -> None:
    cells = frame(
        sweep_cells(), [{**row, "value": 0.2} for row in sweep_cells("2025", n=900) if row["strength"] == 0.1]
    )
    assert set(top1(cells, FIXED)["n"]) == {900}
    assert set(top1(cells, ORACLE)["n"]) == {100}


def test_other_variants_and_knobs_do_not_answer() -> None:
    cells = frame(sweep_cells(variant=ONE_STEP), sweep_cells(arch="resnet18", knob="stem_threshold"))
    assert top1(cells, FIXED).empty
    assert top1(cells, ORACLE).empty
    assert not top1(cells, Row("", "sdnet18", ONE_STEP, knob="lam")).empty


def test_equal_seeds_have_bars_of_no_length() -> None:
    """The mean of three times 0.1 is above 0.1."""
    plots.style("06_corruptions")
    shown = robust_figures.optimal_strength(frame(sweep_cells(seeds=(0, 1, 2))), {"λ": ORACLE})
    assert isinstance(shown, Shown)


def test_spearmans_rho_of_the_optimal_strength() -> None:
    rho = optimal_strengths(frame(sweep_cells()), ORACLE)["rho"]
    ranks = pd.Series([0.1, 0.5, 0.5, 1, 1, 1]).rank()
    assert rho.tolist() == pytest.approx([np.corrcoef(ranks, range(6))[0, 1]] * 8)
    flat = [{**row, "value": 1 - row["strength"]} for row in sweep_cells()]
    assert optimal_strengths(frame(flat), ORACLE)["rho"].tolist() == [0.0] * 8


def test_a_larger_run_of_some_policies_answers_for_these_only() -> None:
    small = policies_cells()
    script = [{**row, "policy": "authors_script"} for row in small if row["metric"] in ("best_lam", "r_squared")]
    large = [
        {**row, "started": "2027", "images": 900, "n": 900}
        for row in small
        if row["metric"] != "clean_top1" and row.get("fitted_on") in (None, "", row.get("corruption"))
    ]
    cells = frame(small, script, large)
    assert set(top1(cells, Row("", "sdnet18", policy="residual_fit"))["n"]) == {900}
    assert len(cross_type(cells)) == 2 * 16
    assert len(clean_drops(cells)) == 2 * 4 * 5
    assert len(robust_figures.figure3(cells, "authors_script").axes[0].lines) == 4


def test_cross_type_and_clean_drops() -> None:
    cells = frame(policies_cells())
    crossed = cross_type(cells)
    other = crossed["fitted_on"] != crossed["corruption"]
    assert crossed[other]["loss"].tolist() == pytest.approx([0.03] * 24)
    assert crossed[other]["lam_error"].tolist() == pytest.approx([0.3] * 24)
    assert (crossed[~other]["loss"] == 0).all()
    drops = clean_drops(cells)
    assert drops.groupby("severity")["drop"].mean().tolist() == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.10])


def test_every_row_of_the_papers_tables_has_a_row_here() -> None:
    from sdnet.results.paper import paper_table

    printed = {(row.arch, row.policy) for number in (2, 3) for row in paper_table(number).itertuples()}
    assert printed == {row.paper for row in ROWS if row.paper is not None}
    assert {row.label for row in ROWS if row.oracle} >= {"λ by an oracle"}


def test_tables_show_the_paper_ours_and_what_is_missing() -> None:
    cells = frame(sweep_cells(), policies_cells())
    three = robust_tables.show_table3(cells).data
    assert "paper 64.92" in three
    assert "[58.0, 62.0]" in three
    assert "uses test labels" in three
    assert "not run" in three
    two = robust_tables.show_table2(cells).data
    assert "paper 48.84" in two
    assert "at 0.5" in two
    assert "paper" not in robust_tables.show_table2(cells, "shot_noise").content
    assert "+3.00 (λ off by 0.30)" in robust_tables.show_cross_type(cells).data
    assert "(-10.00)" in robust_tables.show_clean(cells).data
    assert "0.95, 0.95" in robust_tables.show_fits(cells).data
    assert "0.93, 0.93" in robust_tables.show_optimal(cells, {"λ": ORACLE}).data
    empty = to_frame([])
    for show in (robust_tables.show_table2, robust_tables.show_table3, robust_tables.show_fits):
        assert "not run" in show(empty).data


def test_common_corruptions_are_sorted_by_what_an_oracle_gains() -> None:
    rows = [
        {**row, "corruption": {"shot_noise": "fog", "gaussian_noise": "snow"}[row["corruption"]], "n": 50,
         "value": row["value"] if row["corruption"] == "shot_noise" else 1 - row["strength"]}
        for row in sweep_cells() if row["corruption"] in ("shot_noise", "gaussian_noise")
    ]  # fmt: skip
    table = robust_tables.show_common(frame(sweep_cells(), rows)).data
    assert table.index("fog") < table.index("snow")
    assert "+0.0" in table
    assert "not run" in robust_tables.show_common(frame(sweep_cells())).data


def test_figures_draw_what_the_cells_say() -> None:
    cells = frame(sweep_cells(), policies_cells())
    curves = robust_figures.figure2(cells, ORACLE)
    (clean, star, *_) = curves.axes[0].lines
    assert clean.get_ydata() == pytest.approx([90.5, 86.5, 81.5])
    assert (star.get_xdata()[0], star.get_ydata()[0]) == pytest.approx((0.1, 90.5))
    assert len(curves.axes) == 4
    fits = robust_figures.figure3(cells)
    points, line, *_ = fits.axes[2].lines
    assert points.get_xdata() == pytest.approx([10, 20, 30])
    assert line.get_ydata() == pytest.approx([0.2, 0.6])
    assert len(robust_figures.optimal_strength(cells, {"λ": ORACLE}).axes) == 4
    assert robust_figures.figure2(to_frame([]), ORACLE)
    assert robust_figures.figure3(to_frame([]))
