"""Speed and memory of whole networks, as ratios to ResNet-18 measured side by side in one process."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet import models
from sdnet.data.batches import training_batches
from sdnet.data.datasets import Split
from sdnet.experiments.benchmark import Timing, interleaved, recorded
from sdnet.robust.attacks import EPSILONS, Attack, perturb
from sdnet.runtime import peak_bytes
from sdnet.training import loop

BASELINE = "resnet18"
SIZES = {"cifar": 32, "imagenet": 224}
Case = Callable[[], object]
FP32_ONLY = ("sdnet18_authors", "sdnet18_fp32")


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """The paper's optimizer, with a learning rate that leaves a random network where it is."""
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True)


def training(model: nn.Module, images: Tensor, labels: Tensor, precision: str) -> Callable[[], Tensor]:
    """One projected SGD step as :func:`sdnet.training.loop.train` makes it, on a batch that lies on the device.

    Its gradients are let go at its end, not when the next step begins: they are part of what every step allocates.
    """
    optimizer = _optimizer(model)

    def run() -> Tensor:
        model.train()  # the same network may have been asked in another case
        totals = loop.training_step(model, optimizer, images, labels, 1e-3, precision)
        optimizer.zero_grad(set_to_none=True)
        return totals

    return run


def inference(model: nn.Module, images: Tensor, precision: str) -> Case:
    """Class scores of one batch in eval mode."""

    def run() -> None:
        model.eval()  # the same network may be training in another case
        with torch.no_grad(), loop.precision_of(images.device, precision):
            model(images)

    return run


def pipeline(batch: int, size: int, device: torch.device) -> Case:
    """Make one augmented batch from uint8 images on the device: the data pipeline alone."""
    images = torch.randint(256, (batch, size, size, 3), dtype=torch.uint8, device=device)
    split = Split(images, torch.zeros(batch, dtype=torch.long, device=device))
    return lambda: list(training_batches(split, batch, seed=0, epoch=0))


def authors_network(reference: Path, device: torch.device) -> nn.Module:
    """SDNet-18 of the authors' repository, whose source lies in the folder ``reference``.

    Raises:
        ValueError: if the folder does not hold that source.
    """
    if not (reference / "Lib" / "models" / "sdnet.py").is_file():
        raise ValueError(f"{reference} is not the authors' repository: it has no Lib/models/sdnet.py.")
    sys.path.insert(0, str(reference))
    try:
        from Lib.config import config  # type: ignore[import-not-found]
        from Lib.models.sdnet import SDNet18  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(reference))
    config.defrost()
    config.merge_from_file(str(reference / "experiments" / "cifar10.yaml"))
    config.freeze()
    model: nn.Module = SDNet18(num_classes=10, cfg=config).to(device)
    with torch.no_grad():
        model(torch.zeros(2, 3, 32, 32, device=device))  # sets the sizes its power iteration needs
    return model


def authors_step(model: Any, images: Tensor, labels: Tensor) -> Case:
    """One training step as the authors' script makes it, in float32, its waits for the loss included."""
    optimizer = _optimizer(model)

    @loop.exact_float32()
    def run() -> None:
        model.train()
        model.update_stepsize()
        loss = nn.functional.cross_entropy(model(images)[0], labels)
        loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return run


def _safely(model: nn.Module, case: Case) -> None:
    with loop.safe_kernels(model):
        case()


def cases(
    archs: tuple[str, ...],
    width: int,
    batch: int,
    stem: str,
    precision: str,
    device: torch.device,
    compiled: str | None,
) -> dict[str, dict[str, Case]]:
    """Mode → architecture → what to time."""
    size = SIZES[stem]
    images = torch.rand(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=device)
    found: dict[str, dict[str, Case]] = {"train": {}, "infer": {}}
    for arch in archs:
        model: nn.Module = models.build(arch, 10, width=width, stem=stem).to(device)
        model = model.to(memory_format=torch.channels_last)
        if compiled is not None:
            model.compile(mode=compiled, dynamic=False)  # as in training
        found["train"][arch] = partial(_safely, model, training(model, images, labels, precision))
        found["infer"][arch] = partial(_safely, model, inference(model, images, precision))
    return found


