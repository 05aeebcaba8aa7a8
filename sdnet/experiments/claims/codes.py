"""Claims C11b and C13: what the codes of a network still show of an image, and whether Theorem 1 speaks of them."""

from dataclasses import replace

import pandas as pd

from sdnet.experiments.claims.estimates import Requirement, paired
from sdnet.results.select import select

DECODED = ("sdnet18_all", "shortcut=False")
"""The network whose codes are decoded from every depth: without shortcuts nothing goes past them."""
CONTROLS = {
    "decoding with random weights": ("decode", "random"),
    "inversion": ("inversion", "trained"),
    "inversion with random weights": ("inversion", "random"),
}
"""Control → method and weights of its cells."""


CODES = {"layer": "the layer's code", "minimiser": "the minimiser"}


def decoding_shows_more(cells: pd.DataFrame) -> list[Requirement]:
    """C11b: decoding is closer to the image than each control of the same network at most depths.

    By seed, the share of depths at which decoding has the higher PSNR (colours corrected, 95 % intervals over images
    apart) less the share at which the control has; depths where the intervals touch count for neither.
    """
    chosen = select(cells, arch=DECODED[0], variant=DECODED[1])
    chosen = chosen[chosen["metric"] == "psnr_affine"]
    values = {}
    for label, (method, weights) in CONTROLS.items():
        ours, control = (
            select(chosen, method=one, weights_are=trained)
            for one, trained in (("decode", "trained"), (method, weights))
        )
        both = ours.merge(control, on=["seed", "layer", "n"], suffixes=("", "_control"))
        score = (both["low"] > both["high_control"]).astype(float) - (both["high"] < both["low_control"]).astype(float)
        values[label] = score.groupby(both["seed"]).mean()
    return paired(values, unit="of the depths")


def guarantee_applies(cells: pd.DataFrame) -> list[Requirement]:
    """C13: every image's code has fewer non-zeros per stripe than the learned atoms' coherence admits.

    Asked of the codes as the layer computes them and of the minimisers: the limit less the most non-zeros of any image
    is above 0. The limit less the fewest can only speak against the claim: where it is below 0, no image keeps to it.
    """
    chosen = select(cells, arch="sdnet18", variant="")
    which = chosen["metric"].astype(str) + " " + chosen["case"].fillna("").astype(str)
    by = {name: group.set_index("seed")["value"].astype(float) for name, group in chosen.groupby(which)}
    found: dict[str, pd.Series[float]] = {}
    roles = {}
    for case in ("layer", "minimiser"):
        for metric, role in (("most", "both"), ("fewest", "against")):
            if f"{metric} {case}" in by and "sparsity_limit " in by:
                label = f"theorem's limit minus the {metric} non-zeros of any image ({CODES[case]})"
                found[label], roles[label] = (by["sparsity_limit "] - by[f"{metric} {case}"]).dropna(), role
    requirements = paired(found, unit="non-zeros")
    return [replace(one, role=roles[one.label]) for one in requirements]
