"""The rule behind every verdict, as ``data/paper/claims.csv`` states it: cells of the ledger in, a verdict out."""

from collections.abc import Callable

import pandas as pd
from scipy.stats import ttest_ind

from sdnet.experiments.ablations import table5
from sdnet.experiments.attacks import adversarial
from sdnet.experiments.attacks.adversarial import best, robust
from sdnet.experiments.claims import pursuits
from sdnet.experiments.claims.accuracy import better_on_cifar100, on_par
from sdnet.experiments.claims.outcome import NOT_RUN, REFUTED, SUPPORTED, UNDECIDED, Verdict
from sdnet.experiments.corruptions.robustness import (
    NOISES,
    ONE_STEP,
    Row,
    clean_drops,
    cross_type,
    optimal_strengths,
    over_severities,
    policy_cells,
    top1,
)
from sdnet.experiments.performance.benchmarks import benchmark_of, scale_of
from sdnet.experiments.performance.targets import Target, measured
from sdnet.experiments.visualisation import figures

SDNET = Row("SDNet-18", "sdnet18", knob="lam")
ONE_STEP_SDNET = Row("one step", "sdnet18", ONE_STEP, knob="lam")
SHIFTED_RESNET = Row("ResNet-18, threshold", "resnet18", knob="stem threshold")
SDNET_FIXED = Row("SDNet-18, λ = 0.1", "sdnet18", knob="lam", strength=0.1)
ONE_STEP_FIXED = Row("one step, λ = 0.1", "sdnet18", ONE_STEP, knob="lam", strength=0.1)
RESNET = Row("ResNet-18", "resnet18", knob="stem threshold", strength=0.0)


def as_fast_and_small(cells: pd.DataFrame) -> Verdict:
    """C3, on the fastest kind of device that was measured, at the paper's width."""
    numbers, verdict = [], NOT_RUN
    for kind in ("cuda", "cpu"):
        where = (("width", 64),)
        speed = measured(cells, Target("", "train_speed_ratio", "sdnet18", kind, 0.9, where=where))
        memory = measured(cells, Target("", "train_memory", "sdnet18", kind, 1.1, where=where))
        if speed is not None and memory is not None:
            verdict = SUPPORTED if speed[0] >= 0.9 and memory[0] <= 1.1 else REFUTED
            numbers = [f"{speed[0]:.3f} of ResNet-18's speed, {memory[0]:.2f} of its memory, width 64, on {speed[3]}"]
            break
    return Verdict(verdict, "".join(numbers))


def faster_than_scn(cells: pd.DataFrame) -> Verdict:
    """C4, on the fastest kind of device that was measured, at the largest width, in the latest run that times both."""
    run = benchmark_of(cells, ("sdnet18", "scn"))
    if run is None:
        return Verdict(NOT_RUN)
    ratios = {}
    for mode in ("train", "infer"):
        rates = run[run["metric"] == f"{mode}_images_per_second"].set_index("arch")["value"]
        ratios[mode] = rates["sdnet18"] / rates["scn"]
    numbers = f"{ratios['train']:.1f} times as fast in training, {ratios['infer']:.1f} in inference, {scale_of(run)}"
    return Verdict(SUPPORTED if ratios["train"] >= 100 else REFUTED, numbers)


def best_lam_grows(cells: pd.DataFrame) -> Verdict:
    """C5."""
    found = optimal_strengths(cells, SDNET)
    if not _complete(found):
        return Verdict(NOT_RUN)
    rho = found["rho"]
    verdict = SUPPORTED if rho.min() >= 0.9 else REFUTED if rho.mean() < 0.5 else UNDECIDED
    controls = []
    for row in (ONE_STEP_SDNET, SHIFTED_RESNET):
        other = optimal_strengths(cells, row)
        if _complete(other):
            match = _match(other["rho"].mean() >= rho.mean() - 0.1)
            controls.append(f"{row.label}: ρ {other['rho'].min():.2f} to {other['rho'].max():.2f} ({match})")
    return Verdict(verdict, f"ρ {rho.min():.2f} to {rho.max():.2f} over noises and seeds", "; ".join(controls))


