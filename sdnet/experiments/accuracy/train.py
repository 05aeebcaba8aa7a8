"""The main experiment: train one network on one data set, keep it, and record the run."""

import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdnet import models
from sdnet.data.datasets import Dataset
from sdnet.data.photographs import PhotographSet
from sdnet.results import ledger
from sdnet.results.ledger import Record
from sdnet.runtime import device_of, keep_freed_memory
from sdnet.training import distributed, loop
from sdnet.training.checkpoint import locked, save_network
from sdnet.training.declaration import Training
from sdnet.training.distributed import Execution, Ranks
from sdnet.training.progress import duration
from sdnet.training.run import BestEpoch, Epoch, saved
from sdnet.training.stopping import preemption, stoppable

STOPPED = "told to stop outside of the training steps; what they had saved stays"
FEW_STEPS = 200
"""After fewer of them a test accuracy below half of that of training is no overfitting."""


@dataclass(frozen=True)
class Trained:
    """What :func:`run` leaves behind: the network in eval mode, its record, and where both were written."""

    model: nn.Module
    record: Record
    network_file: Path
    record_file: Path


def run(
    training: Training,
    *,
    data_root: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    execution: Execution = Execution(),  # noqa: B008  (immutable)
) -> Trained:
    """Train, evaluate the epoch that is kept on the test split, save the network, write the ledger row.

    Says beforehand what it is about to do and about how long it takes. Interrupted, it resumes from the last
    checkpoint when called again, in the precision that it began with; the row's seconds are those of all its processes
    until they saved. Started as one of several ranks (by torchrun), it takes its part, and rank 0 speaks and writes for
    all.

    Raises:
        ValueError: for missing or broken data, a device that is not here, a batch too small to be cut, an output that
            cannot be written or that another process trains into, a checkpoint of other data, ranks that do not meet or
            differ in their data or options, before training starts.
        sdnet.training.run.Diverged: if the loss stops being finite.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C, once the checkpoint is saved.
        sdnet.training.distributed.RankLost: if another rank ends or is silent.
    """
    execution.check_batch(training.recipe.batch_size, distributed.world_size())
    keep_freed_memory()
    torch_device = device_of(device)
    start, output = ledger.start(), Path(output or ledger.output_folder())
    with stoppable(STOPPED), distributed.joined(torch_device, execution.timeout) as ranks:
        torch_device = distributed.own_device(torch_device, ranks)
        for path in (output, ledger.ledger_folder()) if ranks.is_main else ():
            ledger.check_writable(path)
        data = training.load(data_root, execution.workers)
        execution.check_batch(min(training.recipe.batch_size, len(data.train)), ranks.size)
        training = replace(training, dataset=data.name)  # a folder of CIFAR-10 is cifar10
        folder = output / training.name
        if ranks.is_main:
            ledger.check_writable(folder)
        with locked(folder / "lock", "this training") if ranks.is_main else nullcontext():
            return _run(training, data, folder, torch_device, ranks, execution, start)


