"""What sweep engine and successive halving save, against a plain loop over λ; side by side in one process."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdnet.csc.lam import set_lam
from sdnet.data.corruptions import NOISES, add_noise, level_of
from sdnet.data.datasets import Split
from sdnet.experiments.benchmark import interleaved
from sdnet.experiments.corruptions.sweep import LAMS, SEVERITIES, subset
from sdnet.results.evaluation import prepare
from sdnet.robust.knobs import Lam
from sdnet.robust.sweep import batch_size_for, successive_halving, sweep
from sdnet.training import loop

NOISE, SEVERITY = "gaussian_noise", 3


def plain_loop(model: nn.Module, clean: Split, precision: str) -> list[float]:
    """Accuracy per λ as one would write it down: for each λ corrupt, set λ, evaluate."""
    accuracies = []
    for lam in LAMS:
        noisy = Split(add_noise(clean.images, NOISE, level_of(NOISE, SEVERITY)), clean.labels)
        set_lam(model, lam)
        size = batch_size_for(Lam(model), 1, clean.images.device, clean.images.shape[2])
        with loop.precision_of(clean.images.device, precision):
            accuracies.append(loop.accuracy(model, noisy, batch_size=size))
    return accuracies


def exhaustive(model: nn.Module, clean: Split, precision: str) -> list[float]:
    """The same by the sweep engine."""
    noisy = Split(add_noise(clean.images, NOISE, level_of(NOISE, SEVERITY)), clean.labels)
    lams = torch.tensor(LAMS)
    accuracies: list[float] = sweep(Lam(model), noisy, lams, precision).double().mean(1).tolist()
    return accuracies


def halved(model: nn.Module, clean: Split, precision: str) -> int:
    """Index of the best λ by successive halving."""
    noisy = Split(add_noise(clean.images, NOISE, level_of(NOISE, SEVERITY)), clean.labels)
    return successive_halving(Lam(model), noisy, torch.tensor(LAMS), precision)


def steps_off(model: nn.Module, clean: Split, precision: str) -> list[int]:
    """How many λ steps the best of successive halving lies from an exhaustive sweep's, by noise and severity."""
    lams = torch.tensor(LAMS)
    found = []
    for noise in NOISES:
        for severity in SEVERITIES:
            noisy = Split(add_noise(clean.images, noise, level_of(noise, severity)), clean.labels)
            best = int(sweep(Lam(model), noisy, lams, precision).sum(1).argmax())
            found.append(abs(successive_halving(Lam(model), noisy, lams, precision) - best))
    return found


def record(
    network: str | os.PathLike[str],
    *,
    images: int = 1000,
    repeats: int = 3,
    data_root: str | os.PathLike[str] | None = None,
    device: torch.device,
) -> tuple[Path, list[dict[str, Any]]]:
    """Time the three on random training images of the network's data set; write ratios and distances to the ledger."""
    evaluation = prepare(network, data_root=data_root, device=device)
    model, precision = evaluation.model, evaluation.precision
    clean = subset(evaluation.data.train, images).to(device)
    cases = {
        name: partial(case, model, clean, precision)
        for name, case in (("plain loop", plain_loop), ("sweep engine", exhaustive), ("race", halved))
    }
    timings = interleaved(cases, device, repeats)
    base = timings[0]
    results: list[dict[str, Any]] = []
    for timing in timings:
        about = {"metric": "time_ratio", "case": timing.name, "baseline": base.name}
        results.append({**about, **timing.over(base.median), "n": images})
    distances = steps_off(model, clean, precision)
    results.append({"metric": "steps_off", "case": "race", "value": max(distances), "n": len(distances)})
    results.append(
        {"metric": "steps_off_mean", "case": "race", "value": sum(distances) / len(distances), "n": len(distances)}
    )
    record, path = evaluation.record("benchmark", results, what="sweep")
    return path, record.results
