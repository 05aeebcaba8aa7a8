"""Table 5 and the other ablations from the ledger: what each choice is worth, clean, under noise, and in time."""

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from sdnet.experiments.ablations.grid import GRID, LAMS, NOISES, Variant, trained_at
from sdnet.report.origin import concat
from sdnet.report.plots import FAINT, INK, MARKERS, PALETTE, finished, two_columns
from sdnet.report.shown import Shown
from sdnet.report.tables import Number, chip, note, page, paper_prints
from sdnet.results.paper import paper_table
from sdnet.results.select import like_largest, select

NATURAL = "clean"
CONDITIONS = {NATURAL: "natural", "gaussian_noise": "Gaussian", "shot_noise": "shot", "impulse_noise": "impulse"}
"""Condition → heading."""


def one_scale(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the scale (data set, width, epochs) at which most variants of the grid were run; benchmarks stay.

    Of the answers under noise those about one number of test images stay, again that of most variants: the first
    thousand images are a point easier than all of them.
    """
    benchmark = cells["experiment"] == "benchmark"
    sweeps = select(cells, experiment="sweep", metric="top1", corruption=NOISES)
    if sweeps.empty:
        return cells[benchmark]
    scale = ["dataset", "width", "epochs"]
    known = {(variant.arch, variant.name) for variants in GRID.values() for variant in variants}
    runs = sweeps[[*scale, "n", "arch", "variant"]].drop_duplicates()
    runs = runs[[pair in known for pair in zip(runs["arch"], runs["variant"], strict=True)]]
    counts = runs.groupby([*scale, "n"]).size().reset_index(name="variants")
    by = ("variants", *scale, "n")
    fitting = (cells["experiment"] != "sweep") | like_largest(cells, counts, by, ("n",))
    return cells[like_largest(cells, counts, by, scale) & fitting | benchmark]


def accuracies(cells: pd.DataFrame, variant: Variant, best: bool = False) -> pd.DataFrame:
    """Accuracy of a variant, natural and averaged over the severities of each noise: a line per (seed, corruption).

    Natural accuracy is that of the training run, on all test images; ``corruption`` is ``"clean"`` there.

    Args:
        best: under noise at the best of the grid's λ of each severity by test labels, an **oracle**, instead of at the
            network's own.
    """
    cells = select(cells, arch=variant.arch, variant=variant.name, metric="top1")
    trained = select(cells, experiment="train", split="test").assign(corruption=NATURAL)
    noisy = select(cells, experiment="sweep", knob=("lam", "stem_threshold"), corruption=NOISES)
    noisy = select(noisy, one_per=("seed", "corruption", "severity", "strength"), prefer=("n", "started"))
    own = trained_at(variant.arch, variant.network)
    noisy = noisy[noisy["strength"].isin({*LAMS, own} if best else {own})]
    noisy = noisy.groupby(["seed", "corruption", "severity"], as_index=False)[["value", "n", "run"]].max()
    mean = {"value": ("value", "mean"), "n": ("n", "min"), "run": ("run", "last")}
    noisy = noisy.groupby(["seed", "corruption"], as_index=False).agg(**mean)
    trained = select(trained, one_per=["seed"])
    return pd.concat([trained[["seed", "corruption", "value", "n", "run"]], noisy]).astype({"seed": int, "n": int})


def show_group(cells: pd.DataFrame, group: str) -> Shown:
    """One line per variant of a group of the grid: accuracy per condition, mean over seeds, and the cost of a step."""
    lines = [{"": f"<b>{variant.label}</b>", **_columns(cells, variant)} for variant in GRID[group]]
    return page(pd.DataFrame(lines), _caption(cells, GRID[group]), f"ablation-{group}", made_from=cells)


def show_table5(cells: pd.DataFrame) -> Shown:
    """Table 5: per solver and number of steps the paper's numbers (ImageNet, λ by Algorithm 1) and ours."""
    paper = paper_table(5)
    lines = []
    for variant in GRID["iterations"]:
        method, steps = variant.network.get("method", "fista"), variant.network.get("iterations", 2)
        printed = {}
        for condition in CONDITIONS:
            corruption = "" if condition == NATURAL else condition
            found = select(paper, iterations=steps, corruption=corruption)["value"]
            if method == "fista" and not found.empty:
                printed[condition] = f"{paper_prints(f'paper {found.iloc[0]:.2f}')}<br>"
        lines.append({"iterations": f"<b>{variant.label}</b>", **_columns(cells, variant, printed)})
    caption = _caption(cells, GRID["iterations"])
    caption += " Grey: what the paper prints. Under noise it adapts λ, so compare with the small numbers."
    return page(pd.DataFrame(lines), caption, "table5", made_from=cells)


def _columns(
    cells: pd.DataFrame, variant: Variant, printed: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Number | str]:
    """The columns of a variant; ``printed`` stands above the numbers of a condition."""
    own, best = accuracies(cells, variant), accuracies(cells, variant, best=True)
    columns: dict[str, Number | str] = {}
    for condition, heading in CONDITIONS.items():
        found, text = own[own["corruption"] == condition], printed.get(condition, "")
        text += chip("not run") if found.empty else f"<b>{100 * found['value'].mean():.1f}</b>"
        found = found.assign(at="the λ of training")
        tuned = best[best["corruption"] == condition]
        if condition != NATURAL and not tuned.empty and not variant.arch.startswith("resnet"):
            text += " " + note(f"{100 * tuned['value'].mean():.1f}")
            found = concat([found, tuned.assign(at="the best λ by test labels")])
        columns[heading] = Number(text, found)
    for metric, heading in (("ablation_speed_ratio", "speed"), ("ablation_memory", "memory")):
        columns[heading] = _cost(cells, variant, metric)
    return columns


def _cost(cells: pd.DataFrame, variant: Variant, metric: str) -> Number | str:
    """A cost as a ratio to ResNet-18 in the same run."""
    chosen = select(cells, experiment="benchmark", metric=metric)
    chosen = chosen[chosen["started"] == chosen["started"].max()]
    ours = select(chosen, arch=variant.arch, variant=variant.name)
    base = select(chosen, arch="resnet18", variant="")
    if ours.empty or base.empty:
        return chip("not run")
    return Number(f"{ours['value'].iloc[0] / base['value'].iloc[0]:.2f}", ours[["run", "value", "n"]])


def _caption(cells: pd.DataFrame, variants: tuple[Variant, ...]) -> str:
    found = pd.concat([accuracies(cells, variant).assign(name=variant.name) for variant in variants])
    if found.empty:
        return "Not run."
    run = select(cells, experiment="sweep", metric="top1").iloc[-1]
    seeds = found.groupby("name")["seed"].nunique()
    count = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    return (
        f"Accuracy (%) and cost of each variant; {run['dataset']}, width {run['width']:.0f}, {run['epochs']:.0f} "
        f"epochs, {count} seeds. Bold: at the λ of training. Small: at the λ that is best by test labels. Speed and "
        "memory are those of a training step, as multiples of ResNet-18's."
    )


def at_test_time(cells: pd.DataFrame) -> Shown:
    """Accuracy of networks trained with two steps (and with one) when more are taken at test time, per solver."""
    chosen = select(cells, experiment="sweep", metric="top1", arch="sdnet18")
    chosen = chosen[chosen["knob"].astype(str).str.endswith("_iterations")]
    fig, panels = two_columns(2, 3.2, sharey=True)
    for ax, (variant, title) in zip(
        panels, (("", "trained with two steps"), ("iterations=1", "trained with one step")), strict=True
    ):
        here = chosen[chosen["variant"] == variant]
        for index, (knob, group) in enumerate(here.groupby("knob", sort=True)):
            method = str(knob).removesuffix("_iterations")
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
        fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, labelcolor=INK)
    caption = (
        "Accuracy when the trained network takes more steps at test time, by solver. Solid: clean images. Dashed: "
        "Gaussian noise."
    )
    return finished(fig, caption, "steps-at-test-time", made_from=chosen)


