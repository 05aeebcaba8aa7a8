"""Sweeps over a knob: every strength (Figure 2 of the paper needs them all), or the best one by successive halving.

Both work on the same images at every strength, so that differences between strengths are not differences
between images.
"""

import torch
from torch import Tensor

from sdnet.data.batches import evaluation_batches
from sdnet.data.datasets import Split
from sdnet.robust.knobs import MOST, Knob
from sdnet.training.loop import precision_of

AT_ONCE = {"cpu": 256}
"""Images times strengths that are in flight at a time; on an accelerator 8192 of 32 × 32 pixels."""
ROUNDS = ((8, 2), (4, 1), (1, 0))
"""Of successive halving: which part of all images a round runs on (an eighth, ...), and how many steps to either side
of its best strength go on to the next."""


def batch_size_for(knob: Knob, strengths: int, device: torch.device, side: int = 32) -> int:
    """How many images of that side to classify at a time at so many strengths (:meth:`Knob.many_scores`)."""
    return knob.batch or max(1, AT_ONCE.get(device.type, fitting(8192, side)) // min(strengths, MOST))


def fitting(count: int, side: int) -> int:
    """How many images of ``side`` × ``side`` pixels take the memory of ``count`` images of 32 × 32; at least 1."""
    return max(1, count * 32**2 // side**2)


@torch.no_grad()
def sweep(knob: Knob, split: Split, strengths: Tensor, precision: str = "fp32") -> Tensor:
    """Which images of the split are classified correctly at which strength: bool, (K, N).

    Args:
        strengths: (K,), in any order.
        precision: ``"fp32"`` or ``"bf16"``.

    Raises:
        ValueError: for a split or strengths without entries.
    """
    if len(split) == 0 or strengths.numel() == 0:
        raise ValueError(f"a sweep needs images and strengths; got {len(split)} images, {strengths.numel()} strengths.")
    device, turned = split.images.device, knob.ready(strengths)
    correct = []
    for images, labels in evaluation_batches(
        split, batch_size_for(knob, len(strengths), device, split.images.shape[2])
    ):
        with precision_of(device, precision):
            correct.append(knob.many_scores(images, turned).argmax(2) == labels)
    return torch.cat(correct, 1)


def successive_halving(knob: Knob, split: Split, strengths: Tensor, precision: str = "fp32") -> int:
    """The index of the strength of highest accuracy, for a third of an exhaustive sweep's cost or less.

    Accuracy has one maximum in the strength, so neighbours of a good one are worth looking at and others are not. A
    first round runs every second strength on an eighth of the images, a second round the best one's surroundings on a
    quarter, the last one the best and both neighbours on all. No image is classified twice at one strength.

    Args:
        split: images in random order: the first rounds use its first part.
        strengths: (K,), ascending, evenly spaced.
    """
    if not bool((strengths.diff() > 0).all()):
        raise ValueError(f"strengths must be ascending; got {strengths.tolist()}.")
    counts: dict[int, tuple[int, int]] = {}
    candidates = list(range(0, len(strengths), 2))
    for part, reach in ROUNDS:
        seen = max(1, len(split) // part)
        _run(knob, split, strengths, precision, candidates, seen, counts)
        best = max(candidates, key=lambda index: (counts[index][0] / counts[index][1], -index))
        candidates = [index for index in range(best - reach, best + reach + 1) if 0 <= index < len(strengths)]
    return best


def _run(
    knob: Knob,
    split: Split,
    strengths: Tensor,
    precision: str,
    candidates: list[int],
    seen: int,
    counts: dict[int, tuple[int, int]],
) -> None:
    """Bring every candidate's count of correct images up to the first ``seen`` images."""
    for start in {counts.get(index, (0, 0))[1] for index in candidates}:
        group = [index for index in candidates if counts.get(index, (0, 0))[1] == start]
        if start < seen:
            part = Split(split.images[start:seen], split.labels[start:seen])
            gained = sweep(knob, part, strengths[group], precision).sum(1).tolist()
            for index, correct in zip(group, gained, strict=True):
                counts[index] = (counts.get(index, (0, 0))[0] + correct, seen)
