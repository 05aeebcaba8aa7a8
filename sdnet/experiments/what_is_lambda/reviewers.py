"""Question 8, the reviewer's page: what public checklists demand of an evaluation, and what the ledger answers.

The demands stand in ``data/paper/demands.csv``: each with its source, the number that answers it, and the bounds within
which it is met. They are Carlini et al.'s (2019) "On evaluating adversarial robustness", Tramèr et al.'s (2020) "On
adaptive attacks to adversarial example defenses" and RobustBench's rules (Croce et al. 2021), as far as they ask for a
number. A demand is met if the number lies within its bounds for every seed that was measured, and at least three were;
otherwise it is open.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML

from sdnet import models
from sdnet.csc.lam import coding_layers
from sdnet.experiments.accuracy.scorecard import STAND_INS
from sdnet.experiments.attacks.adversarial import NORMS
from sdnet.experiments.claims.estimates import SEEDS
from sdnet.experiments.claims.knob import DEFAULT, DEPLOYED, RADIUS, RAISED, SIGMA
from sdnet.report.shown import Shown
from sdnet.report.tables import chip, coloured, note, page
from sdnet.results import cards, ledger
from sdnet.results.cells import identity
from sdnet.results.select import like_largest, select
from sdnet.robust.attacks import EPSILONS

HARD_LABEL = ("boundary", "hopskipjump", "rays")
"""Attacks that see the class only, by the names under which the ledger would know them."""
OURS = {"arch": "sdnet18", "variant": ""}
KEYS = ["seed", "norm", "strength", "n"]
"""What accuracies under two attacks must share to be subtracted."""
THREAT = ("norm", "epsilon", "units", "attack", "steps", "restarts", "protocol")
"""What a threat model consists of."""
SCALE = ["dataset", "preset", "width", "epochs"]


def demands() -> pd.DataFrame:
    """The demands with their sources and bounds (``data/paper/demands.csv``)."""
    return pd.read_csv(ledger.repository_data() / "paper" / "demands.csv")


def at_scale(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells at the scale where SDNet-18 on CIFAR-10 was attacked with most seeds; of several the widest, longest.

    Images with loss count after those without.
    """
    data = ("cifar10", *STAND_INS["cifar10"])
    attacked = select(cells, experiment="attack", dataset=data, **OURS)
    sizes = attacked.groupby(SCALE)["seed"].nunique().rename("seeds").reset_index()
    sizes["place"] = -sizes["dataset"].map(data.index)
    return cells[like_largest(cells, sizes, ("seeds", "place", "width", "epochs"), SCALE)].sort_values("started")


def _ours(cells: pd.DataFrame, experiment: str = "attack", metric: str = "robust_top1") -> pd.DataFrame:
    return select(cells, experiment=experiment, metric=metric, **OURS)


def _left(cells: pd.DataFrame, attack: str = "pgd", protocol: str = "adaptive", **where: Any) -> "pd.Series[float]":
    """What an attack leaves, in points by :data:`KEYS`; of several answers the latest counts."""
    chosen = select(_ours(cells), attack=attack, protocol=protocol, knob="lam", units="pixels", **where)
    table4 = chosen["norm"].map(EPSILONS).astype(float)
    chosen = chosen[np.isclose(chosen["epsilon"].astype(float), table4)]
    return 100 * select(chosen, one_per=KEYS).set_index(KEYS)["value"].astype(float)


def _at(left: "pd.Series[float]", strength: float) -> "pd.Series[float]":
    return left[left.index.get_level_values("strength") == strength]


def _of_checks(cells: pd.DataFrame, metric: str, **where: Any) -> "pd.Series[float]":
    """A check of :mod:`sdnet.experiments.attacks.sanity`, in points by seed and norm."""
    keys = ["seed", "norm"]
    return 100 * select(_ours(cells, metric=metric), one_per=keys, **where).set_index(keys)["value"].astype(float)


def _largest(values: "pd.Series[float]") -> "pd.Series[float]":
    return values.dropna().groupby("seed").max()


def _smallest(values: "pd.Series[float]") -> "pd.Series[float]":
    return values.dropna().groupby("seed").min()


