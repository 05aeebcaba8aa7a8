"""What a step of a pursuit costs, as a multiple of its two convolutions per layer, side by side in one process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdnet import models
from sdnet.csc.pursuit import pursue
from sdnet.experiments.benchmark import interleaved, recorded
from sdnet.models.pursuit import PursuitNet

STEPS = 4
ARCHS, CASES = ("lbp", "dp", "dp_res"), ("inference", "training")


def measure(width: int, batch: int, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """Ledger cells ``pursuit_step_ratio``: :data:`STEPS` steps of all layers over one synthesis and one analysis of
    each layer per step, on images of 32 × 32 pixels in float32; ``case`` is ``"inference"`` or ``"training"`` (forward
    and backward)."""
    cells = []
    for case in CASES:
        for arch in ARCHS:
            model = models.build(arch, 10, width=width).to(device).eval()
            assert isinstance(model, PursuitNet)
            cases = {"steps": _steps(model, batch, device), "convolutions": _convolutions(model, batch, device)}
            timed = {name: _mode(work, case == "training") for name, work in cases.items()}
            steps, convolutions = interleaved(timed, device, repeats)
            cells.append({"metric": "pursuit_step_ratio", "case": case, "arch": arch, "width": width, "n": repeats,
                          **steps.over(convolutions.median)})  # fmt: skip
    return cells


def record(
    device: torch.device, *, width: int = 64, batch: int = 64, repeats: int = 7
) -> tuple[Path, list[dict[str, Any]]]:
    """Run :func:`measure` and write its cells to the ledger."""
    config = {"what": "pursuits", "width": width, "batch": batch, "precision": "fp32"}
    return recorded(lambda: measure(width, batch, device, repeats), device, config)


def _steps(model: PursuitNet, batch: int, device: torch.device) -> Callable[[], Tensor]:
    signal = torch.rand(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    with torch.no_grad():
        start, _ = model.feed_forward(signal)

    def work() -> Tensor:
        problem = model.problem()
        return pursue(problem, signal, start, STEPS, model.schedule, extrapolation=model.extrapolation)[-1].sum()

    return work


def _convolutions(model: PursuitNet, batch: int, device: torch.device) -> Callable[[], Tensor]:
    shapes, _ = model.problem().shapes((3, 32, 32))
    signals = [torch.rand(batch, *shape, device=device).to(memory_format=torch.channels_last) for shape in shapes]
    with torch.no_grad():
        codes = [layer.operator.analysis(signal) for layer, signal in zip(model.problem().layers, signals, strict=True)]

    def work() -> Tensor:
        total = signals[0].new_zeros(())
        for _ in range(STEPS):
            for layer, signal, code in zip(model.problem().layers, signals, codes, strict=True):
                # Both have a gradient of their input, as in a pursuit.
                image = layer.operator.synthesis(code.requires_grad_(torch.is_grad_enabled()), signal.shape[2:])
                total = total + layer.operator.analysis(image).mean()
        return total

    return work


def _mode(work: Callable[[], Tensor], training: bool) -> Callable[[], object]:
    def timed() -> None:
        with torch.set_grad_enabled(training):
            result = work()
            if training:
                result.backward()

    return timed
