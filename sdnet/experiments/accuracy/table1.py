"""Table 1 in full: a network per row, what the paper printed beside what was measured, like with like in a column."""

from typing import Any

import pandas as pd

from sdnet.experiments.accuracy.scorecard import DATASETS, STAND_INS, STEMS, UNITS, find, trained
from sdnet.experiments.performance.benchmarks import benchmark_of, scale_of
from sdnet.report.shown import Shown
from sdnet.report.tables import Number, chip, note, page, paper_prints
from sdnet.results.paper import paper_table

BASELINE = "resnet18"
SETTING = ["dataset", "width", "epochs", "preset", "precision"]
"""What two training runs must share to stand in one column."""
SMALLER = {"imagenet": ("tiny-imagenet-32",)}
"""Data of fewer classes and pixels whose columns stand in a block, though they answer for none of its numbers."""
NOT_RUN = chip("not run")
BEHIND = ["run", "seed", "value", "n"]
"""What a table's data say of the cells behind a number."""


def show_in_full(cells: pd.DataFrame, dataset: str) -> Shown:
    """:func:`in_full` as HTML, with the scale at which memory and speed were measured."""
    run = benchmark_of(cells, (BASELINE,), STEMS[dataset])
    timed = "" if run is None else f" Memory and speed were measured at {scale_of(run)}."
    caption = (
        f"The paper's Table 1 for {DATASETS[dataset]}. Grey: what the paper prints; below it, what was measured. Size: "
        "millions of parameters. The next columns are accuracies: the paper's, then one column for each way in which "
        "networks were trained here, in brackets the number of seeds if there are several. Memory is the peak of a "
        "training step, training and inference are images per second; × says what multiple of ResNet-18's"
    )
    caption += f".{timed}" if run is None else f". A speed is a median, with its quartiles below.{timed}"
    return page(in_full(cells, dataset), caption, f"table1-{dataset}", wrap=True, made_from=cells)


def in_full(cells: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Size, accuracy, memory and speed of every network of the paper's block for ``dataset``, as printed.

    The paper's number stands above the measured one. Accuracies have one column per setting in which at least two of
    the networks were trained: mean over seeds, the number of seeds in brackets if there is more than one. What was not
    measured is ``not run``.

    Args:
        cells: from :func:`sdnet.results.cells.to_frame`.
        dataset: ``"cifar10"``, ``"cifar100"`` or ``"imagenet"``.
    """
    paper = paper_table(1)
    paper = paper[paper["dataset"] == dataset]
    archs = list(dict.fromkeys(paper["arch"]))
    printed = paper.pivot(index="arch", columns="metric", values="value").loc[archs]
    table = pd.DataFrame({"network": list(dict.fromkeys(paper["row"]))}, index=archs)
    sizes = [find(cells, dataset, arch, "parameters") for arch in archs]
    counted = [Number(f"{size.value:.2f} M", size.cells[BEHIND]) if size else NOT_RUN for size in sizes]
    table["size"] = _below(printed["parameters"].map("{:.1f} M".format), counted)
    table["paper"] = printed["top1"].map("{:.2f} %".format).map(paper_prints)
    for name, column in _accuracies(cells, dataset, archs).items():
        table[name] = pd.Series(column, archs, dtype=object)
    run = benchmark_of(cells, (BASELINE,), STEMS[dataset])
    for name, metric, unit in (
        ("memory", "train_memory", "GB"),
        ("training", "train_images_per_second", "/s"),
        ("inference", "infer_images_per_second", "/s"),
    ):
        digits = 2 if metric == "train_memory" else 1
        measured = _timed(run, metric, archs, unit, digits)
        if metric in printed:
            above = pd.Series(_with_ratio(printed[metric], archs, unit, digits - 1), archs)
            table[name] = _below(above, measured)
        else:
            table[name] = pd.Series(measured, archs, dtype=object)
    return table.reset_index(drop=True)


def _below(printed: "pd.Series[str]", measured: list[Number | str]) -> "pd.Series[Any]":
    """What the paper prints, and below it what was measured, with the cells behind that."""
    texts = [f"{paper_prints(above)}<br>{ours}" for above, ours in zip(printed, measured, strict=True)]
    both = [
        Number(text, ours.cells) if isinstance(ours, Number) else text
        for text, ours in zip(texts, measured, strict=True)
    ]
    return pd.Series(both, printed.index, dtype=object)


def _accuracies(cells: pd.DataFrame, dataset: str, archs: list[str]) -> dict[str, list[Number | str]]:
    names = (dataset, *STAND_INS.get(dataset, ()), *SMALLER.get(dataset, ()))
    chosen = trained(cells, dataset=names, arch=archs)
    columns: dict[str, list[Number | str]] = {}
    for (data, width, epochs, preset, precision), group in chosen.groupby(SETTING):
        values = {str(arch): part for arch, part in group.groupby("arch")}
        if len(values) > 1:
            name = f"{data}, {preset}, width {width:g}, {epochs:g} epoch{'s' * (epochs != 1)}, {precision}"
            columns[name] = [_mean(values[arch]) if arch in values else NOT_RUN for arch in archs]
    return columns


def _mean(trained: pd.DataFrame) -> Number:
    seeds = f" ({len(trained)})" if len(trained) > 1 else ""
    return Number(f"{UNITS['top1'] * trained['value'].mean():.2f} %{seeds}", trained[BEHIND])


def _timed(run: pd.DataFrame | None, metric: str, archs: list[str], unit: str, digits: int) -> list[Number | str]:
    """A benchmark's numbers in the order of ``archs``, with their quartiles where they have any."""
    if run is None:
        return [NOT_RUN] * len(archs)
    cells = run[(run["metric"] == metric) & run["value"].notna()].drop_duplicates("arch").set_index("arch")
    texts = _with_ratio(cells["value"], archs, unit, digits)
    column: list[Number | str] = []
    for arch, text in zip(archs, texts, strict=True):
        if arch not in cells.index:
            column.append(text)
            continue
        low, high = cells.loc[arch, ["low", "high"]]
        spread = f"<br>{note(f'{low:.{digits}f} – {high:.{digits}f}')}" if pd.notna(low) else ""
        column.append(Number(text + spread, cells.loc[[arch], ["run", "value", "low", "high", "n"]]))
    return column


def _with_ratio(values: "pd.Series[float]", archs: list[str], unit: str, digits: int) -> list[str]:
    return [
        f"{values[arch]:.{digits}f} {unit} (×{values[arch] / values[BASELINE]:.2f})"
        if arch in values.index
        else NOT_RUN
        for arch in archs
    ]
