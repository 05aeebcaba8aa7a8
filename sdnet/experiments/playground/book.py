"""The playground in the book: what writes its page when Sphinx builds the book. Notebook 11 has the frame around it."""

from pathlib import Path
from typing import Any

from sdnet.experiments.playground import export

FOLDER = "_static/playground"
"""Where the page lies, seen from the built book's pages."""


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this because ``_config.yml`` names this module as an extension."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Any, exception: Exception | None) -> None:
    """Write the page into a book of HTML that has been built without an error."""
    if exception is None and app.builder.format == "html":
        export.write(Path(app.outdir) / FOLDER)
