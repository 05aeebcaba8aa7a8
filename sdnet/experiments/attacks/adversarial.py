"""Table 4 from the ledger: robust accuracy under each protocol, against λ, and the checks behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from IPython.display import HTML
from scipy.stats import binomtest

from sdnet.experiments.corruptions.robustness import ONE_STEP, Turned, same_scale
from sdnet.names import printed
from sdnet.report.origin import concat
from sdnet.report.plots import FAINT, INK, MARKERS, PALETTE, finished, two_columns
from sdnet.report.shown import Shown
from sdnet.report.tables import Number, chip, note, page, paper_prints
from sdnet.results.paper import paper_table
from sdnet.results.select import select
from sdnet.robust.attacks import EPSILONS

NORMS = {"linf": "L∞, ε = 8/255", "l2": "L2, ε = 0.5"}


@dataclass(frozen=True)
class Attacked(Turned):
    """A row of Table 4: a network, and the paper's rows for it, at the strength of training and after tuning."""

    label: str
    arch: str
    variant: str
    knob: str
    start: float
    paper: str | None = None


RESNET = Attacked("ResNet-18", "resnet18", "", "stem_threshold", 0.0, "resnet18")
MEAN_SPARSE = Attacked("ResNet-18, MeanSparse", "resnet18", "", "mean_sparse", 0.0)
ONE_STEP_SDNET = Attacked("One-step SDNet-18", "sdnet18", ONE_STEP, "lam", 0.1)
SDNET = Attacked("SDNet-18", "sdnet18", "", "lam", 0.1, "sdnet18")
ROWS = (
    RESNET,
    MEAN_SPARSE,
    Attacked("ResNet-18 behind a Gaussian filter", "resnet18", "", "gaussian_filter", 0.0),
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
    conditions = {"norm": norm, "protocol": protocol, "attack": attack, "units": units}
    chosen = select(cells, experiment="attack", metric="robust_top1", **row.turned, **conditions)
    chosen = chosen[np.isclose(chosen["epsilon"].astype(float), EPSILONS[norm])]
    most = ("n", "steps", "restarts", "started")
    chosen = select(chosen, one_per=("seed", "strength", "crafted_at"), prefer=most)
    return chosen[["seed", "strength", "crafted_at", "value", "n", "run"]].sort_values(["seed", "strength"])


def clean(cells: pd.DataFrame, row: Attacked) -> pd.DataFrame:
    """Accuracy per (seed, strength) on the images as they are; of several answers that about the most images counts."""
    return select(
        cells, one_per=("seed", "strength"), prefer=("n", "started"), experiment="attack", metric="top1", **row.turned
    )


def best(found: pd.DataFrame) -> pd.DataFrame:
    """Per seed the strength with the highest robust accuracy, chosen by test labels: an oracle."""
    return found.loc[found.groupby("seed")["value"].idxmax()] if not found.empty else found


def at_start(found: pd.DataFrame, row: Attacked) -> pd.DataFrame:
    """Per seed the robust accuracy at the strength of training."""
    return found[found["strength"] == row.start]


def show_table4(cells: pd.DataFrame) -> Shown:
    """Table 4: per network and norm the paper's number, then ours under PGD by protocol, and under AutoAttack.

    Columns where the strength is tuned show the best by test labels, an oracle, with the strength it chose; every
    number has half the width of its 95 % interval over images (Wilson).
    """
    paper = paper_table(4)

    def columns(row: Attacked, norm: str) -> dict[str, Number | str]:
        adaptive, oblivious = (robust(cells, row, norm, protocol) for protocol in ("adaptive", "oblivious"))
        untuned, tuned = (_printed(paper, row, norm, tuned=tuned) for tuned in (False, True))
        return {
            "λ of training": _cell(at_start(oblivious, row), False, untuned),
            "(a) crafted at the λ of training, then λ tuned": _cell(best(oblivious), before=tuned),
            "(b) crafted at the λ in use": _cell(best(adaptive)),
            "(c) the worst of all perturbations": _cell(best(robust(cells, row, norm, "worst_case"))),
            "AutoAttack": _cell(best(robust(cells, row, norm, "adaptive", "autoattack"))),
        }

    caption = (
        "Accuracy (%) under attack, mean over seeds. Grey: the paper's Table 4. Bold: measured, ± half the 95 % "
        "interval over test images (Wilson). Small: at which strength (λ, threshold or filter width), and of how "
        "many images."
    )
    return _by_norm(ROWS, columns, caption, "table4", cells)


def show_others(cells: pd.DataFrame) -> Shown:
    """The other adversaries: one who knows the policy, black boxes, and one whose ε is in normalised units."""

    def columns(row: Attacked, norm: str) -> dict[str, Number | str]:
        scaled = robust(cells, row, norm, "oblivious", units="normalised")
        return {
            "(d) knows the policy for λ": _policy(cells, row, norm),
            "transfer, λ of training": _cell(at_start(robust(cells, row, norm, "transfer"), row), False),
            "transfer, λ tuned": _cell(best(robust(cells, row, norm, "transfer"))),
            "Square, λ of training": _cell(at_start(robust(cells, row, norm, "adaptive", "square"), row), False),
            "ε after normalisation, λ of training": _cell(at_start(scaled, row), False),
            "ε after normalisation, λ tuned": _cell(best(scaled)),
        }

    caption = (
        "Accuracy (%) under other adversaries, ± half the 95 % interval over test images (Wilson). Of a ResNet, the "
        "threshold of its first ReLU takes the place of λ."
    )
    return _by_norm((RESNET, SDNET), columns, caption, "adversaries", cells)


def _by_norm(
    rows: Sequence[Attacked],
    columns: Callable[[Attacked, str], dict[str, Number | str]],
    caption: str,
    identity: str,
    cells: pd.DataFrame,
) -> Shown:
    lines = [
        {"network": f"<b>{row.label}</b>" if norm == "linf" else "", "perturbation": label, **columns(row, norm)}
        for row in rows
        for norm, label in NORMS.items()
    ]
    return page(pd.DataFrame(lines), caption, identity, wrap=True, made_from=cells)


def _printed(paper: pd.DataFrame, row: Attacked, norm: str, *, tuned: bool) -> str:
    if row.paper is None or (tuned and row.paper == "resnet18"):
        return ""
    chosen = select(paper, arch=row.paper, norm=norm)
    chosen = chosen[(chosen["policy"] == "tuned") == tuned]
    printed = chosen["value"].iloc[0]
    return f"{paper_prints(f'paper {printed:.2f}')}<br>"


def _policy(cells: pd.DataFrame, row: Attacked, norm: str) -> Number | str:
    found = robust(cells, row, norm, "policy")
    return _cell(found[found["crafted_at"].isna()], False) if row.knob == "lam" else "–"


def _cell(found: pd.DataFrame, show_strength: bool = True, before: str = "") -> Number | str:
    if found.empty:
        return before + chip("not run")
    value, images = 100 * found["value"], int(found["n"].min())
    low, high = binomtest(round(found["value"].mean() * images), images).proportion_ci(method="wilson")
    at = f"at {found['strength'].astype(float).mean():.2g}, " if show_strength else ""
    text = f"{before}<b>{value.mean():.2f}</b> ± {50 * (high - low):.2f}<br>{note(f'{at}{images:,} images')}"
    return Number(text, found)


def against_strength(cells: pd.DataFrame, row: Attacked, axis: str = "λ") -> Shown:
    """Accuracy against the strength: clean, under protocol (a), and under protocol (b); mean over seeds."""
    unattacked = clean(cells, row)
    fig, panels = two_columns(2, 3.0, sharey=True)
    behind = [unattacked]
    for ax, (norm, label) in zip(panels, NORMS.items(), strict=True):
        lines = {
            "clean": unattacked,
            f"(a) crafted at {row.start:g}": robust(cells, row, norm, "oblivious"),
            "(b) crafted at the strength in use": robust(cells, row, norm, "adaptive"),
        }
        behind += lines.values()
        for index, (name, found) in enumerate(lines.items()):
            means = 100 * found.groupby("strength")["value"].mean()
            colour = FAINT if name == "clean" else PALETTE[index - 1]
            ax.plot(means.index.to_numpy(float), means, marker=MARKERS[index], color=colour, label=name)
        ax.set(title=label, xlabel=axis, ylim=(-3, None))
    panels[0].set_ylabel("accuracy (%)")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, labelcolor=INK)
    caption = (
        f"Accuracy of {row.label} at each {axis}: on clean images, (a) under perturbations made at {row.start:g}, and "
        "(b) under perturbations made for the strength in use. Mean over seeds."
    )
    used = cells[cells["run"].isin(concat(part[["run"]] for part in behind)["run"])]
    identity = f"attacked-{row.arch}-{printed(row.knob)}-{row.variant}".replace(" ", "-")
    return finished(fig, caption, identity, made_from=used)


