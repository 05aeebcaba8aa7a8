"""Ledger cells of the family in which every ordering is that of the documents, but for what is changed."""

from typing import Any

import pandas as pd
from claim_cells import BASE, frame

from sdnet.experiments.ablations.grid import Variant
from sdnet.experiments.claims import pursuits
from sdnet.experiments.claims.pursuits import layered, mixed_scale, pursuit
from sdnet.experiments.deep_pursuit.measure import EPSILONS

SPREAD = (0.0, 0.001, -0.001, 0.0005)
Numbers = dict[tuple[str, str], float]


def numbers(*pairs: tuple[Variant, float]) -> Numbers:
    return {(who.arch, who.name): value for who, value in pairs}


DP_RES = [pursuit("dp_res", t) for t in (2, 4, 8)]
ROBUST = numbers(
    (pursuit("ltp"), 0.20), (pursuit("ltp", depth=3), 0.22), (pursuit("ltp_res"), 0.21),
    (pursuit("ltp_res", depth=3), 0.30), *((pursuit("lbp", t), 0.3) for t in (2, 4, 8)), (pursuit("dp", 2), 0.2),
    (pursuit("dp", 4), 0.28), (pursuit("dp", 8), 0.31), *((who, 0.4) for who in DP_RES),
)  # fmt: skip
TOP1 = numbers(
    (layered("ml_csc", 1, 4), 0.7), (layered("res_csc", 1, 4), 0.8), (layered("res_csc_b", 1, 4), 0.8),
    (layered("res_csc"), 0.8), (layered("res_csc_b"), 0.8), (pursuits.MSDNET, 0.7), (mixed_scale(1), 0.7),
    (mixed_scale(4), 0.75),
)  # fmt: skip
ERRORS = numbers((pursuit("lbp", 8), 0.5), (pursuit("dp", 8), 0.4), (pursuit("dp_res", 8), 0.3))
COHERENCE = numbers((pursuit("lbp", 8), 0.3), (pursuit("dp_res", 2), 0.25), (pursuit("dp_res", 8), 0.2))
SHARES = numbers((layered("ml_csc", 4), 0.5), (mixed_scale(4), 0.1))
Changes = dict[str, Numbers]


def cells(seeds: int = 4, changes: Changes | None = None, **fields: Any) -> pd.DataFrame:
    """The orderings of the documents, but for the changes."""
    rows = []
    told = changes or {}
    for seed in range(seeds):
        base = {**BASE, "experiment": "pursuit", "seed": seed, **fields}

        def add(numbers: Numbers, spread: float = SPREAD[seed], base: dict[str, Any] = base, **more: Any) -> None:
            for (arch, variant), value in numbers.items():
                rows.append({**base, "arch": arch, "variant": variant, "value": value + spread, **more})

        for attack, protocol, n in (
            ("fgsm", "white_box", 10_000),
            ("pgd", "white_box", 500),
            ("fgsm", "transfer", 10_000),
        ):
            for epsilon in EPSILONS:
                where = {"attack": attack, "protocol": protocol, "epsilon": epsilon, "n": n}
                add(ROBUST | told.get("robust", {}), metric="robust_top1", **where)
        add(TOP1 | told.get("top1", {}), metric="top1")
        for iteration in range(1, 9):
            for layer in (1, 2):
                where = {"layer": layer, "iteration": iteration}
                add(ERRORS | told.get("errors", {}), metric="reconstruction_error", **where)
        for metric in ("frame_potential", "coherence"):
            add(COHERENCE | told.get(metric, {}), metric=metric)
        add(SHARES | told.get("shares", {}), metric="reconstruction_share", layer=1, iteration=4)
    return frame(rows)
