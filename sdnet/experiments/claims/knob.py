"""Claims L1 to L9: what λ is beside a filter, a threshold elsewhere, a solver, an attack, a certificate, a confidence.

They stand since 2026-11-25, before any of these differences was measured. Cells of one scale in, requirements out,
paired over seeds. One network is asked twice on the same images; the ledger does not say on which images two answers
differ, so that only the seeds are a sample, as in C8 and C12: a verdict is one on these images.
"""

from functools import partial

import numpy as np
import pandas as pd

from sdnet.experiments.attacks.adversarial import MEAN_SPARSE, NORMS, SDNET, Attacked, robust
from sdnet.experiments.attacks.adversarial import RESNET as ATTACKED_RESNET
from sdnet.experiments.claims.adaptation import by_noise, chosen
from sdnet.experiments.claims.estimates import Requirement, paired
from sdnet.experiments.claims.noise import iterations_help, one_step_beside_eight
from sdnet.experiments.corruptions.robustness import Row
from sdnet.experiments.what_is_lambda.solvers import OTHERS as OTHER_SOLVERS
from sdnet.experiments.what_is_lambda.trade_off import BEHIND, FILTERS, LAM, ONE_STEP_LAM, OTHERS, RECOMPUTED, areas
from sdnet.results.cells import variant
from sdnet.results.select import select

RAISED, DEFAULT = 0.4, 0.1
"""λ that is compared with that of training (L1b, L6)."""
BLUR = 0.6
"""Standard deviation in pixels of the Gaussian filter that stands beside it."""
LOW, HIGH = 4.0, 8.0
"""Cycles per image: a frequency is low up to the one and high above the other."""
DEPLOYED = 0.5
"""λ under attack (L5a, L5b), as Table 4's grid has it."""
THRESHOLD, ALPHA = 0.1, 0.2
"""Of a ResNet's threshold and of MeanSparse, deployed beside it."""
OTHER_THRESHOLDS = {"ResNet-18, threshold": (ATTACKED_RESNET, THRESHOLD), MEAN_SPARSE.label: (MEAN_SPARSE, ALPHA)}
SIGMA, RADIUS = 0.12, 0.1
"""Noise of randomized smoothing, and the ℓ₂ radius that is certified (L6), in pixels."""
SOLVED_AT = 64
"""Iterations after which solvers are compared (L9)."""
MINIMISER = Row("minimum", "sdnet18", variant({"network": {"gradient": "implicit", "iterations": 64}}), knob="lam")
FILTERED = Row("Gaussian filter, ResNet-18", "resnet18", knob="gaussian_filter")


def better_than_filters(cells: pd.DataFrame) -> list[Requirement]:
    """L1a: λ's area less that of each filter in front of the same network."""
    ours = areas(cells, LAM)
    return paired({name: (ours - areas(cells, row)).dropna() for name, row in FILTERS.items()})


