"""The runs behind page 13, on networks of CIFAR-10 with three seeds: what is cheap and decides most comes first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict, Unpack

from sdnet.data.corruptions import NOISES
from sdnet.experiments.ablations import grid
from sdnet.experiments.campaign.runs import AttackOptions, Run, Scale, attacked, swept, trained, training_of
from sdnet.experiments.claims.knob import ALPHA
from sdnet.experiments.corruptions.sweep import SEVERITIES
from sdnet.experiments.what_is_lambda import certify, fourier, solvers
from sdnet.experiments.what_is_lambda.setup import strengths_of
from sdnet.training.declaration import Training

SEEDS = range(3)
FEW = 1000
"""Test images on which confidence is measured."""
CHECKED = 200
"""Test images on which the reviewer's page checks attacks."""
RADII = {"linf": (4 / 255, 16 / 255), "l2": (0.25, 1.0)}
"""Norm → radii beside Table 4's, half of it and twice."""
MINIMISER: dict[str, Any] = {"iterations": 64, "gradient": "implicit"}
LAMS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2)
"""Of the minimiser: seven, as C10 has them."""
FILTERS = ("gaussian_filter", "median", "total_variation", "batch_statistics")


def questions(size: Scale) -> Iterator[Run]:
    """Step 9: every question of page 13, all seeds of a network before the next."""
    sdnets, resnets = (
        [training_of(run) for run in trained(size, arch, SEEDS, "13")] for arch in ("sdnet18", "resnet18")
    )
    one_step = [training_of(run) for run in trained(size, "sdnet18", SEEDS, "13", iterations=1)]
    yield from trained(size, "sdnet18", SEEDS, "13")
    yield from trained(size, "resnet18", SEEDS, "13")
    yield from trained(size, "sdnet18", SEEDS, "13", iterations=1)
    yield from _equal_cost(size.noisy, sdnets, resnets, one_step)
    yield from (waves(of, "L1b", knob) for of in sdnets for knob in ("lam", "gaussian_filter"))
    yield from (confident(of, FEW, "L7 L4a", "lam") for of in sdnets)
    yield from (confident(of, FEW, "L4a L4b", "lam_with_batch_statistics") for of in sdnets)
    yield from (confident(of, FEW, "L7", "gaussian_filter") for of in resnets)
    knobs = ("lam", "norm_threshold", "lam_with_batch_statistics")
    yield from (confident(of, FEW, "L2", knob) for of in one_step for knob in knobs)
    for of, crafted in ((sdnets, (0.1, 0.5)), (resnets, (0.0, 0.1))):
        yield from (smoothed(one, size.attacked, crafted) for one in of)
    for one in resnets:
        yield attacked(one, size.attacked, "L5a L5b 13", crafted=(0.0, ALPHA), knob="mean_sparse")
        yield smoothed(one, size.attacked, (0.0, ALPHA), knob="mean_sparse")
    yield from (run for of, resnet in zip(sdnets, resnets, strict=True) for run in demanded(of, resnet))
    yield from (certificates(of, "L6", "lam") for of in sdnets)
    yield from (certificates(of, "L6", "gaussian_filter") for of in resnets)
    yield _solvers()
    for run in trained(size, "sdnet18", SEEDS, "L3 13", **MINIMISER):
        yield run
        yield alike(training_of(run), size.noisy, "L3", "lam", LAMS, grid.NOISES)
    for learn_lam in ("layer", "channel"):
        for run in trained(size, "sdnet18", SEEDS, "L4c 13", learn_lam=learn_lam):
            yield run
            yield alike(training_of(run), size.noisy, "L4c", "lam_shift", (0.0,))


def _solvers() -> Run:
    """The gaps that solvers leave on the atoms of the repository's networks."""
    cells = {"metric": ("relative_gap",), "seed": tuple(range(len(solvers.NETWORKS))), "strength": solvers.LAMS}
    cells |= {"method": tuple(solvers.SOLVERS), "iteration": solvers.ITERATIONS}
    return Run("bench solvers", None, {}, cells, solvers.PIECES, {"what": "solvers"}, _serving("L9"))


def _equal_cost(
    images: int, sdnets: Sequence[Training], resnets: Sequence[Training], one_step: Sequence[Training]
) -> Iterator[Run]:
    for of in sdnets:
        yield from (alike(of, images, "L1a", knob) for knob in ("lam", *FILTERS))
    yield from (alike(of, images, "L1a", "lam") for of in one_step)
    yield from (alike(of, images, "L1a", knob) for of in resnets for knob in ("stem_threshold", "gaussian_filter"))


