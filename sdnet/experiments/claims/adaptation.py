"""Claims L4a to L4c: λ chosen without labels while testing, and λ learned while training.

They stand since 2026-11-26, before any of these differences was measured. Without labels λ is the one, of those that a
knob was asked at, whose predictions on the noisy images say most about them: the entropy of the mean prediction less
the mean entropy (mutual information, as Liang et al. 2020 maximise it). Least mean entropy alone (Wang et al. 2021) is
a control, since a network that answers one class to everything has least of all.
"""

import pandas as pd

from sdnet.experiments.claims.estimates import Requirement, paired
from sdnet.experiments.claims.noise import short
from sdnet.experiments.corruptions.robustness import NOISES, Row
from sdnet.experiments.what_is_lambda.trade_off import LAM, SEVERITIES, UNTOUCHED, accuracies
from sdnet.results.cells import variant
from sdnet.results.select import select

OBJECTIVES = {"most information": ("information", 1), "least entropy": ("entropy", -1), "labels": ("top1", 1)}
"""How λ is chosen under each condition → the metric, and whether it is to be large. ``"labels"`` is an oracle."""
RECOMPUTED = Row("λ with the batch's statistics", "sdnet18", knob="lam_with_batch_statistics")
LEARNED = Row("learned λ", "sdnet18", variant({"network": {"learn_lam": "layer"}}), knob="lam_shift")
PER_CHANNEL = Row("λ learned per channel", "sdnet18", variant({"network": {"learn_lam": "channel"}}), knob="lam_shift")
STRENGTHS = 7
"""A strength is chosen among at least so many."""


def chosen(cells: pd.DataFrame, row: Row, objective: str | None, of: str = "top1") -> pd.DataFrame:
    """A metric in hundredths by seed (rows) and noise (columns), mean over severities, at the strength chosen for each.

    Args:
        cells: of one scale, each answer once; of the experiment ``confidence``.
        objective: of :data:`OBJECTIVES`; None for the strength of training.
        of: the metric, by default accuracy.
    """
    keys = ["seed", "corruption", "severity"]
    found = select(cells, corruption=NOISES, **row.turned)
    wide = found.pivot_table(index=[*keys, "strength"], columns="metric", values="value").reset_index()
    metric, sign = OBJECTIVES.get(objective or "", (of, 1))
    if not {metric, of} <= set(wide.columns):
        return pd.DataFrame(columns=NOISES, dtype=float)
    wide = wide[wide.groupby(keys)["strength"].transform("nunique") >= STRENGTHS].dropna(subset=metric)
    if objective is None:
        wide = wide[wide["strength"] == UNTOUCHED.get(str(row.knob), 0.0)]
    best = wide.loc[(sign * wide[metric]).groupby([wide[key] for key in keys]).idxmax()] if objective else wide
    by = (100 * best[of].astype(float)).groupby([best["seed"], best["corruption"]])
    means = by.mean()[by.size() == SEVERITIES].unstack()
    return means.reindex(columns=NOISES).dropna()


def adapted_helps(cells: pd.DataFrame, row: Row = LAM) -> list[Requirement]:
    """L4a: accuracy at the λ of most information less that at the λ of training, by noise."""
    return paired(by_noise(chosen(cells, row, "most information") - chosen(cells, row, None)))


def adapted_otherwise(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L4a: less λ's accuracy that of the λ of least entropy, and of recomputed statistics at the λ of training."""
    ours = chosen(cells, LAM, "most information")
    others = {"least entropy": chosen(cells, LAM, "least entropy"), "statistics alone": chosen(cells, RECOMPUTED, None)}
    return {name: _mean(other - ours) for name, other in others.items()}


def adapts_beyond_statistics(cells: pd.DataFrame) -> list[Requirement]:
    """L4b: the same as L4a where the statistics of the batch are recomputed in both."""
    return adapted_helps(cells, RECOMPUTED)


def statistics_otherwise(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L4b: the accuracy at the λ of least entropy less that at the λ of most information."""
    ours, other = (chosen(cells, RECOMPUTED, name) for name in ("most information", "least entropy"))
    return {"least entropy": _mean(other - ours)}


def learned_withstands(cells: pd.DataFrame) -> list[Requirement]:
    """L4c: a network that learned its λ, at that λ, less one with λ = 0.1; mean over noises and severities."""
    return paired({"": (_at_own(cells, LEARNED) - _at_own(cells, LAM)).dropna()})


def learned_per_channel(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """L4c: one λ per channel less one for the layer."""
    return {PER_CHANNEL.label: (_at_own(cells, PER_CHANNEL) - _at_own(cells, LEARNED)).dropna()}


def _at_own(cells: pd.DataFrame, row: Row) -> "pd.Series[float]":
    found = accuracies(cells, row)
    return found[found["strength"] == UNTOUCHED.get(str(row.knob), 0.0)].set_index("seed")["noisy"].astype(float)


def by_noise(differences: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """The columns of the seeds that have all noises; empty if none has."""
    values = differences.dropna()
    return {} if values.empty else {short(noise): values[noise] for noise in NOISES}


def _mean(differences: pd.DataFrame) -> "pd.Series[float]":
    return differences.dropna().mean(axis=1).astype(float)
