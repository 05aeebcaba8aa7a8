"""The foot of the pages, what a browser refuses, and the entries of "How to cite"."""

from pathlib import Path
from types import SimpleNamespace

from sdnet import __version__
from sdnet.report import citation, edition
from sdnet.results.ledger import code_state


def test_the_foot_names_version_and_commit() -> None:
    state = {"version": "1.2.3", "commit": "0123456789", "dirty": False}
    assert edition.foot(state) == "sdnet 1.2.3, commit 0123456"
    assert edition.foot({**state, "dirty": True}) == "sdnet 1.2.3, commit 0123456, with uncommitted changes"
    assert "unknown" in edition.foot({**state, "commit": None, "dirty": None})
    config = SimpleNamespace(html_theme_options={})
    edition.set_foot(None, config)  # type: ignore[arg-type]
    assert edition.foot(code_state()) in config.html_theme_options["extra_footer"]


def test_scripts_that_nothing_uses_are_left_out() -> None:
    declared = SimpleNamespace(filename="", attributes={"body": "const THEBE_JS_URL = 1"})
    kept = SimpleNamespace(filename="_static/doctools.js", attributes={})
    context = {"script_files": [kept, declared, SimpleNamespace(filename="sphinx-thebe.js", attributes={}), declared]}
    edition.leave_out_thebe(None, "index", "", context, None)  # type: ignore[arg-type]
    assert context["script_files"] == [kept]


def test_hints_that_a_browser_refuses_are_left_out(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    hint = '<link rel="preload" as="font" type="font/woff2" crossorigin href="a.woff2" />'
    script = '<link rel="preload" as="script" href="a.js" />'
    page.write_text(f"<head>{hint}{script}</head>")
    edition.leave_out_preloads(SimpleNamespace(outdir=tmp_path), ValueError())  # type: ignore[arg-type]
    assert hint in page.read_text()  # of a build that failed nothing is touched
    edition.leave_out_preloads(SimpleNamespace(outdir=tmp_path), None)  # type: ignore[arg-type]
    assert page.read_text() == f"<head>{script}</head>"


def test_the_entries_are_those_of_citation_cff() -> None:
    said = citation.source()
    paper, book = said["references"]
    entry = citation.bibtex(paper, "dai2022revisiting")
    assert entry.startswith("@inproceedings{dai2022revisiting,\n  title = {Revisiting Sparse Convolutional Model")
    assert "author = {Dai, Xili and Li, Mingyang and " in entry
    assert "year = {2022}" in entry
    assert book["version"] == said["version"] == __version__
    assert "author = {{The sdnet maintainers}}" in citation.bibtex(book, "book")
    assert f"version = {{{__version__}}}" in citation.bibtex(said, "software")
    shown = citation.show().data
    for heading in ("The paper", "This book", "The release"):
        assert f"**{heading}**" in shown
    assert shown.count("```bibtex") == 3
