"""A rule: what a claim asks of the ledger, and the verdict at every scale that answers it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from sdnet.experiments.claims.estimates import (
    LEVEL,
    MOST_SEEDS,
    SEEDS,
    Estimate,
    Requirement,
    below,
    decide,
    paired,
)
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Effect, Verdict
from sdnet.results.select import select

SCALE = ("dataset", "preset", "width", "epochs", "noise", "images")
"""What rows must share to be compared; a run's ``images`` are the first so many of one random order.

Trainings must share their precision too. That of an evaluation is the machine's: bfloat16 in place of float32 changes
accuracies by 0.08 points at most (page 04), and seeds by some points.
"""
QUESTION = (
    *("arch", "variant", "seed", "metric", "split", "knob", "strength", "corruption", "severity"),
    *("policy", "fitted_on", "power", "protocol", "attack", "norm", "epsilon", "units", "steps", "restarts"),
    *("crafted_at", "case", "method", "weights_are", "layer", "iteration", "n"),
    *("down", "across", "sigma"),
)
"""What tells the cells of one scale apart: of repeated answers the latest counts."""
IMAGES = 500
"""Accuracies on fewer test images answer for nothing."""
MATCH = {HOLDS: "match", FAILS: "do not match", UNDECIDED: "undecided"}
"""What controls do if they do not fall behind by more than the margin, if they do, or if neither can be told."""
Requires = Callable[[pd.DataFrame], list[Requirement]]
Controls = Callable[[pd.DataFrame], "Mapping[str, pd.Series[float]]"]
LISTED = 5
"""Of more conditions only the worst is printed."""


@dataclass(frozen=True)
class Printed:
    """The effects that the paper prints, as requirements without uncertainty, and what is missing among them."""

    effects: Sequence[Requirement] = ()
    missing: str = ""


@dataclass(frozen=True)
class Rule:
    """What a claim requires of the cells of one scale.

    Attributes:
        experiment: whose cells are asked.
        data: data sets that may answer, the paper's own first.
        requires: cells of one scale → requirements over the seeds that have them all; empty if a part is missing.
        printed: the same of the paper's own numbers.
        level: of each one-sided test.
        images: the fewest test images that count.
        controls: cells of one scale → per control its difference to SDNet by seed, mean over the conditions.
        match: a control matches if it is less than so much below SDNet.
    """

    experiment: str
    data: tuple[str, ...]
    requires: Requires
    printed: Callable[[], Printed] = Printed
    level: float = LEVEL
    images: int = IMAGES
    controls: Controls = field(default=lambda cells: {})
    match: float = 1.0

    def __call__(self, cells: pd.DataFrame) -> tuple[Verdict, ...]:
        """The verdicts at all scales, the one that counts first: see :func:`rank`. At least one, if only "not run"."""
        printed = self.printed()
        not_run = Verdict(NOT_RUN, paper=_paper(printed, self.level), printed=effects(printed.effects))
        found = []
        for scale, group in scales(cells, self.experiment, self.data, self.images):
            requirements = self.requires(group)
            if requirements:
                seeds = requirements[0].estimate.seeds
                begun = replace(not_run, scale=in_words(scale), seeds=seeds, effects=effects(requirements))
                found.append((rank(scale, seeds, self.data), self._verdict(begun, requirements, group)))
        if not found:
            tried = cells["experiment"].eq(self.experiment) & cells["dataset"].isin(self.data)
            text = "no scale has all that the rule asks for" if tried.any() else ""
            return (replace(not_run, numbers=text),)
        return tuple(verdict for _, verdict in sorted(found, key=lambda pair: pair[0], reverse=True))

    def _verdict(self, begun: Verdict, requirements: list[Requirement], cells: pd.DataFrame) -> Verdict:
        if begun.seeds < SEEDS:
            needed = f"{begun.seeds} of the {SEEDS} seeds that a verdict needs"
            return replace(begun, verdict=UNDECIDED, numbers=_means(requirements), needed=needed)
        verdict = decide(requirements, self.level)
        numbers = _intervals(requirements)
        if verdict == HOLDS and _equivalent(requirements, self.level):
            numbers += "; equivalent within the margin"
        if verdict == FAILS and (fallen := [one.label for one in below(requirements, self.level) if one.label]):
            numbers += f"; on the wrong side of the bound: {', '.join(fallen)}"
        return replace(
            begun,
            verdict=verdict,
            numbers=numbers,
            excludes=_excludes(begun.effects, begun.printed),
            needed=_needed(requirements, self.level) if verdict == UNDECIDED else "",
            controls=self._controls_text(cells),
        )

    def _controls_text(self, cells: pd.DataFrame) -> str:
        parts = []
        for label, differences in self.controls(cells).items():
            requirements = paired({"": differences}, -self.match)
            if not requirements:
                continue
            estimate = requirements[0].estimate
            enough = estimate.seeds >= SEEDS
            text = MATCH[decide(requirements, self.level)] if enough else f"no comparison with {estimate.seeds} seeds"
            parts.append(f"{label}: {estimate.mean:+.2f} ({text})")
        return "; ".join(parts)


def scales(
    cells: pd.DataFrame, experiment: str, data: Sequence[str], images: int
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The scales at which an experiment was run on some data sets and enough images, each with its latest cells.

    Where a run does not say how many images it took, its cells do (``n``).
    """
    chosen = select(cells, experiment=experiment, dataset=data)
    if chosen.empty:
        return
    if "noise" not in chosen:
        chosen = chosen.assign(noise=None)
    chosen = chosen.assign(images=chosen["images"].fillna(chosen["n"]).astype(int))
    chosen = chosen[chosen["images"] >= images].astype({"width": int, "epochs": int})
    shared = (*SCALE, "precision") if experiment == "train" else SCALE
    for values, group in chosen.groupby(list(shared), dropna=False):
        yield (
            dict(zip(shared, values, strict=True)),
            select(group, one_per=QUESTION),
        )


