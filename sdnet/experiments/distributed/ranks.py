"""Trainings on several ranks, and what a further rank gains, from the ledger."""

from collections.abc import Hashable, Iterable
from typing import Any

import pandas as pd
from IPython.display import HTML

from sdnet.experiments.accuracy.tables import show_runs
from sdnet.report.tables import chip, note, page
from sdnet.results.ledger import Record


def show_distributed(records: Iterable[Record]) -> HTML:
    """The training runs of more than one rank."""
    return show_runs([r for r in records if r.experiment == "train" and r.config.get("ranks", 1) > 1])


def show_ranks(cells: pd.DataFrame) -> HTML:
    """Speed of one rank and of several, with quartiles, and the efficiency: the share of the added work that counts."""
    chosen = cells[cells["experiment"] == "ranks"]
    if chosen.empty:
        return HTML(f"<p>What a further rank gains: {chip('not run')}</p>")
    lines = []
    for _, run in chosen.groupby("started"):
        load = run[run["metric"] == "load_before"]["value"].iloc[0]
        for case, part in run.groupby("case", sort=False):
            values = {str(row["metric"]): row for row in part.to_dict("records")}
            speed, efficiency = values["images_per_second"], values.get("efficiency")
            spread = note(f"({speed['low']:.0f} – {speed['high']:.0f})")
            lines.append(
                {
                    "network": f"{speed['arch']}, width {speed['width']:.0f}",
                    "batch": f"{speed['batch']:.0f}",
                    "ranks": f"{speed['ranks']:.0f} on {speed['device']} ({speed['device_type']})",
                    "what is timed": case,
                    "images/s": f"<b>{speed['value']:.0f}</b> {spread}",
                    "efficiency": "" if efficiency is None else _spread(efficiency),
                    "load before, per core": f"{load:.1f}",
                }
            )
    caption = (
        "Images per second on one rank and on several, with quartiles in brackets. Efficiency: the speed over that "
        "of one rank, divided by the number of ranks. Load: what else ran on the machine before."
    )
    return page(pd.DataFrame(lines), caption, "ranks", made_from=chosen)


def _spread(cell: dict[Hashable, Any]) -> str:
    return f"<b>{cell['value']:.2f}</b> " + note(f"({cell['low']:.2f} – {cell['high']:.2f})")
