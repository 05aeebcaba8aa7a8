"""Accuracy under noise from the ledger: the rows of Tables 2 and 3, the optimal λ, and what the fits are worth.

All functions take :func:`sdnet.results.cells.to_frame` and give long tables with one line per seed, so that means and
spreads are computed where they are shown.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from sdnet.results.select import like_largest, select

NOISES = ("gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise")
"""In the order of the paper's Table 3."""


class Turned:
    """A network, and what is turned on it: a row of a table, by columns of the ledger."""

    arch: str
    variant: str
    knob: str | None

    @property
    def network(self) -> dict[str, Any]:
        """Which network it is, for :func:`sdnet.results.select.select`."""
        return {"arch": self.arch, "variant": self.variant}

    @property
    def turned(self) -> dict[str, Any]:
        """Which network it is, and what is turned."""
        return {**self.network, "knob": self.knob}


@dataclass(frozen=True)
class Row(Turned):
    """One row of Tables 2 and 3: which cells of the ledger answer it.

    Attributes:
        label: as printed.
        arch, variant: the network and how it differs from its defaults (:func:`sdnet.results.cells.variant`).
        knob: what was turned; None for a policy.
        strength: at which strength; None for the best by test labels, an **oracle**.
        policy: a policy of :mod:`sdnet.experiments.corruptions.policies`, instead of a knob.
        paper: (arch, policy) of the paper's row, if it has one.
    """

    label: str
    arch: str
    variant: str = ""
    knob: str | None = None
    strength: float | None = None
    policy: str | None = None
    paper: tuple[str, str] | None = None

    @property
    def oracle(self) -> bool:
        """Whether test labels chose something."""
        return (self.knob is not None and self.strength is None) or self.policy == "authors_script"


ONE_STEP = "iterations=1"
NOISY = "noise=0.1"
ROWS = (
    Row("ResNet-18", "resnet18", knob="stem_threshold", strength=0.0, paper=("resnet18", "")),
    Row("stem threshold shifted, oracle", "resnet18", knob="stem_threshold"),
    Row("batch statistics adapted", "resnet18", knob="batch_statistics", strength=1.0),
    Row("Gaussian filter in front, oracle", "resnet18", knob="gaussian_filter"),
    Row("median in front, oracle", "resnet18", knob="median"),
    Row("total variation in front, oracle", "resnet18", knob="total_variation"),
    Row("trained with Gaussian noise", "resnet18", NOISY, knob="stem_threshold", strength=0.0),
    Row("SCN", "scn", knob="lam_shift", strength=0.0, paper=("scn", "")),
    Row("One-step SDNet-18, λ = 0.1", "sdnet18", ONE_STEP, policy="fixed"),
    Row("λ by Algorithm 1", "sdnet18", ONE_STEP, policy="residual_fit"),
    Row("λ by an oracle", "sdnet18", ONE_STEP, knob="lam"),
    Row("SDNet-18, λ = 0.1", "sdnet18", knob="lam", strength=0.1, paper=("sdnet18", "fixed")),
    Row("λ by Algorithm 1", "sdnet18", policy="residual_fit", paper=("sdnet18", "residual_fit")),
    Row("λ by Algorithm 1, type unknown", "sdnet18", policy="type_free"),
    Row("λ per image", "sdnet18", policy="per_image"),
    Row("λ per image, type unknown", "sdnet18", policy="per_image_type_free"),
    Row("λ as the released script fits it (test labels)", "sdnet18", policy="authors_script"),
    Row("λ by an oracle", "sdnet18", knob="lam"),
)
"""The rows of the book's Tables 2 and 3; the indented ones belong to the network above them."""


