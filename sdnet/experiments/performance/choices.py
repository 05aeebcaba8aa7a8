"""What each of the choices that make training fast is worth: SDNet-18's step with one of them taken back at a time."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet import models, set_lam
from sdnet.csc.layers import CSCConv2d
from sdnet.csc.projection import project_
from sdnet.experiments.benchmark import interleaved, recorded
from sdnet.experiments.performance import speed
from sdnet.experiments.performance.speed import Case
from sdnet.training import loop

POWER_STEPS = 50
"""Power iterations before each batch in the authors' code, at most."""


def _network(**options: Any) -> nn.Module:
    return models.build("sdnet18", 10, **options)


def _per_image(images: Tensor, **size: int) -> nn.Module:
    """λ as one number per image, which cannot be folded into the convolution's bias."""
    model = _network(**size)
    set_lam(model, torch.full((len(images),), 0.1))
    return model


def _reconstructing(**size: int) -> nn.Module:
    """With A(z) computed at the end of each forward pass, and used for nothing."""
    model = _network(**size)

    def reconstruct(layer: CSCConv2d, given: tuple[Tensor], code: Tensor) -> None:
        layer.lasso(given[0]).residual(code)

    model.get_submodule("stem.0").register_forward_hook(reconstruct)
    return model


def _often(model: nn.Module, step: Case) -> None:
    """A step after the authors' number of power iterations, each of which asks the device for its result."""
    for _ in range(POWER_STEPS):
        project_(model)
        model.get_buffer("stem.0.lipschitz").item()
    step()


def _waiting(step: Callable[[], Tensor]) -> None:
    """A step, and the loss fetched from the device."""
    step().tolist()


CHOICES = {
    "as it is": "",
    "channels first": "memory in the order channels, rows, columns",
    "float32": "instead of bfloat16",
    "L by one power iteration": "instead of the closed form",
    f"L by {POWER_STEPS} power iterations": "before each batch, each asking the device, as in the authors' code",
    "threshold apart": "instead of in the convolution's bias: λ per image",
    "reconstruction": "computed after each forward pass and not used, as in the authors' code",
    "wait for the loss": "after every step",
    "first code recomputed": "in the backward pass instead of kept: checkpointed gradients",
    "compiled": "torch.compile",
    "plain convolution": "ResNet-18: what would be left to gain",
}
"""Case → what it changes."""


def cases(width: int, batch: int, precision: str, device: torch.device, compiled: bool) -> dict[str, Case]:
    """Choice → a training step of SDNet-18 made with it."""
    images = torch.rand(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=device)

    def step(model: nn.Module, how: str = precision, last: bool = True) -> Callable[[], Tensor]:
        order = torch.channels_last if last else torch.contiguous_format
        placed, pixels = model.to(device).to(memory_format=order), images.contiguous(memory_format=order)
        return speed.training(placed, pixels, labels, how)

    size: dict[str, Any] = {"width": width}
    by_power = _network(lipschitz_method="power", **size)
    made: list[Case] = [
        step(_network(**size)),
        step(_network(**size), last=False),
        step(_network(**size), "fp32"),
        step(_network(lipschitz_method="power", **size)),
        partial(_often, by_power, step(by_power)),
        step(_per_image(images, **size)),
        step(_reconstructing(**size)),
        partial(_waiting, step(_network(**size))),
        step(_network(gradient="checkpointed", **size)),
        step(torch.compile(_network(**size), dynamic=False)),  # type: ignore[arg-type]
        step(models.build("resnet18", 10, **size)),
    ]
    found = dict(zip(CHOICES, made, strict=True))
    return {name: case for name, case in found.items() if compiled or name != "compiled"}


def measure(
    *, width: int, batch: int, precision: str, device: torch.device, repeats: int, compiled: bool = True
) -> list[dict[str, Any]]:
    """Ledger cells: speed of a training step per choice as a ratio to the step as it is, side by side; peak memory."""
    found = cases(width, batch, precision, device, compiled)
    timings = interleaved(found, device, repeats)
    base, cells = timings[0], []
    for timing, step in zip(timings, found.values(), strict=True):
        where = {"case": timing.name, "width": width, "batch": batch, "n": repeats}
        cells.append({"metric": "choice_speed_ratio", **where, **timing.rate(base.median)})
        if timing.name != "compiled":  # its memory is not PyTorch's to count
            cells.append({"metric": "choice_memory", **where, "value": speed.peak_memory(step, device)})
    return cells


def record(
    device: torch.device, *, width: int = 64, batch: int = 128, repeats: int = 7, compiled: bool = True
) -> tuple[Path, list[dict[str, Any]]]:
    """Run :func:`measure` and write its cells to the ledger."""
    config: dict[str, Any] = {"width": width, "batch": batch, "precision": loop.best_precision(device)}
    return recorded(
        lambda: measure(device=device, repeats=repeats, compiled=compiled, **config),
        device,
        {"what": "choices", **config},
    )
