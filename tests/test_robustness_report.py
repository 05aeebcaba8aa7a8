"""Tables 2 and 3, Figures 2 and 3, and the verdicts, from cells whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from sdnet.experiments import ledger
from sdnet.report import robust_figures, robust_tables, verdicts
from sdnet.report.robustness import (
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

LAMS = (0.1, 0.5, 1.0)
SDNET = {
    "arch": "sdnet18",
    "variant": "",
    "dataset": "cifar10-jpeg",
    "preset": "quick",
    "width": 16,
    "epochs": 15,
    "noise": "generated",
}


def sweep_cells(started: str = "2026", n: int = 100, seeds: tuple[int, ...] = (0, 1), **changes: object) -> list[dict]:
    """Accuracy 0.9 − 0.1 severity − |λ − best| with the best λ 0.1, 0.5, 0.5, 1, 1, 1 for severity 0 to 5."""
    best = (0.1, 0.5, 0.5, 1.0, 1.0, 1.0)
    base = {**SDNET, "experiment": "sweep", "knob": "lam", "metric": "top1", "started": started, "n": n, **changes}
    return [
        {**base, "seed": seed, "corruption": corruption, "severity": severity, "strength": lam,
         "value": 0.9 - 0.1 * severity - 0.1 * abs(lam - best[severity]) + 0.01 * seed}
        for seed in seeds
        for corruption in ("clean", *NOISES)
        for severity in ((0,) if corruption == "clean" else range(1, 6))
        for lam in LAMS
    ]  # fmt: skip


def policies_cells(slope: float = 0.02, gain: float = 0.1, drop: float = 0.02, **changes: object) -> list[dict]:
    base = {**SDNET, "experiment": "policies", "started": "2026", "n": 100, "images": 100, **changes}
    rows = []
    for seed in (0, 1):
        common = {**base, "seed": seed}
        rows.append(
            {
                **common,
                "metric": "top1",
                "policy": "fixed",
                "fitted_on": "",
                "corruption": "clean",
                "severity": 0,
                "lam": 0.1,
                "value": 0.85,
            }
        )
        for corruption in NOISES:
            fit = {**common, "metric": "r_squared", "policy": "residual_fit", "fitted_on": corruption}
            rows += [{**fit, "power": p, "slope": slope, "intercept": 0.0, "value": 0.95} for p in (1, 2)]
            for level in (1, 2, 3):
                point = {"residual": 10.0 * level, "squared_residual": 100.0 * level**2, "value": slope * 10 * level}
                rows.append(
                    {
                        **common,
                        "metric": "best_lam",
                        "policy": "residual_fit",
                        "corruption": corruption,
                        "level": level,
                        **point,
                    }
                )
            rows.append(
                {
                    **common,
                    "metric": "gain_over_fixed",
                    "policy": "residual_fit",
                    "fitted_on": corruption,
                    "corruption": corruption,
                    "value": gain,
                    "low": gain - 0.02,
                    "high": gain + 0.02,
                }
            )
            rows.append(
                {
                    **common,
                    "metric": "top1_over_severities",
                    "policy": "residual_fit",
                    "fitted_on": corruption,
                    "corruption": corruption,
                    "value": 0.6,
                    "low": 0.58,
                    "high": 0.62,
                }
            )
            for severity in range(1, 6):
                where = {"corruption": corruption, "severity": severity}
                for fitted_on in NOISES:
                    own = fitted_on == corruption
                    rows.append(
                        {
                            **common,
                            "metric": "top1",
                            "policy": "residual_fit",
                            "fitted_on": fitted_on,
                            **where,
                            "lam": 0.5 if own else 0.8,
                            "value": 0.6 if own else 0.57,
                        }
                    )
                rows.append(
                    {
                        **common,
                        "metric": "clean_top1",
                        "policy": "residual_fit",
                        "fitted_on": corruption,
                        **where,
                        "lam": 0.1 * severity,
                        "value": 0.85 - drop * severity,
                    }
                )
    return rows  # fmt: skip


def frame(*parts: list[dict]) -> pd.DataFrame:
    cells = pd.DataFrame([row for part in parts for row in part])
    columns = dict.fromkeys([*ledger.CELL_COLUMNS, *cells.columns])
    return cells.reindex(columns=list(columns))


FIXED, ORACLE = Row("fixed", "sdnet18", knob="lam", strength=0.1), Row("oracle", "sdnet18", knob="lam")


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
    assert one_scale(ledger.cells([])).empty


def test_a_larger_run_at_one_strength_answers_for_that_strength_only() -> None:
    cells = frame(
        sweep_cells(), [{**row, "value": 0.2} for row in sweep_cells("2025", n=900) if row["strength"] == 0.1]
    )
    assert set(top1(cells, FIXED)["n"]) == {900}
    assert set(top1(cells, ORACLE)["n"]) == {100}


def test_other_variants_and_knobs_do_not_answer() -> None:
    cells = frame(sweep_cells(variant=ONE_STEP), sweep_cells(arch="resnet18", knob="stem threshold"))
    assert top1(cells, FIXED).empty
    assert top1(cells, ORACLE).empty
    assert not top1(cells, Row("", "sdnet18", ONE_STEP, knob="lam")).empty


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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"C5": "supported", "C7": "supported", "C8": "supported", "C12": "refuted"}),
        ({"gain": 0.01}, {"C7": "undecided"}),
        ({"gain": -0.1}, {"C7": "refuted"}),
        ({"drop": 0.0005}, {"C12": "supported"}),
    ],
)
def test_verdicts_follow_the_rules(changes: dict[str, float], expected: dict[str, str]) -> None:
    found = verdicts.judge(frame(sweep_cells(), policies_cells(**changes)))
    assert {claim: found[claim].verdict for claim in expected} == expected
    assert found["C4"].verdict == found["C9"].verdict == "not run"


def test_c5_is_refuted_where_the_best_strength_does_not_grow_and_names_its_controls() -> None:
    flat = [{**row, "value": 1 - row["strength"]} for row in sweep_cells()]
    assert verdicts.judge(frame(flat))["C5"].verdict == "refuted"
    found = verdicts.judge(frame(sweep_cells(), sweep_cells(variant=ONE_STEP)))["C5"]
    assert found.controls == "one step: ρ 0.93 to 0.93 (match)"
    shuffled = [{**row, "value": 1 - row["strength"]} for row in sweep_cells(variant=ONE_STEP)]
    assert "(do not match)" in verdicts.judge(frame(sweep_cells(), shuffled))["C5"].controls


def test_c6_asks_the_seeds() -> None:
    resnet = sweep_cells(arch="resnet18", knob="stem threshold")
    worse = [{**row, "value": row["value"] - 0.2, "strength": 0.0 if row["strength"] == 0.1 else 9} for row in resnet]
    found = verdicts.judge(frame(sweep_cells(), worse))["C6"]
    assert found.verdict == "supported"
    assert "2 seeds" in found.numbers
    one = verdicts.judge(frame(sweep_cells(seeds=(0,)), worse))["C6"]
    assert one.verdict == "undecided"


def test_an_empty_ledger_has_no_verdicts() -> None:
    found = verdicts.judge(ledger.cells([]))
    assert list(found) == [f"C{number}" for number in range(1, 14)]
    assert {verdict.verdict for verdict in found.values()} == {"not run"}
    assert "not run" in verdicts.show_verdicts(found).data


def test_every_row_of_the_papers_tables_has_a_row_here() -> None:
    from sdnet.report.scorecard import paper_table

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
    assert "paper" not in robust_tables.show_table2(cells, "shot_noise").data
    assert "+3.00 (λ off by 0.30)" in robust_tables.show_cross_type(cells).data
    assert "(-10.00)" in robust_tables.show_clean(cells).data
    assert "0.95, 0.95" in robust_tables.show_fits(cells).data
    assert "0.93, 0.93" in robust_tables.show_optimal(cells, {"λ": ORACLE}).data
    empty = ledger.cells([])
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
    assert robust_figures.figure2(ledger.cells([]), ORACLE)
    assert robust_figures.figure3(ledger.cells([]))