def rank(scale: Mapping[str, Any], seeds: int, data: Sequence[str]) -> tuple[Any, ...]:
    """Which of several scales counts, the greatest: one with enough seeds; the paper's data; the widest; the longest.

    After that the one with the most images, then with the most seeds.
    """
    size = (scale["width"], scale["epochs"], scale["images"], seeds)
    return seeds >= SEEDS, -list(data).index(scale["dataset"]), *size


def in_words(scale: Mapping[str, Any]) -> str:
    """Data, width, epochs and images."""
    epochs = f"{scale['epochs']} epoch{'s' if scale['epochs'] != 1 else ''}"
    return f"{scale['dataset']}, width {scale['width']}, {epochs}, {scale['images']:,} images"


def exact(values: Mapping[str, float], bound: float = 0.0, *, role: str = "both", unit: str = "points") -> Printed:
    """Printed effects by condition."""
    return Printed([Requirement(label, Estimate(v, 0.0, 1), bound, role, unit) for label, v in values.items()])


def _equivalent(requirements: Sequence[Requirement], level: float) -> bool:
    """Whether all bounds are margins below 0, and no difference is above the margin on the other side either."""
    return all(
        one.bound < 0 and one.estimate.p_below(-one.bound) < level for one in requirements if one.role != "against"
    )


def _value(one: Requirement) -> str:
    return f"{one.label} {one.estimate.mean:+.2f}".strip()


def _unit(requirements: Sequence[Requirement]) -> str:
    units = list(dict.fromkeys(one.unit for one in requirements if one.unit))
    return f" {units[0]}" if len(units) == 1 else ""


def _means(requirements: Sequence[Requirement]) -> str:
    return _listed(requirements, _value)


def _intervals(requirements: Sequence[Requirement]) -> str:
    def with_interval(one: Requirement) -> str:
        low, high = one.estimate.interval()
        return f"{_value(one)} [{low:+.2f}, {high:+.2f}]"

    return _listed(requirements, with_interval)


def _listed(requirements: Sequence[Requirement], text_of: Callable[[Requirement], str]) -> str:
    """What is said of every condition, or of many the mean, and what is said of the worst."""
    shown = [one for one in requirements if one.role != "against"] or list(requirements)
    worst = ""
    if len(shown) > LISTED:
        mean = sum(one.estimate.mean for one in shown) / len(shown)
        worst, shown = f"mean {mean:+.2f}, at worst ", [min(shown, key=lambda one: one.estimate.mean - one.bound)]
    return worst + ", ".join(map(text_of, shown)) + _unit(shown)


def _paper(printed: Printed, level: float) -> str:
    if not printed.effects:
        return printed.missing
    verdict = decide(printed.effects, level)
    shown = _means(printed.effects)
    return (
        f"{UNDECIDED} ({shown}; {printed.missing})" if printed.missing and verdict == HOLDS else f"{verdict} ({shown})"
    )


def effects(requirements: Sequence[Requirement]) -> tuple[Effect, ...]:
    """Conditions with their 95 % intervals; those that can only speak against a claim if there are no others."""
    found = []
    for one in [one for one in requirements if one.role != "against"] or requirements:
        low, high = one.estimate.interval()
        found.append(Effect(one.label, one.estimate.mean, low, high, one.bound, one.unit))
    return tuple(found)


def _excludes(ours: Sequence[Effect], printed: Sequence[Effect]) -> str:
    """Whether the intervals hold the paper's effects."""
    intervals, parts = {one.label: (one.low, one.high) for one in ours}, []
    for one in printed:
        if one.label in intervals:
            low, high = intervals[one.label]
            word = "within the interval" if low <= one.value <= high else "outside the interval"
            parts.append(f"{one.label} {one.value:+.2f} {word}".strip())
    return f"the paper prints: {', '.join(parts)}" if parts else ""


def _needed(requirements: Sequence[Requirement], level: float) -> str:
    """What the condition that stands in the way could tell, and with how many seeds it would be decided."""
    supporting = [one for one in requirements if one.role != "against"] or list(requirements)
    one = max(supporting, key=lambda each: each.estimate.p_above(each.bound))
    estimate, distance = one.estimate, abs(one.estimate.mean - one.bound)
    against = sum(each.role != "for" for each in requirements)
    where = f"{one.label}: " if one.label else ""
    if not distance:
        return f"{where}it lies on its bound of {one.bound:+g}; if that is the truth, no number of seeds would decide"
    level = level if estimate.mean > one.bound or not against else level / against
    seeds = estimate.seeds_to_tell(distance, level)
    count = f"{seeds} seeds" if seeds else f"more than {MOST_SEEDS} seeds"
    unit = f" {one.unit}" if one.unit else ""
    return (
        f"{where}with {estimate.seeds} seeds the rule sees, in 8 of 10 cases, a true value that lies "
        f"{estimate.detectable(level):.2f}{unit} from its bound of {one.bound:+g}; "
        f"if the truth is what was measured, {count} would decide"
    )