def over_steps(cells: pd.DataFrame, row: Attacked) -> Shown:
    """Accuracy and loss against the number of PGD steps at the strength of training: both must have settled."""
    chosen = select(cells, experiment="attack", **row.network)
    fig, panels = two_columns(2, 2.9)
    for ax, (metric, label, factor) in zip(
        panels, (("steps_top1", "accuracy (%)", 100), ("steps_loss", "cross-entropy", 1)), strict=True
    ):
        for index, (norm, name) in enumerate(NORMS.items()):
            here = select(chosen, metric=metric, norm=norm)
            means = factor * here.groupby("steps")["value"].mean()
            ax.plot(means.index.to_numpy(float), means, marker=MARKERS[index], color=PALETTE[index], label=name)
        ax.set(xlabel="steps", ylabel=label)
    panels[0].legend(labelcolor=INK)
    caption = (
        f"Has the attack on {row.label} converged? Accuracy and loss against the number of PGD steps, at the strength "
        "of training."
    )
    used = chosen[chosen["metric"].isin(["steps_top1", "steps_loss"])]
    return finished(fig, caption, f"steps-{row.arch}-{row.variant}", made_from=used)


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
                "accuracy left if ε is unlimited": _check(f"{everything:.2%}", everything == 0),
                "largest rise of accuracy with more steps": _check(f"{max(rise, 0):.2%}", rise <= 0.01),
                "accuracy under PGD, under Square": _check(f"{white.mean():.2%}, {black.mean():.2%}", ahead),
                "images without a gradient": _check(f"{zero:.1%}", zero < 0.01),
            }
        )  # fmt: skip
    if not lines:
        return HTML(f"<p>{chip('not run')}</p>")
    caption = (
        "Checks of the attacks. Each number has a check mark if it is as it must be: nothing left, hardly a rise, no "
        "more under PGD than under the black box Square, hardly an image without a gradient."
    )
    used = chosen[chosen["run"].isin(chosen.loc[chosen["metric"] == "large_epsilon_top1", "run"])]
    return page(pd.DataFrame(lines), caption, "sanity", made_from=used)


def _check(text: str, holds: bool) -> str:
    return f"{text} {'✓' if holds else '<b>does not hold</b>'}"
