"""The ablations as one declared grid: every variant of a network, trained and measured alike (Table 5 and more)."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import torch

from sdnet import models, parameters
from sdnet.experiments.accuracy import train
from sdnet.experiments.benchmark import interleaved, recorded
from sdnet.experiments.corruptions import sweep
from sdnet.experiments.performance import speed
from sdnet.names import unknown_name
from sdnet.parameters import Seed
from sdnet.results import cells, ledger
from sdnet.results.ledger import Record
from sdnet.training import loop
from sdnet.training.declaration import Changes, Training, training

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise")
"""The noises of Table 5."""
LAMS = (0.1, 0.5, 0.8)
"""Beside a network's own λ, those at which it is evaluated under noise."""


@dataclass(frozen=True)
class Variant:
    """One point of the grid.

    Attributes:
        label: as tables print it.
        arch: a name of :func:`sdnet.models.names`.
        network: options of :func:`sdnet.models.build`.
    """

    label: str
    arch: str = "sdnet18"
    network: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the ledger calls it: :func:`sdnet.results.cells.variant`."""
        return cells.variant({"network": self.network})


def _solver(method: str, iterations: int, label: str) -> Variant:
    defaults = {"method": "fista", "iterations": 2}
    chosen = {"method": method, "iterations": iterations}
    return Variant(label, network={name: value for name, value in chosen.items() if value != defaults[name]})


BASE = Variant("SDNet-18")


class Groups(dict[str, tuple[Variant, ...]]):
    """Group → its variants; for a group that does not exist a ValueError, naming those that do."""

    def __missing__(self, group: str) -> tuple[Variant, ...]:
        raise ValueError(unknown_name("group", group, self))


GRID = Groups(
    {
        "iterations": (
            _solver("fista", 1, "1"),
            _solver("fista", 2, "2"),
            *(_solver("fista", count, f"{count}, FISTA") for count in (4, 8)),
            *(_solver("ista", count, f"{count}, ISTA") for count in (4, 8)),
            *(_solver("heavy_ball", count, f"{count}, the authors' variant") for count in (4, 8)),
        ),
        "lam": tuple(
            Variant(f"λ = {lam:g}", network={"lam": lam} if lam != 0.1 else {}) for lam in (0.01, 0.1, 0.2, 0.5)
        ),
        "layers": (
            Variant("ResNet-18", "resnet18"),
            Variant("SDNet-18"),
            Variant("SDNet-18-All", "sdnet18_all"),
            Variant("SDNet-18-All, shortcuts of CSC layers too", "sdnet18_all", {"csc_shortcut": True}),
            Variant("SDNet-18-All, no shortcuts", "sdnet18_all", {"shortcut": False}),
        ),
        "design": (
            BASE,
            Variant("signed code", network={"nonnegative": False}),
            Variant("ReLU after the stem's batch normalisation", network={"stem_relu": True}),
            Variant("atoms not projected", network={"projected": False}),
            Variant("L by power iteration", network={"lipschitz_method": "power"}),
            *(Variant(f"{count} atoms", network={"atoms": count}) for count in (16, 32, 128)),
            *(Variant(f"atoms of {side} × {side}", network={"kernel": side}) for side in (5, 7)),
        ),
    }
)
"""Group → its variants. One and two steps are the same for all three solvers (:mod:`sdnet.csc.solvers`)."""


def variants(groups: Sequence[str]) -> tuple[Variant, ...]:
    """The variants of some groups, each once.

    Raises:
        ValueError: for a group that does not exist.
    """
    groups = parameters.read("groups", groups, tuple[str, ...])
    found: dict[tuple[str, str], Variant] = {}
    for variant in (variant for group in groups for variant in GRID[group]):
        found.setdefault((variant.arch, variant.name), variant)
    return tuple(found.values())


def trainings(
    chosen: Iterable[Variant], dataset: str | None, preset: str, seeds: Sequence[int], **changes: Unpack[Changes]
) -> list[Training]:
    """The training of every variant with every seed, the first seed of all of them first.

    Args:
        **changes: numbers of the recipe, the same for all.
    """
    chosen, seeds = tuple(chosen), parameters.read("seeds", seeds, tuple[Seed, ...])
    return [
        training(variant.arch, dataset, preset, seed=seed, **variant.network, **changes)
        for seed in seeds
        for variant in chosen
    ]


def run(
    plan: Sequence[Training],
    *,
    images: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> None:
    """Train every network of the plan and evaluate it under the noises of Table 5; two ledger rows for each.

    What the ledger already has is skipped, so an interrupted run resumes where it stopped.

    Args:
        plan: from :func:`trainings`.
        images: test images under noise; by default those of a sweep of the preset's size.

    Raises:
        ValueError: for a number of images that cannot be, before anything is trained.
    """
    sizes = {declared.preset: declared.preset.removesuffix("_imagenet") for declared in plan}
    for size in sizes.values():
        sweep.images_of(size, images)
    rows = ledger.ledger_folder()
    known = ledger.read(rows) if rows.is_dir() else []
    left = [declared for declared in plan if not any(answers(row, declared) for row in known)]
    print(f"{len(plan)} networks, {len(plan) - len(left)} of them done", flush=True)
    for declared in left:
        file = Path(output or ledger.output_folder()) / declared.name / "network.safetensors"
        if not file.is_file():
            train.run(declared, data_root=data_root, output=output, device=device)
        knob, strengths = knob_and_strengths(declared)
        sweep.run(
            file, knob, strengths=strengths, preset=sizes[declared.preset], images=images, corruptions=NOISES,
            data_root=data_root, device=device,
        )  # fmt: skip


def answers(row: Record, training: Training) -> bool:
    """Whether a row of the ledger is the sweep that :func:`run` would make of that training."""
    knob, strengths = knob_and_strengths(training)
    if (row.experiment, row.config.get("weights"), row.config.get("knob")) != ("sweep", training.name, knob):
        return False
    found = {(cell["corruption"], cell["strength"]) for cell in row.results if cell["metric"] == "top1"}
    return {(noise, strength) for noise in NOISES for strength in strengths} <= found


def knob_and_strengths(training: Training) -> tuple[str, tuple[float, ...]]:
    """The knob that is turned on a network under noise, and its strengths, the training's own among them."""
    own = trained_at(training.arch, training.network)
    if models.ARCHITECTURES[training.arch].csc == "none":
        return "stem_threshold", (own,)
    return "lam", tuple(sorted({*LAMS, own}))


