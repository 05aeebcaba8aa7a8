"""The training loop: projected SGD on the cross-entropy (Eq. 5), and evaluation; on one rank or on many."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sdnet.csc.projection import project_
from sdnet.data.batches import evaluation_batches, to_pixels, training_batches
from sdnet.data.datasets import Split
from sdnet.data.photographs import Photographs
from sdnet.runtime import has_odd_dilation, is_narrow
from sdnet.training.distributed import ALONE, Execution, Preempted, Ranks, unsynchronised
from sdnet.training.progress import Progress
from sdnet.training.recipes import Recipe
from sdnet.training.run import BestEpoch, Epoch, Run, optimizer_of
from sdnet.training.stopping import preemption

CHECK_EVERY = 100
"""Steps between two looks at the loss; each waits for the device."""


def best_precision(device: torch.device, model: nn.Module | None = None) -> str:
    """``"bf16"`` where the hardware multiplies bfloat16 natively, and oneDNN may serve ``model``; else ``"fp32"``."""
    if model is not None and (is_narrow(model) or has_odd_dilation(model)):
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


@contextmanager
def exact_float32() -> Iterator[None]:
    """Convolve float32 as such on CUDA, and not in TF32 (10 bits of 23) as by default; backwards too, if inside."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def precision_of(device: torch.device, precision: str) -> Iterator[None]:
    """Run convolutions and products in the given precision: ``"fp32"``, which is not TF32, or ``"bf16"``."""
    with exact_float32(), torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
        yield


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
    split: Split | Photographs,
    recipe: Recipe,
    *,
    seed: int = 0,
    flip: bool = True,
    precision: str = "fp32",
    checkpoint: Path | None = None,
    key: Any = "",
    clock: float | None = None,
    ranks: Ranks = ALONE,
    execution: Execution = Execution(),  # noqa: B008  (immutable)
    best: BestEpoch | None = None,
    watch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train ``model`` in place, on the device where it lies, and return one row per epoch.

    After each optimizer step the atoms of the CSC layers are projected onto the unit sphere. Several ranks each take
    their part of every batch; as their gradients are averaged, their weights stay equal bit by bit, which is checked at
    every checkpoint.

    Args:
        split: the training images.
        recipe: what to do; its batch size is that of all ranks together.
        seed, flip: of the order of the images and their augmentation, and whether they are mirrored too.
        precision: ``"fp32"`` or ``"bf16"``.
        checkpoint: written after every epoch and every ``execution.save_every`` steps; resumed from, on any ranks.
        key, clock: of :class:`sdnet.training.run.Run`.
        ranks, execution: who trains, from :func:`sdnet.training.distributed.joined`, and how.
        best: judges every epoch; the network is then left as after the best one, instead of the last.
        watch: is called after every epoch that this call trains; it leaves the network in train mode.

    Raises:
        Diverged: if the loss stops being finite; the last checkpoint stays.
        Preempted: after SIGTERM to any rank, or Ctrl-C, when the checkpoint is saved.
        ValueError: for a batch too small to be cut, another run's checkpoint, or more unreadable images than allowed.
    """
    execution.check_batch(min(recipe.batch_size, len(split)), ranks.size)
    split = split.to(next(model.parameters()).device)
    parallel = ranks.wrap(model, execution)
    optimizer = optimizer_of(model, recipe)
    rebuild_buckets(parallel, split)
    run = Run(model, optimizer, ranks, checkpoint, key, clock, best)
    steps = math.ceil(len(split) / recipe.batch_size)
    run.resume(recipe.epochs, steps)
    progress = Progress(recipe.epochs, steps, len(run.history), run.step, quiet=not ranks.is_main)
    model.train()
    with preemption() as told_to_stop:
        for epoch in range(len(run.history), recipe.epochs):
            batches = training_batches(
                split, recipe.batch_size, seed=seed, epoch=epoch, padding=recipe.padding, flip=flip, noise=recipe.noise,
                start=run.step, least=2 * ranks.size * execution.accumulate, shard=ranks.shard,
            )  # fmt: skip
            _train_epoch(parallel, run, batches, split, recipe, precision, execution, progress, told_to_stop)
            if watch is not None:
                watch(run.history[-1])
    progress.close()
    if best is not None:
        model.load_state_dict(best.weights)
    return run.history


def _train_epoch(
    model: nn.Module,
    run: Run,
    batches: Iterable[tuple[Tensor, Tensor]],
    split: Split | Photographs,
    recipe: Recipe,
    precision: str,
    execution: Execution,
    progress: Progress,
    told_to_stop: Callable[[], bool],
) -> None:
    """What is left of the run's current epoch, saved at its end."""
    ranks, epoch, steps = run.ranks, len(run.history), math.ceil(len(split) / recipe.batch_size)
    before = time.monotonic() - run.seconds
    for images, labels in batches:
        lr = recipe.lr * recipe.lr_factor((epoch + run.step / steps) / recipe.epochs)
        # The mean over the whole batch is the mean over ranks of their means, if these are weighted.
        whole = min(recipe.batch_size, len(split) - run.step * recipe.batch_size)
        weight = len(labels) * ranks.size / whole
        with run.kept_finite(recipe):
            run.totals += training_step(
                model, run.optimizer, images, labels, lr, precision, weight, execution.accumulate
            )
        run.advance(time.monotonic() - before)
        progress.step()
        stop = _look_around(told_to_stop(), split, ranks, execution.max_corrupt)
        _check_and_save(run, recipe, execution.save_every, stop)
    run.check_finite(recipe)
    row = run.finish_epoch(recipe.lr * recipe.lr_factor((epoch + (run.step - 1) / steps) / recipe.epochs))
    run.save()
    progress.epoch(row.epoch, loss=row.loss, accuracy=row.train_accuracy)


