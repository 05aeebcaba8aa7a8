"""What a figure shows, read off its lines and points: as data, and as a text for those who do not see it."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

READ_OUT = 8
"""Of more lines than these the text says only the extremes; all of them are in the data."""
COLUMNS = ["panel", "series", "x", "y", "low", "high"]
SMALLEST = 9.0
"""Height in pixels below which letters of a figure are not shrunk, however narrow the screen."""


def data_of(fig: Figure) -> pd.DataFrame:
    """Everything that lines, markers and points draw: panel, series, x, y, and low and high where there are bars.

    The columns of x and y are called as the axes are, where all panels agree.
    """
    lines = [pd.DataFrame(columns=COLUMNS)]
    names = _names(fig)
    for ax, panel in zip(fig.axes, _panels(fig), strict=True):
        for series, points in _series(ax, names):
            lines.append(points.assign(panel=panel, series=series))
    table = pd.concat(lines[1:] or lines).reindex(columns=COLUMNS)
    titles = {"x": {_axis(ax, "x") for ax in fig.axes}, "y": {_axis(ax, "y") for ax in fig.axes} - {""}}
    called = {key: found.pop() for key, found in titles.items() if len(found) == 1}
    table = table.rename(columns={key: name for key, name in called.items() if name and name not in table})
    empty = [name for name in ("low", "high") if table[name].isna().all()]
    empty += ["panel"] * (table["panel"].nunique() < 2)
    return table.drop(columns=empty)


def text_of(fig: Figure) -> str:
    """What a figure shows in words: axes, panels, and of each line its ends and its extremes."""
    names = _names(fig)
    found = [(ax, panel, list(_series(ax, names))) for ax, panel in zip(fig.axes, _panels(fig), strict=True)]
    found = [(ax, panel, series) for ax, panel, series in found if series]
    if not found:
        return "Nothing is drawn: not run."
    count = sum(len(series) for _, _, series in found)
    panels = f" in {len(found)} panels" if len(found) > 1 else ""
    upright = next((label for ax, _, _ in found if (label := _axis(ax, "y"))), "y")
    sentences = [f"Chart with {count} line{'s' * (count > 1)}{panels}."]
    for ax, panel, series in found:
        axes = f"{_axis(ax, 'y') or upright} against {_axis(ax, 'x') or 'x'}"
        sentences.append(f"{panel}: {axes}." if panel and panel != axes else f"{axes}.")
        if count <= READ_OUT:
            sentences += [_read_out(name, points) for name, points in series]
        else:
            sentences.append(_extremes(series))
    return " ".join(sentences)


def least_width(fig: Figure) -> tuple[float, float]:
    """Width in pixels, as drawn and below which its smallest letters would be smaller than :data:`SMALLEST`."""
    width = fig.get_figwidth() * 96
    texts = [one for one in fig.findobj(Text) if isinstance(one, Text) and one.get_visible() and one.get_text().strip()]
    sizes = [float(one.get_fontsize()) * 96 / 72 for one in texts]
    return width, width * min(1.0, SMALLEST / min(sizes)) if sizes else 0.0


def _panels(fig: Figure) -> list[str]:
    """A name for each of a figure's axes: its title, else its vertical axis if there are several."""
    titles = [
        next((t for where in ("left", "center") if (t := _words(ax.get_title(loc=where)))), "") for ax in fig.axes
    ]
    return [title or (_axis(ax, "y") if len(titles) > 1 else "") for title, ax in zip(titles, fig.axes, strict=True)]


def _axis(ax: Axes, which: str) -> str:
    return _words(ax.get_xlabel() if which == "x" else ax.get_ylabel())


def _words(text: str) -> str:
    """A label without the signs that only typesetting needs."""
    return " ".join(re.sub(r"\\(mathrm|text|;|,| )|[${}\\]", " ", text).replace("_*", "*").split())


def _series(ax: Axes, names: dict[str, str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and points of everything that is drawn in the units of the axes."""
    bars: dict[int, ErrorbarContainer] = {}
    ends: set[int] = set()
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer) and container.lines[0] is not None:
            bars[id(container.lines[0])] = container
            ends |= {id(cap) for cap in container.lines[1]}
    for line in ax.lines:
        if line.get_transform() != ax.transData or id(line) in ends:
            continue
        x, y = (np.asarray(values, float) for values in line.get_data())
        points = pd.DataFrame({"x": x, "y": y})
        if bar := bars.get(id(line)):
            segments = np.stack(bar.lines[2][0].get_segments())
            points["low"], points["high"] = segments[:, 0, 1], segments[:, 1, 1]
        points = points.dropna(subset=["y"])
        if not points.empty:
            label = str(bar.get_label()) if bar else str(line.get_label())
            yield _name(label, names, line), points
    for spots in ax.collections:
        if isinstance(spots, PathCollection) and len(offsets := np.asarray(spots.get_offsets(), float)):
            face: Any = spots.get_facecolor()
            colour = to_hex(face[0])
            yield (
                _titled(str(spots.get_label()), names.get(colour, ""), "points"),
                pd.DataFrame(offsets, columns=["x", "y"]),
            )


def _names(fig: Figure) -> dict[str, str]:
    """Colour → what it stands for, by the legends and the labels of a figure, in all of its panels."""
    names: dict[str, str] = {}
    for legend in (*fig.legends, *(legend for ax in fig.axes if (legend := ax.get_legend()))):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=False):
            if isinstance(handle, Line2D):
                names.setdefault(_colour(handle), _words(text.get_text()))
    for line in (line for ax in fig.axes for line in ax.lines):
        if not str(line.get_label()).startswith("_"):
            names.setdefault(_colour(line), _words(str(line.get_label())))
    return names


def _colour(line: Line2D) -> str:
    colour: Any = line.get_color()
    return to_hex(colour)


def _name(label: str, names: dict[str, str], line: Line2D) -> str:
    style = "dashed" if line.get_linestyle() not in ("-", "None") else ""
    if line.get_linestyle() == "None":
        style = "mark" if line.get_marker() == "*" else "points"
    return _titled(label, names.get(_colour(line), ""), style)


def _titled(label: str, by_colour: str, style: str) -> str:
    if not label.startswith("_"):
        return _words(label)
    return ", ".join(part for part in (by_colour, style) if part) or "line"


def _read_out(name: str, points: pd.DataFrame) -> str:
    first, last = points.iloc[0], points.iloc[-1]
    text = f"{name}: {_short(first['y'])} at {_short(first['x'])}"
    if len(points) == 1:
        return f"{text}."
    text += f", {_short(last['y'])} at {_short(last['x'])}"
    for word, row in (("highest", int(points["y"].argmax())), ("lowest", int(points["y"].argmin()))):
        at = points.iloc[row]
        if at["x"] not in (first["x"], last["x"]):
            text += f", {word} {_short(at['y'])} at {_short(at['x'])}"
    return f"{text}."


def _extremes(series: list[tuple[str, pd.DataFrame]]) -> str:
    every = pd.concat([points.assign(name=name) for name, points in series], ignore_index=True)
    extremes = []
    for word, row in (("highest", int(every["y"].argmax())), ("lowest", int(every["y"].argmin()))):
        at = every.iloc[row]
        extremes.append(f"{word} {_short(at['y'])} at {_short(at['x'])} ({at['name']})")
    names = list(dict.fromkeys(name for name, _ in series))
    return f"{', '.join(names)}: {', '.join(extremes)}."


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"
