"""The verdicts on what the paper claims under noise, from cells whose answers are known, and on an empty ledger."""

import pytest
from robustness_cells import frame, policies_cells, sweep_cells

from sdnet.experiments.claims import verdicts
from sdnet.experiments.corruptions.robustness import ONE_STEP
from sdnet.results.cells import to_frame


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"C5": "supported", "C7": "supported", "C8": "supported", "C12": "refuted"}),
        ({"gain": 0.01}, {"C7": "undecided"}),
        ({"gain": -0.1}, {"C7": "refuted"}),
        ({"drop": 0.0005}, {"C12": "supported"}),
    ],
)
def test_verdicts_follow_the_rules(changes: dict[str, float], expected: dict[str, str]) -> None:
    found = verdicts.judge(frame(sweep_cells(), policies_cells(**changes)))
    assert {claim: found[claim].verdict for claim in expected} == expected
    assert found["C4"].verdict == found["C9"].verdict == "not run"


def test_c5_is_refuted_where_the_best_strength_does_not_grow_and_names_its_controls() -> None:
    flat = [{**row, "value": 1 - row["strength"]} for row in sweep_cells()]
    assert verdicts.judge(frame(flat))["C5"].verdict == "refuted"
    found = verdicts.judge(frame(sweep_cells(), sweep_cells(variant=ONE_STEP)))["C5"]
    assert found.controls == "one step: ρ 0.93 to 0.93 (match)"
    shuffled = [{**row, "value": 1 - row["strength"]} for row in sweep_cells(variant=ONE_STEP)]
    assert "(do not match)" in verdicts.judge(frame(sweep_cells(), shuffled))["C5"].controls


def test_c6_asks_the_seeds() -> None:
    resnet = sweep_cells(arch="resnet18", knob="stem threshold")
    worse = [{**row, "value": row["value"] - 0.2, "strength": 0.0 if row["strength"] == 0.1 else 9} for row in resnet]
    found = verdicts.judge(frame(sweep_cells(), worse))["C6"]
    assert found.verdict == "supported"
    assert "2 seeds" in found.numbers
    one = verdicts.judge(frame(sweep_cells(seeds=(0,)), worse))["C6"]
    assert one.verdict == "undecided"


def test_an_empty_ledger_has_no_verdicts() -> None:
    found = verdicts.judge(to_frame([]))
    assert list(found) == [f"C{number}" for number in range(1, 14)]
    assert {verdict.verdict for verdict in found.values()} == {"not run"}
    assert "not run" in verdicts.show_verdicts(found).data