def trained_at(arch: str, network: dict[str, Any]) -> float:
    """The λ that a network was trained with; without CSC layers 0, the shift of its stem's threshold."""
    return 0.0 if models.ARCHITECTURES[arch].csc == "none" else float(network.get("lam", 0.1))


def measure_costs(
    chosen: Sequence[Variant], *, width: int, batch: int, precision: str, device: torch.device, repeats: int
) -> list[dict[str, Any]]:
    """Ledger cells: speed of a training step of every variant as a ratio to the first, side by side; peak memory."""
    images = torch.rand(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=device)
    steps: dict[str, speed.Case] = {}
    for index, variant in enumerate(chosen):
        model = models.build(variant.arch, 10, width=width, **variant.network).to(device)
        steps[str(index)] = speed.training(model.to(memory_format=torch.channels_last), images, labels, precision)
    timings = interleaved(steps, device, repeats)
    base, cells = timings[0], []
    for variant, timing, step in zip(chosen, timings, steps.values(), strict=True):
        where = {"arch": variant.arch, "variant": variant.name, "width": width}
        cells.append({"metric": "ablation_speed_ratio", **where, **timing.rate(base.median), "n": repeats})
        cells.append({"metric": "ablation_memory", **where, "value": speed.peak_memory(step, device), "n": 1})
    return cells


def record_costs(
    device: torch.device, *, width: int = 16, batch: int = 128, repeats: int = 7
) -> tuple[Path, list[dict[str, Any]]]:
    """Run :func:`measure_costs` on ResNet-18 and the whole grid and write its cells to the ledger."""
    settings: dict[str, Any] = {"width": width, "batch": batch, "precision": loop.best_precision(device)}
    chosen = variants(("layers", *GRID))
    return recorded(
        lambda: measure_costs(chosen, device=device, repeats=repeats, **settings),
        device,
        {"what": "ablations", **settings},
    )
