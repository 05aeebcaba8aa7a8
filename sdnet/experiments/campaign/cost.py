"""What a run costs on this device: core-seconds of similar rows of the ledger, in proportion to the work."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import torch

from sdnet import models
from sdnet.experiments.attacks.settings import GRIDS
from sdnet.experiments.attacks.settings import IMAGES as ATTACKED
from sdnet.experiments.campaign.runs import Run
from sdnet.experiments.corruptions.calibration import CALIBRATION
from sdnet.experiments.corruptions.policies import POLICIES
from sdnet.experiments.corruptions.sweep import LAMS, SEVERITIES
from sdnet.experiments.visualisation.reconstruction import STEPS
from sdnet.experiments.what_is_lambda.certify import GUESS
from sdnet.experiments.what_is_lambda.fourier import SPACING, frequencies
from sdnet.results.cells import identity
from sdnet.results.ledger import Record, describe_device
from sdnet.robust.attacks import PGD
from sdnet.training.progress import duration

IMAGES = {"digits": (1437, 32), "tiny-imagenet-64": (100_000, 64), "tiny-imagenet-32": (100_000, 32)}
"""Data set → training images and their side, where they are not :data:`DEFAULT`."""
DEFAULT = (50_000, 32)
"""As both CIFARs have them, and their copies."""
TEST = 10_000
"""Test images of both CIFARs."""
ON_GRID = {"adaptive", "worst_case"}
SCORED = 15
"""Strengths at which what was crafted is scored, each a forward pass; of PGD a step is three."""

NOTHING = "nothing similar was measured on this device"


@dataclass(frozen=True)
class Estimate:
    """Core-seconds, None where nothing similar was measured on this device; and from how many rows, of what."""

    seconds: float | None
    basis: str

    def __str__(self) -> str:
        return "unknown" if self.seconds is None else duration(self.seconds)


def total(estimates: Iterable[Estimate]) -> str:
    """A sum in words; ``+ 2 ?`` says of how many nothing is known."""
    parts = list(estimates)
    unknown = sum(one.seconds is None for one in parts)
    if parts and unknown == len(parts):
        return "unknown"
    return duration(sum(one.seconds or 0 for one in parts)) + (f" + {unknown} ?" if unknown else "")


@dataclass(frozen=True, eq=False)
class Sample:
    """What one run did and how long it took; of a run yet to come ``seconds`` is 0.

    ``settings`` are the configuration's, or a run's; ``values`` (column → distinct values of its cells).
    """

    experiment: str
    config: dict[str, Any]
    values: dict[str, set[Any]]
    images: int
    seconds: float = 0

    @cached_property
    def network(self) -> tuple[Any, ...]:
        """Architecture, variant, width, data set, as far as there is a network."""
        arch, dataset, _, _, width, _, variant = identity(self.config)
        return arch, variant, width, dataset

    @property
    def work(self) -> float:
        """In units that only have to be the same for all runs of an experiment."""
        if self.experiment not in WORK:
            return 1.0
        side = IMAGES.get(self.config["dataset"], DEFAULT)[1]
        # ImageNet's stem leaves a quarter of each side to the blocks.
        side //= 4 if self.config.get("network", {}).get("stem") == "imagenet" else 1
        return WORK[self.experiment](self) * side**2 * _convolutions(self.config)


class Costs:
    """Estimates from the rows of a ledger that were measured on one device.

    Args:
        rows: of the ledger.
        device: where the runs would be.
    """

    def __init__(self, rows: Iterable[Record], device: torch.device) -> None:
        here = describe_device(device)
        same = [row for row in rows if (row.device.get("type"), row.device.get("name")) == (here["type"], here["name"])]
        self.samples = [_sample_of_row(row) for row in same]
        self.speeds = _speeds(same)

    def of(self, run: Run, left: float = 1.0) -> Estimate:
        """What a run costs, or the fraction of it that is ``left``.

        By the most similar rows there are: of the same network; on other data; of a variant; of another width, by what
        a benchmark says of the two; of another network; with another knob or attack. Before the first row of an
        experiment by rows of one that works alike (:data:`ALIKE`).
        """
        wanted = _sample_of_run(run)
        every = [one for one in self.samples if one.experiment == wanted.experiment]
        every = every or [one for one in self.samples if one.experiment == ALIKE.get(wanted.experiment)]
        similar = [one for one in every if _setting(one) == _setting(wanted)]
        if run.alone:
            same = [one for one in similar if one.values.get("arch", set()) == wanted.values.get("arch", set())]
            return _estimate(same, wanted, "the same benchmark", left)
        arch, variant, width, _ = wanted.network
        levels = (
            ("the same network", [one for one in similar if one.network == wanted.network]),
            ("other data", [one for one in similar if one.network[:3] == (arch, variant, width)]),
            ("a variant", [one for one in similar if one.network[::2][:2] == (arch, width)]),
            ("another network", [one for one in similar if one.network[2] == width]),
            ("another setting", [one for one in every if one.network[2] == width]),
        )
        found = [_estimate(kept, wanted, basis, left) for basis, kept in levels]
        found.insert(3, self._of_another_width([one for one in similar if one.network[0] == arch], wanted, left))
        return next((one for one in found if one.seconds is not None), found[0])

    def _of_another_width(self, similar: Sequence[Sample], wanted: Sample, left: float) -> Estimate:
        arch, _, width, _ = wanted.network
        for other in sorted({one.network[2] for one in similar if one.network[2]}, reverse=True):
            if (arch, width) in self.speeds and (arch, other) in self.speeds:
                factor = self.speeds[arch, other] / self.speeds[arch, width]
                kept = [one for one in similar if one.network[2] == other]
                return _estimate(kept, wanted, f"width {other} and a benchmark", left * factor)
        return Estimate(None, NOTHING)


def _estimate(similar: Sequence[Sample], wanted: Sample, basis: str, left: float) -> Estimate:
    rates = [one.seconds / one.work for one in similar if one.work]
    if not rates:
        return Estimate(None, NOTHING)
    rows = "1 row" if len(rates) == 1 else f"{len(rates)} rows"
    return Estimate(median(rates) * wanted.work * left, f"{rows} of {basis}")


def _setting(sample: Sample) -> tuple[Any, ...]:
    """What beside the network must be the same: the knob of a sweep, the attack, what is timed."""
    config = sample.config
    if sample.experiment == "attack":
        return tuple(sorted(sample.values["attack"]))
    return tuple(config.get(name) for name in ("knob", "what", "mode", "stem", "batch") if sample.experiment != "train")


def _sample_of_row(row: Record) -> Sample:
    names = ("corruption", "strength", "policy", "protocol", "attack", "norm", "method", "crafted_at", "arch", "steps")
    values = {name: {cell[name] for cell in row.results if cell.get(name) is not None} for name in names}
    images = max(
        (cell["n"] for cell in row.results if cell["metric"] in ("top1", "robust_top1", "psnr", "certified_top1")),
        default=1,
    )
    # A training that was interrupted says in its history how long it took, not in its seconds.
    seconds = sum(epoch["seconds"] for epoch in row.history) if row.history else row.seconds
    return Sample(row.experiment, row.config, values, images, seconds * row.device.get("threads", 1))


def _sample_of_run(run: Run) -> Sample:
    options = {name: value for name, value in run.options.items() if not isinstance(value, tuple)}
    config = {**(run.training.config if run.training else {}), **options, **run.settings}
    values = {name: {one for one in some if one is not None} for name, some in run.cells.items()}
    values["crafted_at"] = set(run.options.get("crafted", ()))
    return Sample(run.experiment, config, values, run.images)


def passes(run: Run) -> float:
    """How often about an image goes through the network in a measurement."""
    return WORK[run.experiment](_sample_of_run(run))


def _speeds(rows: Iterable[Record]) -> dict[tuple[str, int], float]:
    """(architecture, width) → training images per core-second in the latest benchmark that has it."""
    return {
        (cell["arch"], cell["width"]): cell["value"] / row.device.get("threads", 1)
        for row in rows
        if row.experiment == "benchmark" and row.config.get("stem") == "cifar"
        for cell in row.results
        if cell["metric"] == "train_images_per_second" and "width" in cell
    }


LAYERS = 17
"""Of a ResNet-18, with one convolution each."""
COPIES = 4
"""A layer of MSD-CSC, which codes all features before it, costs so many of another network's."""


