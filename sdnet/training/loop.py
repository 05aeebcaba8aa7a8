"""The training loop: projected SGD on the cross-entropy (Eq. 5), and evaluation."""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdnet.data.batches import evaluation_batches, to_pixels, training_batches
from sdnet.data.datasets import Split
from sdnet.projection import project_
from sdnet.training.checkpoint import load_checkpoint, save_checkpoint
from sdnet.training.progress import Progress
from sdnet.training.recipes import Recipe

CHECK_EVERY = 100
"""Steps between two looks at the loss; each waits for the device."""


class Diverged(RuntimeError):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean loss and accuracy on the augmented training images, learning rate, wall time."""

    epoch: int
    loss: float
    train_accuracy: float
    lr: float
    seconds: float


def best_device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def best_precision(device: torch.device, model: nn.Module | None = None) -> str:
    """``"bf16"`` where the hardware multiplies bfloat16 natively, and oneDNN may serve ``model``; else ``"fp32"``."""
    if model is not None and is_narrow(model):
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


@contextmanager
def precision_of(device: torch.device, precision: str) -> Iterator[None]:
    """Run convolutions and products in the given precision (``"fp32"`` or ``"bf16"``)."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield


def is_narrow(model: nn.Module) -> bool:
    """Whether a network lies on a CPU and has a convolution whose channels are no multiple of 16."""
    # What convolves has weights of four dimensions, whichever layer of this package it is.
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    return any(weight.device.type == "cpu" and weight.shape[0] % 16 for weight in weights)


@contextmanager
def safe_kernels(model: nn.Module) -> Iterator[None]:
    """Keep oneDNN away from networks on a CPU whose convolutions do not have a multiple of 16 channels.

    Its backward pass writes beyond its buffers there (seen with PyTorch 2.15 on AVX-512: ``double free or corruption``
    after some tens of steps). The book's networks have 16 channels or more; PyTorch's own kernels serve the others.
    """
    before = bool(torch.backends.mkldnn.enabled)
    torch.backends.mkldnn.enabled = before and not is_narrow(model)  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before  # type: ignore[assignment]


def train(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    seed: int = 0,
    flip: bool = True,
    precision: str = "fp32",
    checkpoint: Path | None = None,
    key: str = "",
) -> list[Epoch]:
    """Train ``model`` in place, on the device where it lies, and return one row per epoch.

    After each optimizer step the atoms of the CSC layers are projected onto the unit sphere.

    Args:
        split: the training images.
        recipe: what to do.
        seed: of the order of the images and their augmentation.
        flip: whether mirrored images are used.
        precision: ``"fp32"`` or ``"bf16"``.
        checkpoint: file to write after every epoch, and to go on from if it is there.
        key: identifies the run; a checkpoint with another key is refused.

    Raises:
        Diverged: if the loss stops being finite; the last checkpoint stays.
        ValueError: if the checkpoint belongs to another run.
    """
    device = next(model.parameters()).device
    split = split.to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
    )
    steps = math.ceil(len(split) / recipe.batch_size)
    history = _resume(checkpoint, key, model, optimizer) if checkpoint else []
    progress = Progress(recipe.epochs, steps, len(history))
    model.train()
    for epoch in range(len(history), recipe.epochs):
        start, totals = time.monotonic(), torch.zeros(3, device=device)
        batches = training_batches(
            split, recipe.batch_size, seed=seed, epoch=epoch, padding=recipe.padding, flip=flip, noise=recipe.noise
        )
        for step, (images, labels) in enumerate(batches):
            lr = recipe.lr * recipe.lr_factor((epoch + step / steps) / recipe.epochs)
            totals += training_step(model, optimizer, images, labels, lr, precision)
            progress.step()
            if step % CHECK_EVERY == CHECK_EVERY - 1:
                _check_finite(totals, epoch, recipe)
        _check_finite(totals, epoch, recipe)
        loss, correct, count = totals.tolist()
        row = Epoch(epoch + 1, loss / count, correct / count, lr, time.monotonic() - start)
        history.append(row)
        if checkpoint:
            state = {"key": key, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(checkpoint, {**state, "history": [asdict(row) for row in history]})
        progress.epoch(row.epoch, loss=row.loss, accuracy=row.train_accuracy)
    progress.close()
    return history


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, lr: float, precision: str
) -> Tensor:
    """One projected SGD step; returns (summed loss, correct, count) without waiting for the device."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    with precision_of(images.device, precision):
        scores = model(images).float()
    loss = F.cross_entropy(scores, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    project_(model)
    count = len(labels)
    correct = (scores.detach().argmax(1) == labels).sum()
    return torch.stack((loss.detach() * count, correct, torch.full_like(correct, count)))


def _check_finite(totals: Tensor, epoch: int, recipe: Recipe) -> None:
    if not math.isfinite(totals[0].item()):
        raise Diverged(
            f"the loss is no longer finite in epoch {epoch + 1}; lr={recipe.lr} is too large for this network and "
            "batch size. Lower it (the paper's is 0.1 at batch size 128)."
        )


def _resume(path: Path, key: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Epoch]:
    if not path.exists():
        return []
    state = load_checkpoint(path)
    if state["key"] != key:
        raise ValueError(f"{path} belongs to another run; delete it or choose another output folder.")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"Going on after epoch {len(state['history'])} of {path}.")
    return [Epoch(**row) for row in state["history"]]


@torch.no_grad()
def accuracy(model: nn.Module, split: Split, batch_size: int = 500) -> float:
    """Fraction of the split's images that the network classifies correctly, in float32 and eval mode."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.long, device=device)
    for images, labels in evaluation_batches(split.to(device), batch_size):
        correct += (model(images).argmax(1) == labels).sum()
    model.train(was_training)
    return correct.item() / len(split)


def estimated_seconds(model: nn.Module, split: Split, recipe: Recipe, precision: str, steps: int = 3) -> float:
    """Wall time the training will take: a few steps on a copy of the network, extrapolated."""
    device = next(model.parameters()).device
    trial = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(trial.parameters(), lr=0.0)
    size = min(recipe.batch_size, len(split))
    images, labels = to_pixels(split.images[:size].to(device)), split.labels[:size].to(device)
    seconds: list[float] = []
    for _ in range(steps + 1):
        start = time.monotonic()
        training_step(trial, optimizer, images, labels, 0.0, precision).tolist()
        seconds.append(time.monotonic() - start)
    return sorted(seconds[1:])[steps // 2] * recipe.epochs * len(split) / size


def describe_device(device: torch.device) -> dict[str, Any]:
    """Type, name and number of CPU threads of a device, for the ledger."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
