"""The figures of the document from the ledger: attacks against depth and iterations, curves, errors, coherence."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML

from sdnet.experiments.deep_pursuit.study import FEED_FORWARD, ITERATED
from sdnet.report.origin import concat
from sdnet.report.plots import curves
from sdnet.report.shown import Shown
from sdnet.report.tables import NOT_RUN, page
from sdnet.results.select import like_largest, select

LABELS = {**FEED_FORWARD, **ITERATED}
SCALE = ("dataset", "width", "epochs")
FIRST = {"ltp": ("lbp", "dp"), "ltp_res": ("dp_res",)}
"""The feed-forward networks are the first iteration of these."""
ATTACKS = {"fgsm": "FGSM", "pgd": "PGD"}
MEASURES = {
    "frame_potential": "deep frame potential",
    "coherence": "deep mutual coherence",
    "welch_bound": "Welch bound of the coherence",
}
PANELS = (("FGSM", "fgsm", "white_box"), ("PGD", "pgd", "white_box"), ("transferred", "fgsm", "transfer"))


def measured(cells: pd.DataFrame, experiment: str = "pursuit", of: Sequence[str] = tuple(LABELS)) -> pd.DataFrame:
    """The rows of some networks at one scale, the latest of each run.

    It is the scale with most of the networks, then most seeds, then width and epochs.
    """
    chosen = select(cells, experiment=experiment, arch=of)
    networks = chosen.drop_duplicates([*SCALE, "arch", "variant"]).groupby(list(SCALE)).size()
    seeds = chosen.groupby(list(SCALE))["seed"].nunique()
    counts = pd.DataFrame({"networks": networks, "seeds": seeds}).reset_index()
    chosen = chosen[like_largest(chosen, counts, ("networks", "seeds", "width", "epochs"), SCALE)]
    last = chosen.groupby(["arch", "variant", "seed"])["started"].transform("max")
    return pd.DataFrame(chosen[chosen["started"] == last])


def means(found: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Mean ``value`` over seeds, and over all else that is not named."""
    return found.groupby(list(by), as_index=False, dropna=False).agg(value=("value", "mean"))


def attacked(
    cells: pd.DataFrame, attack: str, protocol: str = "white_box", of: Sequence[str] = tuple(LABELS)
) -> pd.DataFrame:
    """Cells of accuracy under an attack; clean accuracy has the radius 0."""
    found = measured(cells, of=of)
    clean = found[found["metric"] == "top1"].assign(epsilon=0.0)
    bent = select(found, metric="robust_top1", attack=attack, protocol=protocol)
    return concat([clean, bent]) if len(found) else found


def figure5(cells: pd.DataFrame, attack: str = "fgsm") -> Shown | HTML:
    """Accuracy of feed-forward networks against ε, by depth, without and with skip connections.

    At the scale with most of these, which need not be that of the iterated networks.
    """
    found = attacked(cells, attack, of=tuple(FEED_FORWARD))
    if found.empty:
        return NOT_RUN
    mean = means(found, "arch", "blocks", "epsilon")
    table = pd.DataFrame(
        {
            "ε · 255": 255 * mean["epsilon"],
            f"accuracy under {ATTACKS[attack]} (%)": 100 * mean["value"],
            "blocks per stage": mean["blocks"].astype(int).astype(str),
            "": mean["arch"].map({"ltp": "chain", "ltp_res": "with skip connections"}),
        }
    )
    caption = (
        f"Accuracy of feed-forward networks under {ATTACKS[attack]}, against the radius ε of the attack, by depth. "
        "Mean over seeds."
    )
    return curves(
        table, x="ε · 255", y=str(table.columns[1]), hue="blocks per stage", panel="", caption=caption,
        identity=f"depth-{attack}", made_from=found,
    )  # fmt: skip


def figure6(cells: pd.DataFrame, epsilon: float = 2 / 255) -> Shown | HTML:
    """Accuracy against T under FGSM, PGD through all iterations, and perturbations made on a feed-forward network."""
    parts = []
    for heading, attack, protocol in PANELS:
        found = by_iterations(attacked(cells, attack, protocol))
        parts.append(found[(found["epsilon"] - epsilon).abs() < 1e-9].assign(heading=heading))
    caption = (
        f"Accuracy under perturbations of {255 * epsilon:g}/255 against the number of iterations T. The attacks are "
        "FGSM and PGD through all iterations, and FGSM made on the feed-forward network L-TP. Mean over seeds."
    )
    return _against_iterations(concat(parts), "accuracy (%)", 100, caption, "iterations-attacked", "heading")


def by_iterations(found: pd.DataFrame) -> pd.DataFrame:
    """Networks of depth 1; a feed-forward one stands as T = 1 in the line of each network of its connections.

    None if there is only T = 1: a network that was never iterated is no point of such a line.
    """
    found = found[found["blocks"] == 1]
    if not (found["iterations"] > 1).any():
        return found.head(0)
    first = [
        found[found["arch"] == arch].assign(arch=other, iterations=1)
        for arch, others in FIRST.items()
        for other in others
    ]
    return pd.concat([found[found["arch"].isin(ITERATED)], *first])


def figure7(cells: pd.DataFrame) -> Shown | HTML:
    """Clean and attacked accuracy after every epoch, a panel for each."""
    found = measured(cells, "pursuit_curve")
    if found.empty:
        return NOT_RUN
    mean = means(found, "arch", "attack", "epoch")
    table = pd.DataFrame(
        {
            "epoch": mean["epoch"],
            "accuracy (%)": 100 * mean["value"],
            "network": mean["arch"].map(LABELS),
            "": mean["attack"].map({"": "clean", "fgsm": "FGSM"}),
        }
    )
    caption = "Accuracy after every epoch on clean test images and under FGSM. Mean over seeds."
    return curves(
        table, x="epoch", y="accuracy (%)", hue="network", panel="", caption=caption, identity="while-training",
        made_from=found,
    )  # fmt: skip


