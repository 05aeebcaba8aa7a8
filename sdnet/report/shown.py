"""The one door through which figures and tables reach a page: number, caption, text, origin and data."""

import html
import re
from dataclasses import dataclass, field
from urllib.parse import quote

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from sdnet.report.origin import Origin, computed, of_cells

MadeFrom = pd.DataFrame | str | Origin
"""Cells of the ledger; or of what a page computes itself, seeds and n in words; or the origin."""


@dataclass
class Page:
    """The page that is being made, and what it has shown so far.

    Attributes:
        notebook: name of its file.
        numbers: what was shown → its number, so that a cell that is run again keeps its own.
    """

    notebook: str
    numbers: dict[tuple[str, str, int], int] = field(default_factory=dict)

    @property
    def chapter(self) -> int:
        """The number that the file's name begins with; 0 for the first page."""
        found = re.match(r"\d+", self.notebook)
        return int(found[0]) if found else 0

    def numbered(self, kind: str, identity: str, content: int) -> tuple[int, str]:
        """Number among its kind, and an identity that nothing else on the page has."""
        same = [key for key in self.numbers if key[:2] == (kind, identity)]
        key = (kind, identity, content)
        if key not in self.numbers:
            self.numbers[key] = 1 + sum(known[0] == kind for known in self.numbers)
            same.append(key)
        copy = same.index(key)
        return self.numbers[key], identity if copy == 0 else f"{identity}-{copy + 1}"


_page = Page("index")


def begin(notebook: str) -> None:
    """Begin a page: numbers count from 1 and carry the number of the notebook, such as ``"06_corruptions"``."""
    global _page
    _page = Page(notebook)


class Shown(HTML):
    """A figure or table with all that belongs to it; a notebook cell that ends with it shows it.

    Attributes:
        name: ``"Figure 6.3"``, the third of page 06. The paper's are never called so.
        caption, content: HTML.
        origin: where its numbers come from.
        axes: of a figure, what matplotlib drew; of a table none.
        values: the data that can be had beside it; None for photographs, which are their own.
    """

    def __init__(
        self,
        kind: str,
        content: str,
        *,
        caption: str,
        identity: str,
        made_from: MadeFrom,
        values: pd.DataFrame | None,
        figure: Figure | None = None,
    ) -> None:
        page = _page
        csv = None if values is None else values.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        number, identity = page.numbered(kind, identity, hash((content, caption, csv)))
        if isinstance(made_from, str):
            made_from = computed(made_from, page.notebook)
        self.origin = made_from if isinstance(made_from, Origin) else of_cells(made_from)
        self.name = f"{kind} {page.chapter}.{number}"
        self.caption, self.content, self.values = caption, content, values
        self.axes = [] if figure is None else figure.axes
        super().__init__(self._to_html(kind.lower(), content, identity, csv))

    def _to_html(self, kind: str, content: str, identity: str, csv: str | None) -> str:
        heading = f'<figcaption class="mathjax_process"><b>{self.name}.</b> {self.caption}</figcaption>'
        body = f'<div class="shown-scroll" tabindex="0" role="region" aria-label="{self.name}">{content}</div>'
        parts = (heading, body) if kind == "table" else (body, heading)
        foot = f'<div class="shown-origin">{self.origin.to_html()}{_link(self.name, csv)}</div>'
        return f'<figure class="shown shown-{kind}" id="{html.escape(identity)}">{"".join(parts)}{foot}</figure>'

    def __repr__(self) -> str:
        return f"{self.name}. {plain(self.caption)}"


def _link(name: str, csv: str | None) -> str:
    if csv is None:
        return ""
    file = name.lower().replace(" ", "-").replace(".", "-") + ".csv"
    content = quote(csv, safe=" ,;:()[]+-*/=.!|'")
    return f'<a download="{file}" href="data:text/csv;charset=utf-8,{content}">Data of {name} (CSV)</a>'


def plain(text: str) -> str:
    """HTML as plain text on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"<(br|summary)\b[^>]*>", " | ", text))).split())
