"""What the suite counts is what the book's table shows."""

from pathlib import Path

import pytest
from faults import OUTCOMES, SENTENCE, SILENT, SURVIVED, TRACEBACK, Tally

from sdnet.experiments.distributed import faults


def test_what_is_counted_is_shown(tmp_path: Path) -> None:
    tally = Tally()
    for outcome in (SURVIVED, SURVIVED, SENTENCE):
        tally.add("kills of train", outcome, "")
    tally.add("full disks", SENTENCE, "")
    tally.check()
    tally.write(tmp_path / "faults.csv")
    shown = faults.show_faults(tmp_path / "faults.csv")
    assert shown.values is not None
    assert shown.values.values.tolist() == [
        ["kills of train", "3", "2", "1", "0", "0"],
        ["full disks", "1", "0", "1", "0", "0"],
        ["all", "4", "2", "2", "0", "0"],
    ]
    assert "make faults" in shown.data
    assert faults.OUTCOMES == OUTCOMES


def test_every_bad_end_fails_and_is_counted() -> None:
    tally = Tally()

    def fails(error: Exception) -> object:
        raise error

    tally.tried("a", "right", lambda: 1, ["x"], lambda result: result == 1)
    tally.tried("a", "named", lambda: fails(ValueError("x must be 1.")), ["x"])
    for what, job in {
        "wrong": lambda: 2,
        "not named": lambda: fails(ValueError("no.")),
        "two lines": lambda: fails(ValueError("x must be 1.\nTraceback")),
        "another error": lambda: fails(RuntimeError("x must be 1.")),
    }.items():
        tally.tried("a", what, job, ["x"], lambda result: result == 1)
    assert dict(tally.counts["a"]) == {SURVIVED: 1, SENTENCE: 1, SILENT: 1, TRACEBACK: 3}
    with pytest.raises(AssertionError, match="4 faults were not met"):
        tally.check()


def test_a_missing_or_other_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*faults.csv; make it with 'make faults'"):
        faults.show_faults(tmp_path / "faults.csv")
    (tmp_path / "faults.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"faults.csv does not hold the outcomes"):
        faults.show_faults(tmp_path / "faults.csv")
