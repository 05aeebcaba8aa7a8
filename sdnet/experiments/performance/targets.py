"""Speed and memory from the ledger: the targets with what was measured, and the cost as the work grows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter, NullLocator

from sdnet.experiments.performance.benchmarks import eager, runs_with
from sdnet.experiments.performance.choices import CHOICES
from sdnet.report.plots import FAINT, INK, MARKERS, PALETTE, finished, two_columns
from sdnet.report.shown import Shown
from sdnet.report.tables import Number, chip, note, page
from sdnet.results.select import select


@dataclass(frozen=True)
class Target:
    """A ratio that was aimed at.

    Attributes:
        what: in words.
        metric: of the benchmark's cells: ``train_speed_ratio``, ``train_memory`` (as a ratio), ``over authors``,
            ``gradient_memory`` (128 iterations over 2) or ``time_ratio``.
        arch: the case.
        device: ``"cpu"`` or ``"cuda"``.
        bound: the ratio, to be reached from below if ``at_least``, else from above.
        where: columns that must have these values.
    """

    what: str
    metric: str
    arch: str
    device: str
    bound: float
    at_least: bool = True
    where: tuple[tuple[str, object], ...] = ()


SPEED = "train_speed_ratio"
TARGETS = (
    Target("SDNet-18 over ResNet-18, training, width 64", SPEED, "sdnet18", "cpu", 0.96, where=(("width", 64),)),
    Target("the same, width 16 behind 64 atoms", SPEED, "sdnet18", "cpu", 0.85, where=(("width", 16),)),
    Target("the same, peak memory, width 64", "train_memory", "sdnet18", "cpu", 1.05, False, (("width", 64),)),
    Target("over the authors' code", "over authors", "sdnet18", "cpu", 1.5),
    Target("the same in float32 for both", "over authors", "sdnet18_fp32", "cpu", 1.5),
    Target("the data pipeline over the training", SPEED, "data pipeline", "cpu", 3.0),
    Target("memory of the implicit gradient, 128 steps over 2", "gradient_memory", "implicit", "cpu", 1.1, False),
    Target("calibration by successive halving over the plain loop, in time", "time_ratio", "race", "cpu", 1 / 3, False),
    Target("SDNet-18 over ResNet-18, training", SPEED, "sdnet18", "cuda", 0.97),
    Target("the same, peak memory", "train_memory", "sdnet18", "cuda", 1.05, False),
    Target("over the authors' code", "over authors", "sdnet18", "cuda", 4.0),
)  # fmt: skip


def show_targets(cells: pd.DataFrame) -> Shown:
    """Every target with the latest measured ratio, its quartiles, the device, and whether it was met."""
    lines: list[dict[str, object]] = []
    for target in TARGETS:
        found = measured(cells, target)
        bound = f"{'≥' if target.at_least else '≤'} {target.bound:.2f}"
        line = {"ratio": target.what, "on": {"cpu": "CPU", "cuda": "GPU"}[target.device], "target": bound}
        if found is None:
            lines.append({**line, "measured": chip("not run"), "met?": "", "device": ""})
            continue
        value, low, high, device, behind = found
        met = value >= target.bound if target.at_least else value <= target.bound
        spread = f" {note(f'({low:.3g} – {high:.3g})')}" if low is not None else ""
        number = Number(f"<b>{value:.3g}</b>{spread}", behind)
        lines.append({**line, "measured": number, "met?": "met" if met else "not met", "device": device})
    caption = "Each line is a ratio: what was aimed at, and what was measured, with quartiles in brackets."
    return page(pd.DataFrame(lines), caption, "targets", wrap=True, made_from=cells)


Found = tuple[float, float | None, float | None, str, pd.DataFrame]
"""Ratio, quartiles, device, and the cells behind them."""


def measured(cells: pd.DataFrame, target: Target) -> Found | None:
    """Ratio, quartiles where there are any, device, and cells of the run that answers the target; None if none does.

    Compiled networks do not answer. Of several runs that with the largest batch counts, then the latest: small
    batches are for slow rivals.
    """
    chosen = eager(select(cells, experiment="benchmark", device_type=target.device))
    chosen = chosen[chosen["stem"].isna() | (chosen["stem"] == "cifar")]
    for column, value in target.where:
        chosen = chosen[chosen[column] == value] if column in chosen else chosen[:0]
    if target.metric == "over authors":
        return _over_authors(chosen[chosen["metric"] == "train_images_per_second"], target.arch)
    if target.metric in ("train_memory", "gradient_memory"):
        return _memory(chosen[chosen["metric"] == target.metric], target)
    column = "case" if target.metric == "time_ratio" else "arch"
    chosen = chosen[(chosen["metric"] == target.metric) & (chosen.get(column) == target.arch)]
    if target.metric == SPEED:  # a network alone is as fast as itself
        chosen = chosen[chosen["baseline"] == "resnet18"]
    if chosen.empty:
        return None
    row = _largest(chosen).iloc[-1]
    return float(row["value"]), float(row["low"]), float(row["high"]), str(row["device"]), behind(row.to_frame().T)


def _largest(chosen: pd.DataFrame) -> pd.DataFrame:
    return chosen.assign(batch=chosen["batch"].fillna(0)).sort_values(["batch", "started"])


def _largest_run(chosen: pd.DataFrame, *archs: str) -> pd.DataFrame:
    """The cells of the run that counts among those with all of ``archs``; empty if there is none."""
    chosen = runs_with(chosen, archs)
    return chosen if chosen.empty else chosen[chosen["started"] == _largest(chosen)["started"].iloc[-1]]


def _over_authors(rates: pd.DataFrame, arch: str) -> Found | None:
    run = _largest_run(rates, arch, "sdnet18_authors")
    if run.empty:
        return None
    by = run.set_index("arch").to_dict("index")
    ours, theirs = by[arch], by["sdnet18_authors"]
    value = ours["value"] / theirs["value"]
    spread = float(ours["low"] / theirs["high"]), float(ours["high"] / theirs["low"])
    return float(value), *spread, str(ours["device"]), behind(run[run["arch"].isin([arch, "sdnet18_authors"])])


def _memory(chosen: pd.DataFrame, target: Target) -> Found | None:
    run = _largest_run(chosen, *(("resnet18", target.arch) if target.metric == "train_memory" else ()))
    if run.empty:
        return None
    if target.metric == "train_memory":
        by = run.set_index("arch")["value"]
        value = by[target.arch] / by["resnet18"]
    else:
        by = run[run["case"] == target.arch].set_index("at")["value"]
        value = by.loc[128] / by.loc[2]
    return float(value), None, None, str(run["device"].iloc[0]), behind(run)


def behind(run: pd.DataFrame) -> pd.DataFrame:
    """What a table's data say of the cells behind a ratio."""
    return run[["run", "arch", "case", "at", "value", "low", "high", "n"]].dropna(axis="columns", how="all")


