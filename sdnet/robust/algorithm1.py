"""Algorithm 1 of the paper, lines 3–12: from images with noise of known levels to a line λ(r).

``calibrate`` is the algorithm as written, ``calibrate_as_released`` does what the authors' script does where it
differs, and :data:`DEVIATIONS` are these differences one at a time: this book's audit of the script.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdnet.data.corruptions import SEVERITIES, add_noise
from sdnet.data.datasets import Split
from sdnet.names import unknown_name
from sdnet.robust.knobs import Lam
from sdnet.robust.policies import Policy, all_residuals, fingerprint
from sdnet.robust.sweep import successive_halving, sweep

LEVELS = {
    "gaussian_noise": (0.02, 0.04, 0.06, 0.08, 0.10, 0.12),
    "shot_noise": (1000.0, 400.0, 200.0, 120.0, 75.0, 50.0, 40.0),
    "impulse_noise": (0.005, 0.015, 0.03, 0.045, 0.06, 0.08),
    "speckle_noise": (0.05, 0.08, 0.12, 0.16, 0.20, 0.24),
}
"""C of Algorithm 1, which the paper leaves open: levels that span CIFAR-10-C's five."""

RELEASED_LEVELS = {
    "gaussian_noise": tuple(np.arange(2, 21, 2) / 100),
    "shot_noise": tuple(np.arange(60.0, 3, -6)),
    "impulse_noise": tuple(np.arange(3, 30, 3) / 100),
    "speckle_noise": tuple(np.arange(1, 7) / 10),
}
"""C of the authors' script, of the noises that it knows: other levels than CIFAR-10-C's; its shot noise begins where
that benchmark ends."""

RELEASED_LAMBDA_MAX = 1.4
"""Where Λ of the authors' script ends; it begins at 0.1 and has steps of 0.1."""
RESIDUALS = ("lam0", "best", "running")
Numbers = NDArray[np.float64]


class Point(NamedTuple):
    """One noise level of a calibration: averaged residual r_c (norm and square) and best λ_c."""

    corruption: str
    level: float
    residual: float
    squared_residual: float
    lam: float


@dataclass(frozen=True)
class Fit:
    """A least-squares line λ ≈ slope · r + intercept, and the share R² of the variance of λ that it explains.

    R² is 0 where the best λ is the same at every level: there is nothing to explain.
    """

    slope: float
    intercept: float
    r_squared: float


def calibrate(
    model: nn.Module,
    train: Split,
    corruption: str,
    lams: Sequence[float],
    *,
    levels: Sequence[float] | None = None,
    lam0: float = 0.1,
    residual: str = "lam0",
    exhaustive: bool = False,
    fresh_noise: bool = False,
    seed: int = 0,
    precision: str = "fp32",
) -> list[Point]:
    """Lines 3–11 of Algorithm 1: per noise level the averaged residual at λ₀, and the λ of highest accuracy.

    The best λ is found by :func:`sdnet.robust.sweep.successive_halving`. ``residual``, ``exhaustive`` and
    ``fresh_noise`` make the function do what the authors' ``robust_inference.py`` does instead.

    Args:
        train: training images, in random order, and their labels.
        corruption: a noise of :data:`sdnet.data.corruptions.NOISES`.
        lams: Λ, ascending.
        levels: C; by default :data:`LEVELS`, and of a noise that is not there the five of CIFAR-10-C's scale.
        residual: which one is averaged: ``"lam0"``, that at λ₀; ``"best"``, that at the level's best λ; ``"running"``,
            everything the network has seen up to the level's best λ, at every λ and level before, because the script
            never empties the list that it averages.
        exhaustive: ask every λ about every image, instead of halving.
        fresh_noise: ask every λ about noise of its own (exhaustively), instead of all about the same.

    Raises:
        ValueError: for a residual that does not exist.
    """
    if residual not in RESIDUALS:
        raise ValueError(unknown_name("residual", residual, RESIDUALS))
    points, sums = [], np.zeros(3)
    values = torch.tensor(lams)
    if levels is None:
        levels = LEVELS[corruption] if corruption in LEVELS else SEVERITIES["cifar"][corruption]
    for index, level in enumerate(levels):
        noisy = [_noisy(train, corruption, level, seed + index)] * len(lams)
        if fresh_noise:
            seeds = range(seed + 1000 * (index + 1), seed + 1000 * (index + 1) + len(lams))
            noisy = [_noisy(train, corruption, level, own) for own in seeds]
        if fresh_noise or exhaustive:
            best = int(_correct(model, noisy, values, precision).argmax())
        else:
            best = successive_halving(Lam(model), noisy[0], values, precision)
        if residual == "running":
            means, sums = _running(model, noisy, lams, best, sums, precision)
        else:
            at, part = (lam0, noisy[0]) if residual == "lam0" else (lams[best], noisy[best])
            norms = all_residuals(model, part.images, at, precision)
            means = (norms.mean().item(), norms.square().mean().item())
        points.append(Point(corruption, float(level), *means, lams[best]))
    return points


def released_levels(corruption: str) -> tuple[float, ...]:
    """C of the authors' script for a noise.

    Raises:
        ValueError: naming the noises that it knows.
    """
    if corruption not in RELEASED_LEVELS:
        raise ValueError(unknown_name("noise of the authors' script", corruption, RELEASED_LEVELS))
    return RELEASED_LEVELS[corruption]