def against_lam(cells: pd.DataFrame) -> Shown:
    """Accuracy against the λ of training, natural and under noise at that λ and at the best one; a dot per seed."""
    fig, panels = two_columns(len(CONDITIONS), 2.3)
    behind = []
    for ax, (condition, heading) in zip(panels, CONDITIONS.items(), strict=True):
        for index, (label, best) in enumerate((("at the λ of training", False), ("at the best λ", True))):
            if condition == NATURAL and best:
                continue
            points = [
                accuracies(cells, variant, best).assign(lam=trained_at(variant.arch, variant.network))
                for variant in GRID["lam"]
            ]
            found = pd.concat(points)
            behind.append(found)
            found = found[found["corruption"] == condition]
            ax.scatter(found["lam"], 100 * found["value"], s=12, color=PALETTE[index], alpha=0.5)
            means = 100 * found.groupby("lam")["value"].mean()
            ax.plot(means.index.to_numpy(float), means, color=PALETTE[index], label=label)
        ax.set(xscale="log", title=heading, xlabel="λ in training")
        ax.set_ylabel("accuracy (%)")
    fig.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2, labelcolor=INK)
    caption = (
        "Accuracy of networks trained with different λ, on clean images and under three noises. A dot is a seed, a "
        "line the mean. Blue: tested at the λ of training. Orange: at the λ that is best by test labels."
    )
    return finished(fig, caption, "lam-of-training", made_from=cells[cells["run"].isin(concat(behind)["run"])])
