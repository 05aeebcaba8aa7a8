"""What sparse-coding theory says of a trained stem: Theorem 1 of the paper (C13), and the encoder gap."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdnet.csc.lasso import Lasso
from sdnet.csc.layers import csc_layers
from sdnet.csc.solvers import solve
from sdnet.csc.theory import (
    encoder_gap,
    inactive_radius,
    local_sparsity,
    mutual_coherence,
    sparsity_limit,
    welch_bound,
)
from sdnet.data.batches import to_pixels
from sdnet.experiments.corruptions.sweep import mean_interval, subset
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.training.loop import exact_float32

TOLERANCE = 1e-4
"""Relative duality gap of the minimisers."""
STRENGTHS, RADII = (0.1, 0.3, 0.5, 0.8), (0.0, 0.1, 0.25, 0.5)
"""λ at which the encoder gap is measured, and the L2 radii of a change of the image, in pixel values from 0 to 1."""
GAP_IMAGES, GIVEN_UP = 20, 0.1
"""How many images the encoder gap is measured on, and the share of a code's entries that is given up."""


@exact_float32()
@torch.no_grad()
def run(
    network: str | os.PathLike[str],
    *,
    images: int = 50,
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> tuple[Record, Path]:
    """Compare the theorem's limit with the codes of test images; write a ledger row.

    Its cells: ``coherence`` of the atoms, ``welch_bound`` (no dictionary of this size has less), ``sparsity_limit``
    (1 + 1/μ)/3, and ``local_sparsity`` ‖z‖₀,∞ of the layer's own codes (``case`` ``"layer"``) and of the minimisers of
    its problem (``"minimiser"``, to a relative duality gap of 1e-4); ``fewest`` and ``most`` of each are the smallest
    and the largest over images. Then, of minimisers at each λ (``strength``): ``may_be_active``, the share of a code's
    entries that are not sure to stay zero while the image moves by at most ``epsilon`` in ℓ2, and ``encoder_gap``, how
    far it may move while all but a tenth of the entries are sure to.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        images: test images, at least 2.

    Raises:
        ValueError: for a network that does not exist or has no CSC layer, or fewer than two images.
    """
    if images < 2:
        raise ValueError(f"images must be at least 2, since an interval needs two; got {images}.")
    evaluation = prepare(network, data_root=data_root, device=device, precision="fp32")
    layers = csc_layers(evaluation.model)
    if not layers:
        raise ValueError(f"{evaluation.name} has no CSC layer to which a guarantee could apply; choose an sdnet.")
    layer = layers[0][1]
    signal = evaluation.model.normalize(to_pixels(subset(evaluation.data.test, images).to(evaluation.device).images))
    mu = mutual_coherence(layer.dictionary)
    cells: list[dict[str, Any]] = [
        {"metric": "coherence", "value": mu, "n": 1},
        {"metric": "welch_bound", "value": welch_bound(layer.dictionary), "n": 1},
        {"metric": "sparsity_limit", "value": sparsity_limit(mu), "n": 1},
    ]
    codes = {"layer": layer(signal), "minimiser": layer.solve(signal, iterations=5000, tolerance=TOLERANCE).code}
    for case, code in codes.items():
        sparsity = np.asarray(local_sparsity(code, layer.dictionary).cpu().double().numpy())
        cells.append({"metric": "local_sparsity", "case": case, **mean_interval(sparsity)})
        for metric, value in (("fewest", sparsity.min()), ("most", sparsity.max())):
            cells.append({"metric": metric, "case": case, "value": float(value), "n": len(sparsity)})
    cells += _gaps(layer.lasso(signal[:GAP_IMAGES]), float(evaluation.model.normalize.std.min()))
    return evaluation.record("guarantee", cells, images=len(signal))


def _gaps(problem: Lasso, pixel: float) -> list[dict[str, Any]]:
    """``pixel``: by how much an image may change, in ℓ2, for a change of its signal by at most 1."""
    cells = []
    for strength in STRENGTHS:
        lasso = replace(problem, lam=problem.signal.new_tensor(strength))
        minimiser = solve(lasso, iterations=5000, tolerance=TOLERANCE, restart=True).code
        radius = (inactive_radius(lasso, minimiser) * pixel).flatten(1)
        for epsilon in RADII:
            share = (radius <= epsilon).double().mean(1).cpu().numpy()
            cells.append({"metric": "may_be_active", "strength": strength, "epsilon": epsilon, **mean_interval(share)})
        gap = encoder_gap(radius, int(GIVEN_UP * radius.shape[1])).double().cpu().numpy()
        cells.append({"metric": "encoder_gap", "strength": strength, **mean_interval(gap)})
    return cells
