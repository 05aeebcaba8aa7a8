"""The main experiment: train one network on one data set, keep it, and record the run."""

import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdnet import models
from sdnet.data import datasets
from sdnet.data.datasets import Dataset
from sdnet.experiments import ledger
from sdnet.experiments.ledger import Record
from sdnet.memory import keep_freed_memory
from sdnet.models.classifier import Classifier
from sdnet.names import unknown_name
from sdnet.training import loop
from sdnet.training.checkpoint import save_network
from sdnet.training.progress import duration
from sdnet.training.recipes import Recipe, recipe


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

    def build(self, num_classes: int) -> Classifier:
        """The untrained network, its initial weights drawn with the seed."""
        torch.manual_seed(self.seed)
        stem = "imagenet" if self.preset == "paper_imagenet" else "cifar"
        options = {"stem": stem, "width": self.recipe.width, **self.network}
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
) -> Trained:
    """Train, evaluate the last epoch on the test split, save the network, write the ledger row.

    Says beforehand what it is about to do and about how long it takes. Interrupted, it goes on from the last
    finished epoch when called again.

    Raises:
        ValueError: for missing or broken data, or an output that cannot be written, before training starts.
        sdnet.training.loop.Diverged: if the loss stops being finite.
    """
    keep_freed_memory()
    start = ledger.start()
    place = torch.device(device) if device is not None else loop.best_device()
    folder, rows = Path(output or default_output()) / training.name, ledger.ledger_folder()
    for path in (folder, rows):
        _require_writable(path)
    data = datasets.load(training.dataset, data_root)
    data = data.hold_out(training.hold_out, training.seed)
    model = training.build(len(data.classes))
    mean, std = data.channel_statistics()
    model.normalize.set(mean, std)
    model = model.to(place).to(memory_format=torch.channels_last)
    precision = loop.best_precision(place, model) if training.precision == "auto" else training.precision
    with loop.safe_kernels(model):
        print(announcement(training, data, model, place, precision))

    checkpoint = folder / "checkpoint.pt"
    with loop.safe_kernels(model):
        history = loop.train(
            model,
            data.train,
            training.recipe,
            seed=training.seed,
            flip=data.flip,
            precision=precision,
            checkpoint=checkpoint,
            key=training.name,
        )
    model.eval()
    results = _results(model, data, history)
    record = start.record(
        experiment="train",
        config={**training.config, "precision": precision},
        data_hash=data.data_hash,
        device=loop.describe_device(place),
        results=results,
        history=[asdict(row) for row in history],
    )
    network_file = folder / "network.safetensors"
    save_network(network_file, model, {"training": training.config, "classes": data.classes})
    record_file = ledger.write(record, rows)
    checkpoint.unlink()
    print(f"Test accuracy {results[0]['value']:.2%}.\nNetwork:    {network_file}\nLedger row: {record_file}")
    return Trained(model, record, network_file, record_file)


def announcement(training: Training, data: Dataset, model: nn.Module, device: torch.device, precision: str) -> str:
    """What is about to happen and about how long it takes."""
    seconds = loop.estimated_seconds(model, data.train, training.recipe, precision)
    what = training.recipe
    size = f"width {what.width}, {models.parameter_count(model):,} parameters"
    images = f"{len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test images"
    return (
        f"{training.arch} ({size})\n"
        f"on {data.name}: {images}\n"
        f"recipe {training.preset!r}: {what.epochs} epochs of SGD, batch {what.batch_size}, lr {what.lr}, {precision}, "
        f"seed {training.seed}\n"
        f"about {duration(seconds)} on {device.type}"
    )


def _results(model: nn.Module, data: Dataset, history: list[loop.Epoch]) -> list[dict[str, Any]]:
    """Un-averaged cells: accuracy of the last epoch, model size, and training speed (median over epochs)."""
    seconds = sorted(row.seconds for row in history)[len(history) // 2]
    cells = [{"metric": "top1", "split": "test", "value": loop.accuracy(model, data.test), "n": len(data.test)}]
    if len(data.validation):
        value = loop.accuracy(model, data.validation)
        cells.append({"metric": "top1", "split": "validation", "value": value, "n": len(data.validation)})
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
