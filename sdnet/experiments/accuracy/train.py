"""The main experiment: train one network on one data set, keep it, and record the run."""

import os
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
from sdnet.training.checkpoint import save_network
from sdnet.training.declaration import Training
from sdnet.training.distributed import Execution, Ranks
from sdnet.training.progress import duration
from sdnet.training.run import BestEpoch, Epoch


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

    Says beforehand what it is about to do and about how long it takes. Interrupted, it goes on from the last
    checkpoint when called again. Started as one of several ranks (by torchrun), it takes its part, and rank 0 speaks
    and writes for all.

    Raises:
        ValueError: for missing or broken data, a device that is not here, an output that cannot be written, ranks that
            do not meet or differ in their data, before training starts.
        sdnet.training.run.Diverged: if the loss stops being finite.
        sdnet.training.distributed.Preempted: after SIGTERM, once the checkpoint is saved.
        sdnet.training.distributed.RankLost: if another rank ends or is silent.
    """
    keep_freed_memory()
    place = device_of(device)
    with distributed.joined(place, execution.timeout) as ranks:
        place = distributed.own_device(place, ranks)
        return _run(training, data_root, Path(output or ledger.output_folder()), place, ranks, execution)


def _run(
    training: Training,
    data_root: str | os.PathLike[str] | None,
    output: Path,
    place: torch.device,
    ranks: Ranks,
    execution: Execution,
) -> Trained:
    start = ledger.start()
    rows = ledger.ledger_folder()
    for path in (output, rows) if ranks.leader else ():
        ledger.check_writable(path)
    data = training.load(data_root, execution.workers)
    training = replace(training, dataset=data.name)  # a folder of CIFAR-10 is cifar10
    folder = output / training.name
    if ranks.leader:
        ledger.check_writable(folder)
    ranks.agree("the data", {"images": len(data.train), "hash": data.data_hash[:16]})
    ranks.agree("the run", training.name)
    model = training.build(len(data.classes))
    model.normalize.set(*data.channel_statistics())
    model = model.to(place).to(memory_format=torch.channels_last)
    precision = loop.best_precision(place, model) if training.precision == "auto" else training.precision
    checkpoint = folder / "checkpoint.pt"
    best = BestEpoch(partial(_test_accuracy, data, ranks)) if training.keep == "best_on_test" else None
    with loop.safe_kernels(model):
        if ranks.leader:
            print(announcement(training, data, model, place, precision, ranks.size, execution.accumulate), flush=True)
        history = loop.train(
            model, data.train, training.recipe, seed=training.seed, flip=data.flip, precision=precision,
            checkpoint=checkpoint, key=training.name, ranks=ranks, execution=execution, best=best,
        )  # fmt: skip
        model.eval()
        results = [*_results(model, data, history, ranks, execution), *_by_epoch(best, data)]
    record = start.record(
        experiment="train",
        config={**training.config, "precision": precision, **_ranks_config(ranks, execution)},
        data_hash=data.data_hash,
        device=ledger.describe_device(place),
        results=results,
        history=[asdict(row) for row in history],
    )
    network_file = folder / "network.safetensors"
    if not ranks.leader:
        return Trained(model, record, network_file, rows / record.file_name)
    size = loop.example(data.train, 1)[0].shape[-1]
    save_network(network_file, model, {"training": training.config, "classes": data.classes, "size": size})
    record_file = ledger.write(record, rows)
    checkpoint.unlink()
    print(
        f"Test accuracy {results[0]['value']:.2%}.\nNetwork:    {network_file}\nLedger row: {record_file}", flush=True
    )
    return Trained(model, record, network_file, record_file)


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
) -> str:
    """What is about to happen and about how long it takes."""
    what = training.recipe
    seconds = loop.estimated_seconds(model, data.train, what, precision, parts=ranks * accumulate) / ranks
    size = f"width {what.width}, {models.parameter_count(model):,} parameters"
    images = f"{len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test images"
    on = device.type if ranks == 1 else f"{ranks} ranks, one {device.type} each"
    return (
        f"{training.arch} ({size})\n"
        f"on {data.name}: {images}\n"
        f"recipe {training.preset!r}: {what.epochs} epochs of SGD, batch {what.batch_size}, lr {what.lr}, {precision}, "
        f"seed {training.seed}\n"
        f"about {duration(seconds)} on {on}"
    )


def _results(
    model: nn.Module, data: Dataset | PhotographSet, history: list[Epoch], ranks: Ranks, execution: Execution
) -> list[dict[str, Any]]:
    """Un-averaged cells: accuracy of the last epoch, model size, and training speed (median over epochs)."""
    seconds = sorted(row.seconds for row in history)[len(history) // 2]
    cells: list[dict[str, Any]] = []
    ranks.share_buffers(model)
    for name, split in (("test", data.test), ("validation", data.validation)):
        if len(split):
            value = loop.accuracy(model, split, ranks=ranks)
            read = len(split) - loop.check_corrupt(split, ranks, execution.max_corrupt)
            cells.append({"metric": "top1", "split": name, "value": value, "n": read})
    cells.append({"metric": "parameters", "value": models.parameter_count(model), "n": 1})
    cells.append({"metric": "train_images_per_second", "value": round(len(data.train) / seconds, 1), "n": len(history)})
    return cells


def _test_accuracy(data: Dataset | PhotographSet, ranks: Ranks, model: nn.Module) -> float:
    ranks.share_buffers(model)
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
