"""Walks a built book as a reader's browser would.

``make walk``, a part of ``make test``, runs it on the book as it stands in the notebooks, and ``make book`` on
``_build/html``. Nothing here builds anything: ``BOOK=folder python -m pytest tests/book_walk.py`` walks any build.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import WINDOWS, Browser, Visit, browser

ROOT = Path(__file__).resolve().parent.parent
BOOK = Path(os.environ.get("BOOK", ROOT / "_build" / "html"))
PAGES = sorted(BOOK.glob("*.html"))
NAME = re.compile(r"(Figure|Table) (\d+)\.(\d+)\.")
WIDER_THAN_THE_WINDOW = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const cut = element => element && (getComputedStyle(element).overflowX !== "visible" || cut(element.parentElement));
    return [...document.body.querySelectorAll("*")]
        .filter(element => element.getBoundingClientRect().right > width + 1 && !cut(element.parentElement))
        .map(element => element.outerHTML.slice(0, 120));
}"""
"""What makes a page wider than its window; what scrolls in a box of its own does not."""
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADED = {
    "img": "src",
    "script": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}


@dataclass
class Element:
    """A tag with its attributes, or a piece of text, and what it stands in."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    text: str = ""
    inside: list["Element"] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return name in self.attributes.get("class", "").split()

    def within(self, name: str) -> "Element | None":
        """The nearest element around it, itself included, of that class."""
        here: Element | None = self
        while here is not None and not here.has(name):
            here = here.parent
        return here

    def all(self, tag: str = "", name: str = "") -> list["Element"]:
        """Everything in it of that tag and class."""
        found = [one for one in self.inside if (not tag or one.tag == tag) and (not name or one.has(name))]
        return found + [deeper for one in self.inside for deeper in one.all(tag, name)]

    def said(self) -> str:
        return self.text + "".join(one.said() for one in self.inside)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.inside.append(element)
        if tag not in VOID:
            self.here = element

    def handle_endtag(self, tag: str) -> None:
        here: Element | None = self.here
        while here is not None and here.tag != tag:
            here = here.parent
        if here is not None and here.parent is not None:
            self.here = here.parent

    def handle_data(self, data: str) -> None:
        self.here.inside.append(Element("", {}, self.here, data))


@cache
def parsed(path: Path) -> Element:
    page = Page()
    page.feed(path.read_text())
    return page.root


@cache
def places(path: Path) -> set[str]:
    """What a link can lead to on a page."""
    return {element.attributes.get(key, "") for element in parsed(path).all() for key in ("id", "name")}


every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


def test_there_is_a_book() -> None:
    assert len(PAGES) > 10, f"no book in {BOOK}; build it with make book."


@every_page
def test_every_image_says_what_it_shows(path: Path) -> None:
    assert not [
        image.attributes.get("src", "")[:80] for image in parsed(path).all("img") if not image.attributes.get("alt")
    ]


@every_page
def test_every_figure_and_table_has_number_caption_origin_and_data(path: Path) -> None:
    page = parsed(path)
    outputs = page.all(name="cell_output")
    for output in outputs:
        for thing in (*output.all("table"), *output.all("img"), *output.all("svg")):
            assert thing.within("shown"), f"a {thing.tag} that did not go through sdnet.report"
    numbers = []
    for shown in page.all("figure", "shown"):
        (caption,) = shown.all("figcaption")
        number = NAME.match(caption.said())
        assert number, caption.said()
        assert len(caption.said()) > len(number[0]) + 5, f"{number[0]} has no caption"
        numbers.append((number[1], int(number[3])))
        chapter = re.match(r"\d+", path.stem)
        assert int(number[2]) == (int(chapter[0]) if chapter else 0), f"{number[0]} stands on another page"
        (origin,) = shown.all(name="shown-origin")
        assert "Made from: " in origin.said(), f"{number[0]} has no origin"
        if "not run" not in origin.said():
            assert origin.all("pre"), f"{number[0]} has no command"
            for word in ("commit", "n = ") if "of the ledger (" in origin.said() else ("commit",):
                assert word in origin.said(), f"the origin of {number[0]} has no {word}"
        pictures = shown.all("img", "picture")
        assert origin.all("a") or pictures or "not run" in origin.said(), f"{number[0]} has no data"
    for kind in ("Figure", "Table"):
        assert [number for known, number in numbers if known == kind] == list(
            range(1, 1 + sum(known == kind for known, _ in numbers))
        ), f"{kind}s are not numbered in their order"


@every_page
def test_nothing_is_said_by_resting_the_pointer_only(path: Path) -> None:
    for output in parsed(path).all(name="cell_output"):
        assert not [element.attributes["title"] for element in output.all() if "title" in element.attributes]


@every_page
def test_no_page_asks_another_machine(path: Path) -> None:
    asked = [element.attributes.get(LOADED[element.tag], "") for tag in LOADED for element in parsed(path).all(tag)]
    for link in parsed(path).all("link"):
        if link.attributes.get("rel") in (
            "stylesheet",
            "preload",
            "icon",
            "shortcut icon",
            "modulepreload",
            "prefetch",
        ):
            asked.append(link.attributes["href"])
    for address in asked:
        assert urlsplit(address).scheme in ("", "data", "blob"), address
        assert not address.startswith("//"), address
        if address and not urlsplit(address).scheme:
            assert (path.parent / unquote(urlsplit(address).path)).is_file(), f"{address} is not there"


def test_no_style_sheet_asks_another_machine() -> None:
    for sheet in BOOK.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import\s+)['\"]?([^'\")\s]+)", sheet.read_text()):
            assert not re.match(r"(https?:)?//", address), f"{sheet.name} asks {address}"


@every_page
def test_no_link_is_dead(path: Path) -> None:
    for link in parsed(path).all("a"):
        address = urlsplit(link.attributes.get("href", ""))
        if address.scheme or address.netloc:
            continue
        target = path if not address.path else (path.parent / unquote(address.path)).resolve()
        assert target.exists(), f"{link.attributes['href']} leads nowhere"
        if address.fragment and target.suffix == ".html":
            assert unquote(address.fragment) in places(target), (
                f"{link.attributes['href']} leads to no place on that page"
            )


@every_page
def test_version_and_commit_stand_at_the_foot(path: Path) -> None:
    footers = [element.said() for element in parsed(path).all("footer")]
    assert re.search(r"sdnet \d+\.\d+\.\d+, commit (\w{7}|unknown)", " ".join(footers))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@every_page
def test_a_browser_has_nothing_to_complain_about(chromium: Browser, path: Path) -> None:
    """On a desktop, then on a phone and in the dark."""
    visit, wide = Visit(chromium, path, offline=True), []
    visit.page.wait_for_load_state("networkidle")
    for window in WINDOWS:
        visit.resize(window)
        visit.page.wait_for_timeout(100)  # what follows the window follows it a moment later
        wide += visit.page.evaluate(WIDER_THAN_THE_WINDOW)
    visit.close()
    assert not [fault for fault in visit.faults if not fault.startswith("log: ")]  # which the theme's scripts write
    assert not wide, "the page scrolls sideways because of these"
