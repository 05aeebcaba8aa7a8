"""The differences that images and seeds can tell."""

import pandas as pd
import pytest
from IPython.display import HTML

from sdnet.experiments.what_is_lambda import power
from sdnet.report.shown import Shown
from sdnet.results import ledger
from sdnet.results.cells import to_frame


def accuracy(*differences: float) -> pd.DataFrame:
    low, high = power.LAMS
    return pd.DataFrame([{low: 60.0 - d / 2, high: 60.0 + d / 2} for d in differences])


def test_without_spread_over_seeds_it_is_the_textbook_s() -> None:
    # (z.975 + z.8) · √(2 p (1 − p) / n)
    expected = (1.95996 + 0.84162) * (2 * 0.6 * 0.4 / 500) ** 0.5 * 100
    for seeds in power.COUNTS:
        assert power.detectable(accuracy(0.0, 0.0, 0.0), 500, seeds) == pytest.approx(expected, rel=1e-5)


def test_images_do_not_make_up_for_seeds() -> None:
    spread = accuracy(0.0, 2.0, 4.0)
    assert power.detectable(spread, 10**9, 3) == pytest.approx((4.30265 + 1.06066) * 2 / 3**0.5, rel=1e-5)  # t with 2
    assert power.detectable(spread, 10**9, 8) < power.detectable(spread, 10**9, 3) < power.detectable(spread, 200, 3)


def test_it_is_shown_with_the_size_that_was_asked() -> None:
    shown = power.show_power(to_frame(ledger.read()))
    assert isinstance(shown, Shown)
    assert shown.values["images"].str.contains("asked here").sum() == 2
    assert isinstance(power.show_power(to_frame([])), HTML)
