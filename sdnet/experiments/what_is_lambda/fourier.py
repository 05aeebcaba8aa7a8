"""Question 1: which frequencies disturb a network, and which of them λ shields it from.

Yin et al. (2019), "A Fourier perspective on model robustness in computer vision": accuracy on images to which one
wave of one frequency is added, with a fixed ℓ₂ norm and a random sign for every image and channel.
"""

import math
import os
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sdnet.data.batches import evaluation_batches
from sdnet.experiments.what_is_lambda.setup import Setup, Where, set_up
from sdnet.results.ledger import Record
from sdnet.robust.sweep import batch_size_for
from sdnet.training.loop import precision_of
from sdnet.training.stopping import stoppable

IMAGES = {"paper": 1000, "quick": 200, "smoke": 10}
"""Size of a run → number of test images."""
SPACING = {"paper": 1, "quick": 2, "smoke": 8}
"""Size of a run → every how many frequencies one is measured, in both directions."""
NORM = 4.0
"""ℓ₂ norm of the wave in each channel, in pixels, for images of 32 × 32; Yin et al. take 4 for CIFAR-10."""


def frequencies(side: int, spacing: int = 1) -> list[tuple[int, int]]:
    """Frequencies (down, across) of real waves on side × side pixels, in cycles per image, no two of them alike.

    A wave and the one of the opposite frequency span the same; of each pair the first in order is named.
    """
    half = side // 2
    found: dict[frozenset[tuple[int, int]], tuple[int, int]] = {}
    for down in range(0, half + 1, spacing):
        for across in range(-(half - half % spacing), half + 1, spacing):
            alike = frozenset({(down % side, across % side), (-down % side, -across % side)})
            found.setdefault(alike, (down, across))
    return list(found.values())


def wave(down: int, across: int, side: int) -> Tensor:
    """A real wave of that frequency and of ℓ₂ norm 1, (side, side): (cos θ + sin θ) / side."""
    position = torch.arange(side, dtype=torch.float64)
    angle = 2 * math.pi * (down * position[:, None] + across * position[None, :]) / side
    return ((angle.cos() + angle.sin()) / side).float()


def disturbed(pixels: Tensor, down: int, across: int, first: int = 0) -> Tensor:
    """Pixels (N, C, H, H) in [0, 1] with the wave added, clipped to [0, 1].

    Args:
        first: number of the first image among those of the run: each has signs of its own, whatever its batch.
    """
    side, channels = pixels.shape[-1], pixels.shape[1]
    norm = NORM * side / 32
    rng = np.random.default_rng((1, down, across + side))
    signs = 2 * rng.integers(0, 2, (first + len(pixels), channels))[first:] - 1
    added = torch.from_numpy(signs).to(pixels)[..., None, None] * norm * wave(down, across, side).to(pixels)
    return (pixels + added).clamp(0, 1)


@torch.no_grad()
def right_at(setup: Setup, frequency: tuple[int, int] | None) -> Tensor:
    """Which images are classified correctly at which strength, with a wave added or without: bool, (K, N)."""
    device, side = setup.split.images.device, setup.split.images.shape[2]
    turned = setup.knob.ready(setup.strengths)
    rows, first = [], 0
    for pixels, labels in evaluation_batches(setup.split, batch_size_for(setup.knob, len(turned), device, side)):
        shown = pixels if frequency is None else disturbed(pixels, *frequency, first=first)
        with precision_of(device, setup.evaluation.precision):
            rows.append(setup.knob.many_scores(shown, turned).argmax(2) == labels)
        first += len(pixels)
    return torch.cat(rows, 1).cpu()


@stoppable()
def run(
    network: str | os.PathLike[str],
    knob: str | None = None,
    *,
    preset: str = "quick",
    images: int | None = None,
    strengths: tuple[float, ...] | None = None,
    **where: Unpack[Where],
) -> tuple[Record, Path]:
    """Accuracy of a trained network under waves of single frequencies, at some strengths of a knob; a ledger row.

    Its cells: ``top1`` on the images as they are; ``fourier_top1`` per frequency (``down``, ``across``: cycles per
    image) and strength. Every frequency is kept when it is done: a run that was stopped resumes when it is called
    again.

    Args:
        network, knob, where: as for :func:`sdnet.experiments.what_is_lambda.setup.set_up`.
        preset: says how many images there are (:data:`IMAGES`) and how many frequencies (:data:`SPACING`).

    Raises:
        ValueError: for anything that does not exist.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C.
    """
    count = IMAGES.get(preset) if images is None else images  # ask refuses a preset that does not exist
    setup = set_up(network, knob, preset=preset, images=count, strengths=strengths, few=True, **where)
    side = setup.split.images.shape[2]
    measurement = setup.evaluation.measurement(
        "fourier",
        knob=setup.knob.name,
        images=len(setup.split),
        strengths=list(setup.strengths),
        size=preset,
        spacing=SPACING[preset],
    )
    cells: list[dict[str, Any]] = []
    with measurement.keep as keep:
        for frequency in tqdm([None, *frequencies(side, SPACING[preset])], unit="frequency", disable=None):
            right = keep(str(frequency), partial(right_at, setup, frequency))
            about: dict[str, Any] = {"metric": "top1"}
            if frequency is not None:
                down, across = frequency
                about = {
                    "metric": "fourier_top1",
                    "down": down,
                    "across": across,
                    "norm": "l2",
                    "epsilon": NORM * side / 32,
                }
            for strength, value in zip(setup.strengths, right.double().mean(1).tolist(), strict=True):
                cells.append({**about, "strength": strength, "value": value, "n": right.shape[1]})
        return measurement.finish(cells)