def alike(
    of: Training, images: int, claim: str, knob: str, strengths: Sequence[float] = (), noises: Sequence[str] = ()
) -> Run:
    """A sweep about exactly so many images: what is compared must be about the same."""
    run = swept(of, images, f"{claim} 13", knob, strengths, noises)
    return replace(run, settings={**run.settings, "images": images})


class Size(TypedDict, total=False):
    """What a run that turns a knob may be told: its preset, another number of images, other strengths."""

    preset: str | None
    images: int | None
    strengths: Sequence[float] | None


def waves(of: Training, claim: str, knob: str, **size: Unpack[Size]) -> Run:
    """Fourier sensitivity at a few strengths of a knob."""
    options, settings, cells, images = _turned(of, knob, fourier.IMAGES, size)
    cells = {"metric": ("fourier_top1",), **cells}
    return Run("fourier", of, options, cells, images, {**settings, "size": options["preset"]}, _serving(claim))


def certificates(
    of: Training, claim: str, knob: str, *, sigma: float = 0.12, samples: int | None = None, **size: Unpack[Size]
) -> Run:
    """Randomized smoothing at a few strengths of a knob."""
    options, settings, cells, images = _turned(of, knob, certify.IMAGES, size)
    drawn = samples or certify.SAMPLES[options["preset"]]
    cells = {"metric": ("certified_top1",), "sigma": (sigma,), "epsilon": certify.RADII, **cells}
    options |= {"sigma": sigma, "samples": drawn}
    return Run("certify", of, options, cells, images, {**settings, "samples": drawn}, _serving(claim))


def confident(
    of: Training,
    images: int,
    claim: str,
    knob: str,
    *,
    corruptions: Sequence[str] = (),
    preset: str | None = None,
    strengths: Sequence[float] | None = None,
) -> Run:
    """Accuracy, calibration and likelihood at every strength of a knob, about exactly so many images."""
    size: Size = {"preset": preset, "images": images, "strengths": strengths}
    options, settings, cells, _ = _turned(of, knob, {}, size, few=False)
    noises = tuple(corruptions or NOISES)
    options |= {"corruption": noises} if corruptions else {}
    cells = {
        "metric": ("top1", "calibration_error", "information"),
        "corruption": noises,
        "severity": SEVERITIES,
        **cells,
    }
    return Run("confidence", of, options, cells, images, {**settings, "images": images}, _serving(claim))


def _turned(
    of: Training, knob: str, default_images: dict[str, int], size: Size, few: bool = True
) -> tuple[dict[str, Any], dict[str, Any], dict[str, tuple[Any, ...]], int]:
    """Options, settings, cells and images of what turns a knob."""
    preset, strengths = size.get("preset") or of.preset.removesuffix("_imagenet"), tuple(size.get("strengths") or ())
    options: dict[str, Any] = {"preset": preset, "knob": knob}
    images = size.get("images") or default_images[preset]
    options |= {"images": images} if size.get("images") else {}
    options |= {"strength": strengths} if strengths else {}
    return options, {"knob": knob}, {"strength": strengths_of(knob, strengths, few)}, images


def smoothed(of: Training, images: int, crafted: tuple[float, ...], **options: Unpack[AttackOptions]) -> Run:
    """PGD through smoothed thresholds, crafted at the strengths that are deployed."""
    return attacked(of, images, "L5a L5b 13", attack="pgd_smoothed", crafted=crafted, **options)


def demanded(of: Training, resnet: Training) -> Iterator[Run]:
    """What the reviewer's page asks of a network beside Table 4's attacks: checks, effort, radii, a black box."""
    check = partial(attacked, of, CHECKED, "13", crafted=(0.1, 0.5))
    yield check(attack="fgsm", sanity=True)
    yield check(steps=20, restarts=1)
    yield check(steps=100, restarts=5)
    for norm, radii in RADII.items():
        yield from (check(norms=(norm,), epsilon=radius) for radius in radii)
    yield attacked(of, CHECKED, "13", ("transfer",), source=resnet)


def _serving(claims: str) -> frozenset[str]:
    return frozenset((*claims.split(), "13"))
