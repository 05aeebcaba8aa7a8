"""The look of the book's figures, and the figures of its theory pages: numbers in, a finished figure out.

Every function returns what a notebook cell that ends with the call shows. Nothing here knows a model or a file.
"""

import html
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NotRequired, TypedDict, Unpack

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from sdnet.report.drawn import data_of, least_width, text_of
from sdnet.report.shown import MadeFrom, Shown, begin

Array = NDArray[np.floating[Any]]

WIDTH = 5.0
"""Width of a chart in inches: its letters are read on a telephone, and on a desk are as large as the text."""
PICTURES = 7.6
"""Width of a table of pictures in inches. On a telephone it moves within its box."""
ENLARGED = 1.3
"""Largest size on a screen, as a multiple of that in inches."""
INK, FAINT = "#2b2f36", "#8a9099"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's colours, told apart with every kind of colour vision and in this order also in grey."""
MARKERS = ("o", "s", "D", "^", "v", "P")


class About(TypedDict):
    """What a page says of its own figure; see :func:`finished`."""

    caption: str
    identity: str
    made_from: MadeFrom
    alt: NotRequired[str]


def style(notebook: str = "index") -> None:
    """One look for every figure of the book. Call it once, at the top of a notebook, with the name of its file."""
    begin(notebook)
    sns.set_theme(context="paper", style="ticks", palette=sns.color_palette(PALETTE))
    plt.rcParams.update(
        {
            "figure.dpi": 160, "savefig.dpi": 160, "figure.constrained_layout.use": True,
            "font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "font.size": 9.5,
            "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 9,
            "axes.labelsize": 9.5, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlecolor": INK,
            "text.color": INK, "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK,
            "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
            "grid.color": "#e6e8eb", "grid.linewidth": 0.7, "lines.linewidth": 1.8, "lines.markersize": 5,
            "legend.frameon": False, "legend.fontsize": 9.5, "xtick.labelsize": 9.5, "ytick.labelsize": 9.5,
            "svg.hashsalt": "sdnet",
        }
    )  # fmt: skip


def thresholds(values: Array, curves: Mapping[str, Array], threshold: float, **about: Unpack[About]) -> Shown:
    """Proximal operators of the ℓ₁ norm against the identity.

    Args:
        values: the arguments v, ascending.
        curves: label → prox(v), one array per operator.
        threshold: t, marked on the axis at ±t.
        about: see :func:`finished`; so in all functions here.
    """
    fig, ax = plt.subplots(figsize=(WIDTH * 0.8, 3.1))
    ax.plot(values, values, color=FAINT, lw=1, ls=(0, (4, 3)), label="identity")
    for index, (label, curve) in enumerate(curves.items()):
        ax.plot(values, curve, color=PALETTE[index], lw=(3.4, 1.8)[index % 2], label=label)
    for edge, text in ((-threshold, "$-t$"), (threshold, "$t$")):
        ax.axvline(edge, color=FAINT, lw=0.8, ls=":")
        ax.annotate(text, (edge, values.min()), xytext=(3, 4), textcoords="offset points", color=FAINT)
    ax.set(xlabel="argument $v$", ylabel=r"$\mathrm{prox}(v)$")
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return finished(fig, **about)


