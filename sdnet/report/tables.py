"""Tables for the pages of the book, as HTML that looks the same on every machine."""

from typing import Any

import pandas as pd
from IPython.display import HTML

COLOURS = {"reproduced": "#009E73", "differs": "#D55E00", "scaled down": "#0072B2", "not run": "#8a9099"}


def chip(status: str) -> str:
    """A status as a small coloured label."""
    colour = COLOURS[status]
    return (
        f'<span style="color:{colour};border:1px solid {colour};border-radius:0.7em;padding:0 0.5em;'
        f'font-size:0.78em;white-space:nowrap">{status}</span>'
    )


def page(table: pd.DataFrame, caption: str, identity: str, wrap: bool = False) -> HTML:
    """A table of HTML texts as the book prints it; ``identity`` makes its style the same on every run.

    ``wrap`` lets long texts run over several lines.
    """
    rule, wrapping = "1px solid #8a909944", "white-space:normal" if wrap else "white-space:nowrap"
    styles: list[Any] = [
        {"selector": "", "props": "border-collapse:collapse;font-size:0.88em;width:100%"},
        {"selector": "th, td", "props": "text-align:left;padding:0.35em 0.7em;vertical-align:top;" + wrapping},
        {"selector": "th", "props": "border-bottom:2px solid currentColor"},
        {"selector": "td", "props": f"line-height:1.5;border-bottom:{rule}"},
    ]
    styler = table.style.hide(axis="index").set_uuid(identity).set_table_styles(styles)
    heading = f'<p style="margin:0 0 0.6em">{caption}</p>' if caption else ""
    return HTML(f'{heading}<div style="overflow-x:auto">{styler.to_html()}</div>')