def _convolutions(config: dict[str, Any]) -> float:
    """Those that an image goes through in a member of the family, as a multiple of a ResNet-18's; 1 for others.

    All iterations after the first make two in every layer, and the first one is then unrolled with them.
    """
    arch, network = config["arch"], config.get("network", {})
    if "depth" not in models.ARCHITECTURES[arch].options:
        return 1.0
    layers = 1 + 6 * network["depth"] if "depth" in network else LAYERS
    iterations = network.get("iterations", 1)
    return layers / LAYERS * (1 if iterations == 1 else 2 * iterations) * (COPIES if arch == "msd_csc" else 1)


def _training(sample: Sample) -> float:
    return float(sample.config["recipe"]["epochs"] * IMAGES.get(sample.config["dataset"], DEFAULT)[0])


def _sweep(sample: Sample) -> float:
    noises = len(sample.values["corruption"] - {"clean"})
    return float(sample.images * (1 + len(SEVERITIES) * noises) * len(sample.values["strength"]))


def _policies(sample: Sample) -> float:
    """Algorithm 1 sweeps its calibration images, half of them saved by halving; then each policy classifies."""
    noises = len(sample.values["corruption"] - {"clean"})
    policies = len(sample.values["policy"] & set(POLICIES))
    calibration = sample.config.get("calibration_images", CALIBRATION.get(sample.config["preset"], 1000))
    levels = len(SEVERITIES) * noises
    return float(calibration * len(LAMS) * levels / 2 + sample.images * (1 + levels) * (2 + policies))


