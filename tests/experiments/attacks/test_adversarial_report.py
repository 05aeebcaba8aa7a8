"""Table 4, its figures and the verdict on C9, from cells whose answers are known."""

import pandas as pd
import pytest

from sdnet.experiments.attacks import adversarial
from sdnet.experiments.attacks.adversarial import SDNET, at_start, best, robust
from sdnet.results.cells import CELL_COLUMNS, to_frame

LAMS = (0.1, 0.5, 1.0)


def cells_of(adaptive: float = 0.02, **changes: object) -> list[dict[str, object]]:
    """Oblivious accuracy 0, 0.3, 0.2 at the three λ; adaptive 0 but at λ = 0.5; seed 1 is a point better."""
    base = {
        "experiment": "attack", "arch": "sdnet18", "variant": "", "knob": "lam", "n": 100, "started": "2026",
        "attack": "pgd", "units": "pixels", **changes,
    }  # fmt: skip
    rows: list[dict[str, object]] = []
    for seed in (0, 1):
        common = {**base, "seed": seed}
        rows += [{**common, "metric": "top1", "strength": lam, "value": 0.9 - 0.1 * lam} for lam in LAMS]
        for norm in ("linf", "l2"):
            hit = {**common, "norm": norm, "metric": "robust_top1", "epsilon": 8 / 255 if norm == "linf" else 0.5}
            for lam, value in zip(LAMS, (0.0, 0.3, 0.2), strict=True):
                rows.append(
                    {**hit, "protocol": "oblivious", "crafted_at": 0.1, "strength": lam, "value": value + 0.01 * seed}
                )
                there = adaptive if lam == 0.5 else 0.0
                rows.append({**hit, "protocol": "adaptive", "crafted_at": lam, "strength": lam, "value": there})
                rows.append({**hit, "protocol": "worst_case", "crafted_at": None, "strength": lam, "value": there / 2})
            rows.append({**hit, "protocol": "policy", "crafted_at": None, "strength": None, "value": 0.015})
            rows.append({**hit, "protocol": "policy", "crafted_at": 0.1, "strength": None, "value": 0.25})
            check = {**common, "norm": norm, "strength": 0.1, "crafted_at": 0.1}
            for step in (0, 1, 40):
                rows.append({**check, "metric": "steps_top1", "steps": step, "value": 0.8 / (1 + step)})
                rows.append({**check, "metric": "steps_loss", "steps": step, "value": 1.0 + step})
            rows.append({**check, "metric": "large_epsilon_top1", "value": 0.0})
            rows.append({**check, "metric": "white_box_top1", "value": 0.01})
            rows.append({**check, "metric": "black_box_top1", "value": 0.2})
        rows.append({**common, "metric": "zero_gradient", "strength": 0.1, "value": 0.0})
    return rows


def frame(*parts: list[dict[str, object]]) -> pd.DataFrame:
    cells = pd.DataFrame([row for part in parts for row in part])
    return cells.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *cells.columns])))


def test_the_best_strength_is_chosen_per_seed_and_protocol() -> None:
    easier = [{**line, "epsilon": 0.004, "value": 0.9, "started": "2031"} for line in cells_of()]
    cells = frame(
        cells_of(), cells_of(n=5, started="2030"), cells_of(units="normalised"), cells_of(knob="other"), easier
    )
    found = robust(cells, SDNET, "linf", "oblivious")
    assert len(found) == 6
    assert set(found["n"]) == {100}
    assert best(found)["value"].tolist() == pytest.approx([0.30, 0.31])
    assert best(found)["strength"].tolist() == [0.5, 0.5]
    assert at_start(found, SDNET)["value"].tolist() == pytest.approx([0.0, 0.01])
    assert best(robust(cells, SDNET, "l2", "adaptive"))["value"].tolist() == pytest.approx([0.02, 0.02])


def test_attacks_on_networks_of_another_scale_stay_apart() -> None:
    scale = {"dataset": "d", "width": 16, "epochs": 15, "paper_scale": False}
    short, other = {**scale, "epochs": 4, "arch": "resnet18"}, {**scale, "width": 4, "n": 900}
    cells = frame(cells_of(**scale), cells_of(**short), cells_of(**other))
    assert set(adversarial.one_scale(cells)["epochs"]) == {15}
    assert set(adversarial.one_scale(cells)["width"]) == {16}
    assert adversarial.one_scale(to_frame([])).empty


def test_table4_has_the_paper_and_every_protocol() -> None:
    table = adversarial.show_table4(frame(cells_of())).data
    assert "paper 35.18" in table
    assert "paper 0.11" in table
    assert "<b>30.50</b>" in table
    assert "<b>2.00</b>" in table
    assert "<b>1.00</b>" in table
    assert "± 8.84" in table  # Wilson: 1.96 √(0.3 · 0.7 / 100 + 1.96² / 200²) / (1 + 1.96² / 100), of 30 of 100 images
    assert "not run" in table
    assert "not run" in adversarial.show_table4(to_frame([])).data


def test_other_adversaries_have_a_table_of_their_own() -> None:
    table = adversarial.show_others(frame(cells_of(), cells_of(units="normalised", n=50))).data
    assert "<b>1.50</b>" in table
    assert "<b>30.50</b>" in table
    assert "50 images" in table
    assert "not run" in adversarial.show_others(to_frame([])).data


def test_figures_draw_the_means_over_seeds() -> None:
    cells = frame(cells_of())
    figure = adversarial.against_strength(cells, SDNET)
    clean, oblivious, adaptive = figure.axes[0].lines
    assert clean.get_ydata() == pytest.approx([89, 85, 80])
    assert oblivious.get_ydata() == pytest.approx([0.5, 30.5, 20.5])
    assert adaptive.get_ydata() == pytest.approx([0, 2, 0])
    assert adversarial.over_steps(cells, SDNET).axes[0].lines[0].get_ydata() == pytest.approx([80, 40, 80 / 41])
    assert adversarial.against_strength(to_frame([]), SDNET)


def test_sanity_says_what_does_not_hold() -> None:
    good = adversarial.show_sanity(frame(cells_of())).content
    assert "does not hold" not in good
    assert good.count("✓") == 4
    broken = [
        {**row, "value": 0.3} if row["metric"] in ("white_box_top1", "large_epsilon_top1") else row
        for row in cells_of()
    ]
    assert adversarial.show_sanity(frame(broken)).content.count("does not hold") == 2
    assert "not run" in adversarial.show_sanity(to_frame([])).data
