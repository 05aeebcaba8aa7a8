"""Figures are tested by what is drawn, not by their pixels."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sdnet.report import plots


@pytest.fixture(autouse=True)
def _style() -> None:
    plots.style()


def test_figures_are_closed_so_that_a_notebook_shows_them_once() -> None:
    values = np.linspace(-2, 2, 9)
    plots.thresholds(values, {"signed": values}, threshold=1.0)
    assert plt.get_fignums() == []


def test_convergence_draws_nothing_below_the_certified_floor() -> None:
    steps = np.arange(1, 5)
    figure = plots.convergence(steps, {"ISTA": np.array([1e-1, 1e-2, 1e-7, 1e-8])}, {"bound": 1.0 / steps}, floor=1e-6)
    measured, bound, *_ = figure.axes[0].get_lines()
    np.testing.assert_array_equal(measured.get_ydata(), [1e-1, 1e-2, np.nan, np.nan])
    np.testing.assert_array_equal(bound.get_ydata(), 1.0 / steps)
    assert measured.get_color() == bound.get_color()


def test_curves_draws_one_line_per_hue_in_one_panel_per_group() -> None:
    data = pd.DataFrame(
        {"n": [1, 2, 4] * 4, "y": range(12), "λ": (["a"] * 3 + ["b"] * 3) * 2, "atoms": ["r"] * 6 + ["t"] * 6}
    )
    figure = plots.curves(data, x="n", y="y", hue="λ", panel="atoms", mark=2, xscale="log")
    left, right = figure.axes
    assert [ax.get_title(loc="left") for ax in (left, right)] == ["r", "t"]
    lines = [line for line in right.get_lines() if len(line.get_xdata()) == 3]
    np.testing.assert_array_equal([line.get_ydata() for line in lines], [[6, 7, 8], [9, 10, 11]])
    assert [text.get_text() for text in right.get_xticklabels()] == ["1", "2", "4"]


def test_atoms_are_laid_out_row_by_row_around_grey() -> None:
    weight = np.zeros((5, 3, 2, 2))
    weight[1, 0, 0, 0] = -2.0
    image = plots.atoms({"atoms": weight}, columns=3).axes[0].get_images()[0].get_array()
    assert image is not None
    assert image.shape == (2 * 9 - 1, 3 * 9 - 1, 3)
    np.testing.assert_array_equal(image[0, 0], [0.5] * 3)
    np.testing.assert_array_equal(image[0, 9], [0.0, 0.5, 0.5])  # the second tile, its red at the negative end
    np.testing.assert_array_equal(image[-1, -1], [1.0] * 3)  # no sixth atom: white


def test_image_grid_clips_to_the_displayable_range() -> None:
    images = [np.full((2, 2, 3), value) for value in (-1.0, 0.25)]
    figure = plots.image_grid({"row": images}, ["one", "two"])
    shown = [ax.get_images()[0].get_array() for ax in figure.axes]
    assert [float(image.max()) for image in shown if image is not None] == [0.0, 0.25]
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
