"""The plan of a training on several ranks: who computes what, how much memory it takes, and how long."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from sdnet.data import photographs
from sdnet.models import parameter_count
from sdnet.parameters import Count, Positive, kinds, read
from sdnet.results.ledger import output_folder
from sdnet.runtime import peak_bytes
from sdnet.training import loop
from sdnet.training.declaration import Changes, Training, training
from sdnet.training.distributed import Execution
from sdnet.training.progress import duration


@dataclass(frozen=True)
class Plan:
    """One training and the ranks it is to run on. Make it with :func:`plan`.

    Attributes:
        training: what.
        execution: how.
        nodes, ranks_per_node: where.
        options: of ``python -m sdnet train``, as a person would type them.
        output: folder of checkpoint, network and log.
        images, classes, size: of the data set: training images, classes, and pixels of an image's side.
        speed: images per second and rank, measured elsewhere; None if unknown.
    """

    training: Training
    execution: Execution
    nodes: int
    ranks_per_node: int
    options: tuple[str, ...]
    output: Path
    images: int
    classes: int
    size: int
    speed: float | None = None

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.nodes * self.ranks_per_node

    @property
    def images_at_a_time(self) -> int:
        """What one rank computes at a time: its share of a batch, cut into pieces."""
        return -(-self.training.recipe.batch_size // (self.ranks * self.execution.accumulate))

    @property
    def steps(self) -> int:
        """How many steps the optimizer takes in an epoch."""
        return -(-self.images // self.training.recipe.batch_size)

    @property
    def seconds(self) -> float | None:
        """What the training takes if ``speed`` holds and ranks do not slow each other down; None if it is unknown."""
        work = self.training.recipe.epochs * self.images
        return work / (self.speed * self.ranks) if self.speed else None

    @property
    def log(self) -> Path:
        """The file that the ranks' output is written to."""
        return self.output / self.training.name / "log.txt"

    def memory(self) -> int:
        """Bytes of tensors on each rank, in float32 (bfloat16 needs less): counted on a step that computes nothing."""
        with torch.device("meta"):
            model = self.training.build(self.classes)
            pixels = torch.empty(self.images_at_a_time, 3, self.size, self.size)
            labels = torch.empty(len(pixels), dtype=torch.long)
        optimizer = torch.optim.SGD(model.parameters(), momentum=self.training.recipe.momentum)
        step = peak_bytes(lambda: loop.training_step(model, optimizer, pixels, labels, 0.1, "fp32"))
        weights = parameter_count(model) * 4
        return step + weights * (2 if self.ranks > 1 else 1)  # and the buckets in which gradients travel

    def __str__(self) -> str:
        recipe, run = self.training.recipe, self.training
        pieces = f" in {self.execution.accumulate} pieces" if self.execution.accumulate > 1 else ""
        each = self.images_at_a_time * self.execution.accumulate
        lines = {
            "train": f"{run.arch}, width {recipe.width}, on {run.config['dataset']} ({self.images:,} images)",
            "ranks": f"{self.nodes} node{'s' * (self.nodes > 1)} × {self.ranks_per_node} = {self.ranks}",
            "batch": f"{recipe.batch_size} = {self.ranks} ranks × {each}{pieces}",
            "steps": f"{recipe.epochs} epochs × {self.steps:,} = {recipe.epochs * self.steps:,}",
            "memory": f"at most {self.memory() / 1e9:.2g} GB of tensors per rank, in float32",
            "time": self._time(),
        }
        return "\n".join(f"{name:<8}{text}" for name, text in lines.items())

    def _time(self) -> str:
        if self.seconds is None:
            return "the run measures it first; for other machines give images_per_second (`sdnet bench networks`)"
        return f"about {duration(self.seconds)}, if every rank does {self.speed:,.0f} images/s"


def plan(
    arch: str,
    dataset: str | None,
    preset: str,
    *,
    seed: int = 0,
    nodes: int = 1,
    ranks_per_node: int | None = None,
    execution: Mapping[str, Any] | None = None,
    images_per_second: float | None = None,
    data_root: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    **changes: Unpack[Changes],
) -> Plan:
    """Plan a training; nothing is started.

    Args:
        arch, dataset, preset, seed, changes: as for :func:`sdnet.training.declaration.training`. All numbers and
            switches may be spelt as YAML, JSON or a command line spell them.
        ranks_per_node: processes on each node; None: one per GPU of this machine, or two without GPUs.
        execution: fields of :class:`sdnet.training.distributed.Execution`; None among them means: the default.
        images_per_second: of one rank, for the estimate of time.

    Raises:
        ValueError: for anything that does not exist or does not fit, the batch among ranks for instance.
    """
    known = kinds(Execution)
    given = {name: read(name, value, known[name]) for name, value in (execution or {}).items() if value is not None}
    how, run = Execution(**given), training(arch, dataset, preset, seed=seed, **changes)
    speed = read("images_per_second", images_per_second, Positive | None)
    nodes, ranks_per_node = read("nodes", nodes, Count), read("ranks_per_node", ranks_per_node, Count | None)
    ranks_per_node = ranks_per_node or torch.cuda.device_count() or 2
    parts = nodes * ranks_per_node * how.accumulate
    if run.recipe.batch_size < 2 * parts:
        raise ValueError(
            f"a batch of {run.recipe.batch_size} leaves fewer than two images for each of {parts} parts (ranks × "
            "accumulate), and batch normalisation needs two; take fewer ranks or a larger batch_size."
        )
    images, classes, size = _about(run, data_root)
    folder = Path(output or output_folder())
    options = (*run.arguments, *_options({**asdict(how), "data_root": data_root, "output": output}))
    return Plan(run, how, nodes, ranks_per_node, options, folder, images, classes, size, speed)


def _options(settings: Mapping[str, Any]) -> list[str]:
    """``name=value`` as options of the command line; what is None or at its default stays away."""
    defaults = asdict(Execution())
    options: list[str] = []
    for name, value in settings.items():
        if value is not None and value != defaults.get(name):
            flag = f"--{name.replace('_', '-')}"
            options += [flag] if value is True else [flag, str(value)]
    return options


def _about(run: Training, data_root: str | os.PathLike[str] | None) -> tuple[int, int, int]:
    """Training images, classes, and pixels of an image's side. ImageNet's are known without looking."""
    name = run.config["dataset"]
    if run.photographs and name in photographs.IMAGES:
        images, classes, size = photographs.IMAGES[name][0], photographs.CLASSES[name], photographs.SIZE
        return images - round(run.hold_out * images), classes, size
    data = run.load(data_root)
    size = photographs.SIZE if run.photographs else data.train.images.shape[1]  # type: ignore[union-attr]
    return len(data.train), len(data.classes), size
