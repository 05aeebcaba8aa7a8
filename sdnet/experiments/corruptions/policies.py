"""Algorithm 1 and its relatives, asked on every corruption: the adaptive rows of Tables 2 and 3."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from sdnet.csc.layers import csc_layers
from sdnet.data.corruptions import NOISES, SEVERITIES
from sdnet.data.datasets import Split
from sdnet.experiments.corruptions.sweep import LAMS, benchmark_of, conditions, images_of, mean_interval, subset
from sdnet.names import unknown_name
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.robust.algorithm1 import Point, calibrate, calibrate_as_released, fit, fit_line
from sdnet.robust.knobs import Lam
from sdnet.robust.policies import Policy, all_residuals, fixed, predictions
from sdnet.robust.sweep import sweep

CALIBRATION = {"paper": 5000, "quick": 1000, "smoke": 40}
"""Size of a run → number of training images that Algorithm 1 is calibrated on."""
AS_RELEASED = {"paper": 1000, "quick": 300, "smoke": 20}
"""Size of a run → number of test images for the audit of the authors' script, which sweeps them exhaustively."""
RELEASED_LAMS = LAMS[:14]
POLICIES = ("fixed", "residual_fit", "type_free", "per_image", "per_image_type_free", "authors_script")


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
    lam0 = float(csc_layers(model)[0][1].lam)
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


