"""Accuracy under noise against clean accuracy lost: a curve per remedy, and the area below it.

Strengths are one for all noises and severities: whoever deploys a remedy knows neither. The curve is the upper concave
envelope of a remedy's strengths, since to choose at random between two strengths, image by image, attains whatever lies
between them; beyond its best strength it is flat. Strengths are compared by test labels, the same for every remedy.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdnet.experiments.corruptions.robustness import NOISES, ONE_STEP, Row
from sdnet.results.select import select

BUDGET = 5.0
"""Points of clean accuracy that may be lost at most."""
SEVERITIES = 5
LAM = Row("λ", "sdnet18", knob="lam")
FILTERS = {
    name: Row(name, "sdnet18", knob=name.lower().replace(" ", "_"))
    for name in ("Gaussian filter", "Median", "Total variation")
}  # fmt: skip
"""In front of the same network as λ."""
ONE_STEP_LAM = Row("λ, one step", "sdnet18", ONE_STEP, knob="lam")
BEHIND = Row("threshold behind the normalisation, one step", "sdnet18", ONE_STEP, knob="norm_threshold")
RECOMPUTED = Row("λ with the batch's statistics, one step", "sdnet18", ONE_STEP, knob="lam_with_batch_statistics")
OTHERS = (
    Row("batch statistics", "sdnet18", knob="batch_statistics"),
    ONE_STEP_LAM,
    Row("ReLU threshold, ResNet-18", "resnet18", knob="stem_threshold"),
    Row("Gaussian filter, ResNet-18", "resnet18", knob="gaussian_filter"),
)
"""What else could be turned instead."""
REMEDIES = (LAM, *FILTERS.values(), *OTHERS)
UNTOUCHED = {"lam": 0.1, "lam_with_batch_statistics": 0.1}
"""Knob → the strength of training, where that is not 0."""


def trade_offs(cells: pd.DataFrame, row: Row) -> pd.DataFrame:
    """Per seed and strength, in points: clean accuracy lost (``cost``) and accuracy gained under noise (``gain``).

    Both relative to the same network untouched; the gain is a mean over four noises and five severities. Strengths
    without all of them are left out, and so are seeds whose untouched network was not asked, or at no other strength.

    Args:
        cells: of one scale, each answer once.
        row: its ``strength`` is not looked at.
    """
    own = accuracies(cells, row)
    knob = "lam" if row.knob in UNTOUCHED else str(row.knob)
    untouched = own if knob == row.knob else accuracies(cells, replace(row, knob=knob))
    start = untouched[untouched["strength"] == UNTOUCHED.get(knob, 0.0)].set_index("seed")[["clean", "noisy"]]
    both = own.merge(start.add_suffix("_start").reset_index(), on="seed")
    both = both[both.groupby("seed")["strength"].transform("nunique") > 1].copy()
    both["cost"], both["gain"] = both["clean_start"] - both["clean"], both["noisy"] - both["noisy_start"]
    return both[["seed", "strength", "cost", "gain"]].sort_values(["seed", "strength"]).reset_index(drop=True)


def accuracies(cells: pd.DataFrame, row: Row) -> pd.DataFrame:
    """Accuracy in points per seed and strength: ``clean``, and ``noisy``, mean over four noises and five severities."""
    chosen = select(cells, metric="top1", **row.turned)
    chosen = chosen.assign(points=100 * chosen["value"].astype(float))
    keys = ["seed", "strength"]
    clean = chosen[chosen["corruption"] == "clean"].groupby(keys)["points"].mean()
    noisy = chosen[chosen["corruption"].isin(NOISES)].drop_duplicates([*keys, "corruption", "severity"])
    found = noisy.groupby(keys)["points"].agg(["mean", "size"])
    means = found.loc[found["size"] == SEVERITIES * len(NOISES), "mean"]
    return pd.DataFrame({"clean": clean, "noisy": means}).dropna().reset_index()


def envelope(cost: NDArray[np.float64], gain: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the least concave curve that never falls and lies on or above all points and above (0, 0).

    To the left of its first corner there is nothing, to the right of its last it is flat.
    """
    points = sorted({(0.0, 0.0), *zip(cost.tolist(), gain.tolist(), strict=True)})
    hull: list[tuple[float, float]] = []
    for x, y in points:
        if hull and y <= hull[-1][1]:
            continue  # costs more and gains no more
        while hull and (hull[-1][0] == x or (len(hull) > 1 and not _turns_right(hull[-2], hull[-1], (x, y)))):
            hull.pop()
        hull.append((x, y))
    corners = np.array(hull)
    return corners[:, 0], corners[:, 1]


def _turns_right(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) < (b[1] - a[1]) * (c[0] - a[0])


def area(cost: NDArray[np.float64], gain: NDArray[np.float64], budget: float = BUDGET) -> float:
    """Mean over clean budgets from 0 to ``budget`` of the gain that the envelope attains, in points."""
    x, y = envelope(cost, gain)
    grid = np.unique(np.concatenate([[0.0, budget], x[(x > 0) & (x < budget)]]))
    return float(np.trapezoid(np.interp(grid, x, y), grid) / budget)


def areas(cells: pd.DataFrame, row: Row) -> "pd.Series[float]":
    """:func:`area` of a remedy by seed."""
    found = trade_offs(cells, row)
    by: Mapping[object, float] = {
        seed: area(group["cost"].to_numpy(float), group["gain"].to_numpy(float))
        for seed, group in found.groupby("seed")
    }
    return pd.Series(by, dtype=float)
