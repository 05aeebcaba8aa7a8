"""The built book, as a Sphinx extension: version and commit at the foot, and nothing that a browser refuses."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

from sdnet.results.ledger import code_state


def foot(state: dict[str, Any]) -> str:
    """Version and commit, from :func:`sdnet.results.ledger.code_state`."""
    commit = str(state["commit"])[:7] if state["commit"] else "unknown (built outside a checkout)"
    changed = ", with uncommitted changes" if state["dirty"] else ""
    return f"sdnet {state['version']}, commit {commit}{changed}"


def set_foot(app: Sphinx, config: Config) -> None:
    """Write the foot into the theme's options."""
    config.html_theme_options["extra_footer"] = f"<p>{foot(code_state())}</p>"


def leave_out_thebe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """Drop the scripts that would run cells on a server. Nothing here uses them, and they declare a constant twice."""
    scripts = context.get("script_files", [])
    context["script_files"] = [script for script in scripts if not _is_thebe(script)]


def _is_thebe(script: Any) -> bool:
    return "thebe" in str(getattr(script, "filename", script)) or "THEBE" in str(getattr(script, "attributes", ""))


def leave_out_preloads(app: Sphinx, exception: Exception | None) -> None:
    """Drop the theme's hints to load its fonts early: of a page that is opened from disk, browsers refuse them."""
    for page in Path(app.outdir).glob("*.html") if exception is None else ():
        text = page.read_text()
        page.write_text(re.sub(r'<link rel="preload"[^>]*\bcrossorigin\b[^>]*>\s*', "", text))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all three."""
    app.connect("config-inited", set_foot)
    app.connect("html-page-context", leave_out_thebe, priority=900)
    app.connect("build-finished", leave_out_preloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
