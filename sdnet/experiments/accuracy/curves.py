"""Figures of training runs, drawn from the ledger."""

from collections.abc import Iterable

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sdnet.report.plots import finished, two_columns
from sdnet.report.shown import Shown
from sdnet.results.cells import name_of, to_frame
from sdnet.results.ledger import Record


def longest(records: Iterable[Record]) -> list[Record]:
    """The training runs of the largest scale, by width and then by epochs, of each data set."""
    runs = [record for record in records if record.experiment == "train"]
    scale = [(record.config["recipe"]["width"], record.config["recipe"]["epochs"]) for record in runs]
    largest: dict[str, tuple[int, int]] = {}
    for record, size in zip(runs, scale, strict=True):
        dataset = record.config["dataset"]
        largest[dataset] = max(largest.get(dataset, size), size)
    return [record for record, size in zip(runs, scale, strict=True) if size == largest[record.config["dataset"]]]


def histories(records: Iterable[Record]) -> pd.DataFrame:
    """The epochs of all records below each other, with the network's name, its data and seed."""
    frames = [
        pd.DataFrame(record.history).assign(
            network=name_of(record.config), data=record.config["dataset"], seed=record.config["seed"]
        )
        for record in records
    ]
    columns = ["epoch", "loss", "train_accuracy", "network", "data", "seed"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def learning_curves(records: Iterable[Record]) -> Shown:
    """Training loss and training accuracy against epochs: a row of panels per data set, a colour per network."""
    records = list(records)
    epochs = histories(records)
    names, sets = (list(dict.fromkeys(epochs[column])) for column in ("network", "data"))
    figure, axes = two_columns(2 * max(len(sets), 1), 2.6)
    legend: dict[str, Artist] = {}
    epochs["accuracy"] = 100 * epochs["train_accuracy"]
    for row, data in enumerate(sets):
        panels = axes[2 * row], axes[2 * row + 1]
        for axis, column, label in zip(panels, ("loss", "accuracy"), ("cross-entropy", "accuracy (%)"), strict=True):
            sns.lineplot(
                epochs[epochs["data"] == data], x="epoch", y=column, hue="network", style="network", hue_order=names,
                style_order=names, markers=True, dashes=False, ax=axis, legend="full",
            )  # fmt: skip
            axis.set(xlabel="epoch", ylabel=label)
            handles, labels = axis.get_legend_handles_labels()
            legend |= dict(zip(labels, handles, strict=True))
            if drawn := axis.get_legend():
                drawn.remove()
        panels[0].set(yscale="log", title=data)
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panels[0].yaxis.set_minor_locator(NullLocator())
        panels[1].set(title=data)
    if legend:
        figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=2)
    caption = (
        "Loss and accuracy after every epoch, on the training images as they are augmented. Of several seeds the "
        "line is the mean, and the shade its 95 % interval."
    )
    return finished(
        figure, caption, "learning-curves", made_from=to_frame(records), values=epochs.drop(columns="accuracy")
    )
