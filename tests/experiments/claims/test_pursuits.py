"""The rules about the family, on cells whose answers are known."""

from typing import Any

import pandas as pd
import pytest

from sdnet.experiments.claims import pursuits
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Verdict
from sdnet.results.cells import CELL_COLUMNS

SPREAD = (0.0, 0.001, -0.001, 0.0005)
ROBUST = {
    ("ltp", 1, 1): 0.20, ("ltp", 3, 1): 0.22, ("ltp_res", 1, 1): 0.21, ("ltp_res", 3, 1): 0.30,
    **{("lbp", 1, t): 0.3 for t in (2, 4, 8)}, ("dp", 1, 2): 0.2, ("dp", 1, 4): 0.28, ("dp", 1, 8): 0.3,
    **{("dp_res", 1, t): 0.4 for t in (2, 4, 8)},
}  # fmt: skip
TOP1 = {
    ("ml_csc", 4, 1): 0.7, ("res_csc", 4, 1): 0.8, ("res_csc_b", 4, 1): 0.8, ("res_csc", 1, 1): 0.8,
    ("res_csc_b", 1, 1): 0.8, ("msdnet", None, 1): 0.7, ("msd_csc", None, 1): 0.7, ("msd_csc", None, 4): 0.75,
}  # fmt: skip


def cells(seeds: int = 4, scale: int = 16, **changes: Any) -> pd.DataFrame:
    rows = []
    for seed in range(seeds):
        common = {"experiment": "pursuit", "dataset": "cifar10", "width": scale, "epochs": 15, "seed": seed}
        common |= {"started": "2026-12-01"}

        def add(who: tuple[Any, ...], metric: str, value: float, seed: int = seed, **more: Any) -> None:
            arch, blocks, iterations = who
            place = {"arch": arch, "blocks": blocks, "iterations": iterations, "metric": metric}
            rows.append({**common, **place, "value": value + SPREAD[seed], **more})  # noqa: B023

        for who, value in {**ROBUST, **changes.get("robust", {})}.items():
            for attack, protocol in (("fgsm", "white_box"), ("pgd", "white_box"), ("fgsm", "transfer")):
                for epsilon in (0.01, 0.02):
                    add(who, "robust_top1", value, attack=attack, protocol=protocol, epsilon=epsilon)
        for who, value in {**TOP1, **changes.get("top1", {})}.items():
            add(who, "top1", value)
        for arch, error in (("lbp", 0.5), ("dp", 0.4), ("dp_res", 0.3)):
            for t in range(1, 9):
                for layer in (1, 2):
                    add((arch, 1, 8), "reconstruction_error", error / t, layer=layer, iteration=t)
                    add((arch, 1, 8), "reconstruction_share", 0.5, layer=layer, iteration=t)
        for metric in ("frame_potential", "coherence"):
            for who, value in ((("lbp", 1, 8), 0.3), (("dp_res", 1, 2), 0.25), (("dp_res", 1, 8), 0.2)):
                add(who, metric, value)
        for who, value in ((("ml_csc", 1, 4), 0.5), (("msd_csc", None, 4), 0.1)):
            add(who, "reconstruction_share", value, layer=1, iteration=4)
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *frame.columns])))


def judged(frame: pd.DataFrame) -> dict[str, Verdict]:
    return {claim: rule(frame)[0] for claim, rule in pursuits.RULES.items()}


def test_all_hold_where_every_ordering_is_that_of_the_documents() -> None:
    found = judged(cells())
    assert {claim: verdict.verdict for claim, verdict in found.items()} == dict.fromkeys(pursuits.RULES, HOLDS)
    assert (found["D2"].scale, found["D2"].seeds) == ("cifar10, width 16, 15 epochs", 4)
    assert "skip connections without iterations: +1.00 points (do not match)" in found["D2"].controls
    assert "under PGD against lbp +10.00 points" in found["D2"].controls
    assert "ResNet − plain: +10.00 points (match)" in found["M2"].controls


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("D1", {"robust": {("ltp_res", 3, 1): 0.15}}),
        ("D1", {"robust": {("ltp", 3, 1): 0.35}}),
        ("D2", {"robust": {("dp_res", 1, 4): 0.25}}),
        ("D3", {"robust": {("dp", 1, 2): 0.4}}),
        ("D3", {"robust": {("dp", 1, 8): 0.2}}),
        ("D4", {"robust": {("dp", 1, 8): 0.1}}),
        ("M1", {"top1": {("res_csc", 1, 1): 0.75}}),
        ("M2", {"top1": {("res_csc", 4, 1): 0.6}}),
        ("M3", {"top1": {("msd_csc", None, 1): 0.9}}),
        ("M4", {"top1": {("msdnet", None, 1): 0.9}}),
    ],
)
def test_each_is_refuted_where_one_ordering_is_reversed(claim: str, changes: dict[str, Any]) -> None:
    assert judged(cells(**changes))[claim].verdict == FAILS


def test_no_difference_is_undecided_and_two_seeds_are_no_verdict() -> None:
    level = judged(cells(robust={("dp_res", 1, t): 0.3 for t in (2, 4, 8)}, top1={("msd_csc", None, 4): 0.7}))
    assert level["D2"].verdict == level["M3"].verdict == level["M4"].verdict == UNDECIDED
    two = judged(cells(seeds=2))
    assert {verdict.verdict for verdict in two.values()} == {UNDECIDED}
    assert two["D1"].needed == "2 of the 3 seeds that a verdict needs"


def test_the_largest_scale_with_enough_seeds_counts() -> None:
    wide = cells(seeds=2, scale=64, robust={("dp_res", 1, 2): 0.0})
    assert "width 16" in judged(pd.concat([cells(), wide]))["D2"].scale
    assert judged(pd.concat([cells(), cells(scale=64, robust={("dp_res", 1, 2): 0.0})]))["D2"].verdict == FAILS


def test_of_two_runs_of_a_seed_the_later_counts() -> None:
    later = cells(robust={("dp_res", 1, 2): 0.0}).assign(started="2026-12-02")
    assert judged(pd.concat([cells(), later]))["D2"].verdict == FAILS


def test_an_empty_ledger_has_no_verdicts() -> None:
    assert {verdict.verdict for verdict in judged(cells()[:0]).values()} == {NOT_RUN}
