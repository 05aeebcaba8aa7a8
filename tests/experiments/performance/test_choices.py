"""The choices that make training fast: each case is what it says, and the report shows their ratios."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from sdnet.cli import main
from sdnet.experiments.performance import choices, targets
from sdnet.results import ledger
from sdnet.results.cells import CELL_COLUMNS, to_frame

CPU = torch.device("cpu")
SMALL = {"width": 4, "batch": 2, "precision": "fp32", "device": CPU}


def test_every_choice_is_timed_against_the_step_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path))
    small = ["--width", "4", "--batch", "2", "--repeats", "2", "--device", "cpu", "--eager"]
    result = CliRunner().invoke(main, ["bench", "choices", *small])
    assert result.exit_code == 0, result.output
    cells = to_frame(ledger.read(tmp_path))
    speeds = cells[cells["metric"] == "choice_speed_ratio"].set_index("case")["value"]
    assert list(speeds.index) == [name for name in choices.CHOICES if name != "compiled"]
    assert speeds["as it is"] == 1
    memory = cells[cells["metric"] == "choice_memory"].set_index("case")["value"]
    assert 0 < memory["first code recomputed"] <= memory["as it is"]


def test_all_start_from_the_same_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the choices change is the way, not the step: with equal weights they give the same scores."""
    monkeypatch.setattr(choices.speed, "training", lambda model, images, *_: partial(model.eval(), images))
    found = choices.cases(compiled=False, **SMALL)
    state = found["as it is"].func.state_dict()
    state = {name: value for name, value in state.items() if not name.endswith("lam")}
    expected = found["as it is"]()
    for name in ("channels first", "threshold apart", "first code recomputed", "reconstruction"):
        found[name].func.load_state_dict(state, strict=False)
        torch.testing.assert_close(found[name](), expected)


def test_the_report_shows_ratios_per_width() -> None:
    common = {"experiment": "benchmark", "device": "a CPU", "batch": 128, "precision": "bf16", "low": 0.4, "high": 0.6}
    rows = [
        {**common, "started": started, "width": width, "metric": metric, "case": case, "value": value}
        for started, width in (("2026", 64), ("2027", 16))
        for metric, case, value in (
            ("choice_speed_ratio", "as it is", 1.0),
            ("choice_speed_ratio", "float32", 0.5),
            ("choice_memory", "as it is", 2.0),
            ("choice_memory", "float32", 3.0),
        )
    ]
    text = targets.show_choices(pd.DataFrame(rows).reindex(columns=list(CELL_COLUMNS))).data
    assert "speed, width 64, batches of 128, bf16, a CPU" in text
    assert "speed, width 16, batches of 128, bf16, a CPU" in text
    assert "<b>0.50</b>" in text
    assert "1.50" in text


def test_without_a_run_nothing_is_claimed() -> None:
    assert "float32" in targets.show_choices(to_frame([])).data
