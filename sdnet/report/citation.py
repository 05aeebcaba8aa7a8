"""How to cite the paper, this book and the release: BibTeX, written from ``CITATION.cff``."""

from pathlib import Path
from typing import Any

import yaml
from IPython.display import Markdown

from sdnet.results.ledger import repository_data

KINDS = {"conference-paper": "inproceedings", "book": "misc", "software": "software"}


def source() -> dict[str, Any]:
    """``CITATION.cff`` of the repository."""
    entry: dict[str, Any] = yaml.safe_load(Path(repository_data().parent, "CITATION.cff").read_text())
    return entry


def bibtex(entry: dict[str, Any], key: str) -> str:
    """One entry; ``entry`` is the file itself, or one of its ``references``."""
    authors = " and ".join(_author(author) for author in entry["authors"])
    fields = {
        "title": entry["title"],
        "author": authors,
        "booktitle": entry.get("collection-title"),
        "version": entry.get("version"),
        "year": entry.get("year"),
        "note": entry.get("notes"),
        "license": entry.get("license"),
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value is not None]
    return f"@{KINDS[entry['type']]}{{{key},\n" + ",\n".join(lines) + "\n}"


def _author(author: dict[str, str]) -> str:
    if "name" in author:
        return f"{{{author['name']}}}"  # an institution: BibTeX must not take it apart
    return f"{author['family-names']}, {author['given-names']}"


def show() -> Markdown:
    """The three entries under their headings, for the page "How to cite"."""
    release = source()
    paper, book = release["references"]
    entries = (
        ("The paper", bibtex(paper, "dai2022revisiting")),
        ("This book", bibtex(book, "sdnet_book")),
        ("The release", bibtex(release, "sdnet_software")),
    )
    return Markdown("\n\n".join(f"**{heading}**\n\n```bibtex\n{entry}\n```" for heading, entry in entries))
