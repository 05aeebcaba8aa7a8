"""Reports on ledgers that hold less, or more, than the book's: they say what is there, and do not fail."""

import pandas as pd
import pytest

from sdnet.experiments.corruptions import robust_figures, robust_tables
from sdnet.experiments.performance.targets import Target, measured
from sdnet.results.cells import CELL_COLUMNS

CPU = {"device": "a CPU", "device_type": "cpu"}
SDNET = {"arch": "sdnet18", "variant": "", "seed": 0, "n": 100, "images": 100, "started": "2026"}


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    cells = pd.DataFrame(list(rows))
    return cells.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *cells.columns])))


def rates(started: str, batch: int, **speeds: float) -> list[dict[str, object]]:
    """A benchmark's images per second by network."""
    base = {"experiment": "benchmark", "metric": "train_images_per_second", "started": started, "batch": batch, **CPU}
    return [{**base, "arch": arch, "value": v, "low": v, "high": v} for arch, v in speeds.items()]


def policy(metric: str, value: float, **changes: object) -> dict[str, object]:
    return {**SDNET, "experiment": "policies", "policy": "residual_fit", "metric": metric, "value": value, **changes}


def test_the_authors_code_beside_other_networks_only_answers_for_nothing() -> None:
    target = Target("", "over authors", "sdnet18", "cpu", 1.5)
    alone = rates("2028", 128, sdnet18_authors=50.0, resnet18=300.0)
    assert measured(frame(*alone), target) is None
    both = rates("2026", 128, sdnet18=300.0, sdnet18_authors=100.0)
    small = rates("2027", 16, sdnet18=300.0, sdnet18_authors=200.0)
    assert measured(frame(*both, *small, *alone), target)[:4] == (3.0, 3.0, 3.0, "a CPU")


def fog(value: float, lam: float, **changes: object) -> dict[str, object]:
    base = {**SDNET, "experiment": "sweep", "knob": "lam", "metric": "top1", "corruption": "fog", "severity": 1}
    return {**base, "strength": lam, "value": value, **changes}


def test_a_blur_that_was_not_asked_at_the_lam_of_training_has_no_gain() -> None:
    assert "not run" in robust_tables.show_common(frame(fog(0.5, 0.3))).data
    table = robust_tables.show_common(frame(fog(0.5, 0.1), fog(0.6, 0.3), fog(0.9, 0.5, seed=1))).data
    assert "+10.0" in table


def test_a_later_sweep_of_fewer_images_does_not_replace_a_larger_one() -> None:
    few = {"n": 10, "images": 10, "started": "2027"}
    table = robust_tables.show_common(frame(fog(0.5, 0.1), fog(0.6, 0.3), fog(0.1, 0.1, **few))).data
    assert "50.0" in table
    assert "+10.0" in table


@pytest.mark.parametrize("seeds", [1, 8])
def test_figure_3_has_room_for_any_number_of_seeds(seeds: int) -> None:
    rows = []
    for seed in range(seeds):
        noise = {"seed": seed, "corruption": "gaussian_noise"}
        rows += [policy("best_lam", 0.1 * r, **noise, residual=r, squared_residual=r**2) for r in (1.0, 2.0, 3.0)]
        line = {"slope": 0.1, "intercept": 0.0, "power": 1, "fitted_on": "gaussian_noise", "seed": seed}
        rows.append(policy("r_squared", 1.0, **line))
    figure = robust_figures.figure3(frame(*rows))
    assert len(figure.axes[0].lines) == 2 * seeds
