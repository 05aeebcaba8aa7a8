"""Accuracy of residual and mixed-scale networks from the ledger, against depth and against unfolded iterations."""

import pandas as pd
from IPython.display import HTML

from sdnet.experiments.deep_pursuit.figures import means, measured
from sdnet.experiments.mixed_scale.study import RESIDUAL
from sdnet.report.plots import curves
from sdnet.report.shown import Shown
from sdnet.report.tables import NOT_RUN
from sdnet.results.select import select

UNFOLDED = {"msd_csc": "MSD-CSC", "msdnet": "MSDNet", "ml_csc": "ML-CSC"}


def degradation(cells: pd.DataFrame) -> Shown | HTML:
    """Test accuracy against depth after one step of every layer."""
    found = measured(cells, of=tuple(RESIDUAL))
    found = select(found, metric="top1", iterations=1)
    if found.empty:
        return NOT_RUN
    mean = means(found, "arch", "blocks")
    table = pd.DataFrame(
        {
            "blocks per stage": mean["blocks"].astype(int),
            "test accuracy (%)": 100 * mean["value"],
            "network": mean["arch"].map(RESIDUAL),
        }
    )
    caption = "Test accuracy against depth, with one step in every layer. Mean over seeds."
    return curves(
        table, x="blocks per stage", y="test accuracy (%)", hue="network", axes={"xscale": "log"}, caption=caption,
        identity="degradation", made_from=found,
    )  # fmt: skip


def unfolding(cells: pd.DataFrame, metric: str = "top1") -> Shown | HTML:
    """Test accuracy, or the share of a layer's input that its code leaves over (``"reconstruction_share"``, mean over
    layers), against the iterations of every layer. MSDNet iterates once."""
    found = measured(cells, of=tuple(UNFOLDED))
    found = found[(found["metric"] == metric) & ~((found["arch"] == "ml_csc") & (found["blocks"] != 1))]
    if found.empty:
        return NOT_RUN
    mean = means(found, "arch", "iterations")
    name = "test accuracy (%)" if metric == "top1" else "left unexplained (share)"
    table = pd.DataFrame(
        {
            "iterations T": mean["iterations"].astype(int),
            name: (100 if metric == "top1" else 1) * mean["value"],
            "network": mean["arch"].map(UNFOLDED),
        }
    )
    quantity = "Test accuracy" if metric == "top1" else "The share of a layer's input that its code leaves over"
    return curves(
        table, x="iterations T", y=name, hue="network", axes={"xscale": "log"},
        caption=f"{quantity}, against the number of iterations T of every layer. Mean over seeds.",
        identity=f"unfolding-{metric}".replace("_", "-"), made_from=found,
    )  # fmt: skip
