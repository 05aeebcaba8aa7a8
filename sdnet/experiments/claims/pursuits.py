"""Claims D1 to D6 (Deep Pursuit) and M1 to M5 (the slides): orderings of networks trained alike, by Welch's test.

They stand since 2026-11-25, before any member of the family was trained at a size from which anything could be read.
The documents draw curves and give no numbers. Cells of one scale in, requirements out, over the seeds that have
everything a claim asks for. Accuracies under attack come from a sample of images, which counts in the intervals as a
binomial one, as if each network had its own; clean accuracies come from the whole test set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from sdnet.experiments.ablations.grid import Variant
from sdnet.experiments.claims.estimates import Requirement, welch
from sdnet.experiments.deep_pursuit.measure import EPSILONS
from sdnet.results.select import select

MOST, FEW, EVERY = 8, 2, (2, 4, 8)
"""Iterations T."""
SHALLOW, DEEP, DEEPEST = 1, 3, 4
"""Blocks per stage; the last is of M2."""
EQUAL = -1.0
"""Points of accuracy that a network may be below another one and be its equal (D3 and M1)."""
THOUSANDTHS = 1000
"""Factor of errors and coherences, which differ by little."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A number of one network by seed, and the variance of its mean from the choice of images."""

    by: "pd.Series[float]"
    images: float = 0.0

    def __sub__(self, other: "Measured") -> "Measured":
        return Measured((self.by - other.by).dropna(), self.images + other.images)


def pursuit(arch: str, iterations: int = 1, depth: int = SHALLOW) -> Variant:
    """A network of page 11's grid; without iterations it is the feed-forward one."""
    return Variant(arch, arch, {"depth": depth} if iterations == 1 else {"depth": depth, "iterations": iterations})


def layered(arch: str, iterations: int = 1, depth: int = SHALLOW) -> Variant:
    """A network of page 12's grid, ML-CSC or Res-CSC."""
    return Variant(arch, arch, {"depth": depth, "iterations": iterations})


def mixed_scale(iterations: int) -> Variant:
    """An MSD-CSC of page 12's grid."""
    return Variant("msd_csc", "msd_csc", {"iterations": iterations})


MSDNET = Variant("msdnet", "msdnet")
CHAIN, DEEP_CHAIN = pursuit("ltp"), pursuit("ltp", depth=DEEP)
SKIPS, DEEP_SKIPS = pursuit("ltp_res"), pursuit("ltp_res", depth=DEEP)


def depth_and_skips(cells: pd.DataFrame) -> list[Requirement]:
    """D1 (Fig. 5): deep feed-forward networks with skip connections against shallow ones, and against deep chains."""
    return compared(
        {
            "deep − shallow, with skip connections": (fgsm(cells, DEEP_SKIPS), fgsm(cells, SKIPS)),
            "with − without skip connections, deep": (fgsm(cells, DEEP_SKIPS), fgsm(cells, DEEP_CHAIN)),
        }
    )


