"""The playground in the book: what writes its page when Sphinx builds the book, and the frame that shows it there."""

from pathlib import Path
from typing import Any

from IPython.display import HTML

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


def frame() -> HTML:
    """The playground, for a page of the book; a frame keeps its style apart from the book's."""
    return HTML(
        f'<iframe class="playground" src="{FOLDER}/index.html" title="Playground: turn λ of SDNet-18 and watch its '
        'first layer, beside ResNet-18" style="width: 100%; height: 1900px; border: 0"></iframe>\n'
        f'<script src="{FOLDER}/embed.js"></script>\n'
        f'<p><a href="{FOLDER}/index.html">Open the playground on a page of its own.</a> '
        "(It is written when the book is built: <code>make book</code>.)</p>"
    )