def other_remedies(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L1a: the area of other remedies less that of λ."""
    ours = areas(cells, LAM)
    return {row.label: (areas(cells, row) - ours).dropna() for row in OTHERS}


def low_pass(cells: pd.DataFrame) -> list[Requirement]:
    """L1b: what a raised λ gains against high frequencies, and that less what it gains against low ones."""
    high, low = _by_frequency(cells, LAM, DEFAULT, RAISED)
    return paired({"high frequencies": high, "high − low": (high - low).dropna()})


def filter_by_frequency(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L1b: high less low of a Gaussian filter in front of the same network, less that of λ."""
    (high, low), (blurred_high, blurred_low) = (
        _by_frequency(cells, LAM, DEFAULT, RAISED), _by_frequency(cells, FILTERS["Gaussian filter"], 0.0, BLUR),
    )  # fmt: skip
    return {"Gaussian filter": ((blurred_high - blurred_low) - (high - low)).dropna()}


def _by_frequency(
    cells: pd.DataFrame, row: Row, default: float, turned: float
) -> tuple["pd.Series[float]", "pd.Series[float]"]:
    """Points gained by turning a knob, by seed, mean over high and over low frequencies."""
    chosen = select(cells, **row.turned)
    chosen = chosen[chosen["metric"] == "fourier_top1"]
    wide = chosen.pivot_table(index=["seed", "down", "across"], columns="strength", values="value")
    if default not in wide or turned not in wide:
        return pd.Series(dtype=float), pd.Series(dtype=float)
    gain = (100 * (wide[turned] - wide[default])).dropna().rename("points").reset_index()
    frequency = np.hypot(gain["down"].astype(float), gain["across"].astype(float))
    high, low = gain[frequency > HIGH], gain[frequency <= LOW]
    return high.groupby("seed")["points"].mean(), low.groupby("seed")["points"].mean()


def before_normalisation(cells: pd.DataFrame) -> list[Requirement]:
    """L2: the area of λ in the one-step network, whose threshold stands before the normalisation, less behind it."""
    return paired({"": (areas(cells, ONE_STEP_LAM) - areas(cells, BEHIND)).dropna()})


def recomputed(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L2: λ with statistics of the batch less λ with those of training."""
    return {"the batch's statistics": (areas(cells, RECOMPUTED) - areas(cells, ONE_STEP_LAM)).dropna()}


minimiser_helps = partial(iterations_help, more=MINIMISER)
"""L3: trained with the minimiser and its derivative, against two steps, each at its best λ."""
one_step_beside_minimiser = partial(one_step_beside_eight, more=MINIMISER)
"""L3: the accuracy of one step less that of the minimiser."""


def raised_withstands(cells: pd.DataFrame) -> list[Requirement]:
    """L5a: the raised λ less that of training, each under the worse of PGD and smoothed PGD crafted where deployed."""
    return paired(_gains_under_attack(cells, SDNET, DEFAULT, DEPLOYED))


def threshold_withstands(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L5a: the same of a ResNet's threshold and of MeanSparse, less that of λ, mean over norms."""
    ours, *theirs = (
        _over_conditions(_gains_under_attack(cells, *setting))
        for setting in ((SDNET, DEFAULT, DEPLOYED), *((row, 0.0, at) for row, at in OTHER_THRESHOLDS.values()))
    )
    return {name: (other - ours).dropna() for name, other in zip(OTHER_THRESHOLDS, theirs, strict=True)}


def smoothing_finds_nothing(cells: pd.DataFrame) -> list[Requirement]:
    """L5b: what smoothed PGD leaves less what PGD leaves at the raised λ, above −1 point."""
    return paired(_lost_by_smoothing(cells, SDNET, DEPLOYED), -1.0)


def smoothing_a_relu(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L5b: the same of a ResNet's raised threshold and of MeanSparse, less that of λ, mean over norms."""
    ours = _over_conditions(_lost_by_smoothing(cells, SDNET, DEPLOYED))
    return {
        name: (_over_conditions(_lost_by_smoothing(cells, *setting)) - ours).dropna()
        for name, setting in OTHER_THRESHOLDS.items()
    }


def _lost_by_smoothing(cells: pd.DataFrame, row: Attacked, strength: float) -> dict[str, "pd.Series[float]"]:
    found = {}
    for norm, label in NORMS.items():
        plain, smoothed = (_left(cells, row, norm, attack, strength) for attack in ("pgd", "pgd_smoothed"))
        found[label] = (smoothed - plain).dropna()
    return found


def _gains_under_attack(
    cells: pd.DataFrame, row: Attacked, default: float, turned: float
) -> dict[str, "pd.Series[float]"]:
    found = {}
    for norm, label in NORMS.items():
        start, raised = (
            pd.concat([_left(cells, row, norm, attack, at) for attack in ("pgd", "pgd_smoothed")], axis=1)
            .dropna().min(axis=1)
            for at in (default, turned)
        )  # fmt: skip
        found[label] = (raised - start).dropna()
    return found


def _left(cells: pd.DataFrame, row: Attacked, norm: str, attack: str, strength: float) -> "pd.Series[float]":
    """Robust accuracy in points by seed, crafted at a strength and scored there."""
    found = robust(cells, row, norm, "adaptive", attack)
    return 100 * found[found["strength"] == strength].set_index("seed")["value"].astype(float)


def certifies_more(cells: pd.DataFrame) -> list[Requirement]:
    """L6: accuracy certified at the radius with the raised λ, less that with λ = 0.1."""
    return paired({"": _certified(cells, LAM, DEFAULT, RAISED)})


def filter_certifies(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L6: the same of a Gaussian filter in front of a ResNet, less that of λ."""
    theirs = _certified(cells, FILTERED, 0.0, BLUR)
    return {FILTERED.label: (theirs - _certified(cells, LAM, DEFAULT, RAISED)).dropna()}


def _certified(cells: pd.DataFrame, row: Row, default: float, turned: float) -> "pd.Series[float]":
    chosen = select(cells, **row.turned)
    chosen = chosen[(chosen["metric"] == "certified_top1") & np.isclose(chosen["sigma"].astype(float), SIGMA)]
    chosen = chosen[np.isclose(chosen["epsilon"].astype(float), RADIUS)]
    by = {strength: group.set_index("seed")["value"].astype(float) for strength, group in chosen.groupby("strength")}
    empty = pd.Series(dtype=float)
    return (100 * (by.get(turned, empty) - by.get(default, empty))).dropna()


def calibrated_at_best(cells: pd.DataFrame) -> list[Requirement]:
    """L7: calibration error at λ = 0.1 less that at each severity's most accurate λ, by noise, above −1 hundredth."""
    return paired(_calibration_gains(cells, LAM), -1.0, unit="hundredths")


def filter_calibrated(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L7: the same of a Gaussian filter in front of a ResNet, less that of λ, mean over noises."""
    ours, theirs = (_over_conditions(_calibration_gains(cells, row)) for row in (LAM, FILTERED))
    return {FILTERED.label: (theirs - ours).dropna()}


def _calibration_gains(cells: pd.DataFrame, row: Row) -> dict[str, "pd.Series[float]"]:
    """Calibration error at the strength of training less that at the most accurate one (by test labels)."""
    default, best = (chosen(cells, row, objective, "calibration_error") for objective in (None, "labels"))
    return by_noise(default - best)


def needs_no_more_iterations(cells: pd.DataFrame) -> list[Requirement]:
    """L9: the gap of each other library's solver over that of FISTA with restarts, in decades."""
    ours = _decades(cells, "fista, restarts")
    return paired({name: (_decades(cells, name) - ours).dropna() for name in OTHER_SOLVERS}, unit="decades")


def ista_falls_behind(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L9: the gap of FISTA with restarts over that of ISTA, in decades."""
    return {"ISTA": (_decades(cells, "fista, restarts") - _decades(cells, "ista")).dropna()}


def _decades(cells: pd.DataFrame, solver: str) -> "pd.Series[float]":
    chosen = select(cells, metric="relative_gap", method=solver, strength=DEFAULT, iteration=SOLVED_AT)
    return chosen.set_index("seed")["value"].astype(float).map(np.log10)


def _over_conditions(values: dict[str, "pd.Series[float]"]) -> "pd.Series[float]":
    """Mean of the seeds that have all conditions."""
    return pd.concat(values.values(), axis=1).dropna().mean(axis=1) if values else pd.Series(dtype=float)