def fit_cells(
    points: Mapping[str, list[Point]], released: Mapping[str, list[Point]], images: int, audited: int
) -> list[dict[str, Any]]:
    """Ledger cells of the calibration: its points (Figure 3), and each line's slope, intercept and R², for r and r².

    Args:
        points, released: as for :func:`fit_all`.
        images, audited: how many images these and those were found on.
    """
    cells: list[dict[str, Any]] = []
    every = [point for group in points.values() for point in group]
    for policy, groups, n in (
        ("residual_fit", points, images), ("authors_script", released, audited), ("type_free", {"all": every}, images),
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


def asked(policies: list[Fitted], corruption: str, crossed: bool = True) -> list[Fitted]:
    """Which policies are asked about a corruption: of those fitted on another type only Algorithm 1, if ``crossed``."""
    return [
        fitted
        for fitted in policies
        if corruption == "clean"
        or fitted.corruption in ("", "all", corruption)
        or (crossed and fitted.policy.name == "residual_fit")
    ]


@dataclass(frozen=True, eq=False)
class Answer:
    """What one policy did under one condition: the λ it chose (N,), and which images were classified correctly (N,)."""

    fitted: Fitted
    lam: Tensor
    correct: Tensor


def ask(model: nn.Module, policies: list[Fitted], split: Split, precision: str) -> list[Answer]:
    """Let every policy choose its λ by looking at the images, classify, and only then compare with the labels."""
    lam0 = policies[0].policy.lam0
    norms = all_residuals(model, split.images, lam0, precision)
    lams = [fitted.policy.lam(norms) for fitted in policies]
    shared = [lam for lam in lams if lam.dim() == 0]
    rows = iter(sweep(Lam(model), split, torch.stack(shared), precision))
    answers = []
    for fitted, lam in zip(policies, lams, strict=True):
        own = lam.dim() == 1
        correct = predictions(model, split.images, lam, precision) == split.labels if own else next(rows)
        answers.append(Answer(fitted, lam.expand(len(split)), correct))
    return answers


def measure(
    model: nn.Module,
    policies: list[Fitted],
    split: Split,
    precision: str,
    corruptions: tuple[str, ...] = tuple(NOISES),
    official: Path | None = None,
    crossed: bool = True,
) -> list[dict[str, Any]]:
    """Ledger cells: accuracy and λ per policy, corruption and severity, and the gain over the fixed λ, over severities.

    If ``crossed``, also of fits of other types, and the accuracy on clean images at every λ chosen for noisy ones.
    """
    cells: list[dict[str, Any]] = []
    gathered: dict[tuple[str, str, str], list[NDArray[np.bool_]]] = {}
    chosen: list[dict[str, Any]] = []
    for condition in tqdm(conditions(split, corruptions, official), unit="condition", disable=None):
        where = {"corruption": condition.corruption, "severity": condition.severity}
        for answer in ask(model, asked(policies, condition.corruption, crossed), condition.split, precision):
            name, fitted_on = answer.fitted.policy.name, answer.fitted.corruption
            who = {"policy": name, "fitted_on": fitted_on}
            lam = answer.lam.mean().item()
            value = answer.correct.double().mean().item()
            cells.append({"metric": "top1", **who, **where, "lam": lam, "value": value, "n": len(split)})
            gathered.setdefault((name, fitted_on, condition.corruption), []).append(answer.correct.cpu().numpy())
            if name == "type_free" or (name, fitted_on) == ("residual_fit", condition.corruption):
                chosen.append({**who, **where, "lam": lam})
    cells += _over_severities(gathered, corruptions)
    if not crossed:
        return cells
    return cells + _clean_at(model, split, precision, [row for row in chosen if row["corruption"] != "clean"])


def _over_severities(
    gathered: Mapping[tuple[str, str, str], list[NDArray[np.bool_]]], corruptions: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Accuracy of every policy over severities, and its paired difference to the fixed λ, with bootstrap intervals."""
    cells = []
    for (policy, fitted_on, corruption), parts in gathered.items():
        if corruption in corruptions:
            who = {"policy": policy, "fitted_on": fitted_on, "corruption": corruption}
            by_image = np.stack(parts).mean(0)
            baseline = np.stack(gathered["fixed", "", corruption]).mean(0)
            cells.append({"metric": "top1_over_severities", **who, **mean_interval(by_image)})
            if policy != "fixed":
                cells.append({"metric": "gain_over_fixed", **who, **mean_interval(by_image - baseline)})
    return cells


def _clean_at(model: nn.Module, split: Split, precision: str, chosen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Claim C12: what the λ that was right for noise costs on clean images."""
    lams = torch.tensor([row["lam"] for row in chosen], device=split.images.device)
    values = sweep(Lam(model), split, lams, precision).double().mean(1).tolist()
    return [
        {"metric": "clean_top1", **row, "value": value, "n": len(split)}
        for row, value in zip(chosen, values, strict=True)
    ]


def run(
    network: str | os.PathLike[str],
    *,
    preset: str = "paper",
    images: int | None = None,
    corruptions: tuple[str, ...] = tuple(NOISES),
    data_root: str | os.PathLike[str] | None = None,
    official: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    only: tuple[str, ...] | None = None,
    device: str | torch.device | None = None,
    precision: str | None = None,
) -> tuple[Record, Path]:
    """Calibrate on training images, fit every policy, ask it on corrupted test images; write a ledger row.

    Args:
        network, preset, images, official: as for :func:`sdnet.experiments.corruptions.sweep.run`.
        output: a folder to save the fitted policies in, a file each; None for not saving them.
        only: names of :data:`POLICIES` to ask beside the fixed λ, each on the noise it was fitted on; None for all,
            the fits of other types and the cost on clean images included.

    Raises:
        ValueError: for anything that does not exist, before a network is run.
    """
    count = images_of(preset, images)
    for name in only or ():
        if name not in POLICIES:
            raise ValueError(unknown_name("policy", name, POLICIES))
    evaluation = prepare(network, data_root=data_root, device=device, precision=precision)
    model, place, precision = evaluation.model, evaluation.device, evaluation.precision
    if not csc_layers(model):
        raise ValueError(f"{network} has no CSC layer whose λ a policy could choose; choose an sdnet.")
    data = evaluation.data
    train, test = subset(data.train, CALIBRATION[preset]).to(place), subset(data.test, count).to(place)
    audited = subset(test, AS_RELEASED[preset])
    points, released = {}, {}
    for corruption in corruptions:
        # Algorithm 1 leaves the noise levels open: where the benchmark is ImageNet-C's they are its own.
        levels = SEVERITIES["imagenet"][corruption] if benchmark_of(test) == "imagenet" else None
        points[corruption] = calibrate(model, train, corruption, LAMS, levels=levels, precision=precision)
        if only is None or "authors_script" in only:
            released[corruption] = calibrate_as_released(model, audited, corruption, RELEASED_LAMS, precision=precision)
    policies = [one for one in fit_all(model, points, released) if only is None or one.policy.name in ("fixed", *only)]
    if output is not None:
        Path(output).mkdir(parents=True, exist_ok=True)
        for fitted in policies:
            fitted.policy.save(Path(output) / f"{fitted.policy.name}-{fitted.corruption or 'any'}.json")
    results = fit_cells(points, released, len(train), len(audited))
    folder = Path(official) if official else None
    results += measure(model, policies, test, precision, corruptions, folder, crossed=only is None)
    return evaluation.record(
        "policies",
        results,
        images=len(test),
        calibration_images=len(train),
        audit_images=len(audited),
        noise="official" if official else "generated",
    )