def better_at_training_lam(cells: pd.DataFrame) -> Verdict:
    """C6."""
    ours, theirs = (_by_seed(cells, row) for row in (SDNET_FIXED, RESNET))
    if ours.empty or theirs.empty:
        return Verdict(NOT_RUN)
    numbers = f"{100 * ours.mean():.2f} % against {100 * theirs.mean():.2f} %, mean over noises and severities"
    control = _by_seed(cells, ONE_STEP_FIXED)
    match = "" if control.empty else _match(control.mean() >= ours.mean() - 0.01)
    controls = "" if control.empty else f"one step: {100 * control.mean():.2f} % ({match})"
    if min(len(ours), len(theirs)) < 2:
        return Verdict(UNDECIDED, f"{numbers}; one seed has no interval", controls)
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    low, high = 100 * interval.low, 100 * interval.high
    verdict = SUPPORTED if low > 0 else REFUTED if high < 0 else UNDECIDED
    return Verdict(verdict, f"{numbers}; difference {low:+.2f} to {high:+.2f} ({len(ours)} seeds)", controls)


def algorithm1_gains(cells: pd.DataFrame) -> Verdict:
    """C7."""
    gains = _gains(cells, "")
    if not _complete(gains):
        return Verdict(NOT_RUN)
    verdict = SUPPORTED if gains["low"].min() > 0 else REFUTED if gains["high"].min() < 0 else UNDECIDED
    control, controls = _gains(cells, ONE_STEP), ""
    if _complete(control):
        match = _match(control["value"].mean() >= gains["value"].mean() - 0.01)
        controls = f"one step: {_by_noise(control)} ({match})"
    return Verdict(verdict, f"gain over λ = 0.1 in points: {_by_noise(gains)}", controls)


def linear_and_specific(cells: pd.DataFrame) -> Verdict:
    """C8."""
    fits = policy_cells(cells, "r_squared")
    fits = fits[fits["power"] == 1]
    other = cross_type(cells)
    loss = 100 * other.loc[other["fitted_on"] != other["corruption"], "loss"]
    if not set(NOISES) <= set(fits["fitted_on"]) or loss.empty:
        return Verdict(NOT_RUN)
    linear, specific = fits["value"].min() >= 0.9, loss.mean() > 1
    refuted = fits["value"].mean() < 0.9 or loss.max() <= 0
    verdict = SUPPORTED if linear and specific else REFUTED if refuted else UNDECIDED
    numbers = f"R² {fits['value'].min():.2f} to {fits['value'].max():.2f}; another noise's line costs "
    return Verdict(verdict, f"{numbers}{loss.mean():.2f} points on average, {loss.max():.2f} at most")


def withstands_attacks(cells: pd.DataFrame) -> Verdict:
    """C9."""
    parts, ratios, controls = [], [], []
    for norm, label in adversarial.NORMS.items():
        tuned, deployed = (
            best(robust(cells, adversarial.SDNET, norm, protocol)) for protocol in ("oblivious", "adaptive")
        )
        if tuned.empty or deployed.empty:
            return Verdict(NOT_RUN)
        a, b = 100 * tuned["value"].mean(), 100 * deployed["value"].mean()
        usual = adversarial.at_start(robust(cells, adversarial.SDNET, norm, "oblivious"), adversarial.SDNET)
        ratios.append((a - b, b / max(a, 1e-9), a - 100 * usual["value"].mean()))
        parts.append(f"{label}: {a:.1f} % if crafted at λ = 0.1, {b:.1f} % if crafted where deployed")
        for row in adversarial.ROWS[:-1]:
            other = best(robust(cells, row, norm, "oblivious"))
            if not other.empty:
                value = 100 * other["value"].mean()
                controls.append(f"{row.label} ({label}) {value:.1f} % tuned ({_match(value >= a - 5)})")
    held = all(gap <= 5 and gain >= 5 for gap, _, gain in ratios)
    fell = any(share < 0.5 for _, share, _ in ratios)
    return Verdict(SUPPORTED if held else REFUTED if fell else UNDECIDED, "; ".join(parts), "; ".join(controls))


def clean_accuracy_stays(cells: pd.DataFrame) -> Verdict:
    """C12."""
    drops = clean_drops(cells)
    if not _complete(drops):
        return Verdict(NOT_RUN)
    worst = drops.sort_values("drop").iloc[-1]
    verdict = SUPPORTED if worst["drop"] < 0.005 else REFUTED
    numbers = f"clean accuracy falls by {100 * drops['drop'].mean():.2f} points on average over the λ chosen, "
    control = clean_drops(cells, ONE_STEP)
    controls = "" if control.empty else f"one step: {100 * control['drop'].mean():.2f} on average"
    return Verdict(verdict, f"{numbers}by {100 * worst['drop']:.2f} at λ = {worst['lam']:.2f}", controls)


