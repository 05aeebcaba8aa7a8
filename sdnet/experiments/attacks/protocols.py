"""Who attacks what: the protocols of the robustness table, each a way to craft and a way to score.

An image counts as robust at a strength if it is classified correctly there both as it is and perturbed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sdnet.data.batches import evaluation_batches, to_pixels
from sdnet.data.datasets import Split
from sdnet.results.unfinished import Keep, computed
from sdnet.robust.attacks import Attack, autoattack_flags, perturb
from sdnet.robust.knobs import Knob
from sdnet.robust.policies import RobustClassifier
from sdnet.robust.sweep import batch_size_for, fitting
from sdnet.training.loop import exact_float32, precision_of

BATCH = {"cpu": 250}
"""Images that are perturbed at a time; on an accelerator 1000 of 32 × 32 pixels."""
Cell = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Protocol:
    """One row of the table: its label, and what the attacker knows and does."""

    label: str
    threat: str


PROTOCOLS = {
    "oblivious": Protocol(
        "oblivious + oracle",
        "crafted at the strength of training, scored at every strength; the best one by test labels is the paper's row",
    ),
    "adaptive": Protocol("adaptive", "crafted at the strength that is deployed, and scored there"),
    "worst_case": Protocol(
        "worst case over crafting",
        "robust at a strength only if none of the perturbations crafted at any strength of the grid fools it there",
    ),
    "simultaneous": Protocol(
        "one perturbation for all strengths",
        "crafted against the mean probability over the grid: the defender may choose the strength afterwards",
    ),
    "policy": Protocol("policy in the loop", "crafted and scored through the policy that chooses λ, gradient included"),
    "transfer": Protocol("transfer", "crafted on another network, scored at every strength: a black box"),
}
ON_GRID = ("oblivious", "adaptive", "worst_case")


class Target(nn.Module):
    """What is attacked: class scores (float32) as a function of the images, computed in the given precision.

    Args:
        model: holds the weights that stay as they are.
        scores: (N, 3, H, W) ↦ (N, classes).
    """

    def __init__(self, model: nn.Module, scores: Callable[[Tensor], Tensor], precision: str = "fp32") -> None:
        super().__init__()
        self.model, self.scores, self.precision = model, scores, precision
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        with precision_of(images.device, self.precision):
            scores = self.scores(images)
        return scores.float()


def at(knob: Knob, strength: float, precision: str = "fp32") -> Target:
    """The network with its knob at one strength."""

    turned = knob.ready([strength])

    def scores(images: Tensor) -> Tensor:
        return knob.scores(images, turned)[0]

    return Target(knob.model, scores, precision)


def at_all(knob: Knob, strengths: Sequence[float], precision: str = "fp32") -> Target:
    """The mixture over strengths: its loss is large only where the true class is unlikely at every one of them."""

    turned = knob.ready(strengths)

    def scores(images: Tensor) -> Tensor:
        every = knob.scores(images, turned).float()
        return every.log_softmax(2).logsumexp(0) - math.log(len(strengths))

    return Target(knob.model, scores, precision)


def at_a_time(split: Split) -> int:
    """How many images of a split to perturb at a time."""
    return BATCH.get(split.images.device.type, fitting(1000, split.images.shape[2]))


@exact_float32()
def craft(target: nn.Module, split: Split, attack: Attack, seed: int = 0, batch: int | None = None) -> Tensor:
    """Perturbed pixels (N, 3, H, W) of a split; batch b draws its random numbers from ``seed`` + b."""
    size = batch or at_a_time(split)
    batches = list(zip(split.images.split(size), split.labels.split(size), strict=True))
    parts = []
    for index, (images, labels) in enumerate(tqdm(batches, f"{attack.name} {attack.norm}", unit="batch", disable=None)):
        parts.append(perturb(target, to_pixels(images), labels, attack, seed + index))
    return torch.cat(parts)


@torch.no_grad()
def correct_at(
    knob: Knob, pixels: Tensor, labels: Tensor, strengths: Sequence[float], precision: str = "fp32"
) -> Tensor:
    """Which images are classified correctly at which strength: bool, (K, N), on the CPU."""
    turned = knob.ready(strengths)
    size = batch_size_for(knob, len(strengths), pixels.device, pixels.shape[2])
    rows = []
    for some, truth in zip(pixels.split(size), labels.split(size), strict=True):
        with precision_of(pixels.device, precision):
            rows.append(knob.many_scores(some, turned).argmax(2) == truth)
    return torch.cat(rows, 1).cpu()


@torch.no_grad()
def correct_by(target: nn.Module, pixels: Tensor, labels: Tensor, batch: int = 250) -> Tensor:
    """Which images a network without a knob classifies correctly: bool, (N,), on the CPU."""
    pairs = zip(pixels.split(batch), labels.split(batch), strict=True)
    return torch.cat([target(some).argmax(1) == truth for some, truth in pairs]).cpu()


@dataclass(frozen=True)
class Grid:
    """The strengths and images on which the attacks of a run are crafted and scored.

    Attributes:
        knob: the network and what is turned; gradients pass through it.
        split: test images.
        start: strength of training, λ₀.
        crafted: strengths at which perturbations are crafted.
        strengths: strengths at which they are scored; they hold ``start`` and ``crafted``.
        keep: keeps what was scored, crafting by crafting.
        flags: what AutoAttack has warned of so far.
    """

    knob: Knob
    split: Split
    start: float
    crafted: tuple[float, ...]
    strengths: tuple[float, ...]
    precision: str = "fp32"
    seed: int = 0
    keep: Keep = computed
    flags: list[str] = field(default_factory=list)

    def score(self, pixels: Tensor, strengths: tuple[float, ...] = ()) -> Tensor:
        """Which of these images are classified correctly at which strength, by default all: bool, (K, N)."""
        return correct_at(self.knob, pixels, self.split.labels, strengths or self.strengths, self.precision)

    def clean(self) -> Tensor:
        """:meth:`score` of the images as they are."""
        return self.keep(f"clean, {len(self.split)} images", lambda: self.score(self.pixels()))

    def pixels(self) -> Tensor:
        """The images as they are, (N, 3, H, W)."""
        return torch.cat([pixels for pixels, _ in evaluation_batches(self.split)])

    def attempt(self, name: str, attack: Attack, target: nn.Module, score: Callable[[Tensor], T], size: int = 0) -> T:
        """What ``score`` makes of perturbed images, kept when done with AutoAttack's flags.

        Args:
            name: what tells this attempt from all others of the same attack in this run.
            target: on which they are crafted.
            size: images that are perturbed at a time; 0 for :func:`at_a_time`.
        """

        def compute() -> tuple[T, list[str]]:
            with autoattack_flags() as flags:
                scored = score(craft(target, self.split, attack, self.seed, size or None))
            return scored, flags

        scored, flags = self.keep(f"{attack.name}, {attack.norm}, {name}", compute)
        self.flags.extend(flags)
        return scored


def attack_cells(
    attack: Attack,
    protocol: str,
    perturbed: Tensor,
    clean: Tensor,
    *,
    crafted_at: float | None,
    strength: float | None,
    **more: Any,
) -> list[Cell]:
    """Two ledger cells: ``robust_top1``, and ``perturbed_top1``, which counts whatever is correct once perturbed."""
    budget = {"attack": attack.name, "norm": attack.norm, "epsilon": attack.epsilon, "units": attack.units}
    effort = {"steps": attack.steps, "step_size": attack.step_size, "restarts": attack.restarts}
    where = {"protocol": protocol, **budget, **effort, "crafted_at": crafted_at, "strength": strength, **more}
    values = {"robust_top1": perturbed & clean, "perturbed_top1": perturbed}
    return [
        {"metric": metric, **where, "value": right.double().mean().item(), "n": len(right)}
        for metric, right in values.items()
    ]


def on_grid(grid: Grid, attack: Attack, clean: Tensor, protocols: Sequence[str]) -> list[Cell]:
    """Cells of the protocols ``oblivious``, ``adaptive`` and ``worst_case``, which share what is crafted."""
    deployed = grid.crafted if {"adaptive", "worst_case"} & set(protocols) else ()
    scored: dict[float, dict[float, Tensor]] = {}
    for strength in dict.fromkeys([*([grid.start] if "oblivious" in protocols else []), *deployed]):
        strengths = grid.crafted if "worst_case" in protocols else (strength,)
        if strength == grid.start and "oblivious" in protocols:
            strengths = grid.strengths
        target = at(grid.knob, strength, grid.precision)
        right = grid.attempt(f"crafted at {strength}", attack, target, partial(grid.score, strengths=strengths))
        scored[strength] = dict(zip(strengths, right, strict=True))
    clean_at = dict(zip(grid.strengths, clean, strict=True))
    cells: list[Cell] = []
    for strength, right in scored[grid.start].items() if "oblivious" in protocols else ():
        cells += attack_cells(attack, "oblivious", right, clean_at[strength], crafted_at=grid.start, strength=strength)
    for strength in deployed:
        if "adaptive" in protocols:
            right = scored[strength][strength]
            cells += attack_cells(attack, "adaptive", right, clean_at[strength], crafted_at=strength, strength=strength)
        if "worst_case" in protocols:
            right = torch.stack([scored[other][strength] for other in grid.crafted]).all(0)
            cells += attack_cells(attack, "worst_case", right, clean_at[strength], crafted_at=None, strength=strength)
    return cells


def simultaneous(grid: Grid, attack: Attack, clean: Tensor) -> list[Cell]:
    """Cells of one perturbation crafted against all strengths at which is crafted, scored at every strength."""
    target = at_all(grid.knob, grid.crafted, grid.precision)
    size = max(1, at_a_time(grid.split) // len(grid.crafted))
    right = grid.attempt("simultaneous", attack, target, grid.score, size)
    cells: list[Cell] = []
    for strength, row, unperturbed in zip(grid.strengths, right, clean, strict=True):
        cells += attack_cells(attack, "simultaneous", row, unperturbed, crafted_at=None, strength=strength)
    return cells


def transfer(grid: Grid, attack: Attack, clean: Tensor, source: Target, name: str) -> list[Cell]:
    """Cells of perturbations crafted on another network."""
    right = grid.attempt("transfer", attack, source, grid.score)
    cells: list[Cell] = []
    for strength, row, unperturbed in zip(grid.strengths, right, clean, strict=True):
        cells += attack_cells(attack, "transfer", row, unperturbed, crafted_at=None, strength=strength, source=name)
    return cells


def policy_on_clean(grid: Grid, classifier: RobustClassifier) -> tuple[Tensor, Cell]:
    """What a policy makes of the images as they are: which are classified correctly (N,), and the ledger cell."""
    scored = partial(_behind, grid, classifier)
    clean, lam = grid.keep(f"policy, clean, {len(grid.split)} images", lambda: scored(grid.pixels()))
    found = {"lam": lam, "value": clean.double().mean().item(), "n": len(clean)}
    return clean, {"metric": "policy_top1", **_who(classifier), **found}


def in_the_loop(grid: Grid, attack: Attack, classifier: RobustClassifier, clean: Tensor) -> list[Cell]:
    """Cells of a policy that chooses λ: against an attacker who knows it, and against one who attacks at λ₀."""
    target = Target(classifier, classifier, grid.precision)
    cells: list[Cell] = []
    for crafted_at, attacked in ((None, target), (grid.start, at(grid.knob, grid.start, grid.precision))):
        name = f"policy, crafted at {'its own λ' if crafted_at is None else crafted_at}"
        right, lam = grid.attempt(name, attack, attacked, partial(_behind, grid, classifier))
        who = {**_who(classifier), "lam": lam}
        cells += attack_cells(attack, "policy", right, clean, crafted_at=crafted_at, strength=None, **who)
    return cells


def _behind(grid: Grid, classifier: RobustClassifier, pixels: Tensor) -> tuple[Tensor, float]:
    """Which images are classified correctly behind a policy (N,), and the mean λ that it chose."""
    right = correct_by(Target(classifier, classifier, grid.precision), pixels, grid.split.labels)
    return right, _mean_lam(classifier, pixels)


def _who(classifier: RobustClassifier) -> Cell:
    return {"policy": classifier.policy.name, "per_image": classifier.policy.per_image}


@exact_float32()
@torch.no_grad()
def _mean_lam(classifier: RobustClassifier, pixels: Tensor, batch: int = 250) -> float:
    return torch.cat([classifier.lam(some).reshape(-1) for some in pixels.split(batch)]).mean().item()
