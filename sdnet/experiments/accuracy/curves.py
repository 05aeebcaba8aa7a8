"""Figures of training runs, drawn from the ledger."""

from collections.abc import Iterable

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist

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
    """The epochs of all records below each other, with the network's name and seed."""
    frames = [
        pd.DataFrame(record.history).assign(network=name_of(record.config), seed=record.config["seed"])
        for record in records
    ]
    columns = ["epoch", "loss", "train_accuracy", "network", "seed"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def learning_curves(records: Iterable[Record]) -> Shown:
    """Training loss and training accuracy against epochs, one colour per network."""
    records = list(records)
    epochs = histories(records)
    figure, axes = two_columns(2, 2.9)
    handles: list[Artist] = []
    labels: list[str] = []
    epochs["accuracy"] = 100 * epochs["train_accuracy"]
    for axis, column, label in [(axes[0], "loss", "cross-entropy"), (axes[1], "accuracy", "accuracy (%)")]:
        sns.lineplot(epochs, x="epoch", y=column, hue="network", style="network", markers=True, dashes=False, ax=axis)
        axis.set(xlabel="epoch", ylabel=label)
        if legend := axis.get_legend():
            handles = [handle for handle in legend.legend_handles if handle is not None]
            labels = [text.get_text() for text in legend.get_texts()]
            legend.remove()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    axes[0].set(yscale="log", title="Training loss")
    axes[1].set(title="Training accuracy")
    caption = "Training loss, and accuracy on augmented training images, after every epoch."
    return finished(
        figure, caption, "learning-curves", made_from=to_frame(records), values=epochs.drop(columns="accuracy")
    )
