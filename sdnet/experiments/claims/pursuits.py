"""The rules of D1 to D6 (Deep Pursuit) and M1 to M5 (the slides): orderings over seeds, by one-sided tests at 5 %.

They stand since 2026-11-25, before any member of the family was trained at a size from which anything could be read.
The documents draw curves and give no numbers. Every difference is between networks trained alike, by Welch's test over
seeds, at the largest scale at which each has :data:`SEEDS`; with fewer there is no verdict. Where a rule has several
differences, the claim holds if all do, and does not hold if one is shown to be the other way round.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pandas as pd
from scipy.stats import ttest_ind

from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Verdict

SEEDS = 3
SCALE = ["dataset", "width", "epochs"]
EQUAL = 1.0
"""Points of accuracy within which claim M1 calls two networks equivalent."""
PRINTED = "the document draws curves and prints no number"


@dataclass(frozen=True)
class Who:
    """A network of the family: its architecture, depth and iterations; None for whatever depth."""

    arch: str
    iterations: int = 1
    blocks: int | None = 1


@dataclass(frozen=True, eq=False)
class Gap:
    """One difference of means over seeds, in points where it is one of accuracies: is it above a bound?"""

    name: str
    ours: "pd.Series[float]"
    theirs: "pd.Series[float]"

    @property
    def mean(self) -> float:
        return float(self.ours.mean() - self.theirs.mean())

    @property
    def enough(self) -> bool:
        return min(len(self.ours), len(self.theirs)) >= SEEDS

    def above(self, bound: float = 0.0) -> bool:
        """Whether the difference of the means is above the bound (one-sided Welch test at 5 %)."""
        return _less(self.theirs, self.ours - bound)

    def below(self, bound: float = 0.0) -> bool:
        """Whether it is below it."""
        return _less(self.ours - bound, self.theirs)


def _less(lower: "pd.Series[float]", upper: "pd.Series[float]") -> bool:
    if lower.std() == upper.std() == 0:  # the test divides by it
        return bool(lower.mean() < upper.mean())
    return bool(ttest_ind(lower, upper, equal_var=False, alternative="less").pvalue < 0.05)


class Study:
    """The measurements of one claim at one scale."""

    def __init__(self, cells: pd.DataFrame, needed: Iterable[Who]) -> None:
        mine = pd.DataFrame(cells[cells["experiment"] == "pursuit"])
        wanted = list(needed)
        ranked: list[tuple[tuple[object, ...], pd.DataFrame]] = []
        for where, group in mine.groupby(SCALE) if len(mine) else ():
            seeds = min(_rows(group, who)["seed"].nunique() for who in wanted)
            ranked.append(((seeds >= SEEDS, seeds, where[1], where[2]), group))
        best = max(ranked, key=lambda one: one[0], default=((False, 0), mine))
        self.cells, self.seeds = best[1], best[0][1]

    def robust(self, who: Who, attack: str = "fgsm", protocol: str = "white_box") -> "pd.Series[float]":
        """Accuracy in points under an attack, mean over its radii, one per seed."""
        rows = _rows(self.cells, who)
        rows = rows[(rows["metric"] == "robust_top1") & (rows["attack"] == attack) & (rows["protocol"] == protocol)]
        return 100 * rows.groupby("seed")["value"].mean()

    def value(self, who: Who, metric: str, iteration: int | None = None) -> "pd.Series[float]":
        """A metric, mean over layers, one per seed; of one iteration, if it is said."""
        rows = _rows(self.cells, who)
        rows = rows[rows["metric"] == metric]
        rows = rows if iteration is None else rows[rows["iteration"] == iteration]
        return (100 if metric == "top1" else 1) * rows.groupby("seed")["value"].mean()

    def verdict(self, gaps: list[Gap], controls: str = "", unit: str = " points") -> Verdict:
        """Holds if every gap is above 0, does not hold if one is below."""
        if not gaps or any(not len(gap.ours) or not len(gap.theirs) for gap in gaps):
            return Verdict(NOT_RUN, paper=PRINTED)
        said = "; ".join(f"{gap.name} {gap.mean:+.3g}{unit}" for gap in gaps)
        row = self.cells.iloc[0]
        scale = f"{row['dataset']}, width {int(row['width'])}, {int(row['epochs'])} epochs"
        found = Verdict(UNDECIDED, scale, self.seeds, said, paper=PRINTED, controls=controls)
        if not all(gap.enough for gap in gaps):
            return replace(found, needed=f"{self.seeds} of the {SEEDS} seeds that a verdict needs")
        held, lost = all(gap.above() for gap in gaps), any(gap.below() for gap in gaps)
        return replace(found, verdict=FAILS if lost else HOLDS if held else UNDECIDED)


def _rows(cells: pd.DataFrame, who: Who) -> pd.DataFrame:
    """The latest run of each seed."""
    rows = pd.DataFrame(cells[(cells["arch"] == who.arch) & (cells["iterations"] == who.iterations)])
    if who.blocks is not None:
        rows = pd.DataFrame(rows[rows["blocks"] == who.blocks])
    return pd.DataFrame(rows[rows["started"] == rows.groupby("seed")["started"].transform("max")])


MOST, FEW, ALL = 8, 2, (2, 4, 8)
"""Iterations of the grid."""
SHALLOW, DEEP = 1, 3
"""Blocks per stage of the grid, and for M1 and M2 the largest is :data:`DEEPEST`."""
DEEPEST = 4


def depth_and_skips(cells: pd.DataFrame) -> Verdict:
    """D1 (Fig. 5)."""
    deep, shallow, chain = Who("ltp_res", 1, DEEP), Who("ltp_res", 1, SHALLOW), Who("ltp", 1, DEEP)
    study = Study(cells, (deep, shallow, chain))
    gaps = [
        Gap("deep − shallow, both with skip connections", study.robust(deep), study.robust(shallow)),
        Gap("with − without skip connections, both deep", study.robust(deep), study.robust(chain)),
    ]
    return study.verdict(gaps, _under_pgd(study, deep, (shallow, chain)))


def skips_beat_layered(cells: pd.DataFrame) -> Verdict:
    """D2 (Fig. 6)."""
    pairs = [(Who("dp_res", t), Who("lbp", t)) for t in ALL]
    plain = Who("ltp_res"), Who("ltp")
    study = Study(cells, [who for pair in pairs for who in pair])
    gaps = [Gap(f"T = {a.iterations}:", study.robust(a), study.robust(b)) for a, b in pairs]
    skip = study.robust(plain[0]).mean() - study.robust(plain[1]).mean()
    least = min((gap.mean for gap in gaps), default=0.0)
    controls = (
        "" if pd.isna(skip) else f"skip connections without iterations: {skip:+.2f} points ({_match(skip >= least)})"
    )
    return study.verdict(gaps, "; ".join(filter(None, (controls, _under_pgd(study, *_last(pairs))))))


def chain_needs_iterations(cells: pd.DataFrame) -> Verdict:
    """D3 (Fig. 6): DP starts below L-BP and comes within a point of it."""
    few, most = (Who("lbp", FEW), Who("dp", FEW)), (Who("lbp", MOST), Who("dp", MOST))
    study = Study(cells, [*few, *most])
    early = Gap(f"L-BP − DP at T = {FEW}:", study.robust(few[0]), study.robust(few[1]))
    late = Gap(f"DP − L-BP + {EQUAL:g} at T = {MOST}:", study.robust(most[1]) + EQUAL, study.robust(most[0]))
    return study.verdict([early, late])


def iterations_harden(cells: pd.DataFrame) -> Verdict:
    """D4 (Figs. 6 and 7), with the attacks that an iterated network cannot escape by hiding its gradient."""
    pairs = [(Who("lbp", MOST), Who("ltp")), (Who("dp", MOST), Who("ltp"))]
    study = Study(cells, [who for pair in pairs for who in pair])
    gaps = [Gap(f"{'L-BP' if a.arch == 'lbp' else 'DP'} − L-TP:", study.robust(a), study.robust(b)) for a, b in pairs]
    return study.verdict(gaps, "; ".join(_under_pgd(study, a, (b,)) for a, b in pairs))


def deep_reconstructs(cells: pd.DataFrame) -> Verdict:
    """D5 (Fig. 8): mean squared error over layers and all iterations after the first, at most iterations."""
    order = [Who("lbp", MOST), Who("dp", MOST), Who("dp_res", MOST)]
    study = Study(cells, order)
    gaps = []
    for worse, better, name in ((order[0], order[1], "L-BP − DP"), (order[1], order[2], "DP − DP-res")):
        gaps.append(Gap(f"{name}:", _after_the_first(study, worse), _after_the_first(study, better)))
    shares = [_after_the_first(study, who, "reconstruction_share").mean() for who in order]
    controls = "" if any(map(pd.isna, shares)) else "as a share of what a layer explains: " + ", ".join(
        f"{who.arch} {share:.2f}" for who, share in zip(order, shares, strict=True)
    )  # fmt: skip
    return study.verdict(gaps, controls, unit="")


def coherence_falls(cells: pd.DataFrame) -> Verdict:
    """D6 (Figs. 9 and 10)."""
    residual, few, layered = Who("dp_res", MOST), Who("dp_res", FEW), Who("lbp", MOST)
    study = Study(cells, (residual, few, layered))
    gaps = []
    for metric in ("frame_potential", "coherence"):
        ours = study.value(residual, metric)
        gaps.append(Gap(f"{metric}, T = {FEW} − {MOST}:", study.value(few, metric), ours))
        gaps.append(Gap(f"{metric}, L-BP − DP-res:", study.value(layered, metric), ours))
    return study.verdict(gaps, unit="")


def as_a_resnet(cells: pd.DataFrame) -> Verdict:
    """M1: Res-CSC beside the ResNet that its variant B is, equivalent within :data:`EQUAL` points."""
    ours, theirs = Who("res_csc"), Who("res_csc_b")
    study = Study(cells, (ours, theirs))
    gap = Gap("Res-CSC − ResNet:", study.value(ours, "top1"), study.value(theirs, "top1"))
    found = study.verdict([gap])
    if found.verdict == NOT_RUN or not gap.enough:
        return found
    equal, unequal = gap.above(-EQUAL) and gap.below(EQUAL), gap.above(EQUAL) or gap.below(-EQUAL)
    return replace(found, verdict=HOLDS if equal else FAILS if unequal else UNDECIDED)


def no_degradation(cells: pd.DataFrame) -> Verdict:
    """M2."""
    ours, plain, resnet = (Who(arch, 1, DEEPEST) for arch in ("res_csc", "ml_csc", "res_csc_b"))
    study = Study(cells, (ours, plain))
    gap = Gap("Res-CSC − plain, both deep:", study.value(ours, "top1"), study.value(plain, "top1"))
    other = study.value(resnet, "top1").mean() - gap.theirs.mean()
    controls = "" if pd.isna(other) else f"ResNet − plain: {other:+.2f} points ({_match(other >= gap.mean - EQUAL)})"
    return study.verdict([gap], controls)


def unfolding_helps(cells: pd.DataFrame) -> Verdict:
    """M3."""
    return _accuracies(cells, Who("msd_csc", 4, None), Who("msd_csc", 1, None), "T = 4 − T = 1:")


def better_than_msdnet(cells: pd.DataFrame) -> Verdict:
    """M4."""
    return _accuracies(cells, Who("msd_csc", 4, None), Who("msdnet", 1, None), "MSD-CSC − MSDNet:")


def mixed_scale_reconstructs(cells: pd.DataFrame) -> Verdict:
    """M5."""
    ours, theirs = Who("msd_csc", 4, None), Who("ml_csc", 4)
    study = Study(cells, (ours, theirs))
    left = [study.value(who, "reconstruction_share") for who in (theirs, ours)]
    return study.verdict([Gap("ML-CSC − MSD-CSC, share left over:", *left)], unit="")


def _accuracies(cells: pd.DataFrame, ours: Who, theirs: Who, name: str) -> Verdict:
    study = Study(cells, (ours, theirs))
    return study.verdict([Gap(name, study.value(ours, "top1"), study.value(theirs, "top1"))])


def _after_the_first(study: Study, who: Who, metric: str = "reconstruction_error") -> "pd.Series[float]":
    every = pd.concat([study.value(who, metric, t) for t in range(2, MOST + 1)])
    return every.groupby(level=0).mean()


def _last(pairs: list[tuple[Who, Who]]) -> tuple[Who, tuple[Who]]:
    return pairs[-1][0], (pairs[-1][1],)


def _under_pgd(study: Study, ours: Who, others: Iterable[Who]) -> str:
    """The same differences under PGD through all iterations, and under FGSM made on a feed-forward network."""
    said = []
    for attack, protocol, name in (("pgd", "white_box", "PGD"), ("fgsm", "transfer", "transferred FGSM")):
        for theirs in others:
            gap = study.robust(ours, attack, protocol).mean() - study.robust(theirs, attack, protocol).mean()
            if not pd.isna(gap):
                said.append(f"under {name} against {theirs.arch} {gap:+.2f} points")
    return "; ".join(said)


def _match(holds: bool) -> str:
    return "match" if holds else "do not match"


JUDGES: dict[str, Callable[[pd.DataFrame], Verdict]] = {
    "D1": depth_and_skips,
    "D2": skips_beat_layered,
    "D3": chain_needs_iterations,
    "D4": iterations_harden,
    "D5": deep_reconstructs,
    "D6": coherence_falls,
    "M1": as_a_resnet,
    "M2": no_degradation,
    "M3": unfolding_helps,
    "M4": better_than_msdnet,
    "M5": mixed_scale_reconstructs,
}
"""Claim → its verdict at the scale that it chooses among all cells."""


def _alone(judge: Callable[[pd.DataFrame], Verdict]) -> Callable[[pd.DataFrame], tuple[Verdict, ...]]:
    return lambda cells: (judge(cells),)


RULES = {claim: _alone(judge) for claim, judge in JUDGES.items()}
"""Claim → its rule."""
