"""Cost as the work grows: images per second against batch, image size, iterations and atoms, in one process."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdnet import models
from sdnet.csc.layers import CSCConv2d
from sdnet.experiments.benchmark import interleaved, recorded
from sdnet.experiments.performance import speed
from sdnet.runtime import peak_bytes
from sdnet.training import loop

AXES = {
    "batch": (16, 32, 64, 128, 256),
    "image side": (16, 32, 64, 128),
    "iterations": (1, 2, 4, 8, 16, 32),
    "atoms": (16, 32, 64, 128, 256),
}
"""What grows → its values. The first two are training steps of whole networks, the others of the stem alone."""
MEMORY_ITERATIONS = (2, 8, 32, 128)


def _network_cases(axis: str, value: int, width: int, precision: str, device: torch.device) -> dict[str, speed.Case]:
    batch, side = (value, 32) if axis == "batch" else (16, value)
    images = torch.rand(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=device)
    cases: dict[str, speed.Case] = {}
    for arch in (speed.BASELINE, "sdnet18"):
        model = models.build(arch, 10, width=width).to(device).to(memory_format=torch.channels_last)
        cases[arch] = speed.training(model, images, labels, precision)
    return cases


def _layer_cases(axis: str, value: int, precision: str, device: torch.device) -> dict[str, speed.Case]:
    atoms, iterations = (value, 2) if axis == "atoms" else (64, value)
    images = torch.rand(64, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    layer = CSCConv2d(3, atoms, 3, padding=1, iterations=iterations).to(device)
    layers: dict[str, nn.Module] = {"CSC layer": layer}
    if axis == "atoms":
        layers["nn.Conv2d"] = nn.Conv2d(3, atoms, 3, padding=1, bias=False).to(device)
    return {name: partial(_step, module, images, precision) for name, module in layers.items()}


def _step(layer: nn.Module, images: torch.Tensor, precision: str) -> None:
    with loop.precision_of(images.device, precision):
        layer(images).float().sum().backward()


def measure(*, width: int, precision: str, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """Ledger cells: images per second per axis, value and case, with quartiles; peak memory per gradient."""
    cells: list[dict[str, Any]] = []
    for axis, values in AXES.items():
        whole = axis in ("batch", "image side")
        cases: dict[tuple[str, int], speed.Case] = {}
        for value in values:
            if whole:
                made = _network_cases(axis, value, width, precision, device)
            else:
                made = _layer_cases(axis, value, precision, device)
            cases |= {(name, value): case for name, case in made.items()}
        timings = interleaved({f"{name}|{value}": case for (name, value), case in cases.items()}, device, repeats)
        for (name, value), timing in zip(cases, timings, strict=True):
            batch = value if axis == "batch" else 16 if whole else 64
            cell = {"metric": "images_per_second", "axis": axis, "at": value, "case": name}
            cells.append({**cell, **timing.rate(batch), "n": repeats})
    return cells + memory_cells()


def memory_cells() -> list[dict[str, Any]]:
    """Peak bytes of a forward and a backward pass through the stem, counted tensor by tensor, per gradient."""
    image = torch.rand(1, 3, 32, 32)
    cells = []
    for gradient in ("unrolled", "checkpointed", "implicit"):
        for iterations in MEMORY_ITERATIONS:
            layer = CSCConv2d(3, 64, 3, padding=1, iterations=iterations, gradient=gradient)
            used = peak_bytes(lambda layer=layer: layer(image).sum().backward())  # type: ignore[misc]
            cell = {"metric": "gradient_memory", "case": gradient, "axis": "iterations", "at": iterations}
            cells.append({**cell, "value": used, "n": 1})
    return cells


def record(
    *, width: int | None = None, precision: str | None = None, device: torch.device, repeats: int = 7
) -> tuple[Path, list[dict[str, Any]]]:
    """Run :func:`measure` and write its cells to the ledger. The width is 64 on an accelerator, 16 on a CPU."""
    width = width or (16 if device.type == "cpu" else 64)
    precision = precision or loop.best_precision(device)
    config = {"what": "scaling", "width": width, "precision": precision, "repeats": repeats}
    return recorded(lambda: measure(width=width, precision=precision, device=device, repeats=repeats), device, config)
