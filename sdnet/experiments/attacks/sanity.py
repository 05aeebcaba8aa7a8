"""Checks that an evaluation of robustness must pass before its numbers mean anything (Carlini et al. 2019)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sdnet.data.batches import evaluation_batches
from sdnet.data.datasets import Split
from sdnet.experiments.attacks.protocols import Cell, Grid, Target, at, at_a_time, correct_by, craft
from sdnet.robust.attacks import Attack, zero_gradients

STEPS = (0, 1, 2, 5, 10, 20, 40)
"""Numbers of steps after which loss and accuracy are looked at; 0 is the random start."""
EVERYTHING = {"linf": 1.0, "l2": 32.0}
"""Norm → a radius with which any image can be turned into noise: nothing may be robust."""


def sanity(grid: Grid, attacks: Sequence[Attack], queries: int) -> list[Cell]:
    """Ledger cells of all checks, each for every PGD attack, in pixels; ``queries`` is Square's budget."""
    target = at(grid.knob, grid.start, grid.precision)
    cells = [grid.keep(f"zero gradients at {at}", partial(zero_gradient, grid, at)) for at in grid.crafted]
    for attack in attacks:
        cells += grid.keep(f"steps, {attack.norm}", partial(over_steps, target, grid, attack))
        cells.append(grid.keep(f"large ε, {attack.norm}", partial(large_epsilon, target, grid, attack)))
        cells += grid.keep(f"black box, {attack.norm}", partial(black_box, target, grid, attack, queries))
    return cells


class Watched(nn.Module):
    """Remembers the scores of every call: those before each step of an attack."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target, self.calls = target, list[Tensor]()
        self.training = target.training

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.target(images)
        self.calls.append(scores.detach())
        return scores


def over_steps(target: Target, grid: Grid, attack: Attack) -> list[Cell]:
    """Mean loss and accuracy after each number of :data:`STEPS`, all on one run with one step size."""
    longest = replace(attack, steps=max(STEPS), step_size=attack.effective_step_size, restarts=1)
    size = at_a_time(grid.split)
    losses, right = torch.zeros(len(STEPS)), torch.zeros(len(STEPS))
    for index, (images, labels) in enumerate(zip(*_parts(grid.split, size), strict=True)):
        watched = Watched(target)
        pixels = craft(watched, Split(images, labels), longest, grid.seed + index)
        with torch.no_grad():
            watched(pixels)
        for column, step in enumerate(STEPS):
            losses[column] += cross_entropy(watched.calls[step], labels, reduction="sum").cpu()
            right[column] += (watched.calls[step].argmax(1) == labels).sum().cpu()
    n = len(grid.split)
    where = _where(attack, grid)
    cells: list[Cell] = []
    for step, loss, count in zip(STEPS, losses.tolist(), right.tolist(), strict=True):
        cells.append({"metric": "steps_loss", **where, "steps": step, "value": loss / n, "n": n})
        cells.append({"metric": "steps_top1", **where, "steps": step, "value": count / n, "n": n})
    return cells


def large_epsilon(target: Target, grid: Grid, attack: Attack) -> Cell:
    """Accuracy where the ball holds every image: must be 0."""
    everything = replace(attack, epsilon=EVERYTHING[attack.norm], step_size=None)
    pixels = craft(target, grid.split, everything, grid.seed)
    value = correct_by(target, pixels, grid.split.labels).double().mean().item()
    where = {**_where(attack, grid), "epsilon": everything.epsilon, "steps": everything.steps}
    return {"metric": "large_epsilon_top1", **where, "value": value, "n": len(grid.split)}


def black_box(target: Target, grid: Grid, attack: Attack, queries: int) -> list[Cell]:
    """Robust accuracy under Square and under the white-box attack, on the same images: Square must not be lower."""
    square = Attack("square", attack.norm, attack.epsilon, steps=queries)
    clean = correct_by(target, grid.pixels(), grid.split.labels)
    cells: list[Cell] = []
    for metric, attempt in (("white_box_top1", attack), ("black_box_top1", square)):
        right = clean & correct_by(target, craft(target, grid.split, attempt, grid.seed), grid.split.labels)
        where = {**_where(attempt, grid), "steps": attempt.steps}
        cells.append({"metric": metric, **where, "value": right.double().mean().item(), "n": len(right)})
    return cells


def zero_gradient(grid: Grid, strength: float) -> Cell:
    """Share of images whose gradient is zero in every pixel, at one strength."""
    target = at(grid.knob, strength, grid.precision)
    zero = torch.cat([zero_gradients(target, images, labels) for images, labels in evaluation_batches(grid.split, 250)])
    value = zero.double().mean().item()
    return {"metric": "zero_gradient", "strength": strength, "value": value, "n": len(zero)}


def _parts(split: Split, size: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return split.images.split(size), split.labels.split(size)


def _where(attack: Attack, grid: Grid) -> Cell:
    budget = {"attack": attack.name, "norm": attack.norm, "epsilon": attack.epsilon, "units": attack.units}
    return {
        "protocol": "sanity",
        **budget,
        "restarts": attack.restarts,
        "crafted_at": grid.start,
        "strength": grid.start,
    }
