"""The main experiment: train one network on one data set, keep it, and record the run."""

import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdnet import models
from sdnet.data import datasets, photographs
from sdnet.data.datasets import Dataset
from sdnet.data.photographs import PhotographSet
from sdnet.devices import device_of
from sdnet.experiments import ledger
from sdnet.experiments.ledger import Record
from sdnet.memory import keep_freed_memory
from sdnet.models.classifier import Classifier
from sdnet.names import unknown_name
from sdnet.training import distributed, loop
from sdnet.training.checkpoint import save_network
from sdnet.training.distributed import Execution, Ranks
from sdnet.training.progress import duration
from sdnet.training.recipes import Recipe, recipe
from sdnet.training.run import Epoch


@dataclass(frozen=True)
class Training:
    """One training run, completely. Make it with :func:`training`.

    Attributes:
        arch: a name of :func:`sdnet.models.names`.
        dataset: a name that :func:`sdnet.data.datasets.load` accepts.
        preset: the recipe's name.
        recipe: its numbers, after any were changed.
        seed: of the initial weights, the order of the images, and their augmentation.
        network: options of :func:`sdnet.models.build` that differ from its defaults.
        hold_out: fraction of the training images kept for validation.
        precision: ``"fp32"``, ``"bf16"``, or ``"auto"``: bf16 where the hardware multiplies it natively.
    """

    arch: str
    dataset: str
    preset: str
    recipe: Recipe
    seed: int = 0
    network: dict[str, Any] = field(default_factory=dict)
    hold_out: float = 0.0
    precision: str = "auto"

    @property
    def config(self) -> dict[str, Any]:
        """Everything, as plain values for the ledger."""
        config = asdict(self)
        config["dataset"] = Path(self.dataset).name
        config["recipe"]["milestones"] = list(self.recipe.milestones)
        return config

    @property
    def name(self) -> str:
        """Names this run's output folder."""
        return "-".join([self.arch, self.config["dataset"], self.preset, ledger.config_hash(self.config)])

    @property
    def photographs(self) -> bool:
        """Whether it is about photographs of any size, read from files and cropped to 224 pixels, as ImageNet's are."""
        return self.preset.endswith("imagenet")

    def load(self, data_root: str | os.PathLike[str] | None, workers: int = 4) -> Dataset | PhotographSet:
        """Its data, with the validation images held out; ``workers`` read photographs."""
        if self.photographs:
            return photographs.load(self.dataset, data_root, workers=workers).hold_out(self.hold_out, self.seed)
        return datasets.load(self.dataset, data_root).hold_out(self.hold_out, self.seed)

    def build(self, num_classes: int) -> Classifier:
        """The untrained network, its initial weights drawn with the seed."""
        torch.manual_seed(self.seed)
        options = {"stem": "imagenet" if self.photographs else "cifar", "width": self.recipe.width, **self.network}
        return models.build(self.arch, num_classes, **options)


def training(arch: str, dataset: str, preset: str, *, seed: int = 0, **changes: Any) -> Training:
    """Declare a training run.

    Args:
        arch, dataset, preset: names.
        seed: any integer >= 0.
        **changes: numbers of the recipe (``epochs``, ``lr``, ``width``, ...), options of the network (``lam``,
            ``iterations``, ``shortcut``, ...), ``hold_out`` or ``precision``. None means: unchanged.

    Raises:
        ValueError: for a name or number that does not exist, before anything is loaded.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    recipe_names = [f.name for f in fields(Recipe)]
    own_names, network_names = ["hold_out", "precision"], [*models.RESIDUAL, "csc_shortcut", *models.CSC_OPTIONS]
    for name in changes:
        if name not in [*recipe_names, *own_names, *network_names]:
            raise ValueError(unknown_name("parameter", name, [*recipe_names, *own_names, *network_names]))
    if changes.get("precision", "auto") not in ("auto", "fp32", "bf16"):
        raise ValueError(unknown_name("precision", changes["precision"], ("auto", "fp32", "bf16")))
    run = Training(
        arch,
        dataset,
        preset,
        replace(recipe(preset), **{name: changes[name] for name in recipe_names if name in changes}),
        seed,
        {name: changes[name] for name in network_names if name in changes},
        **{name: changes[name] for name in own_names if name in changes},
    )
    with torch.device("meta"):
        run.build(num_classes=10)  # every number of the network is checked here, at no cost
    return run


@dataclass(frozen=True)
class Trained:
    """What :func:`run` leaves behind: the network in eval mode, its record, and where both were written."""

    model: nn.Module
    record: Record
    network_file: Path
    record_file: Path


def default_output() -> Path:
    """Where trained networks go unless told otherwise: ``$SDNET_OUTPUT`` if set, else ``outputs`` here."""
    return Path(os.environ.get("SDNET_OUTPUT", "outputs")).expanduser()


def run(
    training: Training,
    *,
    data_root: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    execution: Execution = Execution(),  # noqa: B008  (immutable)
) -> Trained:
    """Train, evaluate the last epoch on the test split, save the network, write the ledger row.

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
        return _run(training, data_root, Path(output or default_output()), place, ranks, execution)


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
        _require_writable(path)
    data = training.load(data_root, execution.workers)
    training = replace(training, dataset=data.name)  # a folder of CIFAR-10 is cifar10
    folder = output / training.name
    if ranks.leader:
        _require_writable(folder)
    ranks.agree("the data", {"images": len(data.train), "hash": data.data_hash[:16]})
    ranks.agree("the run", training.name)
    model = training.build(len(data.classes))
    model.normalize.set(*data.channel_statistics())
    model = model.to(place).to(memory_format=torch.channels_last)
    precision = loop.best_precision(place, model) if training.precision == "auto" else training.precision
    checkpoint = folder / "checkpoint.pt"
    with loop.safe_kernels(model):
        if ranks.leader:
            print(announcement(training, data, model, place, precision, ranks.size, execution.accumulate), flush=True)
        history = loop.train(
            model, data.train, training.recipe, seed=training.seed, flip=data.flip, precision=precision,
            checkpoint=checkpoint, key=training.name, ranks=ranks, execution=execution,
        )  # fmt: skip
        model.eval()
        results = _results(model, data, history, ranks, execution)
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
    save_network(network_file, model, {"training": training.config, "classes": data.classes})
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


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"cannot write to {folder} ({error.strerror}); choose another output folder.") from error
