"""Is bfloat16 inside the CSC layer harmless? Accuracy and residual of one trained network in both precisions."""

import os
from pathlib import Path

import torch

from sdnet.csc.lam import coding_layers
from sdnet.data.datasets import Split
from sdnet.models.classifier import Classifier
from sdnet.results.evaluation import prepare
from sdnet.robust.knobs import Lam
from sdnet.robust.policies import all_residuals
from sdnet.robust.sweep import sweep

LAMS = (0.1, 0.3, 0.5, 1.0)


def measure(model: Classifier, split: Split, precision: str) -> list[dict[str, float]]:
    """Per λ: top-1 accuracy, and mean residual ‖x − A(z)‖ per image, averaged over the network's layers with a λ."""
    split = split.to(next(model.parameters()).device)
    correct = sweep(Lam(model), split, torch.tensor(LAMS), precision).double().mean(1)
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
    evaluation = prepare(network, data_root=data_root, device=device, precision="fp32")
    if not coding_layers(evaluation.model):
        raise ValueError(f"{network} has no CSC layer whose precision could be compared.")
    test, results = evaluation.data.test, []
    for precision in ("fp32", "bf16"):
        for found in measure(evaluation.model, test, precision):
            for metric in ("top1", "residual"):
                cell = {"metric": metric, "split": "test", "lam": found["lam"], "precision": precision}
                results.append({**cell, "value": found[metric], "n": len(test)})
    return evaluation.record("precision", results)[1]