def _attack(sample: Sample) -> float:
    """Times that something is crafted, by whom it is, on how many images; and scoring."""
    protocols, config = sample.values["protocol"], sample.config
    grid = len(sample.values["crafted_at"]) or len(GRIDS[config["knob"]])
    crafted = grid if protocols & ON_GRID else 1 if "oblivious" in protocols else 0
    crafted += grid * ("simultaneous" in protocols) + ("transfer" in protocols) + 2 * ("policy" in protocols)
    steps = 20 if sample.values["attack"] & set(PGD) else 100
    return float(sample.images * len(sample.values["norm"]) * crafted * (3 * steps + SCORED))


def _fourier(sample: Sample) -> float:
    """As many frequencies as the half-plane has at the size's spacing, and the images as they are."""
    size = sample.config.get("size", "quick")
    return float(sample.images * (1 + len(frequencies(32, SPACING[size]))) * len(sample.values["strength"]))


def _certified(sample: Sample) -> float:
    """Every image is classified under each draw of the noise."""
    return float(sample.images * (GUESS + sample.config["samples"]) * len(sample.values["strength"]))


def _visual(sample: Sample) -> float:
    """Twice (trained and random), at some ten depths; an inversion's step is three passes through half a network."""
    steps = sample.config.get("inversion_steps", STEPS.get(sample.config["preset"], 200))
    return float(sample.images * 20 * (1.5 * steps if "inversion" in sample.values["method"] else 1))


def _pursuit(sample: Sample) -> float:
    """Four radii: FGSM is three passes and a scoring, made elsewhere a scoring more; PGD so for each of its steps."""
    config = sample.config
    if not config["attacked"]:
        return float(TEST)
    few = min(config["images"], ATTACKED[config["size"]])
    return 4.0 * (4 * config["images"] + 3 * 20 * few) * len(sample.values["protocol"])


def _curve(sample: Sample) -> float:
    """A training, and FGSM after every epoch."""
    return _training(sample) + sample.config["recipe"]["epochs"] * 5 * sample.images


ALIKE = {"pursuit": "attack", "pursuit_curve": "train"}
"""Experiment → another one whose work is counted in the same unit."""
WORK: dict[str, Callable[[Sample], float]] = {
    "train": _training,
    "sweep": _sweep,
    "policies": _policies,
    "attack": _attack,
    "visual": _visual,
    "pursuit": _pursuit,
    "pursuit_curve": _curve,
    "fourier": _fourier,
    "confidence": _sweep,
    "certify": _certified,
}
"""Experiment → its work in passes of an image through the network, of a training in images; the others always take as
long as the last time."""
