"""Accuracy of residual and mixed-scale networks from the ledger, against depth and against unfolded iterations."""

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from sdnet.experiments.deep_pursuit.figures import NOTHING, measured
from sdnet.experiments.mixed_scale.study import RESIDUAL
from sdnet.report.plots import curves

UNFOLDED = {"msd_csc": "MSD-CSC", "msdnet": "MSDNet", "ml_csc": "ML-CSC"}
LABELS = {**RESIDUAL, **UNFOLDED}


def degradation(cells: pd.DataFrame) -> Figure | HTML:
    """Test accuracy against depth after one step of every layer, mean over seeds."""
    found = measured(cells, of=tuple(RESIDUAL))
    found = found[(found["metric"] == "top1") & (found["iterations"] == 1)]
    if found.empty:
        return NOTHING
    found = found.groupby(["arch", "blocks"], as_index=False).agg(value=("value", "mean"))
    table = pd.DataFrame(
        {
            "blocks per stage": found["blocks"].astype(int),
            "test accuracy (%)": 100 * found["value"],
            "network": found["arch"].map(RESIDUAL),
        }
    )
    return curves(table, x="blocks per stage", y="test accuracy (%)", hue="network")


def unfolding(cells: pd.DataFrame, metric: str = "top1") -> Figure | HTML:
    """Test accuracy, or the share of a layer's input that its code leaves over (``"reconstruction_share"``, mean over
    layers), against the iterations of every layer; mean over seeds. MSDNet iterates once."""
    found = measured(cells, of=tuple(UNFOLDED))
    found = found[(found["metric"] == metric) & ~((found["arch"] == "ml_csc") & (found["blocks"] != 1))]
    if found.empty:
        return NOTHING
    found = found.groupby(["arch", "iterations"], as_index=False).agg(value=("value", "mean"))
    name = "test accuracy (%)" if metric == "top1" else "left unexplained (share)"
    table = pd.DataFrame(
        {
            "iterations T": found["iterations"].astype(int),
            name: (100 if metric == "top1" else 1) * found["value"],
            "network": found["arch"].map(UNFOLDED),
        }
    )
    return curves(table, x="iterations T", y=name, hue="network", xscale="log")