def depth_and_skips_otherwise(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """D1: the same differences under other attacks."""
    return otherwise(cells, {"against shallow": (DEEP_SKIPS, SKIPS), "against the chain": (DEEP_SKIPS, DEEP_CHAIN)})


def skips_beat_layered(cells: pd.DataFrame) -> list[Requirement]:
    """D2 (Fig. 6): DP-res against L-BP at every number of iterations."""
    return compared({f"T = {t}": (fgsm(cells, pursuit("dp_res", t)), fgsm(cells, pursuit("lbp", t))) for t in EVERY})


def skips_otherwise(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """D2: under other attacks at most iterations; and the gain of skip connections without any, less the mean gain."""
    gains = [(fgsm(cells, pursuit("dp_res", t)) - fgsm(cells, pursuit("lbp", t))).by for t in EVERY]
    plain = (fgsm(cells, SKIPS) - fgsm(cells, CHAIN)).by
    without = {"skip connections without iterations": (plain - pd.concat(gains, axis=1).dropna().mean(axis=1)).dropna()}
    return without | otherwise(cells, {f"T = {MOST}": (pursuit("dp_res", MOST), pursuit("lbp", MOST))})


def chain_needs_iterations(cells: pd.DataFrame) -> list[Requirement]:
    """D3 (Fig. 6): DP begins below L-BP and comes within a point of it."""
    early, late = f"L-BP − DP, T = {FEW}", f"DP − L-BP, T = {MOST}"
    pairs = {
        early: (fgsm(cells, pursuit("lbp", FEW)), fgsm(cells, pursuit("dp", FEW))),
        late: (fgsm(cells, pursuit("dp", MOST)), fgsm(cells, pursuit("lbp", MOST))),
    }
    return [replace(one, bound=EQUAL) if one.label == late else one for one in compared(pairs)]


HARDENED = {"L-BP − L-TP": (pursuit("lbp", MOST), CHAIN), "DP − L-TP": (pursuit("dp", MOST), CHAIN)}


def iterations_harden(cells: pd.DataFrame) -> list[Requirement]:
    """D4 (Figs. 6 and 7): iterated networks against the feed-forward one."""
    return compared({label: (fgsm(cells, ours), fgsm(cells, theirs)) for label, (ours, theirs) in HARDENED.items()})


def iterations_otherwise(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """D4: under PGD through all iterations, which a network cannot escape by hiding its gradient from one step.

    Perturbations that are made on L-TP are L-TP's own, so that there is no transfer to compare.
    """
    return otherwise(cells, HARDENED, {"PGD": ("pgd", "white_box")})


def deep_reconstructs(cells: pd.DataFrame) -> list[Requirement]:
    """D5 (Fig. 8): mean squared error, mean over layers and over all iterations after the first."""
    errors = [_after_the_first(cells, pursuit(arch, MOST)) for arch in ("lbp", "dp", "dp_res")]
    return compared({"L-BP − DP": (errors[0], errors[1]), "DP − DP-res": (errors[1], errors[2])}, unit="thousandths")


def coherence_falls(cells: pd.DataFrame) -> list[Requirement]:
    """D6 (Figs. 9 and 10): frame potential and coherence of DP-res, against fewer iterations and against L-BP."""
    pairs: dict[str, tuple[Measured, Measured]] = {}
    for metric in ("frame_potential", "coherence"):
        few, most, other = (
            value(cells, who, metric, THOUSANDTHS)
            for who in (pursuit("dp_res", FEW), pursuit("dp_res", MOST), pursuit("lbp", MOST))
        )
        name = metric.replace("_", " ")
        pairs |= {f"{name}, T = {FEW} − {MOST}": (few, most), f"{name}, L-BP − DP-res": (other, most)}
    return compared(pairs, unit="thousandths")


def as_a_resnet(cells: pd.DataFrame) -> list[Requirement]:
    """M1: Res-CSC and the ResNet that its variant B is, neither below the other by a point."""
    ours, theirs = top1(cells, layered("res_csc")), top1(cells, layered("res_csc_b"))
    return compared({"Res-CSC − ResNet": (ours, theirs), "ResNet − Res-CSC": (theirs, ours)}, EQUAL)


def no_degradation(cells: pd.DataFrame) -> list[Requirement]:
    """M2: Res-CSC against the plain network, both deep."""
    return compared({"": (top1(cells, layered("res_csc", 1, DEEPEST)), top1(cells, layered("ml_csc", 1, DEEPEST)))})


def resnet_degrades_as_little(cells: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """M2: what the ResNet gains over the plain network, less what Res-CSC gains."""
    gap = top1(cells, layered("res_csc_b", 1, DEEPEST)) - top1(cells, layered("res_csc", 1, DEEPEST))
    return {"ResNet": gap.by}


def unfolding_helps(cells: pd.DataFrame) -> list[Requirement]:
    """M3: MSD-CSC with four iterations and with one."""
    return compared({"": (top1(cells, mixed_scale(4)), top1(cells, mixed_scale(1)))})


def better_than_msdnet(cells: pd.DataFrame) -> list[Requirement]:
    """M4: MSD-CSC with four iterations, and MSDNet."""
    return compared({"": (top1(cells, mixed_scale(4)), top1(cells, MSDNET))})


def mixed_scale_reconstructs(cells: pd.DataFrame) -> list[Requirement]:
    """M5: the share of a layer's input that is left over, in hundredths, in ML-CSC and in MSD-CSC."""
    left = [value(cells, who, "reconstruction_share", 100) for who in (layered("ml_csc", 4), mixed_scale(4))]
    return compared({"": (left[0], left[1])}, unit="hundredths")


def compared(
    pairs: Mapping[str, tuple[Measured, Measured]], bound: float = 0.0, unit: str = "points"
) -> list[Requirement]:
    """A requirement per pair, the first less the second, over the seeds that all of them have; empty without any."""
    common = set.intersection(*(set(one.by.index) for pair in pairs.values() for one in pair))
    seeds, requirements = sorted(common), []
    for label, (more, less) in pairs.items():
        found = welch(more.by[seeds], less.by[seeds])
        if found is None:
            return []
        requirements.append(Requirement(label, replace(found, images=more.images + less.images), bound, unit=unit))
    return requirements


def otherwise(
    cells: pd.DataFrame,
    pairs: Mapping[str, tuple[Variant, Variant]],
    attacks: Mapping[str, tuple[str, str]] = {"PGD": ("pgd", "white_box"), "transferred FGSM": ("fgsm", "transfer")},
) -> dict[str, "pd.Series[float]"]:
    """Differences under other attacks, by seed: PGD through all iterations, and FGSM made on the shallow L-TP."""
    return {
        f"{name} {label}": (robust(cells, ours, *attack) - robust(cells, theirs, *attack)).by
        for name, attack in attacks.items()
        for label, (ours, theirs) in pairs.items()
    }


def fgsm(cells: pd.DataFrame, who: Variant) -> Measured:
    """Accuracy under FGSM; see :func:`robust`."""
    return robust(cells, who, "fgsm", "white_box")


def robust(cells: pd.DataFrame, who: Variant, attack: str, protocol: str) -> Measured:
    """Accuracy in points under an attack, mean over all of :data:`EPSILONS`; they deviate together at most."""
    rows = _rows(cells, who, "robust_top1")
    rows = select(rows, attack=attack, protocol=protocol)
    rows = rows[rows.groupby("seed")["epsilon"].transform("nunique") == len(EPSILONS)]
    found = _mean(rows, 100)
    accuracy = rows["value"].astype(float)
    deviations = 100 * (accuracy * (1 - accuracy) / rows["n"].astype(float)) ** 0.5
    return replace(found, images=float(deviations.mean()) ** 2 if len(rows) else 0.0)


def top1(cells: pd.DataFrame, who: Variant) -> Measured:
    """Accuracy in points on all clean test images."""
    return _mean(_rows(cells, who, "top1"), 100)


def value(cells: pd.DataFrame, who: Variant, metric: str, factor: float) -> Measured:
    """A metric times a factor, mean over layers."""
    return _mean(_rows(cells, who, metric), factor)


def _after_the_first(cells: pd.DataFrame, who: Variant) -> Measured:
    rows = _rows(cells, who, "reconstruction_error")
    return _mean(rows[rows["iteration"] > 1], THOUSANDTHS)


def _rows(cells: pd.DataFrame, who: Variant, metric: str) -> pd.DataFrame:
    chosen = (cells["arch"] == who.arch) & (cells["variant"] == who.name) & (cells["metric"] == metric)
    return cells[chosen]


def _mean(rows: pd.DataFrame, factor: float) -> Measured:
    found: Any = factor * rows.groupby("seed")["value"].mean()
    return Measured(found.astype(float))
