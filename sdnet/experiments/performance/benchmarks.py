"""Which benchmark of the ledger answers for several networks at once."""

from collections.abc import Iterable

import pandas as pd

from sdnet.results.select import select

DEVICES = ("cuda", "cpu")
"""Kinds of devices, the fastest first."""


def eager(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of what was not compiled, and of what has nothing to compile."""
    return cells[cells["compiled"].isin([False]) | cells["compiled"].isna()]


def runs_with(cells: pd.DataFrame, archs: Iterable[str]) -> pd.DataFrame:
    """The cells of the runs that have cells of all of ``archs``."""
    wanted = set(archs)
    return cells.groupby("started").filter(lambda run: wanted <= set(run["arch"]))


def benchmark_of(cells: pd.DataFrame, archs: Iterable[str], stem: str = "cifar") -> pd.DataFrame | None:
    """The cells of one benchmark that times all of ``archs``; None if there is none.

    Speeds are comparable within a run only. Of several runs the fastest kind of device counts, then the run with the
    most networks, then the largest width, then the latest.
    """
    timed = eager(select(cells, experiment="benchmark", metric="train_images_per_second"))
    timed = timed[timed["stem"] == stem]
    for kind in DEVICES:
        runs = runs_with(timed[timed["device_type"] == kind], archs)
        if not runs.empty:
            runs = runs.assign(networks=runs.groupby("started")["arch"].transform("nunique"))
            started = runs.sort_values(["networks", "width", "started"]).iloc[-1]["started"]
            return select(cells, experiment="benchmark", started=started)
    return None


def scale_of(run: pd.DataFrame) -> str:
    """Width, batch, precision and device of a benchmark, in words."""
    rates = run[run["metric"] == "train_images_per_second"].iloc[0]
    return f"width {rates['width']:g}, batches of {rates['batch']:g}, {rates['precision']}, on {rates['device']}"
