"""The table of verdicts, what stands beside them, and the rules on speed, which have no seeds."""

from pathlib import Path

import pandas as pd
import pytest
from claim_cells import Cells, cells_for, frame

from sdnet.experiments.claims import rule, speed, verdicts
from sdnet.experiments.claims.estimates import Estimate, Requirement
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED
from sdnet.experiments.claims.rules import RULES
from sdnet.results import ledger
from sdnet.results.cells import to_frame


def test_an_empty_ledger_has_no_verdicts_but_says_what_the_papers_numbers_give() -> None:
    found = verdicts.judge(to_frame([]))
    assert list(found) == list(verdicts.claims()["id"]) == list(RULES)
    assert {one.verdict for (one,) in found.values()} == {NOT_RUN}
    shown = verdicts.show_verdicts(found).data
    assert shown.count(f">{NOT_RUN}</b>") == len(RULES)
    said = {claim: one.paper for claim, (one,) in found.items()}
    # Table 1: 95.20 against 95.54 and 78.31 against 77.82; 1500/1600, 1.2/1.0; 1500/39.
    assert said["C1"] == "does not hold (-0.34 points)"
    assert said["C2"] == "holds (+0.49 points)"
    assert said["C3"] == "does not hold (0.94 of the speed, 1.20 of the memory)"
    assert said["C4"] == "does not hold (38 times on CIFAR-10)"
    assert said["C5"] == "holds (gaussian +1.00)"
    # Table 3: the means of 50.58, 63.29, 67.11, 54.13 and of 44.43, 57.88, 62.16, 51.72.
    assert said["C6"] == "holds (+4.73 points)"
    assert said["C7"] == "holds (gaussian +14.34, impulse +3.35, shot +7.84, speckle +4.31 points)"
    assert said["C9"].startswith("undecided (L∞, ε = 8/255: gain +35.07, L2, ε = 0.5: gain +32.85 points; no attack")
    assert said["C10"] == "holds (gaussian +1.75, impulse +3.68, shot +2.28 points)"
    assert said["C12a"] == "the paper prints no number for this"


def test_a_claim_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="claim 'C11' does not exist"):
        verdicts.show_verdicts(verdicts.judge(to_frame([])), only=("C11",))


def test_the_table_says_scale_seeds_rule_effect_and_other_scales() -> None:
    cells = frame(cells_for("C7", 6), cells_for("C7", -6, 3, width=8))
    shown = verdicts.show_verdicts(verdicts.judge(cells), only=("C7",)).data
    assert "cifar10, width 16, 15 epochs, 10,000 images, 4 seeds<" in shown
    assert "cifar10, width 8, 15 epochs, 10,000 images, 3 seeds: <b>does not hold</b>" in shown
    assert "the paper prints: gaussian +14.34 outside the interval" in shown
    assert "<summary>rule</summary>holds: gain above 0 under every noise" in shown
    assert "C6" not in shown


def test_an_undecided_claim_says_what_its_seeds_can_tell_and_how_many_would_decide() -> None:
    (found,) = RULES["C6"](frame(cells_for("C6", 0.5, 3, 1)))
    assert found.verdict == UNDECIDED
    assert "with 3 seeds the rule sees" in found.needed
    assert "seeds would decide" in found.needed


def test_what_lies_on_its_bound_is_decided_by_no_number_of_seeds() -> None:
    """As a robust accuracy of zero gains exactly nothing in every seed."""
    needed = rule._needed([Requirement("L∞", Estimate(0.0, 0.0, 3)), Requirement("L2", Estimate(0.2, 0.04, 3))], 0.025)
    assert needed == "L∞: it lies on its bound of +0; if that is the truth, no number of seeds would decide"


def test_being_better_is_being_as_accurate_and_equivalence_is_named() -> None:
    better, equal = (RULES["C1"](frame(cells_for("C1", effect, 8)))[0] for effect in (3, 0.3))
    assert better.verdict == equal.verdict == HOLDS
    assert "equivalent" not in better.numbers
    assert "equivalent within the margin" in equal.numbers
    assert "the paper prints: -0.34 outside the interval" in better.excludes


def test_conditions_below_their_bound_are_named() -> None:
    rows = cells_for("C7", 6)
    shot = [{**row, "value": -0.05 + 1e-4 * int(str(row["seed"]))} if row["corruption"] == "shot_noise" else row
            for row in rows]  # fmt: skip
    (found,) = RULES["C7"](frame(shot))
    assert found.verdict == FAILS
    assert found.numbers.endswith("on the wrong side of the bound: shot")


def test_controls_match_do_not_match_or_have_too_few_seeds() -> None:
    ours = cells_for("C7", 6)

    def said(effect: float, seeds: int) -> str:
        control = cells_for("C7", effect, seeds, 1, variant="iterations=1")
        return RULES["C7"](frame(ours, control))[0].controls

    assert said(8, 4).endswith("(match)")
    assert said(2, 4).endswith("(do not match)")
    assert said(8, 2).endswith("(no comparison with 2 seeds)")
    one_noise = [row for row in cells_for("C7", 8, variant="iterations=1") if row["corruption"] == "shot_noise"]
    assert RULES["C7"](frame(ours, one_noise))[0].controls == ""


