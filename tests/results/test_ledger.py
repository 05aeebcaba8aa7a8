"""The ledger: records are kept as they were written, and become cells that know their scale."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from sdnet.names import config_hash
from sdnet.results import ledger
from sdnet.results.cells import CELL_COLUMNS, name_of, to_frame
from sdnet.training.recipes import PRESETS


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
    before = path.read_bytes()
    others = [ledger.write(record, tmp_path) for _ in range(10)]
    assert [other.name for other in others] == [f"{path.stem}-{number}.json" for number in range(2, 12)]
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, *(other.name for other in others)])


def test_rows_of_one_second_keep_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    record = example()
    rows = [replace(record, seconds=float(number)) for number in range(12)]
    for row in rows:
        ledger.write(row, tmp_path)
    assert ledger.read(tmp_path) == rows


def test_no_row_is_lost_when_many_write_in_the_same_second(tmp_path: Path) -> None:
    rows = [replace(example(), started="2026-01-01T00:00:00+00:00", seconds=float(number)) for number in range(32)]
    with ThreadPoolExecutor(8) as threads:  # of one process, whose id cannot tell their files apart
        paths = list(threads.map(lambda row: ledger.write(row, tmp_path / "threads"), rows))
    assert len(set(paths)) == 32
    assert {row.seconds for row in ledger.read(tmp_path / "threads")} == set(range(32))
    with get_context("fork").Pool(8) as processes:
        processes.starmap(ledger.write, [(row, tmp_path / "processes") for row in rows[:8]], chunksize=1)
    assert {row.seconds for row in ledger.read(tmp_path / "processes")} == set(range(8))
    assert not list(tmp_path.rglob("*.part"))


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
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_cells_keep_every_result() -> None:
    results = [{"metric": "top1", "split": "test", "value": value, "n": 10} for value in (0.1, 0.2)]
    frame = to_frame([example(results=results), example()])
    assert frame["value"].tolist() == [0.1, 0.2, 0.5]
    assert set(frame["arch"]) == {"sdnet18"}
    assert list(to_frame([]).columns) == list(CELL_COLUMNS)


def test_the_committed_ledger_is_readable_and_clean() -> None:
    for record in ledger.read():
        assert record.code["commit"]
        assert record.code["dirty"] is False, record.file_name
        assert record.results


def test_paper_scale_means_the_papers_numbers_unchanged() -> None:
    from sdnet.training.declaration import training

    def scale(**changes: object) -> bool:
        config = training("sdnet18", "cifar10", "paper", **changes).config
        record = ledger.start().record(
            experiment="train", config=config, data_hash="", device={}, results=[{"metric": "top1"}]
        )
        return bool(to_frame([record])["paper_scale"].iloc[0])

    assert scale()
    assert scale(seed=3)
    assert not scale(epochs=219)
    assert not scale(lam=0.2)
    assert name_of(training("sdnet18", "cifar10", "paper").config) == "sdnet18"
    config = training("sdnet18", "cifar10", "paper", lam=0.2, iterations=1).config
    assert name_of(config) == "sdnet18 (iterations=1, lam=0.2)"
    assert not scale(hold_out=0.1)
    config = training("sdnet18", "cifar10", "paper", hold_out=0.1).config
    assert name_of({**config, "ranks": 2}) == "sdnet18 (hold_out=0.1, ranks=2)"
    assert set(PRESETS) == {"paper", "paper_imagenet", "quick", "smoke"}