def convergence(
    steps: Array,
    measured: Mapping[str, Array],
    bounds: Mapping[str, Array],
    floor: float,
    **about: Unpack[About],
) -> Shown:
    """Suboptimality against iterations on logarithmic axes, with the bounds of the theory in the same colours.

    Args:
        steps: iteration numbers k, shared by all curves.
        measured: label → P(z_k) − P(z*), as a fraction of P(0).
        bounds: label → the theory's bound, paired with ``measured`` by order.
        floor: the certified error of the reference P(z*); nothing is drawn below it.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.7))
    for index, (label, curve) in enumerate(measured.items()):
        ax.plot(steps, np.where(curve > floor, curve, np.nan), color=PALETTE[index], label=label)
    for index, (label, curve) in enumerate(bounds.items()):
        ax.plot(steps, curve, color=PALETTE[index], ls=(0, (5, 2)), lw=1.1, label=label)
    ax.axhspan(floor / 3, floor, color=FAINT, alpha=0.18, lw=0)
    ax.annotate("below the certified accuracy of the reference", (1.1, floor), xytext=(0, -3), va="top",
                textcoords="offset points", color=INK)  # fmt: skip
    ax.axvline(2, color=INK, lw=0.8, ls=":")
    ax.annotate("the paper\nstops here", (2, floor * 4), xytext=(5, 0), textcoords="offset points")
    ax.set(xscale="log", yscale="log", xlim=(1, steps[-1]), ylim=(floor / 3, None))
    ax.set(xlabel="iteration $k$", ylabel=r"$(P(z_k) - P(z_*))\;/\;P(0)$")
    ax.legend(loc="upper right", ncols=2)
    return finished(fig, **about)


def curves(
    data: pd.DataFrame,
    *,
    x: str,
    y: str,
    hue: str,
    panel: str | None = None,
    mark: float | None = None,
    axes: Mapping[str, Any] | None = None,
    **about: Unpack[About],
) -> Shown:
    """Lines with markers, one per value of ``hue``, in one panel or one per value of ``panel``.

    Args:
        data: long table; the columns named by ``x`` and ``y`` are the axis labels, units included.
        mark: an x at which a dotted line stands, such as the paper's two iterations.
        axes: what is passed to ``Axes.set``: scales and limits.
    """
    groups = [("", data)] if panel is None else [(str(k), g) for k, g in data.groupby(panel, sort=False)]
    fig, panels = plt.subplots(1, len(groups), figsize=(WIDTH, 3.1), sharey=True, squeeze=False)
    for ax, (name, group) in zip(panels[0], groups, strict=True):
        sns.lineplot(group, x=x, y=y, hue=hue, style=hue, markers=list(MARKERS[: group[hue].nunique()]),
                     dashes=False, palette=list(PALETTE[: group[hue].nunique()]), ax=ax, errorbar=None,
                     legend="full" if ax is panels[0, -1] else False)  # fmt: skip
        if mark is not None:
            ax.axvline(mark, color=INK, lw=0.8, ls=":")
        ax.set(title=name, **(axes or {}))
        _plain_ticks(ax, sorted(group[x].unique()), every=2 if len(groups) > 1 else 1)
    panels[0, -1].legend(title=hue, alignment="left")
    return finished(fig, **about)


def atoms(dictionaries: Mapping[str, Array], columns: int = 8, **about: Unpack[About]) -> Shown:
    """Colour atoms as tiles, every one stretched to its own largest magnitude around grey.

    Args:
        dictionaries: title → weight (C, 3, k, k); one panel each.
    """
    fig, panels = plt.subplots(
        1,
        len(dictionaries),
        figsize=(WIDTH, WIDTH / len(dictionaries) + 0.3),
        squeeze=False,
        gridspec_kw={"wspace": 0.08},
    )
    for ax, (title, weight) in zip(panels[0], dictionaries.items(), strict=True):
        scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
        tiles = (0.5 + weight / (2 * np.where(scale > 0, scale, 1))).transpose(0, 2, 3, 1)
        tiles = tiles.repeat(4, axis=1).repeat(4, axis=2)  # so that the gap between tiles is a quarter of a pixel
        tiles = np.pad(tiles, ((0, -len(tiles) % columns), (0, 1), (0, 1), (0, 0)), constant_values=1.0)
        grid = tiles.reshape(-1, columns, *tiles.shape[1:]).transpose(0, 2, 1, 3, 4)
        ax.imshow(grid.reshape(-1, columns * tiles.shape[2], 3)[:-1, :-1], interpolation="nearest")
        ax.set_title(title)
        ax.axis("off")
    values = pd.concat([_weights(title, weight) for title, weight in dictionaries.items()])
    text = "; ".join(f"{title}: {len(weight)} tiles of {weight.shape[2]} × {weight.shape[3]} pixels in colour"
                     for title, weight in dictionaries.items())  # fmt: skip
    about.setdefault("alt", f"{text}.")
    return finished(fig, values=values, **about)


def _weights(title: str, weight: Array) -> pd.DataFrame:
    """A line per atom, a column per channel and pixel."""
    names = [f"{c}:{i},{j}" for c, i, j in np.ndindex(weight.shape[1:])]
    table = pd.DataFrame(weight.reshape(len(weight), -1), columns=names)
    return table.assign(atom=range(len(weight)), dictionary=title)[["dictionary", "atom", *names]]


def image_grid(
    rows: Mapping[str, Sequence[Array]],
    columns: Sequence[str],
    size: float = 1.32,
    **about: Unpack[About],
) -> Shown:
    """Images (H, W, 3) in [0, 1] as a labelled table: one row per entry, one column per heading."""
    fig, axes = plt.subplots(len(rows), len(columns), figsize=(PICTURES, size * len(rows) + 0.5), squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            ax.imshow(np.clip(image, 0, 1), interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8)
    for ax, heading in zip(axes[0], columns, strict=True):
        ax.set_title(heading, loc="center", fontsize=9.5, fontweight="normal", pad=5)
    names = [label.replace("\n", " ") for label in rows if label]
    text = f"Pictures{' in the rows ' if names else ''}{'; '.join(names)}, from left to right: {'; '.join(columns)}."
    about.setdefault("alt", text)
    return finished(fig, **about)


def two_columns(count: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Axes in at most two columns, ``height`` inches each; ``shared`` goes to ``plt.subplots``."""
    rows = (count + 1) // 2
    fig, grid = plt.subplots(rows, min(count, 2), figsize=(WIDTH, height * rows), squeeze=False, **shared)
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.remove()
    return fig, axes[:count]