def _run(
    training: Training,
    data: Dataset | PhotographSet,
    folder: Path,
    torch_device: torch.device,
    ranks: Ranks,
    execution: Execution,
    start: ledger.Start,
) -> Trained:
    ranks.assert_same("the data", {"images": len(data.train), "hash": data.data_hash[:16]})
    ranks.assert_same("the run", training.name)
    ranks.assert_same("how to train", {**execution.shared, "device": torch_device.type})
    model = training.build(len(data.classes))
    model.normalize.set(*data.channel_statistics())
    model = model.to(torch_device).to(memory_format=torch.channels_last)
    checkpoint = folder / "checkpoint.pt"
    key, wall, left = ranks.from_main(lambda: _begun(checkpoint, training, data, torch_device, model))
    precision, start = key["precision"], replace(start, clock=start.clock - wall)
    best = BestEpoch(partial(_test_accuracy, data, ranks)) if training.keep == "best_on_test" else None
    with loop.safe_kernels(model):
        if ranks.is_main:
            how = (precision, ranks.size, execution.accumulate, left)
            print(announcement(training, data, model, torch_device, *how), flush=True)
        history = loop.train(
            model, data.train, training.recipe, seed=training.seed, flip=data.flip, precision=precision,
            checkpoint=checkpoint, key=key, clock=start.clock, ranks=ranks, execution=execution, best=best,
        )  # fmt: skip
        model.eval()
        results = [*_results(model, data, history, ranks, execution), *_by_epoch(best, data)]
    record = start.record(
        experiment="train",
        config={**training.config, "precision": precision, **_ranks_config(ranks, execution)},
        data_hash=data.data_hash,
        device=ledger.describe_device(torch_device),
        results=results,
        history=[asdict(row) for row in history],
    )
    network_file, rows = folder / "network.safetensors", ledger.ledger_folder()
    if not ranks.is_main:
        return Trained(model, record, network_file, rows / record.file_name)
    size = loop.example(data.train, 1)[0].shape[-1]
    with preemption():  # done in a moment, and not to be done by halves
        save_network(network_file, model, {"training": training.config, "classes": data.classes, "size": size})
        record_file = ledger.write(record, rows)
        checkpoint.unlink()
    steps = len(history) * -(-len(data.train) // training.recipe.batch_size)
    test = results[0]["value"]
    print(f"Test accuracy {test:.2%}.{lagging(test, history[-1].train_accuracy, steps)}")
    print(f"Network:    {network_file}\nLedger row: {record_file}", flush=True)
    return Trained(model, record, network_file, record_file)


def lagging(test: float, train: float, steps: int) -> str:
    """What to say of a test accuracy far below that of the last epoch, in which the network had learned something."""
    if steps >= FEW_STEPS or train < 0.5 or test > train / 2:
        return ""
    return (
        f" In training it was {train:.2%}: after {steps} steps the running statistics of batch normalisation lag "
        "behind the weights; train for more epochs."
    )


def _begun(
    checkpoint: Path, training: Training, data: Dataset | PhotographSet, torch_device: torch.device, model: nn.Module
) -> tuple[dict[str, Any], float, float]:
    """The run's key; the seconds that earlier processes of it took, and the fraction of its epochs that is left."""
    state, precision = saved(checkpoint), training.precision
    if precision == "auto":
        earlier = state["key"] if state else None
        before = earlier.get("precision") if isinstance(earlier, dict) else None
        precision = before or loop.best_precision(torch_device, model)
    key = {"data": data.data_hash[:16], **training.config, "precision": precision}
    if state is None:
        return key, 0.0, 1.0
    return key, state["wall"], 1 - len(state["history"]) / training.recipe.epochs


def _ranks_config(ranks: Ranks, execution: Execution) -> dict[str, Any]:
    """What of the execution changes the numbers: over how many images batch normalisation takes its statistics."""
    if ranks.size == 1 and execution.accumulate == 1:
        return {}
    return {"ranks": ranks.size, "accumulate": execution.accumulate, "sync_batchnorm": execution.sync_batchnorm}


def announcement(
    training: Training,
    data: Dataset | PhotographSet,
    model: nn.Module,
    device: torch.device,
    precision: str,
    ranks: int = 1,
    accumulate: int = 1,
    left: float = 1.0,
) -> str:
    """What is about to happen and about how long it takes, where the fraction ``left`` of the epochs is yet to come."""
    what = training.recipe
    seconds = 0.0
    if left:
        seconds = left * loop.estimated_seconds(model, data.train, what, precision, parts=ranks * accumulate) / ranks
    size = f"width {what.width}, {models.parameter_count(model):,} parameters"
    images = f"{len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test images"
    on = device.type if ranks == 1 else f"{ranks} ranks, one {device.type} each"
    return (
        f"{training.arch} ({size})\n"
        f"on {data.name}: {images}\n"
        f"recipe {training.preset!r}: {what.epochs} epochs of SGD, batch {what.batch_size}, lr {what.lr}, {precision}, "
        f"seed {training.seed}\n" + (f"about {duration(seconds)} on {on}" if left else "trained already; evaluated now")
    )


def _results(
    model: nn.Module, data: Dataset | PhotographSet, history: list[Epoch], ranks: Ranks, execution: Execution
) -> list[dict[str, Any]]:
    """Un-averaged cells: accuracy of the last epoch, model size, and training speed (median over epochs)."""
    seconds = sorted(row.seconds for row in history)[len(history) // 2]
    cells: list[dict[str, Any]] = []
    ranks.broadcast_buffers(model)
    for name, split in (("test", data.test), ("validation", data.validation)):
        if len(split):
            value = loop.accuracy(model, split, ranks=ranks)
            read = len(split) - loop.check_corrupt(split, ranks, execution.max_corrupt)
            cells.append({"metric": "top1", "split": name, "value": value, "n": read})
    cells.append({"metric": "parameters", "value": models.parameter_count(model), "n": 1})
    cells.append({"metric": "train_images_per_second", "value": round(len(data.train) / seconds, 1), "n": len(history)})
    return cells


def _test_accuracy(data: Dataset | PhotographSet, ranks: Ranks, model: nn.Module) -> float:
    ranks.broadcast_buffers(model)
    return loop.accuracy(model, data.test, ranks=ranks)


def _by_epoch(best: BestEpoch | None, data: Dataset | PhotographSet) -> list[dict[str, Any]]:
    """Test accuracy after every epoch, if one of them was chosen by it, and which one that was."""
    if best is None:
        return []
    cells: list[dict[str, Any]] = [
        {"metric": "top1_after_epoch", "split": "test", "epoch": epoch, "value": value, "n": len(data.test)}
        for epoch, value in enumerate(best.accuracies, start=1)
    ]
    return [*cells, {"metric": "kept_epoch", "value": best.epoch, "n": 1}]