def threat(cells: pd.DataFrame) -> "pd.Series[float]":
    attacked = _ours(cells)
    return 100 * attacked[list(THREAT)].notna().all(axis=1).astype(float).groupby(attacked["seed"]).mean()


def clean(cells: pd.DataFrame) -> "pd.Series[float]":
    keys = ["seed", "knob", "strength"]
    wanted = _ours(cells).dropna(subset=keys)[keys].drop_duplicates()
    known = pd.MultiIndex.from_frame(_ours(cells, metric="top1")[keys])
    found = pd.MultiIndex.from_frame(wanted).isin(known)
    return 100 * pd.Series(found, index=wanted["seed"], dtype=float).groupby("seed").mean()


def release(cells: pd.DataFrame) -> "pd.Series[float]":
    stored = {identity(card.training) for card in cards.read().values()}
    kept = ["arch", "dataset", "preset", "seed", "width", "epochs", "variant"]
    attacked = cells[cells["experiment"] == "attack"][kept].drop_duplicates()
    found = [tuple(row) in stored for row in attacked.itertuples(index=False)]
    return 100 * pd.Series(found, index=attacked["seed"], dtype=float).groupby("seed").mean()


def adaptive(cells: pd.DataFrame) -> "pd.Series[float]":
    return _largest(_at(_left(cells), DEPLOYED) - _at(_left(cells, protocol="oblivious"), DEPLOYED))


def whole(cells: pd.DataFrame) -> "pd.Series[float]":
    chosen = select(_ours(cells), protocol="policy", attack="pgd")
    keys = ["seed", "norm", "n"]
    through, beside = (
        100 * select(part, one_per=keys).set_index(keys)["value"].astype(float)
        for part in (chosen[chosen["crafted_at"].isna()], chosen[chosen["crafted_at"] == DEFAULT])
    )
    return _largest(through - beside)


def single(cells: pd.DataFrame) -> "pd.Series[float]":
    return _smallest(_left(cells, "fgsm") - _left(cells, steps=20, restarts=1))


def budget(cells: pd.DataFrame) -> "pd.Series[float]":
    """Where at least three radii were asked under each norm, of what was asked at all of them."""
    chosen = select(_ours(cells), attack="pgd", protocol="adaptive", units="pixels", steps=20, restarts=1)
    rises: list[pd.Series[float]] = []
    for norm in NORMS:
        of_norm = chosen[chosen["norm"] == norm]
        of_norm = of_norm.assign(epsilon=of_norm["epsilon"].astype(float).round(6))
        wide = of_norm.pivot_table(index=KEYS, columns="epsilon", values="value", aggfunc="last").dropna()
        if wide.shape[1] < 3:
            return pd.Series(dtype=float)
        rises.append(100 * wide.astype(float).diff(axis=1).max(axis=1))
    return _largest(pd.concat(rises))


def unbounded(cells: pd.DataFrame) -> "pd.Series[float]":
    return _largest(_of_checks(cells, "large_epsilon_top1"))


def black_box(cells: pd.DataFrame) -> "pd.Series[float]":
    return _smallest(_of_checks(cells, "black_box_top1") - _of_checks(cells, "white_box_top1"))


def hard_label(cells: pd.DataFrame) -> "pd.Series[float]":
    attacked = _ours(cells)
    return (
        attacked["attack"].where(attacked["attack"].isin(HARD_LABEL)).groupby(attacked["seed"]).nunique().astype(float)
    )


def transfer(cells: pd.DataFrame) -> "pd.Series[float]":
    left = _left(cells, steps=20, restarts=1)
    return _smallest(_at(_left(cells, protocol="transfer"), DEFAULT) - _at(left, DEFAULT))


def smooth(cells: pd.DataFrame) -> "pd.Series[float]":
    left = _left(cells, steps=20, restarts=1)
    return _largest(_at(left, DEPLOYED) - _at(_left(cells, "pgd_smoothed"), DEPLOYED))


def steps(cells: pd.DataFrame) -> "pd.Series[float]":
    return _largest(_of_checks(cells, "steps_top1", steps=20) - _of_checks(cells, "steps_top1", steps=40))


def effort(cells: pd.DataFrame) -> "pd.Series[float]":
    return _largest(_left(cells, steps=20, restarts=1) - _left(cells, steps=100, restarts=5))