def _plain_ticks(ax: Axes, values: Sequence[float], every: int) -> None:
    """Label logarithmic axes with written-out numbers where these say more than powers of ten.

    Of more than six values one in ``every`` is labelled.
    """
    if ax.get_xscale() == "log" and len(values) <= 9:
        few = every if len(values) > 6 else 1
        ax.set_xticks(values, ["" if index % few else f"{value:g}" for index, value in enumerate(values)])
        ax.xaxis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log" and high / low < 1e3:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())


def finished(
    fig: Figure,
    caption: str,
    identity: str,
    *,
    made_from: MadeFrom,
    alt: str = "",
    values: pd.DataFrame | None = None,
) -> Shown:
    """A drawn figure as pages show it: line art as SVG, pictures as PNG, closed for pyplot.

    Args:
        caption: HTML; formulas between ``\\(`` and ``\\)``.
        identity: unlike that of anything else on the page; others can link to ``#identity``.
        made_from: cells of the ledger; or, of what a page computes itself, seeds and n in words.
        alt: what a picture shows, for those who do not see it. Of lines and points it is computed.
        values: the data beside it. Of lines and points they are read off; pictures are their own.
    """
    plt.close(fig)
    for ax in fig.axes:
        x, y = np.isfinite(np.asarray(ax.dataLim.minpos))
        if ax.get_xscale() == "log" and not x:
            ax.set(xscale="linear")  # without positive data it cannot be drawn
        if ax.get_yscale() == "log" and not y:
            ax.set(yscale="linear")
    picture = any(ax.get_images() for ax in fig.axes)
    natural, least = least_width(fig)
    style = f"min-width:{least:.0f}px;max-width:{ENLARGED * natural:.0f}px"
    source = _encoded(fig, "png" if picture else "svg")
    drawn = None if picture else data_of(fig)
    if values is None and drawn is not None and not drawn.empty:
        values = drawn
    text = html.escape(alt or text_of(fig))
    image = f'<img class="{"picture" if picture else "line-art"}" alt="{text}" style="{style}" src="{source}">'
    return Shown("Figure", image, caption=caption, identity=identity, made_from=made_from, values=values, figure=fig)


def _encoded(fig: Figure, kind: str) -> str:
    """The figure as a ``data:`` address, the same on every run."""
    buffer = BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with plt.rc_context({"svg.hashsalt": "sdnet"}):
        fig.savefig(buffer, format=kind, metadata=metadata)
    mime = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{mime};base64,{b64encode(buffer.getvalue()).decode()}"