def measure(
    *,
    archs: tuple[str, ...] = (BASELINE, "sdnet18"),
    width: int = 64,
    batch: int = 128,
    stem: str = "cifar",
    precision: str | None = None,
    device: torch.device,
    compiled: str | None = None,
    reference: Path | None = None,
    repeats: int = 10,
) -> list[dict[str, Any]]:
    """Ledger cells: images per second with quartiles, ratio to the first network, peak memory of a training step, size.

    ``archs`` may hold every architecture of Table 1: all take turns in this one process.

    Args:
        compiled: None, or a mode of ``torch.compile`` for all networks.
        reference: a folder with the authors' source; their SDNet-18 (width 64, float32) then joins as
            ``sdnet18_authors``, beside ours in float32 as ``sdnet18_fp32``.

    Raises:
        ValueError: if ``reference`` is not the authors' repository, or the setting is not theirs.
    """
    precision = precision or loop.best_precision(device)
    found = cases(archs, width, batch, stem, precision, device, compiled)
    if reference is not None:
        if (width, stem) != (64, "cifar"):
            raise ValueError(f"the authors' network has width 64 and the CIFAR stem; got width {width}, {stem}.")
        images, labels = torch.rand(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)
        found["train"]["sdnet18_authors"] = authors_step(authors_network(reference, device), images, labels)
        same = cases(("sdnet18",), width, batch, stem, "fp32", device, compiled)
        found["train"]["sdnet18_fp32"] = same["train"]["sdnet18"]
    found["train"]["data pipeline"] = pipeline(batch, SIZES[stem], device)
    cells = []
    for mode, by_arch in found.items():
        timings = interleaved(by_arch, device, repeats)
        setting = {"mode": mode, "width": width, "batch": batch, "stem": stem, "compiled": compiled or False}
        for timing in timings:
            ran_in = "fp32" if timing.name in FP32_ONLY else precision
            cells += _cells(timing, timings[0], batch, {**setting, "arch": timing.name, "precision": ran_in})
    setting = {"width": width, "batch": batch, "stem": stem, "compiled": compiled or False, "n": 1}
    for arch in archs:
        count = models.parameter_count(models.build(arch, 10, width=width, stem=stem))
        cells.append(
            {"metric": "train_memory", "arch": arch, "value": peak_memory(found["train"][arch], device), **setting}
        )
        cells.append({"metric": "parameters", "arch": arch, "value": count, **setting})
    return cells


def _cells(timing: Timing, base: Timing, batch: int, setting: dict[str, Any]) -> list[dict[str, Any]]:
    name = f"{setting['mode']}_images_per_second"
    relative = {"metric": f"{setting['mode']}_speed_ratio", "baseline": base.name, **timing.rate(base.median)}
    return [{**setting, "metric": name, **timing.rate(batch), "n": batch}, {**setting, **relative, "n": batch}]


def peak_memory(step: Case, device: torch.device) -> float:
    """Peak memory in GB of what a step allocates beyond what there was before it.

    Of a step of :func:`training` that was made before, these are activations, gradients and what is computed with
    them, but not weights, momentum or the batch, nor anything of other networks. On CUDA it is the allocator's own
    count, which rounds tensors up to 512 bytes and knows the workspace of the kernels; elsewhere a count of tensors.
    """
    if device.type != "cuda":
        return peak_bytes(step) / 1e9
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e9


def record(device: torch.device, **settings: Any) -> tuple[Path, list[dict[str, Any]]]:
    """Run :func:`measure` and write its cells to the ledger."""
    reference = settings.pop("reference", None)
    config = {**settings, "archs": list(settings["archs"]), "authors": reference is not None}
    return recorded(lambda: measure(device=device, reference=reference, **settings), device, config)


ATTACK_STEPS = 5
"""Steps of PGD in one timed call, so that the random start and the check of the result count little."""


@loop.exact_float32()
def measure_attacks(
    *,
    archs: tuple[str, ...] = (BASELINE, "sdnet18"),
    width: int = 64,
    batch: int = 128,
    device: torch.device,
    repeats: int = 10,
) -> list[dict[str, Any]]:
    """Ledger cells: image-steps per second of PGD (L∞, float32) with quartiles, and ratio to the first network."""
    images, labels = torch.rand(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)
    attack = Attack("pgd", "linf", EPSILONS["linf"], ATTACK_STEPS)
    found: dict[str, Case] = {}
    for arch in archs:
        model = models.build(arch, 10, width=width).to(device).to(memory_format=torch.channels_last).eval()
        found[arch] = partial(perturb, model, images, labels, attack)
    timings = interleaved(found, device, repeats)
    cells = []
    for timing in timings:
        setting = {"mode": "attack", "width": width, "batch": batch, "arch": timing.name, "precision": "fp32"}
        work, base = batch * ATTACK_STEPS, timings[0]
        for metric, amount in (("attack_steps_per_second", work), ("attack_speed_ratio", base.median)):
            cells.append({**setting, "metric": metric, "baseline": base.name, **timing.rate(amount), "n": batch})
    return cells


def record_attacks(device: torch.device, **settings: Any) -> tuple[Path, list[dict[str, Any]]]:
    """Run :func:`measure_attacks` and write its cells to the ledger."""
    config = {"mode": "attack", **settings, "archs": list(settings["archs"])}
    return recorded(lambda: measure_attacks(device=device, **settings), device, config)
