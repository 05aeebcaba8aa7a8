"""Algorithm 1 for a trained network: calibrations, the policies fitted to them, and their ledger cells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from sdnet.csc.lam import own_lam
from sdnet.data.corruptions import SEVERITIES
from sdnet.data.datasets import Split
from sdnet.experiments.corruptions.sweep import LAMS, benchmark_of
from sdnet.results.unfinished import Keep
from sdnet.robust.algorithm1 import (
    DEVIATIONS,
    RELEASED_LEVELS,
    Point,
    calibrate,
    calibrate_as_released,
    fit,
    fit_line,
)
from sdnet.robust.policies import Policy, fixed

CALIBRATION = {"paper": 5000, "quick": 1000, "smoke": 40}
"""Size of a run → number of training images that Algorithm 1 is calibrated on."""
AS_RELEASED = {"paper": 1000, "quick": 300, "smoke": 20}
"""Size of a run → number of test images for the audit of the authors' script, which sweeps them exhaustively."""
RELEASED_LAMS = LAMS[:14]
Calibrations = Mapping[str, Mapping[str, list[Point]]]
"""Name of :data:`sdnet.robust.algorithm1.DEVIATIONS` → corruption → calibration."""


@dataclass(frozen=True)
class Fitted:
    """A policy and the corruption it was fitted on (``"all"`` for a type-free one, ``""`` for none)."""

    policy: Policy
    corruption: str


def fit_all(model: nn.Module, points: Mapping[str, list[Point]], released: Mapping[str, list[Point]]) -> list[Fitted]:
    """Every policy of the book, the fixed one first.

    Args:
        points, released: corruption → calibration, as written and as released.
    """
    lam0 = own_lam(model)
    every = [point for group in points.values() for point in group]
    policies = [Fitted(fixed(lam0), "")]
    for corruption, group in points.items():
        policies.append(Fitted(fit("residual_fit", model, group, LAMS, lam0=lam0), corruption))
        policies.append(Fitted(fit("per_image", model, group, LAMS, lam0=lam0, per_image=True), corruption))
    policies.append(Fitted(fit("type_free", model, every, LAMS, lam0=lam0), "all"))
    policies.append(Fitted(fit("per_image_type_free", model, every, LAMS, lam0=lam0, per_image=True), "all"))
    for corruption, group in released.items():
        policies.append(Fitted(fit("authors_script", model, group, RELEASED_LAMS, lam0=lam0, power=2), corruption))
    return policies


def fit_deviating(model: nn.Module, deviating: Calibrations) -> list[Fitted]:
    """The policies that differ from Algorithm 1 in one thing, as the authors' script does."""
    lam0 = own_lam(model)
    return [
        Fitted(
            fit(name, model, group, DEVIATIONS[name].lams(LAMS), lam0=lam0, power=DEVIATIONS[name].power), corruption
        )
        for name, groups in deviating.items()
        for corruption, group in groups.items()
    ]


def fit_cells(
    points: Mapping[str, list[Point]],
    released: Mapping[str, list[Point]],
    images: int,
    audited: int,
    deviating: Calibrations = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Ledger cells of the calibration: its points (Figure 3), and each line's slope, intercept and R², for r and r².

    Args:
        points, released: as for :func:`fit_all`.
        images, audited: how many images these and those were found on.
        deviating: calibrations that deviate in one thing, on as many images as ``points``.
    """
    cells: list[dict[str, Any]] = []
    every = [point for group in points.values() for point in group]
    for policy, groups, n in (
        ("residual_fit", points, images), ("authors_script", released, audited), ("type_free", {"all": every}, images),
        *((name, groups, images) for name, groups in deviating.items()),
    ):  # fmt: skip
        for corruption, group in groups.items():
            for power in (1, 2):
                line = fit_line(group, power)
                who = {"metric": "r_squared", "policy": policy, "fitted_on": corruption, "power": power}
                found = {"slope": line.slope, "intercept": line.intercept, "value": line.r_squared}
                cells.append({**who, **found, "n": len(group)})
            if corruption != "all":
                for point in group:
                    found = point._asdict()
                    cells.append({"metric": "best_lam", "policy": policy, "value": found.pop("lam"), **found, "n": n})
    return cells


def _calibration(keep: Keep, name: str, compute: Callable[[], list[Point]]) -> list[Point]:
    """The points of a calibration, as a part for ``keep``."""

    def plain() -> list[tuple[Any, ...]]:
        return [tuple(point) for point in compute()]

    return [Point(*point) for point in keep(name, plain)]


@dataclass(frozen=True, eq=False)
class Splits:
    """Images to calibrate on: training images; as many test images, for what deviates from Algorithm 1 in that; and
    the test images of the released script's audit."""

    train: Split
    test: Split
    audited: Split


def calibrated(
    model: nn.Module,
    splits: Splits,
    corruptions: tuple[str, ...],
    only: tuple[str, ...] | None,
    precision: str,
    keep: Keep,
) -> tuple[list[Fitted], list[dict[str, Any]]]:
    """The policies that are asked, and the ledger cells of their calibration."""
    points, released = {}, {}
    deviating: dict[str, dict[str, list[Point]]] = {name: {} for name in only or () if name in DEVIATIONS}
    for corruption in corruptions:
        # Algorithm 1 leaves the noise levels open: where the benchmark is ImageNet-C's they are its own.
        levels = SEVERITIES["imagenet"][corruption] if benchmark_of(splits.train) == "imagenet" else None
        written = partial(
            calibrate, model, splits.train, corruption, LAMS, levels=levels, lam0=own_lam(model), precision=precision
        )
        points[corruption] = _calibration(keep, f"calibration {corruption}", written)
        if (only is None and corruption in RELEASED_LEVELS) or "authors_script" in (only or ()):
            audit = partial(
                calibrate_as_released, model, splits.audited, corruption, RELEASED_LAMS, precision=precision
            )
            released[corruption] = _calibration(keep, f"calibration as released {corruption}", audit)
        for name, groups in deviating.items():
            differently = partial(
                DEVIATIONS[name].points,
                *(model, splits.train, splits.test, corruption, LAMS),
                levels=levels, lam0=own_lam(model), precision=precision,
            )  # fmt: skip
            groups[corruption] = _calibration(keep, f"calibration {name} {corruption}", differently)
    policies = [one for one in fit_all(model, points, released) if only is None or one.policy.name in ("fixed", *only)]
    policies += fit_deviating(model, deviating)
    return policies, fit_cells(points, released, len(splits.train), len(splits.audited), deviating)
