"""Questions 4 and 7: what a knob does to a network's confidence, and what its predictions say without labels."""

import os
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from sdnet.data.batches import evaluation_batches
from sdnet.data.corruptions import NOISES
from sdnet.data.datasets import Split
from sdnet.experiments.corruptions.sweep import SEVERITIES, check_requested, conditions, noise_config
from sdnet.experiments.what_is_lambda.setup import Setup, Where, set_up
from sdnet.results.ledger import Record
from sdnet.robust.sweep import batch_size_for
from sdnet.training.loop import precision_of
from sdnet.training.stopping import stoppable

BINS = 15
"""Of confidence, equally wide, as Guo et al. (2017) have them."""
METRICS = ("top1", "calibration_error", "nll", "entropy", "information")


def confidence(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, expected calibration error (ℓ₁, :data:`BINS` bins) and negative log-likelihood in nats, of means.

    And without labels, in nats: ``entropy``, the mean over images of that of the prediction, and ``information``, the
    entropy of the mean prediction less that: 0 for a network that answers the same to everything.

    Args:
        scores: (N, classes), before the softmax.
        labels: (N,).

    Raises:
        ValueError: if torchmetrics is missing, with the command that installs it.
    """
    try:
        from torchmetrics.functional.classification import multiclass_calibration_error
    except ImportError as error:
        raise ValueError("calibration needs torchmetrics; get it with: pip install 'sdnet[calibration]'.") from error
    probabilities = scores.softmax(1)
    calibration_error = multiclass_calibration_error(probabilities, labels, scores.shape[1], n_bins=BINS, norm="l1")
    entropy = torch.special.entr(probabilities).sum(1).mean()
    return {
        "top1": (scores.argmax(1) == labels).double().mean().item(),
        "calibration_error": calibration_error.item(),
        "nll": cross_entropy(scores, labels).item(),
        "entropy": entropy.item(),
        "information": (torch.special.entr(probabilities.mean(0)).sum() - entropy).item(),
    }


@torch.no_grad()
def at_every_strength(setup: Setup, split: Split) -> list[dict[str, float]]:
    """:func:`confidence` on some images at every strength."""
    device, side = split.images.device, split.images.shape[2]
    turned = setup.knob.ready(setup.strengths)
    rows = []
    for pixels, _ in evaluation_batches(split, batch_size_for(setup.knob, len(turned), device, side)):
        with precision_of(device, setup.evaluation.precision):
            rows.append(setup.knob.many_scores(pixels, turned).float())
    return [confidence(scores, split.labels) for scores in torch.cat(rows, 1)]


@stoppable()
def run(
    network: str | os.PathLike[str],
    knob: str | None = None,
    *,
    preset: str = "quick",
    images: int | None = None,
    corruptions: tuple[str, ...] = tuple(NOISES),
    strengths: tuple[float, ...] | None = None,
    **where: Unpack[Where],
) -> tuple[Record, Path]:
    """Everything in :data:`METRICS` per corruption, severity and strength of a knob; a ledger row.

    Every condition is kept when it is done: a run that was stopped resumes when it is called again.

    Args:
        network, knob, preset, images, where: as for :func:`sdnet.experiments.what_is_lambda.setup.set_up`.
        corruptions: names of :data:`sdnet.data.corruptions.NOISES`.
        strengths: others than all of the knob's.

    Raises:
        ValueError: for anything that does not exist, or if torchmetrics is missing.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C.
    """
    check_requested(corruptions, strengths, None, known=tuple(NOISES))
    confidence(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))  # what is missing is said before anything is done
    setup = set_up(network, knob, preset=preset, images=images, strengths=strengths, **where)
    measurement = setup.evaluation.measurement(
        "confidence",
        knob=setup.knob.name,
        images=len(setup.split),
        strengths=list(setup.strengths),
        **noise_config(corruptions, None),
    )
    cells: list[dict[str, Any]] = []
    with measurement.keep as keep:
        total = 1 + len(corruptions) * len(SEVERITIES)
        for one in tqdm(conditions(setup.split, corruptions), total=total, unit="condition", disable=None):
            found = keep(one.name, partial(_found, setup, one))
            about = {"corruption": one.corruption, "severity": one.severity, "n": len(setup.split)}
            for strength, values in zip(setup.strengths, found, strict=True):
                cells += [{"metric": name, **about, "strength": strength, "value": values[name]} for name in METRICS]
        return measurement.finish(cells)


def _found(setup: Setup, condition: Any) -> list[dict[str, float]]:
    return at_every_strength(setup, condition.split)
