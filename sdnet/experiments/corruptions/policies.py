"""Algorithm 1 and its relatives, evaluated on every corruption: the adaptive rows of Tables 2 and 3."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from sdnet.csc.lam import coding_layers, own_lam
from sdnet.data.corruption_benchmarks import Published
from sdnet.data.corruptions import NOISES
from sdnet.data.datasets import Split
from sdnet.experiments.corruptions.calibration import AS_RELEASED, CALIBRATION, Fitted, Splits, calibrated
from sdnet.experiments.corruptions.sweep import (
    Condition,
    check_requested,
    conditions,
    files_of,
    images_of,
    mean_interval,
    noise_config,
    subset,
)
from sdnet.names import unknown_name
from sdnet.results import ledger
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.results.unfinished import Keep, computed
from sdnet.robust.algorithm1 import DEVIATIONS
from sdnet.robust.knobs import Lam
from sdnet.robust.policies import all_residuals, predictions
from sdnet.robust.sweep import sweep
from sdnet.training.stopping import stoppable

POLICIES = ("fixed", "residual_fit", "type_free", "per_image", "per_image_type_free", "authors_script")


def applicable(policies: list[Fitted], corruption: str, crossed: bool = True) -> list[Fitted]:
    """The policies evaluated under a corruption: of those fitted on another type only Algorithm 1, if ``crossed``."""
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


def evaluate(model: nn.Module, policies: list[Fitted], split: Split, precision: str) -> list[Answer]:
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
    official: Published | None = None,
    crossed: bool = True,
    keep: Keep = computed,
) -> list[dict[str, Any]]:
    """Ledger cells: accuracy and λ per policy, corruption and severity, and the gain over the fixed λ, over severities.

    If ``crossed``, also of fits of other types, and the accuracy on clean images at every λ chosen for noisy ones. The
    answers under each condition are a part for ``keep``.
    """
    cells: list[dict[str, Any]] = []
    gathered: dict[tuple[str, str, str], list[NDArray[np.bool_]]] = {}
    chosen: list[dict[str, Any]] = []
    for condition in tqdm(conditions(split, corruptions, official), unit="condition", disable=None):
        where = {"corruption": condition.corruption, "severity": condition.severity}
        some = applicable(policies, condition.corruption, crossed)
        answers = keep(condition.name, partial(_answers, model, some, condition, precision))
        for fitted, (lam, correct) in zip(some, answers, strict=True):
            name, fitted_on = fitted.policy.name, fitted.corruption
            who = {"policy": name, "fitted_on": fitted_on}
            value = correct.double().mean().item()
            cells.append({"metric": "top1", **who, **where, "lam": lam, "value": value, "n": len(split)})
            gathered.setdefault((name, fitted_on, condition.corruption), []).append(correct.numpy())
            if name == "type_free" or (name, fitted_on) == ("residual_fit", condition.corruption):
                chosen.append({**who, **where, "lam": lam})
    cells += _over_severities(gathered, corruptions)
    if not crossed:
        return cells
    noisy = [row for row in chosen if row["corruption"] != "clean"]
    return cells + keep("clean at the λ of noise", partial(_clean_at, model, split, precision, noisy))


def _answers(
    model: nn.Module, policies: list[Fitted], condition: Condition, precision: str
) -> list[tuple[float, Tensor]]:
    """Of every policy the mean λ and which images it classified correctly (N,)."""
    answers = evaluate(model, policies, condition.split, precision)
    return [(answer.lam.mean().item(), answer.correct.cpu()) for answer in answers]


def _over_severities(
    gathered: Mapping[tuple[str, str, str], list[NDArray[np.bool_]]], corruptions: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Accuracy of every policy over severities, its paired difference to the fixed λ, and of one that deviates from
    Algorithm 1 the one to that, if both were evaluated; with bootstrap intervals."""
    cells = []
    for (policy, fitted_on, corruption), parts in gathered.items():
        if corruption in corruptions:
            who = {"policy": policy, "fitted_on": fitted_on, "corruption": corruption}
            by_image = np.stack(parts).mean(0)
            baseline = np.stack(gathered["fixed", "", corruption]).mean(0)
            cells.append({"metric": "top1_over_severities", **who, **mean_interval(by_image)})
            if policy != "fixed":
                cells.append({"metric": "gain_over_fixed", **who, **mean_interval(by_image - baseline)})
            written = gathered.get(("residual_fit", corruption, corruption))
            if policy in DEVIATIONS and written is not None:
                gain = by_image - np.stack(written).mean(0)
                cells.append({"metric": "gain_over_residual_fit", **who, **mean_interval(gain)})
    return cells


def _clean_at(model: nn.Module, split: Split, precision: str, chosen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Claim C12: what the λ that was right for noise costs on clean images."""
    lams = torch.tensor([row["lam"] for row in chosen])
    values = sweep(Lam(model), split, lams, precision).double().mean(1).tolist()
    return [
        {"metric": "clean_top1", **row, "value": value, "n": len(split)}
        for row, value in zip(chosen, values, strict=True)
    ]


def check_policies(only: tuple[str, ...] | None, corruptions: tuple[str, ...], official: Path | None) -> None:
    """Raise ValueError for a policy that does not exist, or a corruption that cannot be made of training images."""
    for name in only or ():
        if name not in (*POLICIES, *DEVIATIONS):
            raise ValueError(unknown_name("policy", name, (*POLICIES, *DEVIATIONS)))
    check_requested(corruptions, None, None, known=tuple(NOISES))
    check_requested(corruptions if official else (), None, official)


@stoppable()
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

    Calibrations and conditions are kept when they are done: a run that was stopped resumes when it is called again.

    Args:
        network, preset, images, official: as for :func:`sdnet.experiments.corruptions.sweep.run`.
        output: a folder to save the fitted policies in, a file each; None for not saving them.
        only: names of :data:`POLICIES` or :data:`sdnet.robust.algorithm1.DEVIATIONS` to ask beside the fixed λ, each
            on the noise it was fitted on; None for all of the former, the fits of other types and the cost on clean
            images included.

    Raises:
        ValueError: for anything that does not exist, before a network is run.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C.
    """
    count, folder = images_of(preset, images), Path(official) if official else None
    check_policies(only, corruptions, folder)
    if output is not None:
        ledger.check_writable(Path(output))
    evaluation = prepare(network, data_root=data_root, device=device, precision=precision)
    model, torch_device, precision = evaluation.model, evaluation.device, evaluation.precision
    if not coding_layers(model):
        raise ValueError(f"{network} has no CSC layer whose λ a policy could choose; choose an sdnet.")
    _ = own_lam(model)
    data, published = evaluation.data, evaluation.published(folder)
    train, test = subset(data.train, CALIBRATION[preset]).to(torch_device), subset(data.test, count).to(torch_device)
    splits = Splits(train, subset(data.test, len(train)).to(torch_device), subset(test, AS_RELEASED[preset]))
    measurement = evaluation.measurement(
        "policies",
        files_of(folder),
        images=len(test),
        calibration_images=len(train),
        audit_images=len(splits.audited),
        policies=list(only or POLICIES),
        crossed=only is None,
        **noise_config(corruptions, folder),
    )
    with measurement.keep as keep:
        policies, results = calibrated(model, splits, corruptions, only, precision, keep)
        if output is not None:
            Path(output).mkdir(parents=True, exist_ok=True)
            for fitted in policies:
                fitted.policy.save(Path(output) / f"{fitted.policy.name}-{fitted.corruption or 'any'}.json")
        results += measure(model, policies, test, precision, corruptions, published, only is None, keep)
        return measurement.finish(results)
