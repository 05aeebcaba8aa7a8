"""The sweep behind Figure 2 and Tables 2 and 3: accuracy per corruption, severity and strength of a knob."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch import Tensor, nn
from tqdm import tqdm

from sdnet.csc.solvers import METHODS
from sdnet.data.common_corruptions import COMMON, add_corruption
from sdnet.data.corruption_benchmarks import Published
from sdnet.data.corruptions import NOISES, add_noise, level_of
from sdnet.data.datasets import Split
from sdnet.names import unknown_name
from sdnet.parameters import Amount, Count, check
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.results.unfinished import Keep, computed
from sdnet.robust import denoisers
from sdnet.robust.knobs import BatchStatistics, Denoiser, Iterations, Knob, Lam, LamShift, StemThreshold
from sdnet.robust.mean_sparse import MeanSparse
from sdnet.robust.sweep import sweep
from sdnet.runtime import random_order
from sdnet.training.stopping import stoppable

LAMS = tuple(round(0.1 * step, 1) for step in range(1, 16))
"""Λ of Algorithm 1: the paper says a subset of [0.1, 1.5]."""
LAM_SHIFTS = (0.0, 0.05, *LAMS[:5], 0.7, 0.9, 1.1, 1.4)
THRESHOLDS = tuple(round(0.02 * step, 2) for step in range(15))
"""Finer than Λ: after batch normalisation a ResNet's stem has small outputs, and at 0.3 it is all but silent."""
ITERATIONS = {f"{method}_iterations": method for method in METHODS}
"""Knob → the solver that takes the steps."""
ANYWHERE: dict[str, tuple[float, ...]] = {
    MeanSparse.name: (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    "batch_statistics": (0.0, 0.5, 1.0),
    **{name: strengths for name, (_, strengths) in denoisers.DENOISERS.items()},
}
"""What helps a network, whatever it is made of → its strengths."""
CONTROLS: dict[str, tuple[float, ...]] = {"stem_threshold": THRESHOLDS, **ANYWHERE}
"""What helps a network without a λ → its strengths."""
KNOBS: dict[str, tuple[float, ...]] = {
    "lam": LAMS,
    "lam_shift": LAM_SHIFTS,
    **dict.fromkeys(ITERATIONS, (1, 2, 4, 8, 16)),
    **CONTROLS,
}
"""Knob → its strengths."""
BUILDERS: dict[str, Callable[[nn.Module], Knob]] = {
    "lam": Lam,
    "lam_shift": LamShift,
    "stem_threshold": StemThreshold,
    MeanSparse.name: MeanSparse,
    "batch_statistics": BatchStatistics,
    **{name: partial(Iterations, method=method) for name, method in ITERATIONS.items()},
    **{name: partial(Denoiser, denoise=made, name=name) for name, (made, _) in denoisers.DENOISERS.items()},
}
"""Knob → what makes it of a network."""
IMAGES = {"paper": 10_000, "quick": 1000, "smoke": 40}
"""Size of a run → number of test images."""
SEVERITIES = (1, 2, 3, 4, 5)
ALL = (*NOISES, *COMMON)
"""Corruptions that can be made here."""
RESAMPLES = 1000
"""Bootstrap resamples."""


@dataclass(frozen=True, eq=False)
class Condition:
    """One corruption at one severity; the images themselves are ``"clean"``, severity 0.

    Attributes:
        clean, official, seed: as for :func:`conditions`.
    """

    corruption: str
    severity: int
    clean: Split
    official: Published | None
    seed: int

    @property
    def name(self) -> str:
        """Corruption and severity."""
        return f"{self.corruption} {self.severity}"

    @property
    def split(self) -> Split:
        """The corrupted images, made or read anew."""
        if self.severity == 0:
            return self.clean
        images, labels = self.clean.images, self.clean.labels
        if self.official is not None:
            published = self.official(self.corruption, self.severity)
            return subset(published, len(labels), self.seed).to(images.device)
        if self.corruption in COMMON:
            return Split(add_corruption(images, self.corruption, self.severity, seed=self.severity), labels)
        level = level_of(self.corruption, self.severity, benchmark_of(self.clean))
        return Split(add_noise(images, self.corruption, level, seed=self.severity), labels)


def subset(split: Split, count: int, seed: int = 0) -> Split:
    """``count`` images in random order, or all of them if there are fewer: a folder lists them class by class."""
    order = random_order(len(split), seed)[:count]
    return Split(split.images[order], split.labels[order])


def conditions(
    split: Split, corruptions: tuple[str, ...], official: Published | None = None, seed: int = 0
) -> Iterator[Condition]:
    """The clean split, then every corruption at every severity.

    Args:
        split: a random :func:`subset` of the test images, made with ``seed``.
        official: reads CIFAR-10-C, of whose images a random subset is taken, or for photographs ImageNet-C, whose
            images of the same places are taken; by default the noise is made here, by the same formulas and with the
            severity as its seed.
    """
    yield Condition("clean", 0, split, official, seed)
    for corruption in corruptions:
        for severity in SEVERITIES:
            yield Condition(corruption, severity, split, official, seed)


def benchmark_of(split: Split) -> str:
    """Whose noise levels a split gets: ImageNet-C's from 64 pixels on (a smaller ImageNet's), else CIFAR-10-C's."""
    return "imagenet" if split.images.shape[1] >= 64 else "cifar"


def knob_of(model: nn.Module, name: str) -> Knob:
    """The knob of that name (see :data:`KNOBS`) on a network.

    Raises:
        ValueError: for a name that does not exist, or a network that does not have this knob.
    """
    if name not in KNOBS:
        raise ValueError(unknown_name("knob", name, KNOBS))
    return BUILDERS[name](model)


def default_knob(model: nn.Module) -> str:
    """The knob that is turned on a network unless told: the first that it has of λ, what is added to the λ of every
    layer where each has learned its own, the threshold of its stem, and a filter in front of it."""
    for name in ("lam", "lam_shift", "stem_threshold"):
        try:
            _ = knob_of(model, name).start
        except ValueError:
            continue
        return name
    return "gaussian_filter"


def images_of(size: str, images: int | None) -> int:
    """How many test images a run of that size takes, unless told.

    Raises:
        ValueError: naming the sizes that exist.
    """
    if size not in IMAGES:
        raise ValueError(unknown_name("preset", size, IMAGES))
    check("images", images, Count | None)
    return images or IMAGES[size]


def check_requested(
    corruptions: Sequence[str], strengths: Sequence[float] | None, official: Path | None, known: Sequence[str] = ALL
) -> None:
    """Raise ValueError for a strength out of range, or a corruption that can neither be made nor read."""
    for strength in strengths or ():
        check("strength", strength, Amount)
    if official is not None and not official.is_dir():
        raise ValueError(f"official must be the folder of an unpacked benchmark; there is no folder {official}.")
    if official is not None:
        known = sorted(path.stem for path in official.iterdir() if path.suffix == ".npy" or path.is_dir())
    for corruption in corruptions:
        if corruption not in known:
            where = "" if official is None else f" Unpack the benchmark's archive to {official}."
            raise ValueError(unknown_name("corruption", corruption, known) + where)


def mean_interval(values: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Mean over images (N,) with its 95 % percentile bootstrap interval, as fields of a ledger cell."""
    interval = bootstrap((values,), np.mean, n_resamples=RESAMPLES, batch=50, method="percentile", rng=0)
    low, high = interval.confidence_interval
    return {"value": float(values.mean()), "low": float(low), "high": float(high), "n": len(values)}


def measure(
    knob: Knob,
    split: Split,
    strengths: tuple[float, ...],
    precision: str,
    corruptions: tuple[str, ...] = tuple(NOISES),
    official: Published | None = None,
    keep: Keep = computed,
) -> list[dict[str, Any]]:
    """Ledger cells: accuracy per (corruption, severity, strength), and per (corruption, strength) over severities.

    The answers under each condition are a part for ``keep``.
    """
    turned = torch.tensor(strengths)
    cells: list[dict[str, Any]] = []
    gathered: dict[str, list[NDArray[np.bool_]]] = {}
    bar = tqdm(total=1 + len(corruptions) * len(SEVERITIES), unit="condition", disable=None)
    for condition in conditions(split, corruptions, official):
        correct = keep(condition.name, partial(_correct, knob, condition, turned, precision))
        gathered.setdefault(condition.corruption, []).append(correct.numpy())
        where = {"corruption": condition.corruption, "severity": condition.severity}
        for strength, value in zip(strengths, correct.double().mean(1).tolist(), strict=True):
            cells.append({"metric": "top1", **where, "strength": strength, "value": value, "n": len(split)})
        bar.update()
    bar.close()
    for corruption in corruptions:
        # The same image stands at the same place under every severity: (K, N), averaged over severities.
        by_image = np.stack(gathered[corruption]).mean(0)
        for strength, values in zip(strengths, by_image, strict=True):
            cell = {"metric": "top1_over_severities", "corruption": corruption, "strength": strength}
            cells.append({**cell, **mean_interval(values)})
    return cells


def _correct(knob: Knob, condition: Condition, strengths: Tensor, precision: str) -> Tensor:
    return sweep(knob, condition.split, strengths, precision).cpu()


def noise_config(corruptions: tuple[str, ...], official: Path | None) -> dict[str, Any]:
    """What a ledger row's configuration says of the corrupted images."""
    noise = {"noise": "official", "official": official.resolve().name} if official else {"noise": "generated"}
    return {"corruptions": list(corruptions), **noise}


def files_of(official: Path | None) -> dict[str, tuple[int, int]]:
    """Size and time of everything directly in a folder: whether it is the folder that it was when a run was stopped."""
    states = {path.name: path.stat() for path in sorted(official.iterdir())} if official and official.is_dir() else {}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


@stoppable()
def run(
    network: str | os.PathLike[str],
    knob: str | None = None,
    *,
    preset: str = "paper",
    images: int | None = None,
    corruptions: tuple[str, ...] = tuple(NOISES),
    strengths: tuple[float, ...] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    official: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    precision: str | None = None,
) -> tuple[Record, Path]:
    """Sweep a knob of a trained network over corrupted test images of its data set; write a ledger row.

    Every condition is kept when it is done: a run that was stopped resumes when it is called again.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        knob: a name of :data:`KNOBS`; None for that of :func:`default_knob`.
        preset: ``"paper"`` (10,000 images), ``"quick"`` (1,000) or ``"smoke"`` (40).
        images: another number of test images, drawn at random.
        corruptions: names of :data:`sdnet.data.corruptions.NOISES` or :data:`sdnet.data.common_corruptions.COMMON`.
        strengths: other strengths than the knob's of :data:`KNOBS` and that of training.
        official: a folder with the published CIFAR-10-C, CIFAR-100-C or ImageNet-C to read instead of making noise; it
            must be about the network's own classes and test images.

    Raises:
        ValueError: for anything that does not exist or fit, before a network is run.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C.
    """
    count, folder = images_of(preset, images), Path(official) if official else None
    check_requested(corruptions, strengths, folder)
    evaluation = prepare(network, data_root=data_root, device=device, precision=precision)
    turned = knob_of(evaluation.model, knob or default_knob(evaluation.model))
    strengths = strengths or tuple(sorted({*KNOBS[turned.name], turned.start}))
    published = evaluation.published(folder)
    split = subset(evaluation.data.test, count).to(evaluation.device)
    measurement = evaluation.measurement(
        "sweep",
        files_of(folder),
        knob=turned.name,
        images=len(split),
        strengths=list(strengths),
        **noise_config(corruptions, folder),
    )
    with measurement.keep as keep:
        return measurement.finish(measure(turned, split, strengths, evaluation.precision, corruptions, published, keep))