def figure8(cells: pd.DataFrame, metric: str = "reconstruction_share") -> Shown | HTML:
    """Reconstruction error per iteration of the networks with most iterations, mean over layers and seeds."""
    found = measured(cells)
    found = select(found, metric=metric, arch=ITERATED)
    if found.empty:
        return NOT_RUN
    found = found[found["iterations"] == found["iterations"].max()]
    mean = means(found, "arch", "iteration")
    name = "left unexplained (share)" if metric == "reconstruction_share" else "mean squared error"
    table = pd.DataFrame({"iteration": mean["iteration"], name: mean["value"], "network": mean["arch"].map(LABELS)})
    unit = "as a share of its energy" if metric == "reconstruction_share" else "as a mean square"
    caption = (
        f"What the codes leave unexplained of a layer's input after each iteration, {unit}. Mean over layers and seeds."
    )
    identity = metric.replace("_", "-")
    return curves(table, x="iteration", y=name, hue="network", caption=caption, identity=identity, made_from=found)


def coherence_figure(cells: pd.DataFrame, metric: str) -> Shown | HTML:
    """A measure of the block dictionary against T: ``"frame_potential"`` (Fig. 9), ``"coherence"`` (Fig. 10) or
    ``"welch_bound"``."""
    found = measured(cells)
    found = by_iterations(found[found["metric"] == metric])
    caption = f"The {MEASURES[metric]} of the block dictionary against the number of iterations T. Mean over seeds."
    return _against_iterations(found, MEASURES[metric], 1, caption, metric.replace("_", "-"))


def _against_iterations(
    found: pd.DataFrame, name: str, factor: float, caption: str, identity: str, panel: str | None = None
) -> Shown | HTML:
    if found.empty:
        return NOT_RUN
    mean = means(found, "arch", "iterations", *([] if panel is None else [panel]))
    table = pd.DataFrame(
        {
            "iterations T": mean["iterations"].astype(int),
            name: factor * mean["value"],
            "network": mean["arch"].map(LABELS),
            **({} if panel is None else {panel: mean[panel]}),
        }
    )
    table = table.sort_values(["network", "iterations T"], kind="stable")
    return curves(
        table, x="iterations T", y=name, hue="network", panel=panel, axes={"xscale": "log"}, caption=caption,
        identity=identity, made_from=found,
    )  # fmt: skip


def show_scale(cells: pd.DataFrame, *groups: Sequence[str]) -> Shown | HTML:
    """At which scale what is shown of some groups of networks was measured, and by how many seeds.

    By default those of page 11: the feed-forward networks, whose depths are compared, and all of them.
    """
    found = concat([measured(cells, of=of) for of in groups or (tuple(FEED_FORWARD), tuple(LABELS))])
    found = pd.DataFrame(found[~found.index.duplicated()])
    if found.empty:
        return NOT_RUN
    lines = found.groupby(list(SCALE), as_index=False).agg(networks=("weights", "nunique"), seeds=("seed", "nunique"))
    caption = "The scale of what this page shows: data, width, epochs, networks and seeds."
    lines = lines.astype({"width": int, "epochs": int}).astype(str)
    return page(lines, caption, "pursuit-scale", made_from=found)


def show_stability(cells: pd.DataFrame, arch: str = "dp_res") -> Shown | HTML:
    """Per layer what the theorems of layered pursuits ask for, what the codes have, and whether they say anything."""
    found = measured(cells)
    found = pd.DataFrame(found[(found["arch"] == arch) & found["metric"].astype(str).str.startswith("layer_")])
    if found.empty:
        return NOT_RUN
    found = pd.DataFrame(found[found["iterations"] == found["iterations"].max()])
    table = found.pivot_table(index="layer", columns="metric", values="value", aggfunc="mean").reset_index()
    lines = [
        {
            "layer": int(row["layer"]),
            "μ": f"{row['layer_coherence']:.2f}",
            "non-zeros allowed per stripe, (1 + 1/μ)/3": f"{row['layer_limit']:.2f}",
            "the fewest of any image": f"{row['layer_sparsity']:.0f}",
            "the theorem": "holds" if row["layer_sparsity"] < row["layer_limit"] else "vacuous",
        }
        for row in table.to_dict("records")
    ]
    caption = (
        f"How many non-zeros the theorems allow in each layer of {LABELS[arch]} with mutual coherence μ, and how many "
        "its codes have. Vacuous: every image has more than is allowed. Mean over seeds."
    )
    return page(pd.DataFrame(lines), caption, "pursuit-stability", made_from=found)


def show_planted(table: pd.DataFrame) -> Shown:
    """:func:`sdnet.experiments.deep_pursuit.planted.table` as a table of the page."""
    lines = [
        {
            "pursuit": row["method"],
            "‖E‖": f"{row['‖E‖']:g}",
            "layer": row["layer"],
            "assumptions": "hold" if row["assumptions hold"] else "do not hold",
            "support": "found" if row["support found"] else "contained" if row["support contained"] else "wrong",
            "error": f"{row['error']:.3g}",
            "bound": f"{row['bound']:.3g}",
        }
        for row in table.to_dict("records")
    ]
    caption = (
        "Signals made from known codes of two layers, with noise of norm ‖E‖ in the worst patch: do layered pursuits "
        "find which entries are non-zero (the support), and is the error below the theorem's bound?"
    )
    source = f"seed 0 of the dictionaries, codes and errors; n = {table['‖E‖'].nunique()} signals"
    return page(pd.DataFrame(lines), caption, "pursuit-planted", made_from=source)
