"""Question 6: what can be certified of a network and a knob by randomized smoothing (Cohen et al. 2019).

The smoothed classifier says the class that the network says most often when Gaussian noise of deviation σ is added to
the pixels. If that class has a probability above p > ½, no perturbation of an ℓ₂ norm below σ Φ⁻¹(p) changes it. The
probability is bounded from below by Clopper and Pearson's exact interval, so that each certificate is wrong with a
probability of at most α.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from scipy.stats import binomtest, norm
from torch import Tensor
from tqdm import tqdm

from sdnet.data.batches import to_pixels
from sdnet.experiments.what_is_lambda.setup import Setup, Where, set_up
from sdnet.parameters import Count, Positive, Range, check_fields
from sdnet.results.ledger import Record
from sdnet.robust.knobs import Knob
from sdnet.robust.sweep import batch_size_for
from sdnet.training.loop import precision_of
from sdnet.training.stopping import stoppable

IMAGES = {"paper": 500, "quick": 200, "smoke": 4}
"""Size of a run → number of test images."""
SAMPLES = {"paper": 10_000, "quick": 1000, "smoke": 50}
"""Size of a run → draws of the noise for a certificate, N."""
GUESS = 100
"""Draws of their own by which the class is guessed, N₀."""
ALPHA = 0.001
RADII = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
"""ℓ₂ radii, in pixels, at which certified accuracy is written down."""
ABSTAINED = -1.0
BLOCK = 10
"""Images whose certificates are kept together."""


@dataclass(frozen=True)
class Smoothing:
    """Randomized smoothing: σ of the noise in pixels, N, and the probability α of a wrong certificate."""

    sigma: Positive = 0.12
    samples: Count = SAMPLES["quick"]
    alpha: Annotated[float, Range(0, 1, above=True, below=True)] = ALPHA

    def __post_init__(self) -> None:
        check_fields(self)

    def radius(self, count: int) -> float:
        """The certified radius of a class with ``count`` votes out of N; :data:`ABSTAINED` without one."""
        sure = binomtest(count, self.samples, alternative="greater")
        low = sure.proportion_ci(confidence_level=1 - self.alpha, method="exact").low
        return float(self.sigma * norm.ppf(low)) if low > 0.5 else ABSTAINED


@torch.no_grad()
def votes(
    knob: Knob, pixels: Tensor, strengths: Tensor, sigma: float, count: int, seed: int, precision: str = "fp32"
) -> Tensor:
    """Votes for each class on one image (C, H, W) under ``count`` draws of the noise: (K, classes).

    Every strength sees the same draws. The noise is not clipped.
    """
    generator = torch.Generator(pixels.device).manual_seed(seed)
    total: Tensor | None = None
    left, most = count, batch_size_for(knob, len(strengths), pixels.device, pixels.shape[-1])
    while left:
        some = min(left, most)
        noise = torch.randn(some, *pixels.shape, generator=generator, device=pixels.device)
        with precision_of(pixels.device, precision):
            scores = knob.many_scores(pixels + sigma * noise, strengths)
        counted = torch.nn.functional.one_hot(scores.argmax(2), scores.shape[2]).sum(1)
        total, left = counted if total is None else total + counted, left - some
    assert total is not None
    return total


def certified(setup: Setup, smoothing: Smoothing, first: int) -> list[list[tuple[int, float]]]:
    """Class and certified radius of each image of a block, at every strength."""
    turned = setup.knob.ready(setup.strengths)
    vote = partial(votes, setup.knob, strengths=turned, sigma=smoothing.sigma, precision=setup.evaluation.precision)
    found = []
    for index, pixels in enumerate(to_pixels(setup.split.images[first : first + BLOCK]), start=first):
        guessed = vote(pixels, count=GUESS, seed=2 * index).argmax(1)
        counts = vote(pixels, count=smoothing.samples, seed=2 * index + 1)
        found.append(
            [
                (int(name), smoothing.radius(int(count[name])))
                for name, count in zip(guessed.tolist(), counts, strict=True)
            ]
        )
    return found


@stoppable()
def run(
    network: str | os.PathLike[str],
    knob: str | None = None,
    *,
    sigma: float = 0.12,
    samples: int | None = None,
    preset: str = "quick",
    images: int | None = None,
    strengths: tuple[float, ...] | None = None,
    **where: Unpack[Where],
) -> tuple[Record, Path]:
    """Certify a trained network at some strengths of a knob; a ledger row.

    Its cells, per strength: ``certified_top1``, the share of images whose class is right and certified at an ℓ₂
    radius ``epsilon`` of :data:`RADII`; ``mean_radius`` (0 where it is wrong); ``abstained``. Images are kept in
    blocks of ten: a run that was stopped resumes when it is called again.

    Args:
        network, knob, where: as for :func:`sdnet.experiments.what_is_lambda.setup.set_up`.
        sigma: of the noise, in pixels.
        samples: N; by default the preset's of :data:`SAMPLES`.
        preset: says also how many images there are, :data:`IMAGES`.

    Raises:
        ValueError: for anything that does not exist or is out of its range.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C.
    """
    smoothing = Smoothing(sigma, SAMPLES.get(preset, 1) if samples is None else samples)
    count = IMAGES.get(preset) if images is None else images  # ask refuses a preset that does not exist
    setup = set_up(network, knob, preset=preset, images=count, strengths=strengths, few=True, **where)
    labels = setup.split.labels.tolist()
    measurement = setup.evaluation.measurement(
        "certify",
        knob=setup.knob.name,
        images=len(labels),
        strengths=list(setup.strengths),
        sigma=sigma,
        samples=smoothing.samples,
        alpha=smoothing.alpha,
        guess=GUESS,
    )
    found: list[list[tuple[int, float]]] = []
    with measurement.keep as keep:
        for first in tqdm(range(0, len(labels), BLOCK), unit=f"{BLOCK} images", disable=None):
            found += keep(f"images from {first}", partial(certified, setup, smoothing, first))
        cells: list[dict[str, Any]] = []
        for index, strength in enumerate(setup.strengths):
            radii = [
                one[index][1] if one[index][0] == label else ABSTAINED for one, label in zip(found, labels, strict=True)
            ]
            about = {"strength": strength, "sigma": sigma, "norm": "l2", "n": len(labels)}
            for radius in RADII:
                share = sum(one >= radius for one in radii) / len(radii)
                cells.append({"metric": "certified_top1", **about, "epsilon": radius, "value": share})
            mean = sum(max(one, 0.0) for one in radii) / len(radii)
            abstained = sum(one[index][1] == ABSTAINED for one in found) / len(found)
            cells.append({"metric": "mean_radius", **about, "value": mean})
            cells.append({"metric": "abstained", **about, "value": abstained})
        return measurement.finish(cells)
