"""The figures and tables of page 13 from the ledger; where there is nothing, they say that it was not run."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML

from sdnet.experiments.attacks.adversarial import MEAN_SPARSE, NORMS, RESNET, SDNET, robust
from sdnet.experiments.claims import adaptation
from sdnet.experiments.claims.estimates import SEEDS, paired
from sdnet.experiments.claims.rule import scales
from sdnet.experiments.corruptions.robustness import Row, Turned
from sdnet.experiments.what_is_lambda.solvers import SOLVERS
from sdnet.experiments.what_is_lambda.trade_off import BUDGET, LAM, REMEDIES, areas, envelope, trade_offs
from sdnet.names import printed
from sdnet.report.origin import concat
from sdnet.report.plots import curves
from sdnet.report.shown import Shown
from sdnet.report.tables import NOT_RUN, chip, page
from sdnet.results.select import select

COST, GAIN = "clean accuracy lost (points)", "gained under noise (points)"
METRICS = {"calibration_error": "calibration error (%)", "nll": "negative log-likelihood (nats)"}
FILTERED = Row("Gaussian filter, ResNet-18", "resnet18", knob="gaussian_filter")
WITHOUT_LABELS = {
    None: "0.1, as in training",
    "most information": "of most information",
    "least entropy": "of least entropy",
    "labels": "chosen by labels",
}
"""How λ is chosen → what the table calls it."""
UPDATES = (0, 1, 2, 5, 20, 100)
THRESHOLDED = (SDNET, RESNET, MEAN_SPARSE)
"""Networks with a threshold that an attacker may smooth."""
RINGS = np.arange(0, 26, 2)
"""Edges of the rings of frequencies over which accuracy is averaged, in cycles per image."""


def at_one_scale(cells: pd.DataFrame, experiment: str, rows: Sequence[Turned] = REMEDIES) -> pd.DataFrame:
    """The cells of an experiment about some rows, at the scale that has most of them.

    Of several that have as many it is the one with three seeds, the widest, the longest, that with the most images.
    """
    found = []
    for scale, group in scales(cells, experiment, tuple(cells["dataset"].dropna().unique()), 1):
        parts = [select(group, **row.turned) for row in rows]
        there = [part for part in parts if not part.empty]
        if there:
            size = (scale["width"], scale["epochs"], scale["images"])
            rank = (len(there), min(part["seed"].nunique() for part in there) >= SEEDS, *size)
            found.append((rank, concat(there)))
    return max(found, key=lambda pair: pair[0])[1] if found else pd.DataFrame(columns=cells.columns)


def _scale(found: pd.DataFrame) -> str:
    """Data, width and epochs of cells of one scale."""
    one = found.iloc[0]
    return f"{one['dataset']}, width {one['width']:.0f}, epochs: {one['epochs']:.0f}"


def equal_cost(cells: pd.DataFrame, rows: Sequence[Row], identity: str) -> Shown | HTML:
    """Accuracy gained under noise against clean accuracy lost: a line per remedy, the envelope of its strengths.

    Args:
        rows: of :data:`REMEDIES`, at most six.
    """
    found = at_one_scale(cells, "sweep", rows)
    budgets, lines = np.linspace(0, BUDGET, 11), []
    for row in rows:
        for _, group in trade_offs(found, row).groupby("seed"):
            gained = np.interp(budgets, *envelope(group["cost"].to_numpy(float), group["gain"].to_numpy(float)))
            lines.append(pd.DataFrame({COST: budgets, GAIN: gained, "remedy": row.label}))
    if not lines:
        return NOT_RUN
    caption = (
        "What each remedy gains in accuracy under noise (mean over four noises, five severities and seeds), against "
        "what it costs on clean images. A remedy has one strength for all images, or draws between two strengths; "
        f"{_scale(found)}."
    )
    table = pd.concat(lines).groupby(["remedy", COST], sort=False)[GAIN].mean().reset_index()
    return curves(table, x=COST, y=GAIN, hue="remedy", caption=caption, identity=identity, made_from=found)


def show_areas(cells: pd.DataFrame) -> Shown | HTML:
    """The area below each curve, and what λ has more, with 95 % intervals over seeds."""
    found = at_one_scale(cells, "sweep")
    ours, lines = areas(found, LAM), []
    for row in REMEDIES:
        own = areas(found, row)
        if own.empty:
            lines.append(
                {"remedy": row.label, "mean gain (points)": chip("not run"), "λ minus remedy": "", "seeds": ""}
            )
            continue
        less = (ours - own).dropna()
        difference = "" if row is LAM or less.empty else _with_interval(less)
        lines.append(
            {
                "remedy": row.label,
                "mean gain (points)": _with_interval(own),
                "λ minus remedy": difference,
                "seeds": str(len(own)),
            }
        )
    if found.empty:
        return NOT_RUN
    caption = (
        f"The height of these curves, averaged over clean losses from 0 to {BUDGET:g} points [95 % interval over "
        f"seeds]; {_scale(found)}."
    )
    return page(pd.DataFrame(lines), caption, "areas", made_from=found)


def _with_interval(values: "pd.Series[float]") -> str:
    (one,) = paired({"": values})
    low, high = one.estimate.interval()
    enough = one.estimate.seeds >= SEEDS
    return f"{one.estimate.mean:+.2f} [{low:+.2f}, {high:+.2f}]" if enough else f"{one.estimate.mean:+.2f}"


def fourier(cells: pd.DataFrame, row: Row) -> Shown | HTML:
    """Accuracy against the frequency of a wave that is added to the image: a line per strength."""
    found = at_one_scale(cells, "fourier", (row,))
    found = found[found["metric"] == "fourier_top1"]
    if found.empty:
        return NOT_RUN
    ring = RINGS[np.digitize(np.hypot(found["down"].astype(float), found["across"].astype(float)), RINGS) - 1] + 1
    x, y = "frequency (cycles per image)", "accuracy (%)"
    table = found.assign(**{x: ring, y: 100 * found["value"].astype(float), row.label: _named(found["strength"])})
    table = table.groupby([row.label, x])[y].mean().reset_index()
    caption = (
        f"Accuracy when a wave of a single frequency is added to every image (ℓ₂ norm {found['epsilon'].max():g} per "
        f"channel). Mean over rings of frequencies and over seeds; {_scale(found)}."
    )
    identity = f"fourier-{row.arch}-{printed(str(row.knob))}".replace(" ", "-")
    return curves(table, x=x, y=y, hue=row.label, caption=caption, identity=identity, made_from=found)


def confidence(cells: pd.DataFrame, metric: str, row: Row = LAM) -> Shown | HTML:
    """Calibration error or likelihood against the strength of a knob: a line per severity, mean over noises and seeds.

    Args:
        metric: of :data:`METRICS`.
    """
    found = at_one_scale(cells, "confidence", (row,))
    found = found[found["metric"] == metric]
    if found.empty:
        return NOT_RUN
    y = METRICS[metric]
    values = found["value"].astype(float) * (100 if metric == "calibration_error" else 1)
    severity = found["severity"].astype(int).map(lambda level: str(level) if level else "clean")
    table = found.assign(**{row.label: found["strength"].astype(float), y: values, "severity": severity})
    table = table.groupby(["severity", row.label])[y].mean().reset_index()
    table = table.sort_values("severity", key=lambda names: names.replace("clean", "0"))
    caption = (
        f"{y[0].upper()}{y[1:]} against {row.label}, one line per severity. Mean over noises and seeds; "
        f"{_scale(found)}."
    )
    identity = f"{metric}-{row.arch}".replace("_", "-")
    return curves(table, x=row.label, y=y, hue="severity", caption=caption, identity=identity, made_from=found)


def show_chosen(cells: pd.DataFrame) -> Shown | HTML:
    """Accuracy under noise at the λ of training, at those chosen without labels, and at those that labels choose."""
    found = at_one_scale(cells, "confidence", (LAM, adaptation.RECOMPUTED))
    lines = []
    for row, statistics in ((LAM, "of training"), (adaptation.RECOMPUTED, "of the batch")):
        for objective in (None, *adaptation.OBJECTIVES):
            points = adaptation.chosen(found, row, objective)
            if not points.empty:
                by_noise = {noise.removesuffix("_noise"): f"{points[noise].mean():.1f}" for noise in points.columns}
                mean, seeds = f"{points.to_numpy().mean():.1f}", str(len(points))
                how = WITHOUT_LABELS[objective]
                lines.append({"λ is": how, "statistics": statistics, **by_noise, "mean": mean, "seeds": seeds})
    if not lines:
        return NOT_RUN
    caption = (
        "Accuracy (%) under noise, mean over severities and seeds, with λ chosen for each noise and severity. Choosing "
        f"by labels is an oracle. Statistics: those that batch normalisation uses; {_scale(found)}."
    )
    return page(pd.DataFrame(lines), caption, "chosen", made_from=found)


def show_drift(lam: float = 0.1) -> Shown:
    """λ after so many updates whose gradient is zero: ACSC's, and projected gradient descent's."""
    rows: dict[str, list[float]] = {"λ ← softplus(λ − η∇)": [lam], "λ ← max(0, λ − η∇)": [lam]}
    for _ in range(UPDATES[-1]):
        for update, found in zip((np.logaddexp, np.maximum), rows.values(), strict=True):
            found.append(float(update(0.0, found[-1])))  # log(e⁰ + e^λ) is softplus(λ)
    lines = [{"update": name, **{str(step): f"{found[step]:.2f}" for step in UPDATES}} for name, found in rows.items()]
    caption = (
        "What a learned λ becomes after so many updates (columns) if its gradient is zero throughout, so that it "
        "should stay. First line: the update that was published. Second line: projected gradient descent."
    )
    return page(pd.DataFrame(lines), caption, "drift", made_from="no images: λ alone")


def certified(cells: pd.DataFrame, row: Row) -> Shown | HTML:
    """Certified accuracy against the ℓ₂ radius: a line per strength, mean over seeds."""
    found = at_one_scale(cells, "certify", (row,))
    found = found[found["metric"] == "certified_top1"]
    if found.empty:
        return NOT_RUN
    x, y = "ℓ₂ radius (pixels)", "certified accuracy (%)"
    table = found.assign(
        **{x: found["epsilon"], y: 100 * found["value"].astype(float), row.label: _named(found["strength"])}
    )
    table = table.groupby([row.label, x])[y].mean().reset_index()
    caption = (
        "Share of images whose right answer is certified: no perturbation within the radius changes the answer of "
        "the smoothed network."
    )
    identity = f"certified-{row.arch}-{printed(str(row.knob))}".replace(" ", "-")
    return curves(table, x=x, y=y, hue=row.label, caption=caption, identity=identity, made_from=found)


def show_encoder_gap(cells: pd.DataFrame) -> Shown | HTML:
    """The share of a code's entries that a change of the image may make active, and the encoder gap, by λ."""
    metrics = ("may_be_active", "encoder_gap")
    keys = ("seed", "metric", "strength", "epsilon")
    found = select(cells, one_per=keys, experiment="guarantee", metric=metrics, **LAM.network)
    if found.empty:
        return NOT_RUN
    lines = []
    for lam, of_lam in found.groupby("strength"):
        shares = of_lam[of_lam["metric"] == metrics[0]].groupby("epsilon")["value"].mean()
        gap = of_lam.loc[of_lam["metric"] == metrics[1], "value"].mean()
        by_radius = {f"{radius:g}": f"{100 * share:.1f}" for radius, share in shares.items()}
        lines.append(
            {"λ": f"{lam:g}", **by_radius, "encoder gap": f"{gap:.3f}", "seeds": str(of_lam["seed"].nunique())}
        )
    caption = (
        "Share of a code's entries (%) that are not sure to stay zero while the image moves by at most so much in ℓ₂ "
        "(columns, pixel values from 0 to 1; at 0 those that are not zero), and the encoder gap: how far the image may "
        "move while nine tenths of the entries are sure to stay zero. Minimisers of Eq. 4 in SDNet-18's first layer."
    )
    return page(pd.DataFrame(lines), caption, "encoder-gap", made_from=found)


