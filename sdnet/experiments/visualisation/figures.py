"""What every depth keeps of an image, from the ledger: PSNR and SSIM against depth, a table, and the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import pandas as pd
from IPython.display import HTML
from matplotlib.artist import Artist
from torch import Tensor

from sdnet.models import ARCHITECTURES
from sdnet.report.plots import FAINT, MARKERS, PALETTE, About, finished, image_grid, two_columns
from sdnet.report.shown import Shown
from sdnet.report.tables import page
from sdnet.results.select import like_largest, select

METRICS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "psnr_affine": "PSNR (dB), colours corrected",
    "ssim_affine": "SSIM, colours corrected",
    "contrast": "contrast from image to image",
    "mismatch": "features missed by the inversion",
    "density": "share of non-zeros",
    "residual": "share of the input left over",
}
"""Metric of the ledger's cells → name of its axis."""
HOW = {"decode": "decoded", "decode_centred": "decoded and centred", "inversion": "inverted", "": ""}
"""Method of the ledger's cells → how its lines are labelled; the density of codes has no method."""


@dataclass(frozen=True)
class Line:
    """One line of a figure, or column of a table: a network, a method, and whether the weights were trained.

    Attributes:
        label: as printed.
        kind: the label without whether weights are random.
        method: a name of :data:`HOW`.
        trained: whether the weights were.
        points: one row per depth, mean over seeds, with ``layer``, ``depth``, ``value``, ``low``, ``high``, ``n``.
    """

    label: str
    kind: str
    method: str
    trained: bool
    points: pd.DataFrame


def lines(cells: pd.DataFrame, metric: str) -> list[Line]:
    """What the ledger knows of a metric, decoding first; of several runs of one network, the largest.

    A variant is named where an architecture has several.
    """
    chosen = _largest(select(cells, experiment="visual", metric=metric))
    variants: dict[Any, int] = chosen.groupby("arch")["variant"].nunique().to_dict()
    found = []
    for method, how in HOW.items():
        if metric == "contrast" and method == "decode_centred":
            continue  # what is the same for every image has no part in it
        groups = chosen[chosen["method"] == method].groupby(["arch", "variant", "weights_are"], sort=False)
        for (arch, variant, weights_are), group in groups:
            name = ARCHITECTURES[str(arch)].label + (f" ({variant})" if variants[arch] > 1 and variant else "")
            kind = ", ".join(part for part in (name, how) if part)
            trained = weights_are == "trained"
            points = group.groupby(["layer", "depth"], as_index=False)[["value", "low", "high", "n"]].mean()
            found.append(Line(kind if trained else f"{kind}, random weights", kind, method, trained, points))
    return found


def one_colour(cells: pd.DataFrame, metric: str) -> float | None:
    """The likeness of an image to the best single colour, mean over runs: what a corrected image exceeds if it shows
    anything. None if it was not measured."""
    chosen = _largest(select(cells, experiment="visual", metric=metric))
    values = chosen.loc[chosen["method"] == "one colour", "value"]
    return None if values.empty else float(values.mean())