@exact_float32()
def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    lr: float,
    precision: str,
    weight: float = 1.0,
    pieces: int = 1,
) -> Tensor:
    """One projected SGD step; returns (summed loss, correct, count) without waiting for the device.

    Args:
        weight: of this rank's mean loss; the gradient is the mean over ranks of the weighted ones.
        pieces: the batch is cut into so many, whose gradients add up.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    totals = torch.zeros(3, device=images.device)
    cut = list(zip(images.tensor_split(pieces), labels.tensor_split(pieces), strict=True))
    for number, (x, y) in enumerate(cut, start=1):
        with unsynchronised(model, number < pieces):
            with precision_of(x.device, precision):
                scores = model(x).float()
            loss = F.cross_entropy(scores, y)
            (loss * (weight * len(y) / len(labels))).backward()
        correct = (scores.detach().argmax(1) == y).sum()
        totals += torch.stack((loss.detach() * len(y), correct, torch.full_like(correct, len(y))))
    optimizer.step()
    project_(model)
    return totals


def rebuild_buckets(model: nn.Module, split: Split | Photographs) -> None:
    """Let ranks find out in which order gradients come, by one backward pass whose gradients are thrown away.

    PyTorch arranges the gradients that travel together anew after the first step, and with them the order in which
    ranks' numbers are added. After this, the first step of a resumed run adds as the same step of an undisturbed one.
    """
    if isinstance(model, DistributedDataParallel):
        model.eval()  # which leaves the statistics of batch normalisation alone
        model(example(split, 2)[0]).sum().backward()
        model.zero_grad(set_to_none=True)
        model.train()


def _check_and_save(run: Run, recipe: Recipe, save_every: int | None, stop: bool) -> None:
    """After a step: look at the loss now and then, save when it is time, and stop if told to."""
    save = stop or (save_every and run.step % save_every == 0)
    if save or run.step % CHECK_EVERY == 0:
        run.check_finite(recipe)
    if save:
        run.save()
    if stop:
        done = "saved" if run.path else "not saved, for want of a checkpoint,"
        raise Preempted(f"told to stop; {done} after step {run.step} of epoch {len(run.history) + 1}.")


def _look_around(stop: bool, split: Split | Photographs, ranks: Ranks, max_corrupt: int) -> bool:
    """Whether any rank was told to stop. All ranks learn of unreadable images at the same step."""
    corrupt = len(split.corrupt) if isinstance(split, Photographs) else 0
    # On the CPU, over Gloo: to look does not wait for a GPU.
    told, unreadable = ranks.all_reduce(torch.tensor([int(stop), corrupt])).tolist()
    if unreadable > max_corrupt:
        check_corrupt(split, ranks, max_corrupt)
    return bool(told)


def check_corrupt(split: Split | Photographs, ranks: Ranks, max_corrupt: int) -> int:
    """How many images of the split no rank could read so far.

    Raises:
        ValueError: on all ranks, if they are more than ``max_corrupt``.
    """
    corrupt = split.corrupt if isinstance(split, Photographs) else set()
    found = sorted(set().union(*ranks.all_gather(corrupt)))
    if len(found) > max_corrupt:
        raise ValueError(
            f"{len(found)} images cannot be read, the first is {found[0]}, and max_corrupt allows {max_corrupt}; "
            "replace them or allow more."
        )
    return len(found)


@exact_float32()
@torch.no_grad()
def accuracy(model: nn.Module, split: Split | Photographs, batch_size: int = 500, ranks: Ranks = ALONE) -> float:
    """Fraction of the split's images that the network classifies correctly, in float32 and eval mode.

    Ranks classify a part each, and all of them get the result. Photographs that cannot be read do not count.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    counts = torch.zeros(2, dtype=torch.long, device=device)
    for images, labels in evaluation_batches(split.to(device), batch_size, ranks.shard):
        counts[0] += (model(images).argmax(1) == labels).sum()
        counts[1] += len(labels)
    model.train(was_training)
    correct, count = ranks.all_reduce(counts).tolist()
    return correct / count


def example(split: Split | Photographs, count: int) -> tuple[Tensor, Tensor]:
    """Images and labels in the form of a training batch, for trying things out: pixels in [0, 1] on the device."""
    if isinstance(split, Photographs):
        pixels = torch.rand(count, 3, split.size, split.size, device=split.device)
        return pixels.contiguous(memory_format=torch.channels_last), torch.zeros(count, device=split.device).long()
    return to_pixels(split.images[:count]), split.labels[:count]


def estimated_seconds(
    model: nn.Module, split: Split | Photographs, recipe: Recipe, precision: str, steps: int = 3, parts: int = 1
) -> float:
    """Wall time the training will take: a few steps on a copy of the network, extrapolated.

    ``parts`` is the number of ranks times that of pieces: what one of them computes at a time is timed, and nothing is
    added for what ranks say to each other.
    """
    device = next(model.parameters()).device
    trial = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(trial.parameters(), lr=0.0)
    images, labels = example(split.to(device), max(2, min(recipe.batch_size, len(split)) // parts))
    seconds: list[float] = []
    for _ in range(steps + 1):
        start = time.monotonic()
        training_step(trial, optimizer, images, labels, 0.0, precision).tolist()
        seconds.append(time.monotonic() - start)
    return sorted(seconds[1:])[steps // 2] * recipe.epochs * len(split) / len(labels)
