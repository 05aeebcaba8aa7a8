"""Table 4 from the ledger: robust accuracy under each protocol, against λ, and the checks behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from scipy.stats import binomtest

from sdnet.experiments.corruptions.robustness import ONE_STEP, same_scale
from sdnet.report.plots import FAINT, INK, MARKERS, PALETTE, WIDTH, finished
from sdnet.report.tables import chip, page
from sdnet.results.paper import paper_table
from sdnet.robust.attacks import EPSILONS

NORMS = {"linf": "L∞, ε = 8/255", "l2": "L2, ε = 0.5"}


@dataclass(frozen=True)
class Attacked:
    """A row of Table 4: a network, and the paper's rows for it, at the strength of training and after tuning."""

    label: str
    arch: str
    variant: str
    knob: str
    start: float
    paper: str | None = None


RESNET = Attacked("ResNet-18", "resnet18", "", "stem threshold", 0.0, "resnet18")
ONE_STEP_SDNET = Attacked("One-step SDNet-18", "sdnet18", ONE_STEP, "lam", 0.1)
SDNET = Attacked("SDNet-18", "sdnet18", "", "lam", 0.1, "sdnet18")
ROWS = (
    RESNET,
    Attacked("ResNet-18 behind a Gaussian filter", "resnet18", "", "gaussian filter", 0.0),
    Attacked("ResNet-18 behind quantisation", "resnet18", "", "quantisation", 0.0),
    ONE_STEP_SDNET,
    SDNET,
)


def one_scale(cells: pd.DataFrame) -> pd.DataFrame:
    """The attacks that may be compared with the largest one on an SDNet-18: same data, width and number of epochs."""
    attacks = cells[cells["experiment"] == "attack"]
    ours = attacks[attacks["arch"] == "sdnet18"]
    return attacks if ours.empty else attacks[same_scale(attacks, ours)]


def robust(
    cells: pd.DataFrame, row: Attacked, norm: str, protocol: str, attack: str = "pgd", units: str = "pixels"
) -> pd.DataFrame:
    """Robust accuracy per (seed, strength) under one protocol, at Table 4's ε.

    Of several answers at one strength the one about the most images counts, then that after the most steps and
    restarts, then the latest.
    """
    chosen = cells[(cells["experiment"] == "attack") & (cells["metric"] == "robust_top1")]
    for column, value in (
        ("arch", row.arch), ("variant", row.variant), ("knob", row.knob), ("norm", norm), ("protocol", protocol),
        ("attack", attack), ("units", units),
    ):  # fmt: skip
        chosen = chosen[chosen[column] == value]
    chosen = chosen[np.isclose(chosen["epsilon"].astype(float), EPSILONS[norm])]
    chosen = chosen.sort_values(["n", "steps", "restarts", "started"]).drop_duplicates(
        ["seed", "strength", "crafted_at"], keep="last"
    )
    return chosen[["seed", "strength", "crafted_at", "value", "n"]].sort_values(["seed", "strength"])


def best(found: pd.DataFrame) -> pd.DataFrame:
    """Per seed the strength with the highest robust accuracy, chosen by test labels: an oracle."""
    return found.loc[found.groupby("seed")["value"].idxmax()] if not found.empty else found


def at_start(found: pd.DataFrame, row: Attacked) -> pd.DataFrame:
    """Per seed the robust accuracy at the strength of training."""
    return found[found["strength"] == row.start]


def show_table4(cells: pd.DataFrame) -> HTML:
    """Table 4: per network and norm the paper's number, then ours under PGD by protocol, and under AutoAttack.

    Columns where the strength is tuned show the best by test labels, an oracle, with the strength it chose; every
    number has half the width of its 95 % interval over images (Wilson).
    """
    paper = paper_table(4)

    def columns(row: Attacked, norm: str) -> dict[str, str]:
        adaptive, oblivious = (robust(cells, row, norm, protocol) for protocol in ("adaptive", "oblivious"))
        usual, tuned = (_printed(paper, row, norm, tuned=tuned) for tuned in (False, True))
        return {
            "as trained": usual + _cell(at_start(oblivious, row), False),
            "(a) crafted as trained,<br>then tuned": tuned + _cell(best(oblivious)),
            "(b) crafted where<br>deployed": _cell(best(adaptive)),
            "(c) worst of all<br>crafted": _cell(best(robust(cells, row, norm, "worst_case"))),
            "AutoAttack": _cell(best(robust(cells, row, norm, "adaptive", "autoattack"))),
        }

    return _by_norm(ROWS, columns, "table4")


def show_others(cells: pd.DataFrame) -> HTML:
    """The other adversaries: one who knows the policy, black boxes, and one whose ε is in normalised units."""

    def columns(row: Attacked, norm: str) -> dict[str, str]:
        scaled = robust(cells, row, norm, "oblivious", units="normalised")
        return {
            "(d) policy in the loop": _policy(cells, row, norm),
            "transfer,<br>as trained": _cell(at_start(robust(cells, row, norm, "transfer"), row), False),
            "transfer,<br>tuned": _cell(best(robust(cells, row, norm, "transfer"))),
            "Square,<br>as trained": _cell(at_start(robust(cells, row, norm, "adaptive", "square"), row), False),
            "ε in normalised units,<br>as trained": _cell(at_start(scaled, row), False),
            "ε in normalised units,<br>(a) tuned": _cell(best(scaled)),
        }

    return _by_norm((RESNET, SDNET), columns, "adversaries")