def undefended(cells: pd.DataFrame) -> "pd.Series[float]":
    chosen = select(
        cells, experiment="attack", metric="robust_top1", arch="resnet18", variant="", attack="pgd", strength=0,
        protocol="adaptive", norm="linf", units="pixels",
    )  # fmt: skip
    chosen = chosen[np.isclose(chosen["epsilon"].astype(float), EPSILONS["linf"])]
    return _largest(100 * chosen.set_index("seed")["value"].astype(float))


def broader(cells: pd.DataFrame) -> "pd.Series[float]":
    swept = _ours(cells, "sweep", "top1")
    swept = swept[(swept["knob"] == "lam") & (swept["corruption"] != "clean")]
    return swept.groupby("seed")["corruption"].nunique().astype(float)


def provable(cells: pd.DataFrame) -> "pd.Series[float]":
    chosen = _ours(cells, "certify", "certified_top1")
    near = np.isclose(chosen["epsilon"].astype(float), RADIUS) & np.isclose(chosen["sigma"].astype(float), SIGMA)
    chosen = chosen[near & (chosen["strength"] == RAISED) & (chosen["knob"] == "lam")]
    return 100 * select(chosen, one_per=["seed"]).set_index("seed")["value"].astype(float)


def gradients(cells: pd.DataFrame) -> "pd.Series[float]":
    zero = _ours(cells, metric="zero_gradient")
    return _largest(100 * zero[zero["strength"] <= DEPLOYED].set_index("seed")["value"].astype(float))


def loop(cells: pd.DataFrame) -> "pd.Series[float]":
    with torch.device("meta"):
        ((_, layer),) = coding_layers(models.build("sdnet18"))
    return pd.Series(layer.iterations, index=_ours(cells)["seed"].unique(), dtype=float)


def flags(cells: pd.DataFrame) -> "pd.Series[float]":
    return _ours(cells, metric="autoattack_flags").groupby("seed")["value"].sum()


TESTS: dict[str, Callable[[pd.DataFrame], "pd.Series[float]"]] = {
    one.__name__: one
    for one in (
        threat, clean, release, adaptive, whole, single, budget, unbounded, black_box, hard_label, transfer, smooth,
        steps, effort, undefended, broader, provable, gradients, loop, flags,
    )
}  # fmt: skip
"""Demand → its number by seed, from the cells of one scale; empty where nothing was run."""
EXPERIMENTS = ("attack", "sweep", "certify")


def is_met(values: "pd.Series[float]", least: float, most: float) -> bool:
    """Whether at least three seeds were asked and every one lies within the bounds; a bound may be NaN for none."""
    enough = len(values) >= SEEDS
    return enough and not bool((values < least).any() or (values > most).any())


def show_demands(cells: pd.DataFrame) -> Shown | HTML:
    """The demands: what answers each, whether it is met, and the number, a mean over seeds."""
    found = at_scale(cells)
    lines = []
    for demand in demands().to_dict("records"):
        values = TESTS[demand["id"]](found)
        met = is_met(values, demand["least"], demand["most"])
        number = chip("not run")
        if not values.empty:
            seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}"
            number = f"<b>{values.mean():.3g}</b> {demand['unit']}<br>{note(seeds)}"
        lines.append(
            {
                "demand": f"{demand['demand']}<br>{note(demand['source'])}",
                "the number that answers it": demand["number"],
                "met if": _bounds(demand["least"], demand["most"], demand["unit"]),
                "number": number,
                "met?": coloured("met", "good") if met else coloured("open", "open"),
            }
        )
    caption = (
        "What public checklists demand of an evaluation of robustness, and the number that answers for SDNet-18, a "
        f"mean over seeds. Met: at least {SEEDS} seeds were run, and each lies within the bound. Otherwise open."
    )
    made_from = found[found["experiment"].isin(EXPERIMENTS)]
    return page(pd.DataFrame(lines), caption, "demands", wrap=True, made_from=made_from)


def _bounds(least: float, most: float, unit: str) -> str:
    return f"at least {least:g} {unit}" if not np.isnan(least) else f"at most {most:g} {unit}"
