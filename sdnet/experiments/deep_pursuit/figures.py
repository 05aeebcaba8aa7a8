"""The figures of the document from the ledger: attacks against depth and iterations, curves, errors, coherence."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from sdnet.experiments.deep_pursuit.study import FEED_FORWARD, ITERATED
from sdnet.report.plots import curves
from sdnet.report.tables import chip, page

LABELS = {**FEED_FORWARD, **ITERATED}
SCALE = ("dataset", "width", "epochs")
FIRST = {"ltp": ("lbp", "dp"), "ltp_res": ("dp_res",)}
"""The feed-forward networks are the first iteration of these."""
ATTACKS = {"fgsm": "FGSM", "pgd": "PGD"}
NOTHING = HTML(
    f"{chip('not run')} at a size from which anything could be read: see the commands at the top of the page."
)


def measured(cells: pd.DataFrame, experiment: str = "pursuit", of: Sequence[str] = tuple(LABELS)) -> pd.DataFrame:
    """The rows of some networks at their largest scale (most seeds, then width and epochs), the latest of each run."""
    chosen = pd.DataFrame(cells[(cells["experiment"] == experiment) & cells["arch"].isin(of)])
    if chosen.empty:
        return chosen
    counts = chosen.groupby(list(SCALE))["seed"].nunique().reset_index(name="seeds")
    most = counts.sort_values(["seeds", "width", "epochs"]).iloc[-1]
    chosen = pd.DataFrame(chosen[(chosen[list(SCALE)] == most[list(SCALE)]).all(axis=1)])
    last = chosen.groupby(["arch", "variant", "seed"])["started"].transform("max")
    return pd.DataFrame(chosen[chosen["started"] == last])


def attacked(cells: pd.DataFrame, attack: str, protocol: str = "white_box") -> pd.DataFrame:
    """Accuracy under an attack, mean over seeds, a row per network and radius; clean accuracy has the radius 0."""
    found = measured(cells)
    if found.empty:
        return found
    clean = found[found["metric"] == "top1"].assign(epsilon=0.0)
    bent = found[(found["metric"] == "robust_top1") & (found["attack"] == attack) & (found["protocol"] == protocol)]
    both = pd.concat([clean, bent])
    return both.groupby(["arch", "blocks", "iterations", "epsilon"], as_index=False).agg(value=("value", "mean"))


def figure5(cells: pd.DataFrame, attack: str = "fgsm") -> Figure | HTML:
    """Accuracy of feed-forward networks against ε, by depth, without and with skip connections."""
    found = attacked(cells, attack)
    found = found[found["arch"].isin(FEED_FORWARD)] if len(found) else found
    if found.empty:
        return NOTHING
    table = pd.DataFrame(
        {
            "ε · 255": 255 * found["epsilon"],
            f"accuracy under {ATTACKS[attack]} (%)": 100 * found["value"],
            "blocks per stage": found["blocks"].astype(int).astype(str),
            "": found["arch"].map({"ltp": "chain", "ltp_res": "with skip connections"}),
        }
    )
    return curves(table, x="ε · 255", y=str(table.columns[1]), hue="blocks per stage", panel="")


def figure6(cells: pd.DataFrame, epsilon: float = 2 / 255) -> Figure | HTML:
    """Accuracy against T under FGSM, PGD through all iterations, and perturbations made on a feed-forward network."""
    parts = []
    for heading, attack, protocol in (
        ("FGSM", "fgsm", "white_box"),
        ("PGD", "pgd", "white_box"),
        ("FGSM, transferred", "fgsm", "transfer"),
    ):
        found = by_iterations(attacked(cells, attack, protocol))
        found = found[(found["epsilon"] - epsilon).abs() < 1e-9] if len(found) else found
        parts.append(found.assign(heading=heading))
    return _against_iterations(pd.concat(parts), "accuracy (%)", 100, panel="heading")


def by_iterations(found: pd.DataFrame) -> pd.DataFrame:
    """Networks of depth 1; a feed-forward one stands as T = 1 in the line of each network of its connections."""
    if found.empty:
        return found
    found = found[found["blocks"] == 1]
    first = [
        found[found["arch"] == arch].assign(arch=other, iterations=1)
        for arch, others in FIRST.items()
        for other in others
    ]
    return pd.concat([found[found["arch"].isin(ITERATED)], *first])


def figure7(cells: pd.DataFrame) -> Figure | HTML:
    """Clean and attacked accuracy after every epoch, mean over seeds, a panel for each."""
    found = measured(cells, "pursuit_curve")
    if found.empty:
        return NOTHING
    found = found.groupby(["arch", "attack", "epoch"], as_index=False, dropna=False).agg(value=("value", "mean"))
    table = pd.DataFrame(
        {
            "epoch": found["epoch"],
            "accuracy (%)": 100 * found["value"],
            "network": found["arch"].map(LABELS),
            "": found["attack"].map({"": "clean", "fgsm": "FGSM"}),
        }
    )
    return curves(table, x="epoch", y="accuracy (%)", hue="network", panel="")


def figure8(cells: pd.DataFrame, metric: str = "reconstruction_share") -> Figure | HTML:
    """Reconstruction error per iteration of the networks with most iterations, mean over layers and seeds."""
    found = measured(cells)
    found = pd.DataFrame(found[(found["metric"] == metric) & found["arch"].isin(ITERATED)])
    if found.empty:
        return NOTHING
    found = found[found["iterations"] == found["iterations"].max()]
    found = found.groupby(["arch", "iteration"], as_index=False).agg(value=("value", "mean"))
    name = "left unexplained (share)" if metric == "reconstruction_share" else "mean squared error"
    table = pd.DataFrame({"iteration": found["iteration"], name: found["value"], "network": found["arch"].map(LABELS)})
    return curves(table, x="iteration", y=name, hue="network")


def coherence_figure(cells: pd.DataFrame, metric: str) -> Figure | HTML:
    """A measure of the block dictionary against T, mean over seeds: ``"frame_potential"`` (Fig. 9), ``"coherence"``
    (Fig. 10) or ``"welch_bound"``."""
    found = measured(cells)
    found = pd.DataFrame(found[found["metric"] == metric])
    if found.empty:
        return NOTHING
    found = found.groupby(["arch", "blocks", "iterations"], as_index=False).agg(value=("value", "mean"))
    return _against_iterations(by_iterations(found), metric.replace("_", " "), 1)


def _against_iterations(found: pd.DataFrame, name: str, factor: float, panel: str | None = None) -> Figure | HTML:
    if found.empty:
        return NOTHING
    table = pd.DataFrame(
        {
            "iterations T": found["iterations"].astype(int),
            name: factor * found["value"],
            "network": found["arch"].map(LABELS),
            **({} if panel is None else {panel: found[panel]}),
        }
    )
    table = table.sort_values(["network", "iterations T"], kind="stable")
    return curves(table, x="iterations T", y=name, hue="network", panel=panel, xscale="log")


def show_scale(cells: pd.DataFrame, of: Sequence[str] = tuple(LABELS)) -> HTML:
    """At which scale what is shown of some networks was measured, and by how many seeds."""
    found = measured(cells, of=of)
    if found.empty:
        return NOTHING
    lines = found.groupby(list(SCALE), as_index=False).agg(networks=("weights", "nunique"), seeds=("seed", "nunique"))
    return page(lines.astype(str), "", "pursuit-scale")


def show_stability(cells: pd.DataFrame, arch: str = "dp_res") -> HTML:
    """Per layer what the theorems of layered pursuits ask for, what the codes have, and whether they say anything."""
    found = measured(cells)
    found = pd.DataFrame(found[(found["arch"] == arch) & found["metric"].astype(str).str.startswith("layer_")])
    if found.empty:
        return NOTHING
    found = pd.DataFrame(found[found["iterations"] == found["iterations"].max()])
    table = found.pivot_table(index="layer", columns="metric", values="value", aggfunc="mean").reset_index()
    lines = [
        {
            "layer": int(row["layer"]),
            "μ": f"{row['layer_coherence']:.2f}",
            "non-zeros per stripe allowed, (1 + 1/μ)/3": f"{row['layer_limit']:.2f}",
            "the fewest that any image has": f"{row['layer_sparsity']:.0f}",
            "": "holds" if row["layer_sparsity"] < row["layer_limit"] else "vacuous",
        }
        for row in table.to_dict("records")
    ]
    return page(pd.DataFrame(lines), "", "pursuit-stability")


def show_planted(table: pd.DataFrame) -> HTML:
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
    return page(pd.DataFrame(lines), "", "pursuit-planted")
