"""The playground's adversaries: stored perturbations of its pictures, and what the ledger says of many test images."""

import base64
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sdnet.data.batches import to_pixels
from sdnet.data.datasets import Split
from sdnet.experiments.attacks.adversarial import RESNET, SDNET, at_start, clean, one_scale, robust
from sdnet.experiments.attacks.protocols import at, correct_at, craft
from sdnet.experiments.attacks.settings import GRIDS
from sdnet.experiments.corruptions.sweep import default_knob, knob_of
from sdnet.experiments.playground.drawings import pictures
from sdnet.results import ledger, networks
from sdnet.results.cells import to_frame
from sdnet.results.select import select
from sdnet.robust.attacks import EPSILONS, Attack
from sdnet.robust.knobs import Knob

NORM = "linf"
ATTACK = Attack("pgd", NORM, EPSILONS[NORM], steps=20)
"""PGD with 20 steps and a random start, as behind the book's Table 4."""
CRAFTED = GRIDS["lam"]
"""λ of SDNet for each of which there is a perturbation; the first is that of training."""
ADVERSARIES = {
    "none": "no adversary",
    "oblivious": "knows the network, but not λ",
    "adaptive": "knows λ too",
}
"""Who perturbs, in the words of the page: nobody, or the protocol of the ledger."""
CALLED = {"cifar10": "CIFAR-10", "cifar10-jpeg": "JPEG copies of CIFAR-10"}
"""Data set of the ledger → what a reader knows it as."""


def strengths(knob: Knob) -> tuple[float, ...]:
    """At what a network is attacked: SDNet at every λ of :data:`CRAFTED`, another network as it was trained."""
    return CRAFTED if knob.name == "lam" else (knob.start,)


@cache
def perturbations(network: str) -> Tensor:
    """What PGD with seed 0 adds to the pictures, rounded to whole steps of 1/255: int8 (K, N, 32, 32, 3).

    Each lies within ±8, and the perturbed pictures within 0 and 255. K counts :func:`strengths`, N the pictures. One
    machine makes the same again; other convolution kernels round otherwise, and some of a hundred values differ.
    """
    knob, split = _knob(network), _split(network)
    found = [craft(at(knob, strength), split, ATTACK, seed=0) for strength in strengths(knob)]
    return (255 * torch.stack(found).permute(0, 1, 3, 4, 2) - split.images).round().to(torch.int8)


def still_right(network: str) -> dict[str, Tensor]:
    """Adversary of :data:`ADVERSARIES` → which pictures are right at which strength: bool, (K, N).

    As in the ledger, a picture is still right if it is right as it is and perturbed. The adversary who does not know λ
    perturbs for the λ of training, the other one for the λ at which the picture is classified.
    """
    knob, split = _knob(network), _split(network)
    levels, shifts = strengths(knob), perturbations(network)
    trained = levels.index(knob.start)

    def right(shift: Tensor, some: Sequence[float]) -> Tensor:
        return correct_at(knob, to_pixels((split.images + shift).byte()), split.labels, some)

    clean = right(torch.zeros_like(shifts[0]), levels)
    known = torch.cat([right(shift, [level]) for shift, level in zip(shifts, levels, strict=True)])
    return {"none": clean, "oblivious": clean & right(shifts[trained], levels), "adaptive": clean & known}


def aggregate(cells: pd.DataFrame) -> dict[str, Any]:
    """The same attack on test images, from cells of the ledger: those of its largest attacked SDNet-18, and ResNet-18.

    Returns:
        ``about``: data set, its name for readers, width and epochs; None if nothing was run. ``rows``: adversary → for
        ResNet-18 and then for each λ of :data:`CRAFTED` the mean over seeds of the percentage still right, with one
        digit, ``n`` (test images, the fewest of all seeds) and ``seeds``; None where it was not run.
    """
    scale = one_scale(cells)
    ours = select(scale, arch=SDNET.arch, variant=SDNET.variant)
    about = None
    if not ours.empty:
        about = ours[["dataset", "width", "epochs"]].iloc[0].to_dict()
        about["called"] = CALLED.get(about["dataset"], about["dataset"])
    rows = {}
    for who in ADVERSARIES:
        found = clean(scale, SDNET) if who == "none" else robust(scale, SDNET, NORM, who)
        # A network without a λ leaves the adversary nothing to find out.
        plain = clean(scale, RESNET) if who == "none" else robust(scale, RESNET, NORM, "oblivious")
        by_lam = [found[np.isclose(found["strength"].astype(float), lam)] for lam in CRAFTED]
        rows[who] = [_summary(part) for part in (at_start(plain, RESNET), *by_lam)]
    return {"about": about, "rows": rows}


def data(sdnet: str, resnet: str) -> dict[str, Any]:
    """All that the page needs of the adversaries of both networks, as JSON; perturbations are int8 in base64."""
    return {
        "lams": CRAFTED,
        "adversaries": ADVERSARIES,
        "sdnet": _text(perturbations(sdnet)),
        "resnet": _text(perturbations(resnet)),
        "ledger": aggregate(to_frame(ledger.read())),
    }


def _knob(network: str) -> Knob:
    model = networks.load(network).model
    return knob_of(model, default_knob(model))


def _split(network: str) -> Split:
    """The pictures as images of a data set, with the network's numbers for their classes."""
    shown, classes = pictures(), networks.load(network).classes
    labels = torch.tensor([classes.index(picture.label) for picture in shown])
    return Split(torch.stack([picture.pixels for picture in shown]), labels)


def _summary(found: pd.DataFrame) -> dict[str, float] | None:
    if found.empty:
        return None
    return {
        "value": round(100 * found["value"].mean(), 1),
        "n": int(found["n"].min()),
        "seeds": found["seed"].nunique(),
    }


def _text(shifts: Tensor) -> list[list[str]]:
    return [[base64.b64encode(one.contiguous().numpy().tobytes()).decode() for one in level] for level in shifts]