def one_scale(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that may be compared with the largest decoded network: same data and width.

    Not the number of epochs: the control is a ResNet of about the same accuracy, which takes fewer.
    """
    decoded = select(cells, experiment="visual", method="decode")
    return cells[like_largest(cells, decoded, ("width", "epochs", "n", "started"), ("dataset", "width"))]


def against_depth(cells: pd.DataFrame, metrics: Sequence[str] = ("psnr_affine", "ssim_affine")) -> Shown:
    """Metrics against depth: a panel per metric, a colour per network and method; random weights are dashed.

    Shades are 95 % intervals over images, averaged over seeds. The dotted grey line is the best single colour.

    Args:
        metrics: names of :data:`METRICS`.
    """
    fig, panels = two_columns(len(metrics), 4.4)
    drawn = {metric: lines(cells, metric) for metric in metrics}
    kinds = list(dict.fromkeys(line.kind for found in drawn.values() for line in found))
    legend: dict[str, Artist] = {}
    for ax, (metric, found) in zip(panels, drawn.items(), strict=True):
        for line in found:
            index, points = kinds.index(line.kind), line.points
            colour, x = PALETTE[index % len(PALETTE)], points["layer"].to_numpy(float)
            style = "-" if line.trained else (0, (4, 2))
            marker = MARKERS[index % len(MARKERS)]
            ax.plot(x, points["value"], ls=style, marker=marker, ms=3.5, lw=1.5, color=colour, label=line.label)
            ax.fill_between(
                x, points["low"].astype(float), points["high"].astype(float), color=colour, alpha=0.12, lw=0
            )
        floor = one_colour(cells, metric)
        if floor is not None and metric != "contrast":
            ax.axhline(floor, color=FAINT, ls=":", lw=1.2, label="one colour")
        scale = "log" if found and metric in ("contrast", "mismatch") else "linear"
        ax.set(xlabel="layer", ylabel=METRICS[metric], xlim=(0, None), yscale=scale)
        if not found:
            ax.annotate("not run", (0.5, 0.5), xycoords="axes fraction", ha="center", color=FAINT)
        handles, labels = ax.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    if legend:
        fig.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=1)
    values = [line.points.assign(metric=metric, line=line.label) for metric, found in drawn.items() for line in found]
    caption = (
        f"By depth, from the first layer to the last: {', and '.join(METRICS[metric] for metric in metrics)}. Solid: "
        "trained weights. Dashed: random weights. Dotted: the best image of one colour. Shades are 95 % intervals "
        "over images."
    )
    identity, table = f"depth-{'-'.join(metrics)}", pd.concat(values) if values else None
    return finished(fig, caption, identity, made_from=_about(cells, metrics), values=table)


def show_depths(cells: pd.DataFrame, metrics: Sequence[str] = ("psnr_affine", "ssim_affine")) -> HTML:
    """One row per depth, one column per network, method and weights; in a cell, the metrics in their order."""
    columns: dict[str, dict[tuple[int, str], list[str]]] = {}
    for metric in metrics:
        digits = 1 if metric.startswith("psnr") else 2
        for line in lines(cells, metric):
            for point in line.points.to_dict("records"):
                texts = columns.setdefault(line.label, {}).setdefault((int(point["layer"]), str(point["depth"])), [])
                texts.append(f"{point['value']:.{digits}f}")
    if not columns:
        return HTML("<p>No network has been decoded yet: <b>not run</b>.</p>")
    rows = sorted({key for column in columns.values() for key in column})
    table = pd.DataFrame({"layer": [number for number, _ in rows], "depth": [short(depth) for _, depth in rows]})
    for label, column in columns.items():
        table[label] = [" / ".join(column.get(row, ["–"])) for row in rows]
    floors = [one_colour(cells, metric) for metric in metrics]
    caption = (
        "How alike image and decoded image are, by depth (stage.block.layer): "
        f"{' / '.join(METRICS[metric] for metric in metrics)}."
    )
    if all(floor is not None for floor in floors):
        caption += f" The best image of one colour has {' / '.join(f'{floor:.2f}' for floor in floors)}."
    return page(table, caption, "depths", made_from=_about(cells, metrics))


def short(depth: str) -> str:
    """``"stage1.block2.conv2"`` as 1.2.2."""
    return depth.replace("stage", "").replace(".block", ".").replace(".conv", ".")


def against_controls(cells: pd.DataFrame, metric: str = "psnr_affine") -> pd.DataFrame:
    """Decoding against each control: at how many of the depths that both were measured at it is better, or worse.

    Better and worse mean that the 95 % intervals over images do not touch. The controls are the same decoding with
    random weights, and inversion of any network, trained or not. A line per way of decoding and control.
    """
    found = lines(cells, metric)
    rows = []
    for ours in (line for line in found if line.trained and line.method != "inversion"):
        controls = [
            line for line in found if line.method == "inversion" or (not line.trained and line.kind == ours.kind)
        ]
        for control in controls:
            both = ours.points.merge(control.points, on=["layer", "depth"], suffixes=("", "_control"))
            better = int((both["low"] > both["high_control"]).sum())
            worse = int((both["high"] < both["low_control"]).sum())
            row = {"decoding": ours.label, "control": control.label, "depths": len(both), "better": better}
            rows.append({**row, "worse": worse, "undecided": len(both) - better - worse})
    return pd.DataFrame(rows, columns=["decoding", "control", "depths", "better", "worse", "undecided"])


def show_controls(cells: pd.DataFrame, metric: str = "psnr_affine") -> HTML:
    """:func:`against_controls` as a table."""
    table = against_controls(cells, metric)
    if table.empty:
        return HTML("<p>No network has been decoded beside its controls yet: <b>not run</b>.</p>")
    caption = (
        f"At how many depths decoding is closer to the image than a control, by {METRICS[metric]}. Undecided: the 95 "
        "% intervals over images touch."
    )
    return page(table, caption, "controls", wrap=True, made_from=_about(cells, [metric]))


def pictures(
    image: Tensor, views: Mapping[str, Mapping[str, Tensor]], depths: Sequence[str], **about: Unpack[About]
) -> Shown:
    """One image beside what each method makes of it at each depth; a dash of white where a method was not asked.

    Args:
        image: (1, 3, H, W), pixels in [0, 1].
        views: label of the row → depth → image (1, 3, H, W).
        depths: names of the columns.
    """
    blank = image.new_ones(image.shape)
    rows = {label: [image, *(shown.get(depth, blank) for depth in depths)] for label, shown in views.items()}
    arrays = {label: [one[0].permute(1, 2, 0).cpu().numpy() for one in row] for label, row in rows.items()}
    return image_grid(arrays, ["image", *map(short, depths)], size=1.1, **about)


def _about(cells: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The cells that metrics by depth are drawn from."""
    return _largest(select(cells, experiment="visual", metric=metrics))


def _largest(cells: pd.DataFrame) -> pd.DataFrame:
    """Of several runs of one network with one seed and method, the one with the most images, then the latest."""
    keys = ["arch", "variant", "dataset", "width", "epochs", "seed", "method"]
    runs = select(cells[[*keys, "n", "started"]], one_per=keys, prefer=("n", "started"))
    return cells.merge(runs[[*keys, "started"]], on=[*keys, "started"])
