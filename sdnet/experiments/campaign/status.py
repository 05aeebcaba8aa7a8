"""How far the campaign is: what is done, by code that has changed since, scaled down or not run; and what is left."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sdnet.experiments.campaign import stale
from sdnet.experiments.campaign.cost import Costs, Estimate, total
from sdnet.experiments.campaign.runs import DONE, NOT_RUN, SCALED_DOWN, Run, network_file
from sdnet.names import unknown_name
from sdnet.results import ledger
from sdnet.results.ledger import Record
from sdnet.training.checkpoint import load_checkpoint
from sdnet.training.declaration import Training

LOST = "network gone"
"""The state of a training that the ledger has, and whose network is needed and nowhere to be found."""


@dataclass(frozen=True, eq=False)
class Standing:
    """One run, how it stands, the row behind that, and what is left of it to do on this device."""

    run: Run
    state: str
    row: Record | None
    left: Estimate

    @property
    def changed(self) -> list[str] | None:
        """The modules behind a done run that have changed since; None if git cannot say."""
        return [] if self.state != DONE or self.row is None else stale.changed(self.row)


def standings(runs: Sequence[Run], rows: Sequence[Record], device: torch.device) -> list[Standing]:
    """How each run stands by the rows of a ledger; a training that others still need and is gone is :data:`LOST`."""
    costs = Costs(rows, device)
    states = [(run, *run.state(rows, device.type)) for run in runs]
    needed = {training.name: training for run, state, _ in states if state != DONE for training in run.needs}
    lost = {name for name, training in needed.items() if network_file(training) is None}
    found = []
    for run, state, row in states:
        if state == DONE and run.makes not in lost:
            found.append(Standing(run, DONE, row, Estimate(0, "done")))
        else:
            part = left_of(run.training) if run.training and run.makes else 1.0
            found.append(Standing(run, LOST if state == DONE else state, row, costs.of(run, part)))
    return found


def unfinished(found: Sequence[Standing], again: bool = False) -> list[Standing]:
    """What is left to do, if ``again`` also what has gone stale."""
    return [one for one in found if one.state != DONE or (again and one.changed)]


def left_of(training: Training) -> float:
    """The fraction of a training that its checkpoint, if there is one, leaves to do."""
    checkpoint = ledger.output_folder() / training.name / "checkpoint.pt"
    if not checkpoint.is_file():
        return 1.0
    return 1 - len(load_checkpoint(checkpoint)["history"]) / training.recipe.epochs


def serving(runs: Sequence[Run], claim: str | None) -> list[Run]:
    """The runs behind a claim, table, figure or page, with the trainings that they need; all of them for None.

    Raises:
        ValueError: for a name that no run serves.
    """
    if claim is None:
        return list(runs)
    known = sorted({name for run in runs for name in run.serves})
    if claim not in known:
        raise ValueError(unknown_name("claim", claim, known))
    chosen = [run for run in runs if claim in run.serves]
    needed = {training.name for run in chosen for training in run.needs}
    names = {run.name for run in chosen}
    return [run for run in runs if run.name in names or run.makes in needed]


def show(found: Sequence[Standing]) -> str:
    """A line for every kind of run, all seeds together, and a last one with the sums."""
    groups: dict[tuple[int, str], list[Standing]] = {}
    for one in found:
        groups.setdefault((one.run.step, one.run.label), []).append(one)
    head = f"{'step':>4} {'done':>4} {'stale':>5} {'scaled':>6} {'not run':>7} {'left here':>12}  what, for what"
    lines = [f"{step:>4} {_counts(group)}  {label} ({_serves(group)})" for (step, label), group in groups.items()]
    gone = [one.run.title for one in found if one.state == LOST]
    notes = [f"The network of {title} is gone, though its row stands: what needs it trains it again." for title in gone]
    return "\n".join([head, *lines, f" all {_counts(found)}  {len(found)} runs", *notes])


def _counts(group: Sequence[Standing]) -> str:
    kinds = ((DONE, LOST), (SCALED_DOWN,), (NOT_RUN,))
    done, scaled, missing = (sum(one.state in states for one in group) for states in kinds)
    changed = [one.changed for one in group]
    old = "?" if None in changed else f"{sum(map(bool, changed))}"
    return f"{done:>4} {old:>5} {scaled:>6} {missing:>7} {total(one.left for one in group):>12}"


def _serves(group: Sequence[Standing]) -> str:
    return " ".join(sorted({name for one in group for name in one.run.serves}))