def iterations_help(cells: pd.DataFrame) -> Verdict:
    """C10, at the scale at which most of the ablation grid was run."""
    cells = table5.one_scale(cells)
    gains = table5.steps(cells)
    if not gains:
        return Verdict(NOT_RUN)
    lost, gained = any(gain.high < 0 for gain in gains), all(gain.low > 0 for gain in gains)
    verdict = REFUTED if lost else SUPPORTED if gained else UNDECIDED
    numbers = ", ".join(
        f"{table5.CONDITIONS[gain.condition]} {gain.fewer} → {gain.more} steps {gain.gain:+.1f} ± "
        f"{gain.high - gain.gain:.1f}"
        for gain in gains
    )
    control = table5.steps(cells, ((1, 8),))
    mean = sum(gain.gain for gain in control) / max(1, len(control))
    controls = f"one step: {-mean:+.1f} against eight, on average ({_match(mean <= 1)})" if control else ""
    return Verdict(verdict, f"gains in points: {numbers}", controls)


def csc_everywhere(cells: pd.DataFrame) -> Verdict:
    """C11, accuracy at the scale of the ablation grid, decoding at that of the largest decoded network."""
    cost = table5.cost_of_all(table5.one_scale(cells))
    depths = figures.against_controls(figures.one_scale(cells))
    if cost is None or depths.empty:
        return Verdict(NOT_RUN)
    mean, half = cost
    most = depths["depths"] / 2
    closer, matched = (depths["better"] > most).all(), (depths["depths"] - depths["better"] > most).any()
    refuted, supported = mean + half < -0.5 or matched, mean >= -0.5 and closer
    verdict = REFUTED if refuted else SUPPORTED if supported else UNDECIDED
    worst = depths.sort_values("better").iloc[0]
    numbers = f"SDNet-18-All against SDNet-18 {mean:+.1f} ± {half:.1f} points"
    controls = f"{worst['control']}: decoding is closer at {worst['better']} of {worst['depths']} depths"
    return Verdict(verdict, numbers, controls)


def guarantee_applies(cells: pd.DataFrame) -> Verdict:
    """C13, over all networks that were asked."""
    chosen = cells[(cells["experiment"] == "guarantee") & (cells["arch"] == "sdnet18") & (cells["variant"] == "")]
    limit, fewest, most = (chosen[chosen["metric"] == metric] for metric in ("sparsity_limit", "fewest", "most"))
    if limit.empty or fewest.empty:
        return Verdict(NOT_RUN)
    least, bound = fewest.groupby("case")["value"].min(), limit["value"].min()
    refuted = pd.concat([fewest, most])["value"].max() >= bound
    verdict = REFUTED if refuted else SUPPORTED if len(most) == len(fewest) else UNDECIDED
    mu = chosen.loc[chosen["metric"] == "coherence", "value"]
    numbers = f"coherence {mu.min():.2f} to {mu.max():.2f} admits {limit['value'].max():.2f} non-zeros per stripe; "
    numbers += f"the layer's codes have {least['layer']:.0f} or more, minimisers {least['minimiser']:.0f} or more"
    return Verdict(verdict, numbers)


def _match(holds: bool) -> str:
    return "match" if holds else "do not match"


def _complete(found: pd.DataFrame) -> bool:
    return set(NOISES) <= set(found["corruption"])


def _by_seed(cells: pd.DataFrame, row: Row) -> "pd.Series[float]":
    """Accuracy over noises and severities, per seed, where all noises were run."""
    values = over_severities(top1(cells, row))
    counts = values.groupby("seed")["corruption"].nunique()
    values = values[values["seed"].isin(counts[counts >= len(NOISES)].index)]
    return values.groupby("seed")["value"].mean()


def _gains(cells: pd.DataFrame, variant: str) -> pd.DataFrame:
    gains = policy_cells(cells, "gain_over_fixed", variant)
    return gains[gains["fitted_on"] == gains["corruption"]]


def _by_noise(gains: pd.DataFrame) -> str:
    means = 100 * gains.groupby("corruption")["value"].mean()
    return ", ".join(f"{noise.removesuffix('_noise')} {means[noise]:+.2f}" for noise in NOISES)


RULES: dict[str, Callable[[pd.DataFrame], Verdict]] = {
    "C1": on_par,
    "C2": better_on_cifar100,
    "C3": as_fast_and_small,
    "C4": faster_than_scn,
    "C5": best_lam_grows,
    "C6": better_at_training_lam,
    "C7": algorithm1_gains,
    "C8": linear_and_specific,
    "C9": withstands_attacks,
    "C10": iterations_help,
    "C11": csc_everywhere,
    "C12": clean_accuracy_stays,
    "C13": guarantee_applies,
    **pursuits.RULES,
}
"""Claim → its rule."""
OWN_SCALE = ("C1", "C2", "C10", "C11", *pursuits.RULES)
"""Claims whose rules choose the largest scale at which there is enough to decide them, among all cells."""
