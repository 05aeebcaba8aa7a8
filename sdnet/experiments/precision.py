"""Is bfloat16 inside the CSC layer harmless? Accuracy and residual of one trained network in both precisions."""

import os
from pathlib import Path

import torch

from sdnet.data import datasets
from sdnet.data.batches import evaluation_batches
from sdnet.data.datasets import Split
from sdnet.experiments import ledger, networks
from sdnet.layers import csc_layers, set_lam
from sdnet.models.resnet import ResNet
from sdnet.training import loop

LAMS = (0.1, 0.3, 0.5, 1.0)


@torch.no_grad()
def measure(model: ResNet, split: Split, precision: str) -> dict[str, float]:
    """Top-1 accuracy, and mean residual ‖x − A(z)‖ per image at the network's first CSC layer."""
    _, layer = csc_layers(model)[0]
    device = next(model.parameters()).device
    correct, residual = torch.zeros((), device=device), torch.zeros((), device=device)
    for images, labels in evaluation_batches(split.to(device)):
        with loop.precision_of(device, precision):
            correct += (model(images).argmax(1) == labels).sum()
            error = layer.residual(model.normalize(images)).float()
        residual += error.flatten(1).norm(dim=1).sum()
    return {"top1": correct.item() / len(split), "residual": residual.item() / len(split)}


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
    for lam in LAMS:
        set_lam(model, lam)
        for precision in ("fp32", "bf16"):
            for metric, value in measure(model, data.test, precision).items():
                cell = {"metric": metric, "split": "test", "lam": lam, "precision": precision}
                results.append({**cell, "value": value, "n": len(data.test)})
    record = start.record(
        experiment="precision",
        config=trained.training.config,
        data_hash=data.data_hash,
        device=loop.describe_device(place),
        results=results,
    )
    return ledger.write(record, ledger.ledger_folder())
