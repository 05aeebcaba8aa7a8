"""Everything that page 13 measures of its own about some networks, at one size."""

import os
from collections.abc import Sequence
from typing import Any

import torch

from sdnet.experiments.corruptions.sweep import default_knob, images_of
from sdnet.experiments.what_is_lambda import certify, confidence, fourier
from sdnet.experiments.what_is_lambda.setup import FEW
from sdnet.names import printed
from sdnet.results import networks
from sdnet.results.ledger import Record

SMALLEST = ("gaussian_noise",)
"""Noises at the size ``smoke``, which takes few strengths, too."""


def run(
    names: Sequence[str | os.PathLike[str]],
    *,
    preset: str = "quick",
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Record]:
    """Fourier sensitivity, confidence and certificates, for λ or, without one, for a filter in front; ledger rows.

    Args:
        names: of :func:`sdnet.results.networks.names`, or paths.
        preset: ``"paper"``, ``"quick"`` or ``"smoke"``.

    Raises:
        ValueError: for a network or preset that does not exist, before any is run.
    """
    images_of(preset, None)
    plan = [(name, _knob(name)) for name in names]
    records = []
    for name, knob in plan:
        print(f"{networks.label(name)}: {printed(knob)}", flush=True)
        records.append(fourier.run(name, knob, preset=preset, data_root=data_root, device=device)[0])
        few: dict[str, Any] = {"corruptions": SMALLEST, "strengths": FEW[knob]} if preset == "smoke" else {}
        records.append(confidence.run(name, knob, preset=preset, data_root=data_root, device=device, **few)[0])
        records.append(certify.run(name, knob, preset=preset, data_root=data_root, device=device)[0])
    return records


def _knob(name: str | os.PathLike[str]) -> str:
    return "lam" if default_knob(networks.load(name).model) == "lam" else "gaussian_filter"
