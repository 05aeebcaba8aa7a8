"""What a further rank gains: measured on two ranks, written once, and shown."""

import pytest
import torch
from ranks import on_ranks

from sdnet.experiments.distributed import rank_speed
from sdnet.experiments.distributed import ranks as report
from sdnet.results import ledger
from sdnet.results.cells import to_frame
from sdnet.training.distributed import ALONE, Ranks

SMALL = {"arch": "sdnet18", "width": 2, "batch": 8, "stem": "cifar", "repeats": 2}


def measured(ranks: Ranks) -> list[tuple[str, str, float]]:
    cells = rank_speed.measure(ranks, torch.device("cpu"), **SMALL)  # type: ignore[arg-type]
    return [(cell["metric"], cell["case"], cell["value"]) for cell in cells]


def test_efficiency_is_speed_over_ranks_times_the_speed_of_one() -> None:
    cells, _ = on_ranks(2, measured)
    values = {(metric, case): value for metric, case, value in cells}
    alone = values["images_per_second", "one rank alone"]
    for case in rank_speed.CASES[1:]:
        expected = values["images_per_second", case] / (2 * alone)
        assert values["efficiency", case] == pytest.approx(expected)


def test_one_rank_has_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="there is one rank only; start several"):
        rank_speed.measure(ALONE, torch.device("cpu"))


def test_the_table() -> None:
    assert "not run" in report.show_ranks(to_frame([])).data
    about = {"width": 16, "batch": 8, "n": 8, "low": 9.0, "high": 11.0}
    results = [
        {"metric": "images_per_second", "case": "one rank alone", "value": 10.0, **about},
        {"metric": "images_per_second", "case": "all ranks together", "value": 15.0, **about},
        {"metric": "efficiency", "case": "all ranks together", "value": 0.75, **about},
        {"metric": "load_before", "value": 1.25, "n": 1},
    ]
    config = {"arch": "sdnet18", "ranks": 2, "seed": 0}
    device = {"name": "a CPU", "type": "cpu"}
    record = ledger.start().record(experiment="ranks", config=config, data_hash=None, device=device, results=results)
    shown = report.show_ranks(to_frame([record])).data
    for text in ("<b>0.75</b>", "<b>15</b>", "2 on a CPU", "1.2"):
        assert text in shown
    assert "No training run yet" in report.show_distributed([record]).data
