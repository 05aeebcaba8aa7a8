"""The figures of page 12 on a handful of cells, and its declared grid."""

import pandas as pd

from sdnet.experiments.ablations.grid import trainings
from sdnet.experiments.mixed_scale import figures
from sdnet.experiments.mixed_scale.study import GRID, RESIDUAL
from sdnet.report.shown import Shown
from sdnet.results.cells import CELL_COLUMNS, to_frame


def cells() -> pd.DataFrame:
    common = {
        "experiment": "pursuit",
        "dataset": "d",
        "width": 16,
        "epochs": 1,
        "seed": 0,
        "started": "2026",
        "run": "r",
        "commit": "abcdefgh",
        "commands": ("make it",),
        "n": 10,
    }
    rows = [
        {**common, "arch": v.arch, "variant": v.name, "blocks": v.network.get("depth"), "metric": metric,
         "iterations": v.network.get("iterations", 1), "value": 0.5}
        for group in GRID.values() for v in group for metric in ("top1", "reconstruction_share")
    ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *rows[0]])))


def test_every_figure_shows_what_was_measured_or_says_not_run() -> None:
    for figure in (figures.degradation, figures.unfolding):
        assert isinstance(figure(cells()), Shown)
        assert "not run" in str(figure(to_frame([])).data)
    shown = figures.degradation(cells())
    assert isinstance(shown, Shown)
    (axes,) = shown.axes
    assert len(axes.get_legend().get_texts()) == 3
    assert isinstance(figures.unfolding(cells(), "reconstruction_share"), Shown)


def test_the_scale_with_all_networks_is_shown() -> None:
    """ML-CSC of depth 1 is in both groups, and longer trained in one of them."""
    longer = cells()
    longer = longer[longer["arch"].isin(RESIDUAL)].assign(epochs=9, value=0.9)
    shown = figures.unfolding(pd.concat([cells(), longer]))
    assert isinstance(shown, Shown)
    assert shown.values is not None
    assert set(shown.values.select_dtypes("number").iloc[:, -1]) == {50}


def test_every_network_of_the_grid_can_be_declared() -> None:
    plan = trainings([variant for group in GRID.values() for variant in group], "digits", "smoke", (0,))
    assert len({declared.name for declared in plan}) == len(plan) - 1  # ML-CSC of depth 1 with one step is in both