def _noisy(split: Split, corruption: str, level: float, seed: int) -> Split:
    return Split(add_noise(split.images, corruption, level, seed=seed), split.labels)


def _correct(model: nn.Module, noisy: list[Split], values: Tensor, precision: str) -> Tensor:
    """How many images are classified correctly at every λ, each on its own split (K,)."""
    if all(part is noisy[0] for part in noisy):
        return sweep(Lam(model), noisy[0], values, precision).sum(1)
    own = [sweep(Lam(model), part, value[None], precision).sum() for part, value in zip(noisy, values, strict=True)]
    return torch.stack(own)


def _running(
    model: nn.Module, noisy: list[Split], lams: Sequence[float], best: int, sums: Numbers, precision: str
) -> tuple[tuple[float, float], Numbers]:
    """Mean residual and mean square over all that was summed up to the best λ, and the sums after the last λ.

    Args:
        sums: of residuals, of their squares, and their number, before this level.
    """
    means = (0.0, 0.0)
    for position, (part, lam) in enumerate(zip(noisy, lams, strict=True)):
        norms = all_residuals(model, part.images, lam, precision).double()
        sums = sums + np.array([norms.sum().item(), norms.square().sum().item(), len(norms)])
        if position == best:
            means = (float(sums[0] / sums[2]), float(sums[1] / sums[2]))
    return means, sums


def calibrate_as_released(
    model: nn.Module, test: Split, corruption: str, lams: Sequence[float], *, seed: int = 0, precision: str = "fp32"
) -> list[Point]:
    """What the authors' ``robust_inference.py`` fits on, for the audit. **It sees test labels.**

    It differs from Algorithm 1 in three things. Images and labels are those of the **test** split. The residual is not
    the one at λ₀: it is a mean over everything that the network has seen since the script began, up to the level's
    best λ, because the list that is averaged is never emptied. And it is squared. (The script draws new noise for each
    λ; here all λ see the same.)
    """
    released: dict[str, Any] = {"levels": released_levels(corruption), "residual": "running", "exhaustive": True}
    return calibrate(model, test, corruption, lams, seed=seed, precision=precision, **released)


@dataclass(frozen=True)
class Deviation:
    """Things in which the authors' script differs from Algorithm 1, each a switch; see :func:`calibrate`.

    Attributes:
        on_test: calibrate on test images and their labels instead of training images.
        released_levels: C is :data:`RELEASED_LEVELS`.
        released_lams: Λ ends at 1.4.
        residual, fresh_noise: as for :func:`calibrate`.
        power: of the residual in the fit; the script squares it.
    """

    on_test: bool = False
    released_levels: bool = False
    released_lams: bool = False
    residual: str = "lam0"
    fresh_noise: bool = False
    power: int = 1

    def lams(self, default: Sequence[float]) -> Sequence[float]:
        """The candidates for λ: of the given ones those that the released script tries, or all."""
        return [lam for lam in default if lam <= RELEASED_LAMBDA_MAX] if self.released_lams else default

    def points(
        self, model: nn.Module, train: Split, test: Split, corruption: str, lams: Sequence[float], **options: Any
    ) -> list[Point]:
        """:func:`calibrate`, deviating; ``options`` are its own."""
        if self.released_levels:
            options["levels"] = released_levels(corruption)
        options |= {"residual": self.residual, "fresh_noise": self.fresh_noise}
        return calibrate(model, test if self.on_test else train, corruption, self.lams(lams), **options)


DEVIATIONS = {
    "fit_on_test": Deviation(on_test=True),
    "residual_at_best_lam": Deviation(residual="best"),
    "residual_as_released": Deviation(residual="running"),
    "squared_residual": Deviation(power=2),
    "levels_as_released": Deviation(released_levels=True),
    "lams_as_released": Deviation(released_lams=True),
    "fresh_noise": Deviation(fresh_noise=True),
}
"""Policy → Algorithm 1 with one thing done as in the authors' script. (All of them at once: ``authors_script``.)"""


def fit_line(points: Sequence[Point], power: int = 1) -> Fit:
    """Line 12 of Algorithm 1: linear least squares of the best λ against the residual, or its square.

    Raises:
        ValueError: for fewer than two points, or none of another residual than the first, which determine no line.
    """
    residuals = np.array([point.residual if power == 1 else point.squared_residual for point in points])
    lams = np.array([point.lam for point in points])
    if len(set(residuals)) < 2:
        raise ValueError(f"a line needs two noise levels of different residuals at least; got {residuals.tolist()}.")
    x, y = residuals - residuals.mean(), lams - lams.mean()
    slope = float(x @ y / (x @ x))
    explained = 0.0 if len(set(lams)) == 1 else float((x @ y) ** 2 / (x @ x) / (y @ y))
    return Fit(slope, float(lams.mean() - slope * residuals.mean()), explained)


def fit(
    name: str,
    model: nn.Module,
    points: Sequence[Point],
    lams: Sequence[float],
    *,
    lam0: float = 0.1,
    power: int = 1,
    per_image: bool = False,
) -> Policy:
    """A policy for ``model`` from calibration points of one corruption, or of several for a type-free one."""
    line = fit_line(points, power)
    ends = (min(lams), max(lams))
    return Policy(name, line.slope, line.intercept, *ends, lam0, power, per_image, fingerprint(model))
