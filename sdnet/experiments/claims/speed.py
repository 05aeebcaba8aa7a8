"""Claims C3 and C4: speed and memory beside ResNet and SCN. A timing has no seeds: its quartiles decide."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Effect, Verdict
from sdnet.experiments.performance.benchmarks import DEVICES, benchmark_of, eager, runs_with, scale_of
from sdnet.results.paper import paper_table
from sdnet.results.select import select

SPEED, MEMORY, FASTER = 0.9, 1.1, 100.0
"""Least speed and most memory beside ResNet-18 (C3), least speed beside SCN (C4), as ratios."""
STEMS = {"cifar": "cifar10", "imagenet": "imagenet"}
"""Stem → the paper's data set behind it."""


def as_fast_and_small(cells: pd.DataFrame) -> tuple[Verdict, ...]:
    """C3, for every stem and width, the paper's width first: on the fastest kind of device that was measured."""
    found = {}
    for kind in reversed(DEVICES):
        timed = eager(select(cells, experiment="benchmark", device_type=kind))
        timed = timed.assign(stem=timed["stem"].fillna("cifar"), batch=timed["batch"].astype(float))
        for (stem, width), group in timed[timed["metric"] == "train_speed_ratio"].groupby(["stem", "width"]):
            same = select(timed, stem=stem, width=width)
            if (verdict := _beside_resnet(same, group, str(stem))) is not None:
                found[-float(str(width)), str(stem)] = verdict
    return tuple(found[key] for key in sorted(found)) or (Verdict(NOT_RUN, **_paper_of_c3("cifar")),)


def _beside_resnet(timed: pd.DataFrame, speeds: pd.DataFrame, stem: str) -> Verdict | None:
    """Speed and memory of the run with the largest batch, of several the latest; None without either."""
    memories = runs_with(timed[timed["metric"] == "train_memory"], ("resnet18", "sdnet18"))
    # A network alone is as fast as itself.
    speeds = select(speeds, arch="sdnet18", baseline="resnet18")
    speeds = speeds[speeds["started"].isin(memories["started"])]
    if speeds.empty:
        return None
    one = speeds.assign(batch=speeds["batch"].fillna(0)).sort_values(["batch", "started"]).iloc[-1]
    memory = memories[memories["started"] == one["started"]].set_index("arch")["value"]
    ratio = float(memory["sdnet18"] / memory["resnet18"])
    holds, fails = one["low"] >= SPEED and ratio <= MEMORY, one["high"] < SPEED or ratio > MEMORY
    numbers = f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}] of ResNet-18's speed (median and quartiles of "
    numbers += f"turns), {ratio:.2f} of its memory"
    return Verdict(
        HOLDS if holds else FAILS if fails else UNDECIDED,
        f"{stem} stem, width {one['width']:.0f}, batches of {one['batch']:.0f}, on {one['device']}",
        numbers=numbers,
        needed="" if holds or fails else f"the quartiles lie on both sides of {SPEED}: more turns",
        effects=_beside(one["value"], one["low"], one["high"], ratio),
        **_paper_of_c3(stem),
    )


def _beside(speed: float, low: float, high: float, memory: float) -> tuple[Effect, Effect]:
    return (
        Effect("speed", speed, low, high, SPEED, "of ResNet-18's"),
        Effect("memory", memory, memory, memory, MEMORY, "of ResNet-18's", below=True),
    )


def _paper_of_c3(stem: str) -> dict[str, Any]:
    """What the rule says of the paper's own numbers, in words and as numbers."""
    speed, memory = (_printed(metric, "sdnet18", "resnet18", stem) for metric in ("speed", "train_memory"))
    word = HOLDS if speed >= SPEED and memory <= MEMORY else FAILS
    text = f"{word} ({speed:.2f} of the speed, {memory:.2f} of the memory)"
    return {"paper": text, "printed": _beside(speed, speed, speed, memory)}


def _printed(metric: str, arch: str, baseline: str, stem: str) -> float:
    """A ratio of Table 1."""
    table = paper_table(1)
    name = "train_images_per_second" if metric == "speed" else metric
    chosen = select(table, dataset=STEMS[stem], metric=name).set_index("arch")["value"]
    return float(chosen[arch] / chosen[baseline])


def faster_than_scn(cells: pd.DataFrame) -> tuple[Verdict, ...]:
    """C4, on the fastest kind of device that was measured, at the largest width, in the latest run that times both."""
    printed = _printed("speed", "sdnet18", "scn", "cifar")
    not_run = Verdict(
        NOT_RUN,
        paper=f"{HOLDS if printed >= FASTER else FAILS} ({printed:.0f} times on CIFAR-10)",
        printed=(Effect("", printed, printed, printed, FASTER, "times as fast"),),
    )
    run = benchmark_of(cells, ("sdnet18", "scn"))
    if run is None:
        return (not_run,)
    train, infer = (_ratio(run, f"{mode}_images_per_second") for mode in ("train", "infer"))
    holds, fails = train["low"] >= FASTER, train["high"] < FASTER
    numbers = f"{train['value']:.1f} [{train['low']:.1f}, {train['high']:.1f}] times as fast in training (median and "
    numbers += f"quartiles of turns), {infer['value']:.1f} in inference"
    needed = "" if holds or fails else f"the quartiles lie on both sides of {FASTER:g}: more turns"
    verdict = HOLDS if holds else FAILS if fails else UNDECIDED
    found = (Effect("", train["value"], train["low"], train["high"], FASTER, "times as fast"),)
    return (replace(not_run, verdict=verdict, scale=scale_of(run), numbers=numbers, needed=needed, effects=found),)


def _ratio(run: pd.DataFrame, metric: str) -> Mapping[str, float]:
    """SDNet-18's rate over SCN's, with the quartiles of both at their farthest."""
    rates = run[run["metric"] == metric].set_index("arch")[["value", "low", "high"]].astype(float).to_dict("index")
    ours, theirs = rates["sdnet18"], rates["scn"]
    return {
        "value": ours["value"] / theirs["value"],
        "low": ours["low"] / theirs["high"],
        "high": ours["high"] / theirs["low"],
    }
