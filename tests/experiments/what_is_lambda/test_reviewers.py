"""The reviewer's page: each demand on cells that meet it and on cells that do not, and that nothing is met unasked."""

from itertools import product

import pandas as pd
import pytest
from claim_cells import BASE, Cells, frame
from IPython.display import HTML

from sdnet.data.common_corruptions import COMMON
from sdnet.experiments.corruptions.robustness import NOISES
from sdnet.experiments.what_is_lambda import reviewers
from sdnet.report.shown import Shown
from sdnet.results.cells import to_frame

EPSILON = {"linf": 8 / 255, "l2": 0.5}
PLACES = list(product(range(3), EPSILON, (0.1, 0.5)))


def attack(value: float, attack: str = "pgd", protocol: str = "adaptive", **more: object) -> Cells:
    """What an attack leaves at both λ, under both norms, on three seeds."""
    base = {**BASE, "experiment": "attack", "metric": "robust_top1", "attack": attack, "protocol": protocol}
    base |= {"knob": "lam", "units": "pixels", "steps": 20, "restarts": 1, "n": 200, "images": None}
    return [
        {**base, "seed": seed, "norm": norm, "epsilon": EPSILON[norm], "strength": lam, "crafted_at": lam,
         "value": value, **more}
        for seed, norm, lam in PLACES
    ]  # fmt: skip


def check(metric: str, value: float, **more: object) -> Cells:
    return [{**row, "metric": metric, "protocol": "sanity"} for row in attack(value, **more)]  # type: ignore[arg-type]


def elsewhere(experiment: str, metric: str, value: float, **more: object) -> Cells:
    base = {**BASE, "experiment": experiment, "metric": metric, "knob": "lam", "value": value, **more}
    return [{**base, "seed": seed} for seed in range(3)]


def radii(*values: float) -> Cells:
    """What PGD leaves at half Table 4's radius, at that, and at twice."""
    rows: Cells = []
    for factor, value in zip((0.5, 1, 2), values, strict=True):
        rows += [{**row, "epsilon": factor * EPSILON[str(row["norm"])]} for row in attack(value)]
    return rows


def swept(names: tuple[str, ...]) -> Cells:
    return [row for name in names for row in elsewhere("sweep", "top1", 0.5, corruption=name, strength=0.1)]


# Demand → cells that meet it, cells that do not.
CASES: dict[str, tuple[Cells, Cells]] = {
    "threat": (attack(0.1), attack(0.1, units=None)),
    "clean": (attack(0.1) + attack(0.8, metric="top1"), attack(0.1) + attack(0.8, metric="top1", strength=0.1)),
    "adaptive": (attack(0.1) + attack(0.4, protocol="oblivious"), attack(0.4) + attack(0.1, protocol="oblivious")),
    "whole": (
        attack(0.1, protocol="policy", crafted_at=None) + attack(0.4, protocol="policy", crafted_at=0.1),
        attack(0.4, protocol="policy", crafted_at=None) + attack(0.1, protocol="policy", crafted_at=0.1),
    ),
    "single": (attack(0.1) + attack(0.4, "fgsm"), attack(0.4) + attack(0.1, "fgsm")),
    "budget": (radii(0.3, 0.2, 0.1), radii(0.3, 0.1, 0.2)),
    "unbounded": (check("large_epsilon_top1", 0.0), check("large_epsilon_top1", 0.005)),
    "black_box": (
        check("white_box_top1", 0.1) + check("black_box_top1", 0.3),
        check("white_box_top1", 0.3) + check("black_box_top1", 0.1),
    ),
    "hard_label": (attack(0.1, "rays"), attack(0.1)),
    "transfer": (attack(0.1) + attack(0.4, protocol="transfer"), attack(0.4) + attack(0.1, protocol="transfer")),
    "smooth": (attack(0.1) + attack(0.1, "pgd_smoothed"), attack(0.1) + attack(0.05, "pgd_smoothed")),
    "steps": (
        check("steps_top1", 0.1, steps=20) + check("steps_top1", 0.1, steps=40),
        check("steps_top1", 0.1, steps=20) + check("steps_top1", 0.05, steps=40),
    ),
    "effort": (
        attack(0.1) + attack(0.095, steps=100, restarts=5), attack(0.1) + attack(0.05, steps=100, restarts=5),
    ),
    "undefended": (
        attack(0.1) + attack(0.0, arch="resnet18", strength=0.0),
        attack(0.1) + attack(0.2, arch="resnet18", strength=0.0),
    ),
    "broader": (attack(0.1) + swept((*NOISES, *COMMON)), attack(0.1) + swept(NOISES)),
    "provable": (
        attack(0.1) + elsewhere("certify", "certified_top1", 0.3, sigma=0.12, epsilon=0.1, strength=0.4),
        attack(0.1) + elsewhere("certify", "certified_top1", 0.3, sigma=0.12, epsilon=0.2, strength=0.4),
    ),
    "gradients": (check("zero_gradient", 0.0), check("zero_gradient", 0.02)),
    "flags": (attack(0, metric="autoattack_flags"), attack(1, metric="autoattack_flags")),
}  # fmt: skip


def met(demand: str, cells: Cells) -> bool:
    bounds = reviewers.demands().set_index("id").loc[demand]
    values = reviewers.TESTS[demand](
        reviewers.at_scale(frame([{**row, "metric": "other"} for row in attack(0)], cells))
    )
    return reviewers.is_met(values, bounds["least"], bounds["most"])


@pytest.mark.parametrize("demand", CASES)
def test_a_demand_is_met_by_its_number_and_not_without_it(demand: str) -> None:
    good, bad = CASES[demand]
    assert met(demand, good)
    assert not met(demand, bad)
    assert not met(demand, [row for row in good if row["seed"] != 2]), "two seeds are too few"


def test_every_demand_has_a_test_and_one_bound() -> None:
    demands = reviewers.demands()
    assert list(demands["id"]) == list(reviewers.TESTS)
    assert (demands[["least", "most"]].notna().sum(axis=1) == 1).all()
    assert set(reviewers.TESTS) - set(CASES) == {"release", "loop"}, "which are not about cells alone"


def test_released_networks_and_steps_are_those_of_this_repository() -> None:
    ours = reviewers.at_scale(frame(attack(0.1)))
    assert (reviewers.release(ours) == 100).all()
    assert (reviewers.loop(ours) == 2).all()
    others = reviewers.at_scale(frame(attack(0.1, width=17)))
    assert (reviewers.release(others) == 0).all()


def test_the_scale_with_most_seeds_counts_then_images_without_loss() -> None:
    copies, few = attack(0.1, dataset="cifar10-jpeg", width=64), [row for row in attack(0.1, width=64) if row["seed"]]
    found = reviewers.at_scale(frame(copies, few, attack(0.2)))
    assert set(found["width"]) == {16}
    assert set(found["dataset"]) == {"cifar10"}


def test_numbers_are_shown_and_what_was_not_run_is_said() -> None:
    shown = reviewers.show_demands(frame(attack(0.1)))
    assert isinstance(shown, Shown | HTML)
    text = str(shown.data)
    assert text.count(">not run<") > 5
    assert ">met<" in text
    empty = str(reviewers.show_demands(to_frame([])).data)
    assert ">met<" not in empty
    assert isinstance(reviewers.threat(frame(attack(0.1))), pd.Series)
