"""The verdicts on what the paper claims under noise, from cells whose answers are known, and on an empty ledger."""

import numpy as np
import pandas as pd
import pytest
from robustness_cells import frame, policies_cells, sweep_cells
from scipy.stats import ttest_ind

from sdnet.experiments.claims import accuracy, verdicts
from sdnet.experiments.corruptions.robustness import ONE_STEP
from sdnet.results.cells import CELL_COLUMNS, to_frame


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
    numbers = {"C": 13, "D": 6, "M": 5}
    assert list(found) == [f"{letter}{number + 1}" for letter in numbers for number in range(numbers[letter])]
    assert {verdict.verdict for verdict in found.values()} == {"not run"}
    assert "not run" in verdicts.show_verdicts(found).data


def test_a_detectable_difference_is_detected_in_four_of_five_cases() -> None:
    noise = np.random.default_rng(0).normal(0, 0.002, (4000, 2, 5))
    shifts = [
        accuracy.Difference(pd.Series(0.9 + ours), pd.Series(0.9 + theirs), "").detectable
        for ours, theirs in noise[:500]
    ]
    ours, theirs = noise[:, 0] + np.mean(shifts) / 100, noise[:, 1]
    found = ttest_ind(ours, theirs, axis=1, equal_var=False, alternative="greater").pvalue < 0.05
    assert 0.75 < found.mean() < 0.88


def test_c1_is_judged_on_all_cells_whatever_scale_the_robustness_rows_have() -> None:
    rows = [
        {"experiment": "train", "metric": "top1", "split": "test", "variant": "", "dataset": "cifar10", "arch": arch,
         "preset": "quick", "width": 16, "epochs": 15, "precision": "bf16", "seed": seed, "value": 0.9 + 1e-4 * seed,
         "n": 10_000, "started": "2026"}
        for arch in ("sdnet18", "resnet18") for seed in range(3)
    ]  # fmt: skip
    everything = pd.DataFrame(rows).reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *rows[0]])))
    assert verdicts.judge(to_frame([]), everything)["C1"].verdict == "supported"
