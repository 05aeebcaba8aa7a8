"""Where a figure's or table's numbers come from, in one line and in the commands that make them again."""

import html
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

LISTED = 4
"""Of more commits or seeds the rest is counted."""


@dataclass(frozen=True)
class Origin:
    """What stands under a figure or table.

    Attributes:
        text: runs, commit, device, seeds and n, in one line of plain text.
        commands: shell lines; those that begin with ``#`` say what the next ones made.
    """

    text: str
    commands: tuple[str, ...] = ()

    def to_html(self) -> str:
        """The line, which opens to the commands."""
        line = f"Made from: {html.escape(self.text)}"
        if not self.commands:
            return f"<span>{line}</span>"
        typed = html.escape("\n".join(self.commands))
        return f'<details><summary>{line}</summary><div class="highlight"><pre>{typed}</pre></div></details>'


def of_cells(cells: pd.DataFrame, counts: "pd.Series[float] | None" = None) -> Origin:
    """The origin of numbers that come from cells of the ledger (:func:`sdnet.results.cells.to_frame`).

    Args:
        counts: n of the numbers themselves, where the cells are more than those.
    """
    cells = cells[cells["run"].notna()]
    if cells.empty:
        return Origin("nothing yet: not run.")
    runs = cells.drop_duplicates("run").sort_values("started")
    kinds = runs["experiment"].value_counts(sort=False)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    commits = zip(runs["commit"], _dirty(runs), strict=True)
    parts = [
        f"{len(runs)} run{'s' * (len(runs) > 1)} of the ledger ({counted})",
        _several("commit", [_commit(commit, dirty) for commit, dirty in commits]),
        _several("device", [str(name) for name in runs.loc[runs["device_type"] != "none", "device"].dropna()]),
        _several("seed", [f"{seed:g}" for seed in sorted(runs["seed"].dropna().unique())]),
        _extent((cells["n"] if counts is None else counts).dropna().astype(int)),
    ]
    lines: list[str] = []
    for row in runs.to_dict("records"):
        lines.append(f"# {row['run']}, commit {_commit(row['commit'], row.get('dirty'))}")
        lines += [line for line in row["commands"] if line not in lines]
    return Origin("; ".join(part for part in parts if part) + ".", tuple(lines))


def concat(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Cells of several tables in one; those without any are passed over."""
    found = [part for part in parts if not part.empty]
    return pd.concat(found) if found else pd.DataFrame(columns=["run"])


def computed(what: str, notebook: str) -> Origin:
    """The origin of numbers that a page computes itself, each time it is executed."""
    text = f"this page, executed when the book was built (its commit stands at the foot); {what}."
    return Origin(text, (f"papermill book/{notebook}.ipynb out.ipynb",))


def _dirty(runs: pd.DataFrame) -> Iterable[object]:
    return runs["dirty"] if "dirty" in runs else [None] * len(runs)


def _commit(commit: object, dirty: object) -> str:
    return (str(commit)[:7] if isinstance(commit, str) else "unknown") + ("*" if dirty is True else "")


def _several(what: str, values: Iterable[str]) -> str:
    names = list(dict.fromkeys(values))
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{what}{'s' * (len(names) > 1)} {', '.join(names[:LISTED])}{more}"


def _extent(counts: "pd.Series[int]") -> str:
    if counts.empty:
        return ""
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"
