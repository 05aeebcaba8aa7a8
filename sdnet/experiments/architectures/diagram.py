"""The networks side by side: a picture drawn from their layers, and a table of their sizes."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

from sdnet.models.anatomy import KINDS, Anatomy, Part
from sdnet.report.plots import FAINT, INK, PALETTE, PICTURES, finished
from sdnet.report.shown import Shown
from sdnet.report.tables import page
from sdnet.results.paper import paper_table
from sdnet.results.select import select

COLOURS = dict(zip(("convolution", "CSC layer", "patch coding layer", "equilibrium cell"), PALETTE, strict=False))
THICKNESS = 0.62
"""Of a layer, where 1 is the distance between two."""


def diagram(networks: Mapping[str, Anatomy]) -> Shown:
    """One row per network, one bar per layer in the order of the forward pass.

    A bar is as high as its output has pixels along a side, on a logarithmic scale; the number is that of its channels,
    written where it changes. Layers that work on several resolutions have one bar for each, and say how often they run.
    """
    fig, axes = plt.subplots(
        len(networks), 1, figsize=(PICTURES, 0.92 * len(networks) + 0.3), squeeze=False, sharex=True
    )
    for ax, (name, network) in zip(axes[:, 0], networks.items(), strict=True):
        position, before = 0.0, 0
        for part in network.parts:
            start = position
            for channels, side in part.outputs:
                height = float(np.log2(side)) + 1
                colour = COLOURS[part.kind]
                ax.add_patch(Rectangle((position, -height / 2), THICKNESS, height, color=colour, lw=0))
                if channels != before or part.calls > 1:
                    ax.text(
                        position + THICKNESS / 2, -height / 2 - 0.25, str(channels), fontsize=7.5, ha="center", va="top"
                    )
                before, position = channels, position + 1
            if part.calls > 1:
                _loop(ax, start, position - 1 + THICKNESS, part.calls)
        ax.set(ylim=(-4.6, 4.6))
        ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
        ax.set_title(name, loc="left", fontsize=9)
        ax.grid(False)
        ax.spines[["left", "bottom"]].set_visible(False)
    axes[0, 0].set_xlim(-0.5, max(sum(len(p.outputs) for p in network.parts) for network in networks.values()))
    used = [kind for kind in KINDS if any(p.kind == kind for network in networks.values() for p in network.parts)]
    fig.legend(handles=[Patch(color=COLOURS[kind], label=kind) for kind in used], loc="outside lower center", ncols=2)
    layers = pd.DataFrame([_line(name, part) for name, network in networks.items() for part in network.parts])
    texts = [
        f"{name}: {', '.join(f'{count} {kind}' for kind, count in of.items())}"
        for name, of in (
            (name, group["kind"].value_counts(sort=False)) for name, group in layers.groupby("network", sort=False)
        )
    ]
    return finished(
        fig,
        "The layers of the networks. A bar is a layer, as high as its output has pixels along a side; the number is "
        "that of its channels, where it changes.",
        "layers",
        made_from="the networks of sdnet.models, one forward pass without numbers each",
        alt=f"One row of bars per network, a bar per layer. {'; '.join(texts)}.",
        values=layers,
    )


def _line(name: str, part: Part) -> dict[str, object]:
    """A layer in the figure's data."""
    channels, sides = zip(*part.outputs, strict=True)
    joined = {key: " ".join(map(str, values)) for key, values in (("channels", channels), ("side", sides))}
    return {"network": name, "kind": part.kind, **joined, "calls": part.calls}


def _loop(ax: Axes, left: float, right: float, calls: int) -> None:
    """An arrow from the last of a layer's bars back to the first."""
    arrow = FancyArrowPatch((right, 2.2), (left, 3.2), arrowstyle="-|>", connectionstyle="arc3,rad=0.3", clip_on=False)
    arrow.set(mutation_scale=7, color=INK, lw=0.9)
    ax.add_patch(arrow)
    ax.text(right + 0.3, 4.4, f"{calls} times", fontsize=8, ha="left", va="center", color=FAINT)


def show_sizes(networks: Mapping[str, Anatomy], archs: Mapping[str, str], dataset: str = "cifar10") -> Shown:
    """A row per network: layers, parameters beside the paper's, and FLOPs, absolute and over the first network's.

    Args:
        networks: label → anatomy; all comparisons are with the first.
        archs: label → name in the registry, under which the paper's size is looked up.
        dataset: the block of Table 1.
    """
    paper = paper_table(1)
    paper = select(paper, dataset=dataset, metric="parameters")
    sizes = dict(zip(paper["arch"], paper["value"], strict=True))
    first = next(iter(networks.values()))
    rows = []
    for label, network in networks.items():
        kinds = [part.kind for part in network.parts]
        counts = {kind: kinds.count(kind) for kind in COLOURS if kind in kinds}
        printed = sizes.get(archs[label])
        rows.append(
            {
                "network": label,
                "layers, without shortcuts": ", ".join(
                    f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items()
                ),
                "parameters": f"{network.parameters:,}",
                "the paper prints": f"{printed:.1f} M" if printed is not None else "—",
                "GFLOP per image": f"{network.flops / 1e9:.2f}",
                f"× {next(iter(networks))}": f"{network.flops / first.flops:.2f}",
            }
        )
    caption = (
        "Layers, parameters, and the billions of additions and multiplications (GFLOP) of one forward pass; in the "
        f"last column as a multiple of {next(iter(networks))}'s."
    )
    return page(pd.DataFrame(rows), caption, "sizes", made_from="the networks of sdnet.models, counted; n = 1 image")
