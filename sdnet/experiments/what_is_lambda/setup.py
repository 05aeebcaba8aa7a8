"""What the measurements of this page have in common: a network, a knob, its strengths, and test images."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
from torch import nn

from sdnet.data.datasets import Split
from sdnet.experiments.corruptions.sweep import KNOBS, LAMS, check_requested, default_knob, images_of, knob_of, subset
from sdnet.names import unknown_name
from sdnet.results.evaluation import Evaluation, prepare
from sdnet.robust.knobs import Knob
from sdnet.robust.thresholds import LamWithBatchStatistics, NormThreshold

NEIGHBOURS: dict[str, tuple[Callable[[nn.Module], Knob], tuple[float, ...]]] = {
    NormThreshold.name: (NormThreshold, (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)),
    LamWithBatchStatistics.name: (LamWithBatchStatistics, LAMS),
}
"""Knobs that only this page turns → what makes them of a network, and their strengths."""
STRENGTHS: dict[str, tuple[float, ...]] = {**KNOBS, **{name: strengths for name, (_, strengths) in NEIGHBOURS.items()}}
"""Knob → its strengths."""
FEW = {"lam": (0.1, 0.2, 0.4, 0.8), "gaussian_filter": (0.0, 0.4, 0.6, 1.0), "stem_threshold": (0.0, 0.04, 0.1, 0.2)}
"""Where one strength costs as much as a sweep: that of training, that of the rules, and two more."""


class Where(TypedDict, total=False):
    """Where the data lie and where a network runs, as for :func:`sdnet.results.evaluation.prepare`."""

    data_root: str | os.PathLike[str] | None
    device: str | torch.device | None
    precision: str | None


@dataclass(frozen=True, eq=False)
class Setup:
    """A network on its device with what is turned, at which strengths, and the test images."""

    evaluation: Evaluation
    knob: Knob
    strengths: tuple[float, ...]
    split: Split


def strengths_of(knob: str, strengths: tuple[float, ...] | None, few: bool) -> tuple[float, ...]:
    """The strengths that are measured: those given, else all of a knob, or a ``few``.

    Raises:
        ValueError: for a knob that does not exist.
    """
    if knob not in STRENGTHS:
        raise ValueError(unknown_name("knob", knob, STRENGTHS))
    if strengths:
        return strengths
    return FEW.get(knob, STRENGTHS[knob]) if few else STRENGTHS[knob]


def set_up(
    network: str | os.PathLike[str],
    knob: str | None,
    *,
    preset: str,
    images: int | None,
    strengths: tuple[float, ...] | None,
    few: bool = False,
    **where: Unpack[Where],
) -> Setup:
    """Load a network, make its knob, and choose the images, at random and the same for every network.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        knob: a name of :data:`STRENGTHS`; None for the network's usual one.
        preset: ``"paper"``, ``"quick"`` or ``"smoke"``: 10,000, 1,000 or 40 test images.
        images: another number of test images.
        strengths: others than the knob's own.
        few: whether those are :data:`FEW`.

    Raises:
        ValueError: for anything that does not exist.
    """
    count = images_of(preset, images)
    check_requested((), strengths, None)
    evaluation = prepare(network, **where)
    name = knob or default_knob(evaluation.model)
    chosen = tuple(sorted(set(strengths_of(name, strengths, few))))
    turned = NEIGHBOURS[name][0](evaluation.model) if name in NEIGHBOURS else knob_of(evaluation.model, name)
    return Setup(evaluation, turned, chosen, subset(evaluation.data.test, count).to(evaluation.device))
