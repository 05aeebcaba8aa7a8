"""Algorithm 1 of the paper, lines 3–12: from images with noise of known levels to a line λ(r).

``calibrate`` is the algorithm as written; ``calibrate_as_released`` does what the authors' script does where it
differs. The two side by side are this book's audit of the script.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import linregress
from torch import Tensor, nn

from sdnet.data.corruptions import add_noise
from sdnet.data.datasets import Split
from sdnet.robust.knobs import Lam
from sdnet.robust.policies import Policy, all_residuals, fingerprint
from sdnet.robust.sweep import race, sweep

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
"""C of the authors' script: other levels than CIFAR-10-C's; its shot noise begins where that benchmark ends."""


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
    seed: int = 0,
    precision: str = "fp32",
) -> list[Point]:
    """Lines 3–11 of Algorithm 1: per noise level the averaged residual at λ₀, and the λ of highest accuracy.

    The best λ is found by a :func:`sdnet.robust.sweep.race`.

    Args:
        train: training images, in random order, and their labels.
        corruption: a noise of :data:`sdnet.data.corruptions.NOISES`.
        lams: Λ, ascending.
        levels: C; by default :data:`LEVELS`.
    """
    points = []
    values = torch.tensor(lams, device=train.images.device)
    for index, level in enumerate(LEVELS[corruption] if levels is None else levels):
        noisy = Split(add_noise(train.images, corruption, level, seed=seed + index), train.labels)
        norms = all_residuals(model, noisy.images, lam0, precision)
        best = race(Lam(model), noisy, values, precision)
        points.append(_point(corruption, level, norms, lams[best.index]))
    return points


def calibrate_as_released(
    model: nn.Module, test: Split, corruption: str, lams: Sequence[float], *, seed: int = 0, precision: str = "fp32"
) -> list[Point]:
    """What the authors' ``robust_inference.py`` fits on, for the audit. **It sees test labels.**

    It differs from Algorithm 1 in three things. Images and labels are those of the **test** split. The residual is not
    the one at λ₀: it is a mean over everything that the network has seen since the script began, up to the level's
    best λ, because the list that is averaged is never emptied. And it is squared. (The script draws new noise for each
    λ; here all λ see the same.)
    """
    values = torch.tensor(lams, device=test.images.device)
    total, squares, seen, points = 0.0, 0.0, 0, []
    for index, level in enumerate(RELEASED_LEVELS[corruption]):
        noisy = Split(add_noise(test.images, corruption, level, seed=seed + index), test.labels)
        best = int(sweep(Lam(model), noisy, values, precision).sum(1).argmax())
        means = (0.0, 0.0)
        for position, lam in enumerate(lams):
            norms = all_residuals(model, noisy.images, lam, precision).double()
            total, squares, seen = total + norms.sum().item(), squares + norms.square().sum().item(), seen + len(norms)
            if position == best:
                means = (total / seen, squares / seen)
        points.append(Point(corruption, float(level), *means, lams[best]))
    return points


def _point(corruption: str, level: float, norms: Tensor, lam: float) -> Point:
    return Point(corruption, level, norms.mean().item(), norms.square().mean().item(), lam)


def fit_line(points: Sequence[Point], power: int = 1) -> Fit:
    """Line 12 of Algorithm 1: linear least squares of the best λ against the residual, or its square.

    Raises:
        ValueError: for fewer than two points, which determine no line.
    """
    if len(points) < 2:
        raise ValueError(f"a line needs at least two noise levels; got {len(points)}.")
    x = [point.residual if power == 1 else point.squared_residual for point in points]
    line = linregress(x, [point.lam for point in points])
    flat = len({point.lam for point in points}) == 1
    return Fit(float(line.slope), float(line.intercept), 0.0 if flat else float(line.rvalue) ** 2)


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
