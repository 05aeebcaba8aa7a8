"""Tables for the pages of the book, as HTML that looks the same on every machine."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from IPython.display import HTML

from sdnet.report.origin import of_cells
from sdnet.report.shown import MadeFrom, Shown, plain

TONES = {"good": "#00704f", "bad": "#b0440a", "open": "#00629d", "none": "#5c636b"}
"""Colours that are read on white (4.5 : 1 and more); the book's style sheet has others for its dark pages."""
STATUSES = {"reproduced": "good", "differs": "bad", "scaled down": "open", "not run": "none"}


@dataclass(frozen=True)
class Number:
    """A printed number with the cells behind it, which go into the table's data and its origin.

    Attributes:
        text: HTML, as printed.
        cells: a line per seed, say; a column ``run`` names the run of the ledger that each comes from.
    """

    text: str
    cells: pd.DataFrame

    def __str__(self) -> str:
        return self.text


def coloured(text: str, tone: str) -> str:
    """A word of a verdict in the colour of its tone, one of :data:`TONES`."""
    return f'<b style="color:var(--sdnet-{tone}, {TONES[tone]})">{text}</b>'


def chip(status: str) -> str:
    """A status as a small coloured label."""
    colour = f"var(--sdnet-{STATUSES[status]}, {TONES[STATUSES[status]]})"
    return (
        f'<span style="color:{colour};border:1px solid {colour};border-radius:0.7em;padding:0 0.5em;'
        f'font-size:0.8em;white-space:nowrap">{status}</span>'
    )


NOT_RUN = HTML(
    f"{chip('not run')} at a size from which anything could be read: see the commands at the top of the page."
)
"""In the place of a figure or table of which the ledger holds no row."""


def paper_prints(text: str) -> str:
    """What the paper prints, in grey."""
    return f'<span style="opacity:0.8">{text}</span>'


def note(text: str) -> str:
    """Something small below or behind a number."""
    return f'<span style="opacity:0.8;font-size:0.85em">{text}</span>'


def page(table: pd.DataFrame, caption: str, identity: str, wrap: bool = False, *, made_from: MadeFrom) -> Shown:
    """A table of HTML texts as the book prints it; ``identity`` makes its style the same on every run.

    Its data are what it prints, and of every :class:`Number` the cells.

    Args:
        caption: HTML.
        wrap: let long texts run over several lines.
        made_from: cells of the ledger; where the table holds :class:`Number`, only those of the runs that these name
            count. Of a table that a page computes itself, seeds and n in words.
    """
    rule, wrapping = "1px solid #8a909944", "white-space:normal" if wrap else "white-space:nowrap"
    styles: list[Any] = [
        {"selector": "", "props": "border-collapse:collapse;font-size:0.88em;width:100%"},
        {"selector": "th, td", "props": "text-align:left;padding:0.35em 0.7em;vertical-align:top;" + wrapping},
        {"selector": "th", "props": "border-bottom:2px solid currentColor"},
        {"selector": "td", "props": f"line-height:1.5;border-bottom:{rule}"},
    ]
    styler = table.style.hide(axis="index").set_uuid(identity).set_table_styles(styles)
    values, runs = data_of(table)
    if runs and isinstance(made_from, pd.DataFrame):
        made_from = of_cells(made_from[made_from["run"].isin(runs)], values["n"])
    return Shown("Table", styler.to_html(), caption=caption, identity=identity, made_from=made_from, values=values)


def data_of(table: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """A table's data, and the runs that its numbers name.

    Without any :class:`Number` the data are the table as plain text. With some they are long: a line per printed number
    and cell behind it, with the row, the column, and the text as printed.
    """
    printed = table.rename(columns=lambda name: plain(str(name))).map(lambda entry: plain(str(entry)))
    numbers = table.map(lambda entry: isinstance(entry, Number))
    if not numbers.to_numpy().any():
        return printed, set()
    named = [index for index in range(table.shape[1]) if not numbers.iloc[:, index].any()]
    lines: list[dict[str, Any]] = []
    for row in range(table.shape[0]):
        where = {str(printed.columns[index]) or "row": printed.iat[row, index] for index in named}
        for column in range(table.shape[1]):
            entry = table.iat[row, column]
            if column in named:
                continue
            about = {**where, "column": printed.columns[column], "printed": printed.iat[row, column]}
            behind: list[Any] = entry.cells.to_dict("records") if isinstance(entry, Number) else []
            lines += [{**about, **{str(name): value for name, value in cell.items()}} for cell in behind or [{}]]
    long = pd.DataFrame(lines)
    return long, set(long["run"].dropna()) if "run" in long else set()
