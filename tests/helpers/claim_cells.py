"""Ledger cells for every claim with a known effect: a seed's own deviation, and what the rule should make of it."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd

from sdnet.experiments.ablations import grid
from sdnet.experiments.corruptions.robustness import NOISES
from sdnet.results.cells import CELL_COLUMNS

LAMS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
BASE = {
    "dataset": "cifar10", "preset": "quick", "width": 16, "epochs": 15, "precision": "bf16", "noise": "generated",
    "variant": "", "arch": "sdnet18", "started": "2026", "n": 10_000, "images": 10_000,
}  # fmt: skip
Cells = list[dict[str, object]]


def frame(*parts: Cells) -> pd.DataFrame:
    cells = pd.DataFrame([row for part in parts for row in part])
    return cells.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *cells.columns])))


def cells_for(
    claim: str, effect: float, seeds: int = 4, rng: int | np.random.Generator = 0, **changes: object
) -> Cells:
    """Cells that answer a claim.

    Args:
        effect: how far above its bound the truth lies, in the rule's unit (points, or ρ, R² and shares in hundredths);
            of C5 1, -1 or 0: the best λ grows, falls, or is random.
        seeds: how many; each deviates by half a point, the conditions of one by a fifth of a point, and the images of
            all by a fifth of a point.
        **changes: fields of every cell.
    """
    rng = np.random.default_rng(rng)
    base = {**BASE, **changes}
    if claim in ("C6", "C7", "C10"):  # the images are the same for every seed, and so is what they add
        effect += rng.normal(0, 0.2)
    make = {
        "C1": _train, "C2": _train, "C5": _ladders, "C6": _fixed, "C7": _gains, "C8": _lines, "C9": _attacks,
        "C10": _iterations, "C11a": _train, "C11b": _depths, "C12a": _clean, "C12b": _clean_at, "C13": _guarantee,
    }[claim]  # fmt: skip
    rows = [row for seed in range(seeds) for row in make(claim, effect / 100, rng, {**base, "seed": seed})]
    return [{**row, **({"dataset": "cifar100"} if claim == "C2" else {})} for row in rows]


def _deviation(rng: np.random.Generator) -> Iterator[float]:
    """What a seed deviates by in one condition after another."""
    own = rng.normal(0, 0.005)
    while True:
        yield own + rng.normal(0, 0.002)


def _train(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    ours, theirs, bound = {
        "C1": ("sdnet18", "resnet18", -0.003), "C2": ("sdnet18", "resnet18", 0.0),
        "C11a": ("sdnet18_all", "sdnet18", -0.005),
    }[claim]  # fmt: skip
    trained = {**base, "experiment": "train", "metric": "top1", "split": "test", "images": None}
    spread = rng.normal(0, 0.002, 2)
    return [
        {**trained, "arch": ours, "value": 0.85 + bound + effect + spread[0]},
        {**trained, "arch": theirs, "value": 0.85 + spread[1]},
    ]


def _conditions(noises: tuple[str, ...]) -> Iterator[dict[str, object]]:
    for noise in noises:
        for severity in range(1, 6):
            yield {"corruption": noise, "severity": severity}


def _ladders(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    swept = {**base, "experiment": "sweep", "knob": "lam", "metric": "top1"}
    rows: Cells = []
    clean = {**swept, "corruption": "clean", "severity": 0}
    places = {noise: _best(effect, rng) for noise in NOISES}
    rows += [{**clean, "strength": lam, "value": 0.9 - abs(lam - places[NOISES[0]][0])} for lam in LAMS]
    for where in _conditions(NOISES):
        best = places[str(where["corruption"])][int(str(where["severity"]))]
        rows += [{**swept, **where, "strength": lam, "value": 0.8 - abs(lam - best)} for lam in LAMS]
    return rows


def _best(effect: float, rng: np.random.Generator) -> np.ndarray:
    order = np.argsort(100 * effect * np.arange(6) + (rng.normal(0, 1, 6) if abs(effect) < 0.01 else 0))
    return 0.1 + 0.1 * np.argsort(order)


def _fixed(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    rows: Cells = []
    for arch, knob, strength, level in (("sdnet18", "lam", 0.1, effect), ("resnet18", "stem_threshold", 0.0, 0.0)):
        swept = {**base, "experiment": "sweep", "arch": arch, "knob": knob, "strength": strength}
        deviation = _deviation(rng)
        for where in _conditions(NOISES):
            rows.append({**swept, "metric": "top1", **where, "value": 0.6 + level + next(deviation)})
        for noise in NOISES:
            interval = {"value": 0.6 + level, "low": 0.594 + level, "high": 0.606 + level}
            rows.append({**swept, "metric": "top1_over_severities", "corruption": noise, **interval})
    return rows


def _policy(base: dict[str, object], metric: str, **fields: object) -> dict[str, object]:
    return {**base, "experiment": "policies", "metric": metric, "policy": "residual_fit", **fields}


def _gain(base: dict[str, object], fitted_on: str, noise: str, value: float) -> dict[str, object]:
    interval = {"value": value, "low": value - 0.004, "high": value + 0.004}
    return _policy(base, "gain_over_fixed", fitted_on=fitted_on, corruption=noise, **interval)


def _gains(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    deviation = _deviation(rng)
    return [_gain(base, noise, noise, effect + next(deviation)) for noise in NOISES]


def _lines(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    deviation = _deviation(rng)
    rows = [
        _policy(base, "r_squared", fitted_on=noise, power=1, value=0.9 + effect + next(deviation)) for noise in NOISES
    ]
    own, cost = 0.1 + next(deviation), 0.01 + effect + next(deviation)
    pairs = [(fitted_on, noise) for fitted_on in NOISES for noise in NOISES]
    return rows + [_gain(base, fitted_on, noise, own - cost * (fitted_on != noise)) for fitted_on, noise in pairs]


def _attacks(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    rows: Cells = []
    for norm, epsilon in (("linf", 8 / 255), ("l2", 0.5)):
        hit = {
            **base, "experiment": "attack", "metric": "robust_top1", "knob": "lam", "norm": norm, "epsilon": epsilon,
            "attack": "pgd", "units": "pixels", "steps": 20, "restarts": 1, "images": None,
        }  # fmt: skip
        deviation = _deviation(rng)
        start = 0.1 + next(deviation)
        tuned = start + 0.05 + max(effect, 0) + next(deviation)
        known = max(tuned - 0.05 + effect + next(deviation), 0.0)
        for lam in (0.1, 0.5, 0.9):
            oblivious, adaptive = (tuned, known) if lam == 0.5 else (start, 0.0)
            rows.append({**hit, "protocol": "oblivious", "crafted_at": 0.1, "strength": lam, "value": oblivious})
            rows.append({**hit, "protocol": "adaptive", "crafted_at": lam, "strength": lam, "value": adaptive})
    return rows


def _iterations(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    rows: Cells = []
    for variant, level in (("iterations=8", effect), ("", 0.0)):
        swept = {**base, "experiment": "sweep", "knob": "lam", "variant": variant}
        deviation = _deviation(rng)
        for where in _conditions(grid.NOISES):
            best = 0.6 + level + next(deviation)
            values = {lam: best - 0.1 * abs(lam - 0.4) for lam in LAMS}
            rows += [{**swept, "metric": "top1", **where, "strength": lam, "value": v} for lam, v in values.items()]
        for noise in grid.NOISES:
            interval = {"corruption": noise, "strength": 0.4, "value": 0.6, "low": 0.594, "high": 0.606}
            rows.append({**swept, "metric": "top1_over_severities", **interval})
    return rows


def _depths(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    seen = {
        **base, "experiment": "visual", "metric": "psnr_affine", "arch": "sdnet18_all", "variant": "shortcut=False",
        "n": 16, "images": 16,
    }  # fmt: skip
    rows: Cells = []
    for method, weights in product(("decode", "inversion"), ("trained", "random")):
        ours = (method, weights) == ("decode", "trained")
        for layer in range(1, 18):
            sign = rng.choice([-1, 1]) if effect == 0 else np.sign(effect) * (-1 if layer == 1 else 1)
            value = 20 + 2 * sign * ours
            seen_at = {"layer": layer, "value": value, "low": value - 0.5, "high": value + 0.5}
            rows.append({**seen, **seen_at, "method": method, "weights_are": weights})
    return rows


def _clean(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    clean = {"corruption": "clean", "severity": 0}
    rows = [_policy(base, "top1", fitted_on="", **clean, value=0.85, lam=0.1) | {"policy": "fixed"}]
    deviation = _deviation(rng)
    values = [0.85 - 0.005 + effect + next(deviation) for _ in NOISES]
    return rows + [
        _policy(base, "top1", fitted_on=noise, **clean, value=value)
        for noise, value in zip(NOISES, values, strict=True)
    ]


def _clean_at(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    deviation = _deviation(rng)
    rows = _clean(claim, 0.0, rng, base)[:1]
    for where in _conditions(NOISES):
        value = 0.85 - 0.005 + effect + next(deviation)
        rows.append(_policy(base, "clean_top1", fitted_on=where["corruption"], **where, value=value))
    return rows


def _guarantee(claim: str, effect: float, rng: np.random.Generator, base: dict[str, object]) -> Cells:
    asked = {**base, "experiment": "guarantee", "n": 50, "images": 50}
    rows: Cells = [{**asked, "metric": "sparsity_limit", "value": 10 + rng.normal()}]
    for case in ("layer", "minimiser"):
        middle = 10 - 100 * effect
        rows += [{**asked, "metric": m, "case": case, "value": middle + d} for m, d in (("fewest", -1), ("most", 1))]
    return rows