def _by_norm(rows: Sequence[Attacked], columns: Callable[[Attacked, str], dict[str, str]], identity: str) -> HTML:
    lines = [
        {"network": f"<b>{row.label}</b>" if norm == "linf" else "", "ball": label, **columns(row, norm)}
        for row in rows
        for norm, label in NORMS.items()
    ]
    return page(pd.DataFrame(lines), "", identity)


def _printed(paper: pd.DataFrame, row: Attacked, norm: str, *, tuned: bool) -> str:
    if row.paper is None or (tuned and row.paper == "resnet18"):
        return ""
    chosen = paper[(paper["arch"] == row.paper) & (paper["norm"] == norm)]
    chosen = chosen[(chosen["policy"] == "tuned") == tuned]
    return f'<span style="opacity:0.75">paper {chosen["value"].iloc[0]:.2f}</span><br>'


def _policy(cells: pd.DataFrame, row: Attacked, norm: str) -> str:
    found = robust(cells, row, norm, "policy")
    return _cell(found[found["crafted_at"].isna()], False) if row.knob == "lam" else "–"


def _cell(found: pd.DataFrame, show_strength: bool = True) -> str:
    if found.empty:
        return chip("not run")
    value, images = 100 * found["value"], int(found["n"].min())
    low, high = binomtest(round(found["value"].mean() * images), images).proportion_ci(method="wilson")
    title = f"by seed: {', '.join(f'{v:.2f}' for v in value)}"
    at = f"at {found['strength'].astype(float).mean():.2g}, " if show_strength else ""
    note = f'<br><span style="opacity:0.7;font-size:0.85em">{at}{images:,} images</span>'
    return f'<span title="{title}"><b>{value.mean():.2f}</b> ± {50 * (high - low):.2f}</span>{note}'


def against_strength(cells: pd.DataFrame, row: Attacked, axis: str = "λ") -> Figure:
    """Accuracy against the strength: clean, under protocol (a), and under protocol (b); mean over seeds."""
    clean = cells[(cells["experiment"] == "attack") & (cells["metric"] == "top1") & (cells["arch"] == row.arch)]
    clean = clean[(clean["variant"] == row.variant) & (clean["knob"] == row.knob)]
    clean = clean.sort_values(["n", "started"]).drop_duplicates(["seed", "strength"], keep="last")
    fig, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.3), sharey=True)
    for ax, (norm, label) in zip(panels, NORMS.items(), strict=True):
        lines = {
            "clean": clean,
            f"(a) crafted at {row.start:g}": robust(cells, row, norm, "oblivious"),
            "(b) crafted where deployed": robust(cells, row, norm, "adaptive"),
        }
        for index, (name, found) in enumerate(lines.items()):
            means = 100 * found.groupby("strength")["value"].mean()
            colour = FAINT if name == "clean" else PALETTE[index - 1]
            ax.plot(means.index.to_numpy(float), means, marker=MARKERS[index], color=colour, label=name)
        ax.set(title=label, xlabel=axis, ylim=(-3, None))
    panels[0].set_ylabel("accuracy (%)")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, labelcolor=INK)
    return finished(fig)


def over_steps(cells: pd.DataFrame, row: Attacked) -> Figure:
    """Accuracy and loss against the number of PGD steps at the strength of training: both must have settled."""
    chosen = cells[(cells["experiment"] == "attack") & (cells["arch"] == row.arch) & (cells["variant"] == row.variant)]
    fig, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    for ax, (metric, label, factor) in zip(
        panels, (("steps_top1", "accuracy (%)", 100), ("steps_loss", "cross-entropy", 1)), strict=True
    ):
        for index, (norm, name) in enumerate(NORMS.items()):
            here = chosen[(chosen["metric"] == metric) & (chosen["norm"] == norm)]
            means = factor * here.groupby("steps")["value"].mean()
            ax.plot(means.index.to_numpy(float), means, marker=MARKERS[index], color=PALETTE[index], label=name)
        ax.set(xlabel="steps", ylabel=label)
    panels[0].legend(labelcolor=INK)
    return finished(fig)


def show_sanity(cells: pd.DataFrame) -> HTML:
    """The checks, one line per network: what must hold, what was measured, and whether it does."""
    chosen = cells[cells["experiment"] == "attack"]
    lines = []
    for (arch, variant), group in chosen.groupby(["arch", "variant"]):
        by = dict(list(group.groupby("metric")))
        if "large_epsilon_top1" not in by:
            continue
        everything = by["large_epsilon_top1"]["value"].max()
        steps = by["steps_top1"].groupby(["seed", "norm", "steps"])["value"].mean().unstack()
        rise = steps.diff(axis=1).max().max()
        white, black = (
            by[name].groupby(["seed", "norm"])["value"].mean() for name in ("white_box_top1", "black_box_top1")
        )
        ahead = bool((white <= black).all())
        zero = by["zero_gradient"]
        zero = zero[zero["strength"] == zero["strength"].min()]["value"].max()
        lines.append(
            {
                "network": f"{arch} ({variant})" if variant else arch,
                "ε without limit leaves": _check(f"{everything:.2%}", everything == 0),
                "largest rise with more steps": _check(f"{max(rise, 0):.2%}", rise <= 0.01),
                "white box against Square": _check(f"{white.mean():.2%} : {black.mean():.2%}", ahead),
                "zero gradients": _check(f"{zero:.1%}", zero < 0.01),
            }
        )  # fmt: skip
    return page(pd.DataFrame(lines), "", "sanity") if lines else HTML(f"<p>{chip('not run')}</p>")


def _check(text: str, holds: bool) -> str:
    return f"{text} {'✓' if holds else '<b>does not hold</b>'}"