def one_scale(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that may be compared with the largest sweep of an SDNet-18: same data, width and number of epochs.

    Benchmarks, which need no data, stay.
    """
    sweeps = select(cells, experiment="sweep", arch="sdnet18", knob="lam")
    return cells[same_scale(cells, sweeps) | (cells["experiment"] == "benchmark")]


def same_scale(cells: pd.DataFrame, among: pd.DataFrame) -> "pd.Series[bool]":
    """Which cells have the data set, width and number of epochs of the largest run ``among`` some."""
    return like_largest(cells, among, ("paper_scale", "width", "epochs", "n", "started"))


def top1(cells: pd.DataFrame, row: Row, clean: str = "gaussian_noise") -> pd.DataFrame:
    """Accuracies of one row: a line per (seed, corruption, severity) with ``value``, ``n``, ``strength``, ``run``.

    Args:
        clean: of a policy that is fitted to one noise, whose fit answers for clean images.
    """
    chosen = select(cells, metric="top1", **row.network)
    if row.policy is not None:
        chosen = select(chosen, experiment="policies", policy=row.policy)
        right = chosen["corruption"].where(chosen["corruption"] != "clean", clean)
        chosen = chosen[chosen["fitted_on"].isin(["", "all"]) | (chosen["fitted_on"] == right)]
        chosen = chosen.assign(strength=chosen["lam"])
    else:
        chosen = select(chosen, experiment="sweep", knob=row.knob)
        if row.strength is not None:
            chosen = chosen[chosen["strength"] == row.strength]
    # A policy's strengths are what it chose: how many there are says nothing about the size of its run.
    return latest(chosen, best=row.policy is None and row.strength is None, count_strengths=row.policy is None)


def latest(chosen: pd.DataFrame, best: bool = False, count_strengths: bool = True) -> pd.DataFrame:
    """One line per (seed, corruption, severity) and strength, or with its best strength only if ``best``.

    Of several runs about a corruption the one with the most strengths counts (unless told not to), then the one with
    the most images, then the latest.
    """
    keys = ["seed", "corruption", "severity"]
    if chosen.empty:
        return pd.DataFrame(columns=[*keys, "strength", "value", "n", "run"])
    about = ["seed", "corruption"]
    runs = chosen.groupby([*about, "started"]).agg(strengths=("strength", "nunique"), n=("n", "max")).reset_index()
    runs = select(runs, one_per=about, prefer=(*(["strengths"] if count_strengths else []), "n", "started"))
    chosen = chosen.merge(runs[[*about, "started"]]).sort_values([*keys, "strength"])
    if best:
        chosen = chosen.loc[chosen.groupby(keys)["value"].idxmax()]
    return chosen[[*keys, "strength", "value", "n", "run"]].astype({"severity": int, "seed": int, "n": int})


def over_severities(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over severities 1 to 5: a line per (seed, corruption), the clean images left out."""
    noisy = values[values["severity"] > 0]
    complete = noisy.groupby(["seed", "corruption"])["severity"].transform("nunique") == 5
    return (
        noisy[complete]
        .groupby(["seed", "corruption"], as_index=False)
        .agg(value=("value", "mean"), n=("n", "min"), run=("run", "first"))
    )


def optimal_strengths(cells: pd.DataFrame, row: Row) -> pd.DataFrame:
    """Spearman's ρ between severity (0 for clean to 5) and the best strength: a line per (seed, corruption).

    ρ is 0 where the best strength never changes.
    """
    best = top1(cells, row)
    lines = []
    for (seed, corruption), group in best[best["severity"] > 0].groupby(["seed", "corruption"]):
        clean = select(best, seed=seed, severity=0)
        ladder = pd.concat([clean, group]).sort_values("severity")
        constant = ladder["strength"].nunique() == 1
        rho = 0.0 if constant else float(spearmanr(ladder["severity"], ladder["strength"]).statistic)
        lines.append({"seed": seed, "corruption": corruption, "rho": rho, "highest": ladder["strength"].max()})
    return pd.DataFrame(lines, columns=["seed", "corruption", "rho", "highest"])


def policy_cells(cells: pd.DataFrame, metric: str, variant: str = "", policy: str = "residual_fit") -> pd.DataFrame:
    """Cells of one metric and policy on SDNet-18: of each seed the largest, then the latest run that has them."""
    chosen = select(cells, experiment="policies", arch="sdnet18", variant=variant)
    return _largest_run(select(chosen, metric=metric, policy=policy))


def _largest_run(chosen: pd.DataFrame) -> pd.DataFrame:
    chosen = chosen[chosen["images"] == chosen.groupby("seed")["images"].transform("max")]
    return chosen[chosen["started"] == chosen.groupby("seed")["started"].transform("max")]


def cross_type(cells: pd.DataFrame) -> pd.DataFrame:
    """Algorithm 1 fitted on one corruption and asked on another: accuracy over severities, less that of the own fit.

    A line per seed, ``fitted_on`` and ``corruption``; ``loss`` in accuracy, ``lam_error`` as the mean |λ − own λ|.
    """
    chosen = select(cells, experiment="policies", arch="sdnet18", variant="")
    chosen = chosen[
        (chosen["metric"] == "top1") & (chosen["policy"] == "residual_fit") & (chosen["corruption"] != "clean")
    ]
    # Only runs that asked about other types, too.
    crossed = chosen.loc[chosen["fitted_on"] != chosen["corruption"], "started"]
    answers = _largest_run(chosen[chosen["started"].isin(crossed)])
    keys = ["seed", "corruption", "severity"]
    own = answers[answers["fitted_on"] == answers["corruption"]].set_index(keys)[["value", "lam"]]
    joined = answers.join(own.add_suffix("_own"), on=keys)
    joined["loss"] = (joined["value_own"] - joined["value"]).astype(float)
    joined["lam_error"] = (joined["lam"] - joined["lam_own"]).abs().astype(float)
    mean = {"loss": ("loss", "mean"), "lam_error": ("lam_error", "mean")}
    return joined.groupby(["seed", "fitted_on", "corruption"], as_index=False).agg(**mean)


def clean_drops(cells: pd.DataFrame, variant: str = "") -> pd.DataFrame:
    """Clean accuracy lost at each λ that Algorithm 1 chose for noise: a line per (seed, corruption, severity)."""
    chosen = policy_cells(cells, "clean_top1", variant)
    plain = select(cells, metric="top1", policy="fixed", corruption="clean", started=chosen["started"], variant=variant)
    before = plain.set_index("seed")["value"].reindex(chosen["seed"]).to_numpy(float)
    return chosen.assign(drop=before - chosen["value"])[
        ["seed", "corruption", "severity", "lam", "value", "drop", "n", "run"]
    ]
