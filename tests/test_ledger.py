"""The ledger: records are kept as they were written, and become cells."""

import json
import os
from pathlib import Path

import pytest

from sdnet.experiments import ledger


def example(**changes: object) -> ledger.Record:
    fields = {
        "experiment": "train",
        "config": {"arch": "sdnet18", "dataset": "digits", "preset": "smoke", "seed": 0},
        "data_hash": "00",
        "device": {"type": "cpu"},
        "results": [{"metric": "top1", "split": "test", "value": 0.5, "n": 10}],
    }
    return ledger.start().record(**{**fields, **changes})


def test_records_round_trip_and_are_never_overwritten(tmp_path: Path) -> None:
    record = example()
    path = ledger.write(record, tmp_path)
    assert path.name.startswith("train-sdnet18-digits-smoke-")
    assert ledger.read(tmp_path) == [record]
    with pytest.raises(ValueError, match="records are never overwritten"):
        ledger.write(record, tmp_path)
    assert os.listdir(tmp_path) == [path.name]


def test_an_edited_or_broken_record_is_named(tmp_path: Path) -> None:
    path = ledger.write(example(), tmp_path)
    fields = json.loads(path.read_text())
    fields["config"]["seed"] = 1
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="was edited"):
        ledger.read(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not a ledger record"):
        ledger.read(tmp_path)


def test_config_hash_ignores_the_order_of_keys() -> None:
    assert ledger.config_hash({"a": 1, "b": 2}) == ledger.config_hash({"b": 2, "a": 1})
    assert ledger.config_hash({"a": 1}) != ledger.config_hash({"a": 2})


def test_cells_keep_every_result() -> None:
    results = [{"metric": "top1", "split": "test", "value": value, "n": 10} for value in (0.1, 0.2)]
    frame = ledger.cells([example(results=results), example()])
    assert frame["value"].tolist() == [0.1, 0.2, 0.5]
    assert set(frame["arch"]) == {"sdnet18"}
    assert list(ledger.cells([]).columns) == list(ledger.CELL_COLUMNS)


def test_the_committed_ledger_is_readable_and_clean() -> None:
    for record in ledger.read():
        assert record.code["commit"]
        assert record.code["dirty"] is False, record.file_name
        assert record.results