def gaps(cells: pd.DataFrame, lam: float = 0.1) -> Shown | HTML:
    """Certified relative gap of Eq. 4 against iterations: a line per solver, mean over networks."""
    found = select(cells, one_per=("seed", "method", "iteration"), metric="relative_gap", strength=lam)
    if found.empty:
        return NOT_RUN
    x, y = "iterations", "certified relative gap (log₁₀)"
    table = found.assign(**{x: found["iteration"].astype(float), y: found["value"].astype(float).map(np.log10)})
    table = table.groupby(["method", x])[y].mean().reset_index().rename(columns={"method": "solver"})
    caption = (
        f"How far each solver is at most from the minimum of Eq. 4 at λ = {lam:g}: the duality gap as a fraction of "
        "P(0), geometric mean over pieces of photographs and over the atoms of trained networks."
    )
    absent = [name for name in SOLVERS if name not in set(found["method"])]
    caption += f" Not run, for want of the library: {', '.join(absent)}." if absent else ""
    axes = {"xscale": "log"}
    return curves(table, x=x, y=y, hue="solver", axes=axes, caption=caption, identity="gaps", made_from=found)


def show_smoothed(cells: pd.DataFrame) -> Shown | HTML:
    """Robust accuracy where the attack was crafted: PGD, and PGD that smooths every threshold."""
    found = at_one_scale(cells, "attack", THRESHOLDED)
    lines = []
    for row in THRESHOLDED:
        for norm, label in NORMS.items():
            plain, smoothed = (robust(found, row, norm, "adaptive", attack) for attack in ("pgd", "pgd_smoothed"))
            both = plain.merge(smoothed, on=["seed", "strength"], suffixes=("", "_smoothed"))
            for strength, group in both.groupby("strength"):
                values = 100 * group[["value", "value_smoothed"]].astype(float).mean()
                lines.append(
                    {
                        "network": row.label, "perturbation": label, "λ or threshold": f"{strength:g}",
                        "PGD": f"{values['value']:.1f}", "PGD, thresholds smoothed": f"{values['value_smoothed']:.1f}",
                        "seeds": str(group["seed"].nunique()),
                    }
                )  # fmt: skip
    if not lines:
        return NOT_RUN
    caption = (
        "Accuracy (%) left by an attacker who knows the strength: by PGD as it is, and by PGD that sees through "
        f"thresholds because it smooths them; {_scale(found)}."
    )
    return page(pd.DataFrame(lines), caption, "smoothed", made_from=found)


def _named(strengths: "pd.Series[float]") -> "pd.Series[str]":
    return strengths.astype(float).map(lambda value: f"{value:g}")
