"""Figures 2 and 3 of the paper from the ledger, and the optimal strength of a knob against severity."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdnet.experiments.corruptions.robust_tables import LABELS
from sdnet.experiments.corruptions.robustness import NOISES, Row, latest, policy_cells, top1
from sdnet.names import printed
from sdnet.report.origin import concat
from sdnet.report.plots import FAINT, INK, MARKERS, PALETTE, finished, two_columns
from sdnet.report.shown import Shown
from sdnet.results.select import select


def figure2(cells: pd.DataFrame, row: Row, axis: str = "λ") -> Shown:
    """Accuracy against the strength of a knob, one line per severity, one panel per noise; stars mark the best.

    The paper's Figure 2 is this with λ. Mean over seeds; clean images in grey.

    Args:
        row: its ``strength`` is not looked at.
        axis: name of the horizontal axis.
    """
    chosen = select(cells, experiment="sweep", metric="top1", **row.turned)
    chosen = latest(chosen)
    means = chosen.groupby(["corruption", "severity", "strength"], as_index=False)[["value"]].mean()
    means["accuracy"] = 100 * means["value"]
    fig, panels = two_columns(4, 2.5, sharey=True)
    colours = sns.color_palette("flare", 5)
    for ax, corruption in zip(panels, NOISES, strict=True):
        for severity in range(6):
            here = select(means, corruption=corruption if severity else "clean", severity=severity)
            if here.empty:
                continue
            colour = colours[severity - 1] if severity else FAINT
            label = f"severity {severity}" if severity else "clean"
            ax.plot(here["strength"], here["accuracy"], color=colour, label=label, lw=1.5)
            best = here.iloc[int(here["accuracy"].argmax())]
            ax.plot(best["strength"], best["accuracy"], "*", color=colour, ms=8, mec="white", mew=0.5)
        ax.set(title=LABELS[corruption], xlabel=axis)
    _labels(panels, "accuracy (%)")
    _legend(fig, panels[0], 3)
    caption = (
        f"Accuracy against {axis}, one line per severity, mean over seeds. A star marks the best {axis} of a line."
    )
    behind = cells[cells["run"].isin(chosen["run"])]
    return finished(
        fig, caption, f"accuracy-{row.arch}-{printed(str(row.knob))}-{row.variant}".replace(" ", "-"), made_from=behind
    )


def figure3(cells: pd.DataFrame, policy: str = "residual_fit", power: int = 1) -> Shown:
    """Best λ against the residual, the points of Algorithm 1, and its line: a panel per noise, a colour per seed.

    Args:
        policy: ``"residual_fit"`` (as written) or ``"authors_script"`` (as released).
        power: 1 for the residual's norm, 2 for its square.
    """
    points = policy_cells(cells, "best_lam", policy=policy)
    lines = policy_cells(cells, "r_squared", policy=policy)
    column = "residual" if power == 1 else "squared_residual"
    fig, panels = two_columns(4, 2.3, sharey=True)
    for ax, corruption in zip(panels, NOISES, strict=True):
        here = points[points["corruption"] == corruption]
        for index, (seed, group) in enumerate(here.groupby("seed")):
            x = group[column].to_numpy(float)
            colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
            ax.plot(x, group["value"], marker, color=colour, label=f"seed {seed:.0f}", mec="white", mew=0.5)
            fits = select(lines, fitted_on=corruption, power=power)
            line = fits[fits["seed"] == seed].iloc[0]
            ends = np.array([x.min(), x.max()])
            ax.plot(ends, line["slope"] * ends + line["intercept"], color=colour, lw=1.2)
        ax.set(title=LABELS[corruption], xlabel="residual ‖r‖" if power == 1 else "‖r‖²")
    _labels(panels, "best λ")
    _legend(fig, panels[0], 4)
    caption = (
        f"The λ that is best at each noise level, against the mean {'norm' if power == 1 else 'squared norm'} of the "
        "residual, with the straight line that Algorithm 1 fits."
    )
    return finished(fig, caption, f"best-lam-{policy}", made_from=concat([points, lines]))


def optimal_strength(cells: pd.DataFrame, rows: Mapping[str, Row]) -> Shown:
    """Best strength by test labels against severity: a line per knob, a panel per noise; bars span the seeds."""
    fig, panels = two_columns(4, 2.3, sharey=True)
    for ax, corruption in zip(panels, NOISES, strict=True):
        for index, (label, row) in enumerate(rows.items()):
            best = top1(cells, row)
            best = best[best["corruption"].isin(["clean", corruption])]
            if best.empty:
                continue
            by = best.groupby("severity")["strength"].agg(["mean", "min", "max"])
            # Of equal seeds rounding may put the mean beyond them.
            spread = np.stack([by["mean"] - by["min"], by["max"] - by["mean"]]).clip(min=0)
            offset = by.index.to_numpy(float) + 0.08 * (index - 1)
            ax.errorbar(
                offset, by["mean"], yerr=spread, marker=MARKERS[index], color=PALETTE[index], label=label, lw=1.4
            )
        ax.set(title=LABELS[corruption], xlabel="severity", xticks=range(6), xticklabels=["clean", 1, 2, 3, 4, 5])
    _labels(panels, "best strength")
    _legend(fig, panels[0], 1)
    caption = (
        "The strength that is best by test labels, against the severity of the noise. Mean over seeds; bars reach "
        "from the lowest seed to the highest."
    )
    behind = cells[cells["run"].isin(concat(top1(cells, row) for row in rows.values())["run"])]
    return finished(fig, caption, "best-strength", made_from=behind)


def _labels(panels: list[Axes], text: str) -> None:
    """Name the vertical axis of the panels on the left."""
    for ax in panels[::2]:
        ax.set_ylabel(text)


def _legend(fig: Figure, ax: Axes, columns: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        fig.legend(handles, labels, loc="outside lower center", ncols=columns, labelcolor=INK)
