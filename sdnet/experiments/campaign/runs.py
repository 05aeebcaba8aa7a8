"""A declared run: exactly one command line, the cells it has to leave in the ledger, and the rows that have them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypedDict, Unpack

from sdnet.data.corruptions import NOISES
from sdnet.experiments.accuracy.scorecard import STAND_INS
from sdnet.experiments.attacks.settings import GRIDS
from sdnet.experiments.corruptions.sweep import KNOBS, SEVERITIES
from sdnet.names import config_hash
from sdnet.results import cards
from sdnet.results.cells import identity, name_of
from sdnet.results.commands import words
from sdnet.results.ledger import Record, output_folder
from sdnet.robust.attacks import NORMS
from sdnet.training.declaration import Training, training

DONE, SCALED_DOWN, NOT_RUN = "done", "scaled down", "not run"
TRAININGS = ("train", "follow")
"""Commands that train a network, and are told which."""
EXPERIMENTS = {
    **dict.fromkeys(("bench networks", "bench ablations", "bench pursuits"), "benchmark"),
    "bench solvers": "solvers",
    "follow": "pursuit_curve",
}
"""Command → the experiment that its row names, where it is not the command's own name."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run.

    Attributes:
        command: of ``python -m sdnet``.
        training: which network is trained, or measured; None for a benchmark, which needs none.
        options: of the command, by name; several values are given one after the other, False as ``--no-NAME``.
        cells: what the row must hold: column → values, all combinations of them.
        images: how many items each of these cells must be about.
        settings: what the row's configuration must say, beside the training.
        serves: claims, tables, figures and pages that show it.
        source: the network on which an attack is crafted that is transferred.
        step: of the campaign.
    """

    command: str
    training: Training | None = None
    options: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    images: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    serves: frozenset[str] = frozenset()
    source: Training | None = None
    step: int = 0

    @property
    def experiment(self) -> str:
        """As a ledger row names it."""
        return EXPERIMENTS.get(self.command, self.command)

    @property
    def alone(self) -> bool:
        """Whether it measures speed, which nothing else may disturb."""
        return self.training is None

    @property
    def makes(self) -> str:
        """The name of the training that it is; empty if it measures."""
        return self.training.name if self.training is not None and self.command == "train" else ""

    @property
    def needs(self) -> tuple[Training, ...]:
        """The trainings that must have ended before it."""
        return (
            () if self.command in TRAININGS else tuple(one for one in (self.training, self.source) if one is not None)
        )

    @cached_property
    def name(self) -> str:
        """Names its lock and its log: the same for the same command, on whatever device."""
        training = self.training.name if self.training else ""
        key = {"options": self.options, "training": training, "source": self.source.name if self.source else ""}
        return "-".join(part for part in (self.command.replace(" ", "-"), training, config_hash(key)) if part)

    @property
    def label(self) -> str:
        """What it is, for people, without its seed."""
        if self.training is None:
            return f"{self.command} {' '.join(words(self.options))}"
        config = self.training.config
        width, epochs = config["recipe"]["width"], config["recipe"]["epochs"]
        where = f"{name_of(config)} on {config['dataset']}, width {width}, {epochs} epochs"
        shown = {
            name: value for name, value in self.options.items() if name not in ("preset", "strength", "corruption")
        }
        return f"{self.command} {where}" + (f": {' '.join(words(shown))}" if shown else "")

    @property
    def title(self) -> str:
        """What it is, for people."""
        return self.label if self.training is None else f"{self.label}, seed {self.training.seed}"

    def argv(self, device: str | None = None) -> list[str]:
        """The arguments of ``python -m sdnet``; the networks it needs must be there."""
        arguments = self.command.split()
        if self.command in TRAININGS and self.training:
            arguments += self.training.arguments
        elif self.training is not None:
            arguments.append(str(_there(self.training)))
        options = dict(self.options)
        if self.source is not None:
            options["source"] = str(_there(self.source))
        return arguments + words(options) + (["--device", device] if device else [])

    def state(self, rows: Iterable[Record], device_type: str = "cpu") -> tuple[str, Record | None]:
        """What the ledger has of it: :data:`DONE`, :data:`SCALED_DOWN` or :data:`NOT_RUN`, and the latest such row.

        Done is a row of the same training, or a repetition of it, that has all cells, each about as many images.
        Scaled down is a row that has a part of them, is about fewer images, or about the network trained smaller
        or on a stand-in.

        Args:
            device_type: on which a benchmark has to be; of all else the numbers are the same everywhere.
        """
        fitting = [row for row in rows if row.experiment == self.experiment and self._is_about(row)]
        if self.alone:
            fitting = [row for row in fitting if row.device["type"] == device_type]
        full = [row for row in fitting if self._same_training(row) and self._wanted <= self._found(row, self.images)]
        if full:
            return DONE, full[-1]
        small = [row for row in fitting if self._wanted & self._found(row, 1)]
        return (SCALED_DOWN, small[-1]) if small else (NOT_RUN, None)

    def _is_about(self, row: Record) -> bool:
        """Whether a row is about this network, if perhaps a smaller one, and was told the same."""
        if any(row.config.get(name) != value for name, value in self.settings.items()):
            return False
        if self.training is None:
            return True
        if (self.training.arch, self.training.seed) != (row.config.get("arch"), row.config.get("seed")):
            return False  # most rows, without a look at their recipes
        arch, dataset, _, seed, width, epochs, variant = self._identity
        its_arch, its_dataset, _, its_seed, its_width, its_epochs, its_variant = identity(row.config)
        if (arch, seed, variant) != (its_arch, its_seed, its_variant):
            return False
        smaller = its_width <= width and its_epochs <= epochs
        return smaller and its_dataset in (dataset, *STAND_INS.get(dataset, ()))

    def _same_training(self, row: Record) -> bool:
        return self.training is None or identity(row.config) == self._identity

    @cached_property
    def _identity(self) -> tuple[Any, ...]:
        return identity(training_of(self).config)

    @cached_property
    def _wanted(self) -> set[tuple[Any, ...]]:
        return set(product(*self.cells.values()))

    def _found(self, row: Record, images: int) -> set[tuple[Any, ...]]:
        """What a row has in the columns of the cells, each about as many images at least."""
        return {tuple(cell.get(column) for column in self.cells) for cell in row.results if cell["n"] >= images}


@dataclass(frozen=True)
class Scale:
    """The size of a campaign: the recipe, and how many test images there are under noise and under attack."""

    preset: str
    noisy: int
    attacked: int


def trained(
    size: Scale, arch: str, seeds: Iterable[int], serves: str, dataset: str = "cifar10", **changes: Any
) -> list[Run]:
    """The training of one network with each seed."""
    declared = _declared(arch, dataset, size.preset, tuple(changes.items()))
    cells = {"metric": ("top1",), "split": ("test",)}
    return [Run("train", replace(declared, seed=seed), cells=cells, serves=frozenset(serves.split())) for seed in seeds]


@cache
def _declared(arch: str, dataset: str, preset: str, changes: tuple[tuple[str, Any], ...]) -> Training:
    """A training with seed 0, checked once for all seeds: that takes a tenth of a second or more."""
    return training(arch, dataset, preset, **dict(changes))


def training_of(run: Run) -> Training:
    """The training that a run is or measures."""
    assert run.training is not None
    return run.training


def network_file(training: Training) -> Path | None:
    """Where the network of a training lies: among the outputs here, else in the repository; None if it does not."""
    own = output_folder() / training.name / "network.safetensors"
    if own.is_file():
        return own
    wanted = identity(training.config)
    stored = [name for name, card in cards.read().items() if identity(card.training) == wanted]
    return cards.folder() / f"{stored[0]}.safetensors" if stored else None


def swept(
    of: Training, images: int, serves: str, knob: str, strengths: Sequence[float] = (), noises: Sequence[str] = ()
) -> Run:
    """A sweep of a knob, over all its strengths and the four noises unless told."""
    corruptions = tuple(noises or NOISES)
    cells = {"corruption": corruptions, "severity": SEVERITIES, "strength": tuple(strengths or KNOBS[knob])}
    options: dict[str, Any] = {"preset": of.preset.removesuffix("_imagenet"), "images": images, "knob": knob}
    options |= {"corruption": corruptions} if noises else {}
    options |= {"strength": tuple(strengths)} if strengths else {}
    return Run("sweep", of, options, {"metric": ("top1",), **cells}, images, {"knob": knob}, frozenset(serves.split()))


class AttackOptions(TypedDict, total=False):
    """Options of ``python -m sdnet attack`` that a declared run may set."""

    knob: str
    units: str
    steps: int
    restarts: int
    epsilon: float
    sanity: bool


def attacked(
    of: Training,
    images: int,
    serves: str,
    protocols: Sequence[str] = ("adaptive",),
    *,
    attack: str = "pgd",
    crafted: Sequence[float] = (),
    norms: Sequence[str] = tuple(NORMS),
    source: Training | None = None,
    **options: Unpack[AttackOptions],
) -> Run:
    """An attack under some protocols; the knob is the network's own unless told, ``options`` are the command's."""
    knob = options.get("knob") or ("stem_threshold" if of.arch.startswith("resnet") else "lam")
    strengths: tuple[float | None, ...] = (None,) if protocols == ("policy",) else tuple(crafted or GRIDS[knob])
    given: dict[str, Any] = {"preset": of.preset, "images": images, "norm": tuple(norms), "attack": attack}
    given |= {"protocol": tuple(protocols)} | ({"crafted": tuple(crafted)} if crafted else {})
    cells: dict[str, tuple[Any, ...]] = {"metric": ("robust_top1",), "protocol": tuple(protocols)}
    cells |= {"attack": (attack,), "norm": tuple(norms)}
    cells |= {"strength": strengths, "units": (options.get("units", "pixels"),)}
    cells |= {name: (options[name],) for name in ("steps", "restarts", "epsilon") if name in options}
    return Run(
        "attack", of, {**given, "sanity": False, **options}, cells, images, {"knob": knob},
        frozenset(serves.split()), source,
    )  # fmt: skip


def merged(runs: Iterable[Run]) -> list[Run]:
    """Each run once, at its first place, serving whatever any of its copies serves."""
    found: dict[str, Run] = {}
    for run in runs:
        first = found.setdefault(run.name, run)
        if first.serves != run.serves | first.serves:
            found[run.name] = replace(first, serves=first.serves | run.serves)
    return list(found.values())


def _there(training: Training) -> Path:
    file = network_file(training)
    if file is None:
        raise ValueError(f"the network {training.name} is not there; its training comes first.")
    return file
