"""The ledger: records are kept as they were written, and become cells that know their scale."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from sdnet.names import config_hash, sha256_of
from sdnet.results import ledger
from sdnet.results.cells import CELL_COLUMNS, name_of, to_frame
from sdnet.results.commands import commands
from sdnet.results.ledger import Record
from sdnet.results.select import select
from sdnet.robust.mean_sparse import MeanSparse
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


def test_a_row_that_spells_its_knob_with_a_space_is_found_under_its_name(tmp_path: Path) -> None:
    config = {**example().config, "knob": "mean sparse", "choices": {"knob": "mean sparse", "preset": "smoke"}}
    path = ledger.write(example(config=config), tmp_path)
    before = path.read_bytes()
    (row,) = ledger.read(tmp_path)
    cells = select(to_frame([row]), knob=MeanSparse.name)
    assert cells["run"].tolist() == [path.stem]
    assert "--knob mean_sparse" in commands(replace(row, experiment="attack"))[-1]
    assert path.read_bytes() == before
    assert ledger.read(tmp_path) == [row]


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("results", [{"metric": "top1", "split": "test", "value": 0.9, "n": 10}]),
        *[("device", {"type": "cuda"}), ("code", {"commit": "f" * 40, "dirty": False}), ("data_hash", "11")],
        *[("seconds", 1e6), ("history", [{"epoch": 1}]), ("sha256", "0" * 64), ("sha256", None)],
    ],
)
def test_whatever_is_edited_in_a_row_is_noticed(tmp_path: Path, key: str, value: object) -> None:
    path = ledger.write(example(), tmp_path)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(fields.items()))))
    assert ledger.read(tmp_path) == [Record(**{k: v for k, v in fields.items() if k not in ("config_hash", "sha256")})]
    path.write_text(json.dumps({**fields, key: value}))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} was edited"):
        ledger.read(tmp_path)


def test_a_row_without_its_checksum_is_refused(tmp_path: Path) -> None:
    """Or else a number could be edited in silence, the checksum deleted with it."""
    path = ledger.write(example(), tmp_path)
    fields = json.loads(path.read_text())
    del fields["sha256"]
    path.write_text(json.dumps(fields))
    with pytest.raises(
        ValueError,
        match=rf"{re.escape(str(path))} is not a ledger record \(it has no checksum; restore the file as written\)",
    ):
        ledger.read(tmp_path)


def test_a_checksum_stands_numbers_and_keys_that_json_changes(tmp_path: Path) -> None:
    results = [{"metric": "loss", "value": value, "n": 1} for value in (0.1 + 0.2, 1e-310, float("inf"), 3)]
    config = {"sizes": (1, 2), "name": "λ"}
    ledger.write(example(config=config, results=results, device={10: "a", 9: "b"}), tmp_path)
    (row,) = ledger.read(tmp_path)
    assert row.results == results
    assert row.config == {"sizes": [1, 2], "name": "λ"}
    assert row.device == {"10": "a", "9": "b"}


CELL = {"metric": "top1", "value": 0.5, "n": 10}


@pytest.mark.parametrize(
    "change",
    [
        *[{"results": value} for value in ({}, None, "top1", [1], [{**CELL, "metric": 1}], [{**CELL, "value": "0.5"}])],
        *[{"results": [{k: v for k, v in CELL.items() if k != missing}]} for missing in CELL],
        *[{"config": []}, {"device": "cpu"}, {"started": None}, {"history": {}}, {"config_hash": 3}, {"more": 1}],
        *[{"data_hash": 3}, {"code": None}, {"versions": []}, {"seconds": "1"}, {"experiment": None}],
    ],
    ids=str,
)
def test_a_row_of_another_shape_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    path = ledger.write(example(), tmp_path)
    fields = json.loads(path.read_text())
    del fields["sha256"]
    changed = {**fields, **change}
    path.write_text(json.dumps({**changed, "sha256": sha256_of(changed)}))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} (is not a ledger record|was edited: its config)"):
        ledger.read(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b"", b"\xff\xfe", b"{}"])
def test_a_file_that_is_no_row_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "row.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"row.json is not a ledger record"):
        ledger.read(tmp_path)


def test_a_pipe_or_folder_among_the_rows_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "row.json")  # reading it would wait for ever
    with pytest.raises(ValueError, match=r"row.json is not a ledger record \(not a file\)"):
        ledger.read(tmp_path)
    (tmp_path / "row.json").unlink()
    (tmp_path / "row.json").mkdir()
    with pytest.raises(ValueError, match=r"row.json is not a ledger record \(not a file\)"):
        ledger.read(tmp_path)
