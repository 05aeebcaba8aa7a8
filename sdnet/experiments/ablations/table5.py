"""Table 5 and the other ablations from the ledger: what each choice is worth, clean, under noise, and in time."""

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from sdnet.experiments.ablations.grid import GRID, LAMS, NOISES, Variant, trained_at
from sdnet.report.plots import FAINT, INK, MARKERS, PALETTE, WIDTH, finished
from sdnet.report.tables import chip, page
from sdnet.results.paper import paper_table

NATURAL = "clean"
CONDITIONS = {NATURAL: "natural", "gaussian_noise": "Gaussian", "shot_noise": "shot", "impulse_noise": "impulse"}
"""Condition → heading."""


def one_scale(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the scale (data set, width, epochs) at which most variants of the grid were run; benchmarks stay.

    Of the answers under noise those about one number of test images stay, again that of most variants: the first
    thousand images are a point easier than all of them.
    """
    benchmark = cells["experiment"] == "benchmark"
    sweeps = cells[(cells["experiment"] == "sweep") & (cells["metric"] == "top1") & cells["corruption"].isin(NOISES)]
    if sweeps.empty:
        return cells[benchmark]
    scale = ["dataset", "width", "epochs"]
    known = {(variant.arch, variant.name) for variants in GRID.values() for variant in variants}
    runs = sweeps[[*scale, "n", "arch", "variant"]].drop_duplicates()
    runs = runs[[pair in known for pair in zip(runs["arch"], runs["variant"], strict=True)]]
    if runs.empty:
        return cells[benchmark]
    counts = runs.groupby([*scale, "n"]).size().reset_index(name="variants")
    most = counts.sort_values(["variants", *scale, "n"]).iloc[-1]
    fitting = (cells["experiment"] != "sweep") | (cells["n"] == most["n"])
    return cells[(cells[scale] == most[scale]).all(axis=1) & fitting | benchmark]


def accuracies(cells: pd.DataFrame, variant: Variant, best: bool = False) -> pd.DataFrame:
    """Accuracy of a variant, natural and averaged over the severities of each noise: a line per (seed, corruption).

    Natural accuracy is that of the training run, on all test images; ``corruption`` is ``"clean"`` there.

    Args:
        best: under noise at the best of the grid's λ of each severity by test labels, an **oracle**, instead of at the
            network's own.
    """
    cells = cells[(cells["arch"] == variant.arch) & (cells["variant"] == variant.name) & (cells["metric"] == "top1")]
    trained = cells[(cells["experiment"] == "train") & (cells["split"] == "test")].assign(corruption=NATURAL)
    noisy = cells[(cells["experiment"] == "sweep") & cells["knob"].isin(["lam", "stem threshold"])]
    noisy = noisy[noisy["corruption"].isin(NOISES)].sort_values(["n", "started"])
    noisy = noisy.drop_duplicates(["seed", "corruption", "severity", "strength"], keep="last")
    own = trained_at(variant.arch, variant.network)
    noisy = noisy[noisy["strength"].isin({*LAMS, own} if best else {own})]
    noisy = noisy.groupby(["seed", "corruption", "severity"], as_index=False)[["value", "n"]].max()
    noisy = noisy.groupby(["seed", "corruption"], as_index=False).agg(value=("value", "mean"), n=("n", "min"))
    trained = trained.sort_values("started").drop_duplicates("seed", keep="last")
    return pd.concat([trained[["seed", "corruption", "value", "n"]], noisy]).astype({"seed": int, "n": int})


def show_group(cells: pd.DataFrame, group: str) -> HTML:
    """One line per variant of a group of the grid: accuracy per condition, mean over seeds, and the cost of a step."""
    lines = [{"": f"<b>{variant.label}</b>", **_columns(cells, variant)} for variant in GRID[group]]
    return page(pd.DataFrame(lines), _caption(cells, GRID[group]), f"ablation-{group}")


def show_table5(cells: pd.DataFrame) -> HTML:
    """Table 5: per solver and number of steps the paper's numbers (ImageNet, λ by Algorithm 1) and ours."""
    paper = paper_table(5)
    lines = []
    for variant in GRID["iterations"]:
        line = {"iterations": f"<b>{variant.label}</b>", **_columns(cells, variant)}
        method, steps = variant.network.get("method", "fista"), variant.network.get("iterations", 2)
        for condition, heading in CONDITIONS.items():
            corruption = "" if condition == NATURAL else condition
            printed = paper[(paper["iterations"] == steps) & (paper["corruption"] == corruption)]["value"]
            if method == "fista" and not printed.empty:
                line[heading] = f'<span style="opacity:0.75">paper {printed.iloc[0]:.2f}</span><br>{line[heading]}'
        lines.append(line)
    caption = _caption(cells, GRID["iterations"])
    caption += "; the paper's numbers under noise are at an adapted λ, to be compared with the small ones"
    return page(pd.DataFrame(lines), caption, "table5")


def _columns(cells: pd.DataFrame, variant: Variant) -> dict[str, str]:
    own, best = accuracies(cells, variant), accuracies(cells, variant, best=True)
    columns = {}
    for condition, heading in CONDITIONS.items():
        text = _mean(own[own["corruption"] == condition])
        tuned = best[best["corruption"] == condition]
        if condition != NATURAL and not tuned.empty and not variant.arch.startswith("resnet"):
            oracle = f"{100 * tuned['value'].mean():.1f}"
            text += f' <span style="opacity:0.7;font-size:0.85em" title="best λ by test labels">{oracle}</span>'
        columns[heading] = text
    for metric, heading in (("ablation_speed_ratio", "speed"), ("ablation_memory", "memory")):
        columns[heading] = _cost(cells, variant, metric)
    return columns


def _mean(found: pd.DataFrame) -> str:
    if found.empty:
        return chip("not run")
    values = 100 * found["value"]
    title = f"{found['n'].min():,.0f} images; by seed: {', '.join(f'{value:.2f}' for value in values)}"
    return f'<span title="{title}"><b>{values.mean():.1f}</b></span>'


def _cost(cells: pd.DataFrame, variant: Variant, metric: str) -> str:
    """A cost as a ratio to ResNet-18 in the same run."""
    chosen = cells[(cells["experiment"] == "benchmark") & (cells["metric"] == metric)]
    chosen = chosen[chosen["started"] == chosen["started"].max()]
    ours = chosen[(chosen["arch"] == variant.arch) & (chosen["variant"] == variant.name)]["value"]
    base = chosen[(chosen["arch"] == "resnet18") & (chosen["variant"] == "")]["value"]
    return chip("not run") if ours.empty or base.empty else f"{ours.iloc[0] / base.iloc[0]:.2f}"


def _caption(cells: pd.DataFrame, variants: tuple[Variant, ...]) -> str:
    found = pd.concat([accuracies(cells, variant).assign(name=variant.name) for variant in variants])
    if found.empty:
        return ""
    run = cells[(cells["experiment"] == "sweep") & (cells["metric"] == "top1")].iloc[-1]
    seeds = found.groupby("name")["seed"].nunique()
    count = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    return (
        f"{run['dataset']}, width {run['width']:.0f}, {run['epochs']:.0f} epochs, {count} seeds; accuracy in %, at the "
        "λ of training, small the best λ by test labels; speed and memory of a training step over ResNet-18's"
    )


def at_test_time(cells: pd.DataFrame) -> Figure:
    """Accuracy of networks trained with two steps (and with one) when more are taken at test time, per solver."""
    chosen = cells[(cells["experiment"] == "sweep") & (cells["metric"] == "top1") & (cells["arch"] == "sdnet18")]
    chosen = chosen[chosen["knob"].astype(str).str.endswith(" iterations")]
    fig, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.3), sharey=True)
    for ax, (variant, title) in zip(
        panels, (("", "trained with two steps"), ("iterations=1", "trained with one step")), strict=True
    ):
        here = chosen[chosen["variant"] == variant]
        for index, (knob, group) in enumerate(here.groupby("knob", sort=True)):
            method = str(knob).removesuffix(" iterations")
            label = {"fista": "FISTA", "ista": "ISTA", "heavy_ball": "the authors' variant"}[method]
            for condition, style in ((NATURAL, "-"), ("gaussian_noise", "--")):
                part = group[group["corruption"] == condition]
                means = 100 * part.groupby("strength")["value"].mean()
                ax.plot(
                    means.index.to_numpy(float), means, ls=style, marker=MARKERS[index], color=PALETTE[index],
                    label=label if condition == NATURAL else None,
                )  # fmt: skip
        ticks = sorted(here["strength"].unique())
        ax.set(xscale="log", title=title, xlabel="steps at test time")
        ax.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        ax.minorticks_off()
        if here.empty:
            ax.annotate("not run", (0.5, 0.5), xycoords="axes fraction", ha="center", color=FAINT)
    panels[0].set_ylabel("accuracy (%)")
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(labelcolor=INK)
    return finished(fig)


def against_lam(cells: pd.DataFrame) -> Figure:
    """Accuracy against the λ of training, natural and under noise at that λ and at the best one; a dot per seed."""
    fig, panels = plt.subplots(1, len(CONDITIONS), figsize=(WIDTH * 1.2, 2.9))
    for ax, (condition, heading) in zip(panels, CONDITIONS.items(), strict=True):
        for index, (label, best) in enumerate((("at the λ of training", False), ("at the best λ", True))):
            if condition == NATURAL and best:
                continue
            points = [
                accuracies(cells, variant, best).assign(lam=trained_at(variant.arch, variant.network))
                for variant in GRID["lam"]
            ]
            found = pd.concat(points)
            found = found[found["corruption"] == condition]
            ax.scatter(found["lam"], 100 * found["value"], s=12, color=PALETTE[index], alpha=0.5)
            means = 100 * found.groupby("lam")["value"].mean()
            ax.plot(means.index.to_numpy(float), means, color=PALETTE[index], label=label)
        ax.set(xscale="log", title=heading, xlabel="λ in training")
    panels[0].set_ylabel("accuracy (%)")
    panels[-1].legend(labelcolor=INK, fontsize=7.5)
    return finished(fig)
