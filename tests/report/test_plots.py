"""Figures are tested by what is drawn, not by their pixels."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sdnet.report import plots

ABOUT = plots.About(caption="What it is.", identity="fig", made_from="seed 0, n = 1")


@pytest.fixture(autouse=True)
def _style() -> None:
    plots.style()


def test_figures_are_closed_so_that_a_notebook_shows_them_once() -> None:
    values = np.linspace(-2, 2, 9)
    plots.thresholds(values, {"signed": values}, threshold=1.0, **ABOUT)
    assert plt.get_fignums() == []


def test_convergence_draws_nothing_below_the_certified_floor() -> None:
    steps = np.arange(1, 5)
    curves = {"ISTA": np.array([1e-1, 1e-2, 1e-7, 1e-8])}
    figure = plots.convergence(steps, curves, {"bound": 1.0 / steps}, floor=1e-6, **ABOUT)
    measured, bound, *_ = figure.axes[0].get_lines()
    np.testing.assert_array_equal(measured.get_ydata(), [1e-1, 1e-2, np.nan, np.nan])
    np.testing.assert_array_equal(bound.get_ydata(), 1.0 / steps)
    assert measured.get_color() == bound.get_color()


def test_curves_draws_one_line_per_hue_in_one_panel_per_group() -> None:
    data = pd.DataFrame(
        {"n": [1, 2, 4] * 4, "y": range(12), "λ": (["a"] * 3 + ["b"] * 3) * 2, "atoms": ["r"] * 6 + ["t"] * 6}
    )
    figure = plots.curves(data, x="n", y="y", hue="λ", panel="atoms", mark=2, axes={"xscale": "log"}, **ABOUT)
    left, right = figure.axes
    assert [ax.get_title(loc="left") for ax in (left, right)] == ["r", "t"]
    lines = [line for line in right.get_lines() if len(line.get_xdata()) == 3]
    np.testing.assert_array_equal([line.get_ydata() for line in lines], [[6, 7, 8], [9, 10, 11]])
    assert [text.get_text() for text in right.get_xticklabels()] == ["1", "2", "4"]
    # The data beside it are what was drawn, under the names of its axes, and without the mark.
    assert figure.values is not None
    assert figure.values.to_dict("list") == {
        "panel": ["r"] * 6 + ["t"] * 6, "series": (["a"] * 3 + ["b"] * 3) * 2, "n": [1, 2, 4] * 4, "y": list(range(12)),
    }  # fmt: skip


def test_atoms_are_laid_out_row_by_row_around_grey() -> None:
    weight = np.zeros((5, 3, 2, 2))
    weight[1, 0, 0, 0] = -2.0
    shown = plots.atoms({"atoms": weight}, columns=3, **ABOUT)
    image = shown.axes[0].get_images()[0].get_array()
    assert image is not None
    assert image.shape == (2 * 9 - 1, 3 * 9 - 1, 3)
    np.testing.assert_array_equal(image[0, 0], [0.5] * 3)
    np.testing.assert_array_equal(image[0, 9], [0.0, 0.5, 0.5])  # the second tile, its red at the negative end
    np.testing.assert_array_equal(image[-1, -1], [1.0] * 3)  # no sixth atom: white
    assert shown.values is not None
    assert shown.values.shape == (5, 2 + 12)
    assert shown.values.loc[1, "0:0,0"] == -2.0
    assert "5 tiles of 2 × 2 pixels" in shown.content


def test_image_grid_clips_to_the_displayable_range() -> None:
    images = [np.full((2, 2, 3), value) for value in (-1.0, 0.25)]
    figure = plots.image_grid({"row": images}, ["one", "two"], **ABOUT)
    shown = [ax.get_images()[0].get_array() for ax in figure.axes]
    assert [float(image.max()) for image in shown if image is not None] == [0.0, 0.25]
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    assert 'alt="Pictures in the rows row, from left to right: one; two."' in figure.content
    assert "data:image/png" in figure.content
    assert figure.values is None
