"""Table 1 as a scorecard, the training runs behind it, and what they depend on."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from IPython.display import HTML
from scipy.stats import binomtest

from sdnet.experiments import costs
from sdnet.experiments.accuracy.scorecard import DATASETS, STATUSES, comparison, trained_alike
from sdnet.report.origin import concat
from sdnet.report.shown import Shown
from sdnet.report.tables import Number, chip, note, page, paper_prints
from sdnet.results.cells import name_of, to_frame
from sdnet.results.ledger import Record

PRINTED_DIGITS = {"parameters": 1, "top1": 2, "train_memory": 1, "train_images_per_second": 0}
DIGITS = {"parameters": 2, "top1": 2, "train_memory": 1, "train_images_per_second": 0}


def show_scorecard(table: pd.DataFrame) -> Shown:
    """Table 1 as a scorecard: in every cell the paper's number, the measured one, and the status.

    Where ImageNet was not run, the time that the cell would take by the paper's speed, which opens to the command.
    """
    counts = table["status"].value_counts()
    legend = ", ".join(f"{counts.get(status, 0)} {chip(status)}" for status in STATUSES)
    speeds = costs.speeds(table)
    texts: list[Number | str] = []
    for row in table.to_dict("records"):
        text = _cell(**{str(name): value for name, value in row.items()})
        if row["dataset"] == "imagenet" and row["status"] == "not run":
            text += costs.show(costs.of_training(row["arch"], row["metric"], speeds[row["arch"]]))
        texts.append(text if row["cells"].empty else Number(text, row["cells"][["run", "seed", "value", "n"]]))
    cells = table.assign(text=pd.Series(texts, dtype=object), dataset=table["dataset"].map(DATASETS))
    order = list(dict.fromkeys(table["column"]))
    wide = cells.pivot_table(index=["dataset", "row"], columns="column", values="text", aggfunc="first", sort=False)
    wide = wide[order].reset_index().rename(columns={"dataset": "", "row": "network"})
    wide[""] = wide[""].where(wide[""] != wide[""].shift(), "")
    caption = (
        "Every cell of the paper's Table 1: the paper's number, and below it the measured one with its status and "
        f"scale. How many cells have each status: {legend}."
    )
    return page(wide, caption, "scorecard", wrap=True, made_from=concat(table["cells"]))


def _cell(
    metric: str, unit: str, value: float, measured: float, status: str, seeds: int, scale: str, **_: object
) -> str:
    digits, space = DIGITS[metric], "" if unit in ("%", "M") else " "
    printed = f"paper {value:.{PRINTED_DIGITS[metric]}f}{space}{unit}"
    printed = f"{paper_prints(printed)}<br>"
    if status == "not run":
        return printed + chip(status)
    about = f"{scale or 'at the scale of the paper'}, {seeds} seed{'s' * (seeds > 1)}"
    return printed + f"<b>{measured:.{digits}f}{space}{unit}</b> {chip(status)}<br>{note(about)}"


def show_runs(records: Iterable[Record]) -> HTML:
    """Training runs with what their numbers depend on: one row per record, test accuracy with its 95 % interval.

    The interval (Wilson) speaks of the finite number of test images, not of the choice of the seed.
    """
    rows = []
    records = list(records)
    for record in records:
        top1 = next(r for r in record.results if r["metric"] == "top1" and r["split"] == "test")
        low, high = binomtest(round(top1["value"] * top1["n"]), top1["n"]).proportion_ci(method="wilson")
        recipe = record.config["recipe"]
        rows.append(
            {
                "network": name_of(record.config),
                "data": record.config["dataset"],
                "width": recipe["width"],
                "epochs": recipe["epochs"],
                "seed": record.config["seed"],
                "accuracy (%)": f"<b>{100 * top1['value']:.2f}</b><br>{note(f'{100 * low:.1f} to {100 * high:.1f}')}",
                "test images": f"{top1['n']:,}",
                "precision": record.config["precision"],
                "commit": (record.code["commit"] or "?")[:7] + ("*" if record.code["dirty"] else ""),
                "data hash": (record.data_hash or "")[:7],
            }
        )
    if not rows:
        return HTML("<p>No training run yet: <b>not run</b>.</p>")
    caption = (
        "Training runs, one per line. Below an accuracy: its 95 % interval over test images (Wilson). Commit: the "
        "version of the code, with * if it had uncommitted changes. Data hash: a fingerprint of all images."
    )
    cells = to_frame(records)
    return page(pd.DataFrame(rows), caption, "runs", made_from=cells[cells["metric"] == "top1"])


def show_comparison(cells: pd.DataFrame, arch: str, baseline: str) -> HTML:
    """Two networks side by side wherever they were trained alike: :func:`comparison`."""
    table = comparison(cells, arch, baseline)
    if table.empty:
        return HTML(f"<p>{arch} and {baseline} have not been trained alike yet: <b>not run</b>.</p>")
    for name in (arch, baseline):
        table[name] = table[name].map("{:.2f} %".format)
    table["difference"] = [
        f"<b>{difference:+.2f}</b> ± {interval:.2f} points"
        for difference, interval in zip(table["difference"], table.pop("interval"), strict=True)
    ]
    caption = (
        f"Test accuracy of {arch} and {baseline} wherever both were trained in the same way, mean over seeds, and the "
        "difference with its 95 % interval."
    )
    table = table.drop(columns="preset").rename(columns={"dataset": "data"})
    behind = [part for _, *parts in trained_alike(cells, arch, baseline) for part in parts]
    return page(table, caption, "comparison", made_from=concat(behind))


def show_precision(cells: pd.DataFrame) -> HTML:
    """Accuracy and mean residual norm of a trained network in float32 and bfloat16, per λ."""
    chosen = cells[cells["experiment"] == "precision"]
    if chosen.empty:
        return HTML("<p>No comparison of precisions yet: <b>not run</b>.</p>")
    latest = chosen[chosen["started"] == chosen["started"].max()]
    wide = latest.pivot_table(index="lam", columns=["metric", "precision"], values="value")
    table = pd.DataFrame({"λ": [f"{lam:g}" for lam in wide.index]})
    for precision, label in (("fp32", "float32"), ("bf16", "bfloat16")):
        table[f"accuracy, {label}"] = [f"{value:.2%}" for value in wide["top1", precision]]
    for precision, label in (("fp32", "float32"), ("bf16", "bfloat16")):
        table[f"‖x − A(z)‖, {label}"] = [f"{value:.3f}" for value in wide["residual", precision]]
    caption = (
        "A trained network computed in float32 and in bfloat16: accuracy on test images, and the mean norm of the "
        "residual x − A(z), by λ."
    )
    return page(table, caption, "precision", made_from=latest)


def show_recipe(config: Mapping[str, Any]) -> Shown:
    """The numbers of a training run, from :attr:`sdnet.training.declaration.Training.config`."""
    recipe = config["recipe"]
    rows = {**{key: config[key] for key in ("arch", "dataset", "preset", "seed")}, **recipe, **config["network"]}
    shown = {name.replace("_", " "): str(value) for name, value in rows.items() if value not in ([], "")}
    table = pd.DataFrame({"parameter": shown.keys(), "value": shown.values()})
    return page(
        table,
        "The parameters of the training run below, before it starts.",
        "recipe",
        made_from="the parameters of this notebook, nothing measured",
    )
