"""Is bfloat16 inside the CSC layer harmless? Accuracy and residual of one trained network in both precisions."""

import os
from pathlib import Path

import torch

from sdnet.data import datasets
from sdnet.data.datasets import Split
from sdnet.experiments import ledger, networks
from sdnet.layers import csc_layers
from sdnet.models.resnet import ResNet
from sdnet.robust.knobs import Lam
from sdnet.robust.policies import all_residuals
from sdnet.robust.sweep import sweep
from sdnet.training import loop

LAMS = (0.1, 0.3, 0.5, 1.0)


def measure(model: ResNet, split: Split, precision: str) -> list[dict[str, float]]:
    """Per λ: top-1 accuracy, and mean residual ‖x − A(z)‖ per image, averaged over the network's CSC layers."""
    split = split.to(next(model.parameters()).device)
    correct = sweep(Lam(model), split, torch.tensor(LAMS, device=split.images.device), precision).double().mean(1)
    return [
        {
            "lam": lam,
            "top1": top1,
            "residual": all_residuals(model, split.images, lam, precision).double().mean().item(),
        }
        for lam, top1 in zip(LAMS, correct.tolist(), strict=True)
    ]


def record_precision(
    network: str | os.PathLike[str], data_root: str | os.PathLike[str] | None = None, device: str | None = None
) -> Path:
    """Compare float32 with bfloat16 on the test images of the network's data set, at several λ; write a ledger row.

    Raises:
        ValueError: if ``network`` is not a saved network with a CSC layer, or its data cannot be had.
    """
    start, place = ledger.start(), torch.device(device) if device else loop.best_device()
    trained = networks.load(network)
    model = trained.model
    if not csc_layers(model):
        raise ValueError(f"{network} has no CSC layer whose precision could be compared.")
    data = datasets.load(trained.training.dataset, data_root)
    model.to(place)
    results = []
    for precision in ("fp32", "bf16"):
        for found in measure(model, data.test, precision):
            for metric in ("top1", "residual"):
                cell = {"metric": metric, "split": "test", "lam": found["lam"], "precision": precision}
                results.append({**cell, "value": found[metric], "n": len(data.test)})
    record = start.record(
        experiment="precision",
        config=trained.training.config,
        data_hash=data.data_hash,
        device=loop.describe_device(place),
        results=results,
    )
    return ledger.write(record, ledger.ledger_folder())
