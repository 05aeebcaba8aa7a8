"""The rules about the family, on cells whose answers are known."""

import pandas as pd
import pytest
from pursuit_cells import COHERENCE, DP_RES, ERRORS, ROBUST, SHARES, TOP1, Changes, cells, numbers

from sdnet.experiments.claims import pursuits
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Verdict
from sdnet.experiments.claims.pursuits import layered, mixed_scale, pursuit
from sdnet.experiments.claims.rules import RULES
from sdnet.experiments.deep_pursuit import study
from sdnet.experiments.deep_pursuit.measure import EPSILONS
from sdnet.experiments.mixed_scale import study as mixed_study
from sdnet.results.cells import to_frame

CLAIMS = [claim for claim in RULES if claim[0] in "DM"]


def judged(frame: pd.DataFrame) -> dict[str, Verdict]:
    return {claim: RULES[claim](frame)[0] for claim in CLAIMS}


def test_all_hold_where_every_ordering_is_that_of_the_documents() -> None:
    found = judged(cells())
    assert {claim: verdict.verdict for claim, verdict in found.items()} == dict.fromkeys(CLAIMS, HOLDS)
    assert (found["D2"].scale, found["D2"].seeds) == ("cifar10, width 16, 15 epochs, 10,000 images", 4)
    assert {one.paper for one in found.values()} == {"the document prints no number for this"}
    assert found["D2"].controls == (
        "skip connections without iterations: -9.00 (do not match); PGD T = 8: +10.00 (match); "
        "transferred FGSM T = 8: +10.00 (match)"
    )
    assert found["D4"].controls == "PGD L-BP − L-TP: +10.00 (match); PGD DP − L-TP: +11.00 (match)"
    assert found["M2"].controls == "ResNet: +0.00 (match)"
    assert "equivalent within the margin" in found["M1"].numbers
    assert "thousandths" in found["D6"].numbers


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("D1", {"robust": numbers((pursuit("ltp_res", depth=3), 0.15))}),
        ("D1", {"robust": numbers((pursuit("ltp", depth=3), 0.35))}),
        ("D2", {"robust": numbers((pursuit("dp_res", 4), 0.25))}),
        ("D3", {"robust": numbers((pursuit("dp", 2), 0.4))}),
        ("D3", {"robust": numbers((pursuit("dp", 8), 0.2))}),
        ("D4", {"robust": numbers((pursuit("dp", 8), 0.1))}),
        ("D5", {"errors": numbers((pursuit("dp", 8), 0.6))}),
        ("D5", {"errors": numbers((pursuit("dp_res", 8), 0.45))}),
        ("D6", {"coherence": numbers((pursuit("dp_res", 2), 0.1))}),
        ("D6", {"frame_potential": numbers((pursuit("lbp", 8), 0.1))}),
        ("M1", {"top1": numbers((layered("res_csc"), 0.75))}),
        ("M1", {"top1": numbers((layered("res_csc_b"), 0.75))}),
        ("M2", {"top1": numbers((layered("res_csc", 1, 4), 0.6))}),
        ("M3", {"top1": numbers((mixed_scale(1), 0.9))}),
        ("M4", {"top1": numbers((pursuits.MSDNET, 0.9))}),
        ("M5", {"shares": numbers((mixed_scale(4), 0.6))}),
    ],
)
def test_each_is_refuted_where_one_ordering_is_reversed(claim: str, changes: Changes) -> None:
    found = judged(cells(changes=changes))
    assert found[claim].verdict == FAILS


def test_no_difference_is_undecided_and_two_seeds_are_no_verdict() -> None:
    robust, top1 = numbers(*((who, 0.3) for who in DP_RES)), numbers((mixed_scale(4), 0.7))
    level = judged(cells(changes={"robust": robust, "top1": top1}))
    assert level["D2"].verdict == level["M3"].verdict == level["M4"].verdict == UNDECIDED
    two = judged(cells(seeds=2))
    assert {verdict.verdict for verdict in two.values()} == {UNDECIDED}
    assert two["D1"].needed == "2 of the 3 seeds that a verdict needs"


def test_images_count_where_accuracies_under_attack_are_compared() -> None:
    """A gain of two points over 500 images is no gain over 10,000."""
    small = {"robust": numbers((pursuit("lbp", 8), 0.22), (pursuit("dp", 8), 0.22))}
    rows = cells(changes=small)
    assert judged(rows)["D4"].verdict == HOLDS
    few = rows.assign(n=rows["n"].where(rows["metric"] != "robust_top1", 500))
    assert judged(few)["D4"].verdict == UNDECIDED


def test_a_seed_without_a_part_is_no_seed() -> None:
    rows = cells(seeds=3)
    radius = (rows["metric"] == "robust_top1") & (rows["epsilon"] == EPSILONS[-1]) & (rows["arch"] == "dp_res")
    assert judged(rows[~(radius & (rows["seed"] == 2))])["D2"].seeds == 2
    for arch, claims in (("dp_res", ("D2", "D5", "D6")), ("lbp", ("D3", "D4")), ("res_csc_b", ("M1",))):
        found = judged(rows[rows["arch"] != arch])
        assert {found[claim].verdict for claim in claims} == {NOT_RUN}


def test_other_networks_answer_for_nothing() -> None:
    """A learned or chosen λ makes another network of the same architecture, depth and iterations."""
    rows = cells()
    other = rows.assign(variant=rows["variant"] + ", lam=0.5")
    assert {one.verdict for one in judged(other).values()} == {NOT_RUN}


def test_the_largest_scale_with_enough_seeds_counts_and_of_two_runs_the_later() -> None:
    changes = {"robust": numbers((pursuit("dp_res", 2), 0.0))}
    wide = cells(seeds=2, changes=changes, width=64)
    assert "width 16" in judged(pd.concat([cells(), wide]))["D2"].scale
    assert judged(pd.concat([cells(), cells(changes=changes, width=64)]))["D2"].verdict == FAILS
    assert judged(pd.concat([cells(), cells(changes=changes, started="2027")]))["D2"].verdict == FAILS


def test_an_empty_ledger_has_no_verdicts() -> None:
    assert {verdict.verdict for verdict in judged(to_frame([])).values()} == {NOT_RUN}


def test_every_network_of_a_rule_is_one_of_the_grids() -> None:
    asked = {name for group in (ROBUST, TOP1, ERRORS, COHERENCE, SHARES) for name in group}
    grids = [*study.GRID.values(), *mixed_study.GRID.values()]
    assert asked <= {(variant.arch, variant.name) for group in grids for variant in group}