def show_choices(cells: pd.DataFrame) -> Shown:
    """What each choice is worth: speed and memory of a step without it, as ratios to the step as it is."""
    benchmarks = cells[cells["experiment"] == "benchmark"]
    chosen = benchmarks[benchmarks["metric"] == "choice_speed_ratio"]
    memories = benchmarks[benchmarks["metric"] == "choice_memory"]
    runs = {}
    for started, run in chosen.groupby("started"):
        memory = memories[memories["started"] == started].set_index("case")["value"]
        runs[_scale(run)] = run.set_index("case"), memory
    lines = []
    for case, what in CHOICES.items():
        line: dict[str, object] = {"what is changed": f"<b>{case}</b>", "how": what}
        for scale, (speed, memory) in runs.items():
            if case not in speed.index:
                line[f"speed, {scale}"] = line[f"memory, {scale}"] = chip("not run")
                continue
            row = speed.loc[case]
            spread = note(f"({row['low']:.2f} – {row['high']:.2f})")
            cells_of = speed.loc[[case], ["run", "value", "low", "high", "n"]]
            line[f"speed, {scale}"] = Number(f"<b>{row['value']:.2f}</b> {spread}", cells_of)
            line[f"memory, {scale}"] = f"{memory[case] / memory['as it is']:.2f}" if case in memory else chip("not run")
        lines.append(line)
    caption = (
        "Speed and memory of SDNet-18's training step with one choice undone, as multiples of the step as it is. "
        "Quartiles in brackets."
    )
    return page(pd.DataFrame(lines), caption, "choices", wrap=True, made_from=chosen)


def _scale(run: pd.DataFrame) -> str:
    first = run.iloc[0]
    return f"width {first['width']:.0f}, batches of {first['batch']:.0f}, {first['precision']}, {first['device']}"


SLOPES = {"batch": 0, "image side": -2, "iterations": -1, "atoms": -1}
"""Exponent with which images per second should change where nothing but the work counts."""


def scaling(cells: pd.DataFrame) -> Shown:
    """Images per second as batch, image side, iterations and atoms grow, with the expected slope dashed."""
    rates = select(cells, experiment="benchmark", metric="images_per_second")
    rates = rates[rates["started"] == rates["started"].max()]
    fig, panels = two_columns(4, 2.7)
    for ax, (axis, slope) in zip(panels, SLOPES.items(), strict=True):
        here = rates[rates["axis"] == axis] if not rates.empty else rates
        for index, (name, group) in enumerate(here.groupby("case", sort=False)):
            x, y = group["at"].to_numpy(float), group["value"].to_numpy(float)
            spread = np.stack([y - group["low"], group["high"] - y])
            label = {"resnet18": "ResNet-18", "sdnet18": "SDNet-18"}.get(str(name), str(name))
            ax.errorbar(x, y, yerr=spread, marker=MARKERS[index], color=PALETTE[index], label=label, lw=1.4)
            if index == 0:
                # Steps cost 2n − 1 convolutions.
                work = (2 * x - 1) if axis == "iterations" else x
                ax.plot(x, y[-1] * (work / work[-1]) ** slope, color=FAINT, ls=(0, (4, 3)), lw=1, zorder=0)
        ax.set(xscale="log", yscale="log", title=axis, xlabel=axis)
        if not here.empty:
            ticks = sorted(here["at"].unique())
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_minor_formatter(NullFormatter())
            ax.legend(loc="best", labelcolor=INK)
        ax.set_ylabel("images per second")
    caption = (
        "Images per second as the work grows, with quartiles. Dashed: how the speed would change if it depended on "
        "the amount of work alone."
    )
    return finished(fig, caption, "scaling", made_from=rates)