def timed(started: str = "2026", **changes: object) -> Cells:
    """A benchmark: SDNet at 0.97 of ResNet's speed and 1.05 of its memory, a hundred times as fast as SCN."""
    base = {"experiment": "benchmark", "device": "some CPU", "device_type": "cpu", "started": started, "width": 64,
            "stem": "cifar", "batch": 128, "precision": "fp32", "compiled": False}  # fmt: skip
    rates = {"resnet18": 1030.0, "sdnet18": 1000.0, "scn": 10.0}
    rows = [
        {**base, "metric": f"{mode}_images_per_second", "arch": arch, "value": rate, "low": rate, "high": rate}
        for mode in ("train", "infer") for arch, rate in rates.items()
    ]  # fmt: skip
    speeds = {"metric": "train_speed_ratio", "arch": "sdnet18", "baseline": "resnet18"}
    rows.append({**base, **speeds, "value": 0.97, "low": 0.95, "high": 0.99})
    rows += [{**base, "metric": "train_memory", "arch": a, "value": v} for a, v in (("sdnet18", 1.05), ("resnet18", 1))]
    return [{**row, **changes} for row in rows]


def changed(rows: Cells, metric: str, arch: str = "sdnet18", **changes: object) -> Cells:
    return [{**row, **changes} if (row["metric"], row["arch"]) == (metric, arch) else row for row in rows]


def test_c3_takes_speed_and_memory_together_for_every_stem_and_width() -> None:
    def judged(*parts: Cells) -> list[str]:
        return [one.verdict for one in speed.as_fast_and_small(frame(*parts))]

    assert judged(timed()) == [HOLDS]
    assert judged(changed(timed(), "train_speed_ratio", low=0.8, high=0.85)) == [FAILS]
    assert judged(changed(timed(), "train_speed_ratio", low=0.89)) == [UNDECIDED]
    assert judged(changed(timed(), "train_memory", value=1.2)) == [FAILS]
    assert judged([row for row in timed() if row["metric"] != "train_memory"]) == [NOT_RUN]
    heavy = changed(timed(stem="imagenet"), "train_memory", value=1.3)
    found = speed.as_fast_and_small(frame(timed(), heavy, timed(width=16), timed(batch=16, started="2027")))
    assert [(one.scale[:24], one.verdict) for one in found] == [
        ("cifar stem, width 64, ba", HOLDS), ("imagenet stem, width 64,", FAILS), ("cifar stem, width 16, ba", HOLDS),
    ]  # fmt: skip
    assert "batches of 128" in found[0].scale
    assert found[1].paper == "does not hold (0.86 of the speed, 1.56 of the memory)"
    faster = changed(timed(device_type="cuda", device="a GPU"), "train_speed_ratio", high=0.8, low=0.7)
    assert speed.as_fast_and_small(frame(timed(started="2028"), faster))[0].verdict == FAILS


def test_every_stem_and_width_of_c3_has_a_line_of_its_own() -> None:
    cells = frame(timed(), changed(timed("2025", stem="imagenet"), "train_memory", value=1.3))
    shown = verdicts.show_verdicts(verdicts.judge(cells), only=("C3",)).data.partition("<a download")[0]
    assert shown.count("SDNet trains about as fast") == 1
    assert shown.count(">does not hold</b>") == shown.count(">holds</b>") == 1
    assert "1.30 of its memory" in shown


def test_c4_is_a_hundred_times_within_one_run() -> None:
    (found,) = speed.faster_than_scn(frame(timed()))
    assert found.verdict == HOLDS
    assert found.numbers.startswith("100.0 [100.0, 100.0] times as fast in training")
    assert found.scale == "width 64, batches of 128, fp32, on some CPU"
    rate = "train_images_per_second"
    assert speed.faster_than_scn(frame(changed(timed(), rate, high=990, low=980)))[0].verdict == FAILS
    assert speed.faster_than_scn(frame(changed(timed(), rate, low=990)))[0].verdict == UNDECIDED
    alone = [row for row in timed() if row["arch"] != "scn"]
    assert speed.faster_than_scn(frame(alone))[0].verdict == NOT_RUN


def test_every_claim_and_change_is_written_down() -> None:
    assert verdicts.claims().drop(columns="match").notna().all(axis=None)
    changes = pd.read_csv(ledger.repository_data() / "paper" / "rule_changes.csv")
    assert changes.notna().all(axis=None)
    assert changes["date"].is_monotonic_increasing
    named = {claim for cell in changes["claims"] for claim in cell.replace(",", "").split()}
    assert set(RULES) <= named
    assert "before" in verdicts.show_changes().data


def test_the_readme_says_what_the_verdicts_are() -> None:
    said = verdicts.summary(verdicts.judge(to_frame(ledger.read())))
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    assert said in readme, f"README.md must say: {said}"
