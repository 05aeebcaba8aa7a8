"""How to cite the paper, this book and the release: BibTeX, written from ``CITATION.cff``."""

from pathlib import Path
from typing import Any

import yaml
from IPython.display import Markdown

from sdnet.results.ledger import repository_data

KINDS = {"conference-paper": "inproceedings", "book": "misc", "software": "software"}


def source() -> dict[str, Any]:
    """``CITATION.cff`` of the repository."""
    said: dict[str, Any] = yaml.safe_load(Path(repository_data().parent, "CITATION.cff").read_text())
    return said


def bibtex(said: dict[str, Any], key: str) -> str:
    """One entry; ``said`` is the file itself, or one of its ``references``."""
    authors = " and ".join(_author(author) for author in said["authors"])
    fields = {
        "title": said["title"],
        "author": authors,
        "booktitle": said.get("collection-title"),
        "version": said.get("version"),
        "year": said.get("year"),
        "note": said.get("notes"),
        "license": said.get("license"),
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value is not None]
    return f"@{KINDS[said['type']]}{{{key},\n" + ",\n".join(lines) + "\n}"


def _author(author: dict[str, str]) -> str:
    if "name" in author:
        return f"{{{author['name']}}}"  # an institution: BibTeX must not take it apart
    return f"{author['family-names']}, {author['given-names']}"


def show() -> Markdown:
    """The three entries under their headings, for the page "How to cite"."""
    said = source()
    paper, book = said["references"]
    entries = (
        ("The paper", bibtex(paper, "dai2022revisiting")),
        ("This book", bibtex(book, "sdnet_book")),
        ("The release", bibtex(said, "sdnet_software")),
    )
    return Markdown("\n\n".join(f"**{heading}**\n\n```bibtex\n{entry}\n```" for heading, entry in entries))
