"""The robustness experiment behind Table 4: a trained network under attacks and protocols; one ledger row."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.csc.lam import coding_layers, own_lam
from sdnet.data.datasets import Dataset
from sdnet.experiments.attacks.protocols import (
    ON_GRID,
    PROTOCOLS,
    Cell,
    Grid,
    Target,
    at,
    in_the_loop,
    on_grid,
    policy_on_clean,
    simultaneous,
    transfer,
)
from sdnet.experiments.attacks.sanity import sanity
from sdnet.experiments.attacks.settings import FEWER, GRIDS, QUERIES, AttackSettings
from sdnet.experiments.corruptions.calibration import CALIBRATION
from sdnet.experiments.corruptions.sweep import KNOBS, LAMS, default_knob, knob_of, subset
from sdnet.results import networks
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.results.networks import Network
from sdnet.results.unfinished import Keep
from sdnet.robust import attacks
from sdnet.robust.algorithm1 import calibrate, fit
from sdnet.robust.attacks import Attack
from sdnet.robust.policies import Policy, RobustClassifier, fingerprint, load_policy
from sdnet.training.stopping import stoppable

FITTED_ON = "gaussian_noise"


@stoppable()
def run(
    network: str | os.PathLike[str],
    chosen: AttackSettings,
    *,
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
) -> tuple[Record, Path]:
    """Attack a trained network on test images of its data set; write a ledger row.

    Every crafting is kept when it is scored: a run that was stopped resumes when it is called again.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        precision: of forward and backward passes. float32 by default on every device: in bfloat16 the small steps
            of an attack are rounded, which can look like robustness.

    Raises:
        ValueError: for anything that does not exist, before an attack is run.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C.
    """
    evaluation = prepare(network, data_root=data_root, device=device, precision=precision)
    model, torch_device, data = evaluation.model, evaluation.device, evaluation.data
    wanted = chosen.protocols or default_protocols(model, chosen)
    knob = knob_of(model, chosen.knob or default_knob(model))
    crafted, strengths = grids(knob.name, knob.start, chosen.crafted)
    libraries = {name: version(attacks.library(name).__name__) for name in ("torchattack", "pyautoattack")}
    transferred = chosen.source is not None and "transfer" in wanted
    source = _source(str(chosen.source), evaluation.trained, torch_device, precision) if transferred else None
    if chosen.policy is not None and "policy" not in wanted:
        raise ValueError(f"policy {chosen.policy!r} has no effect: this network has no one λ to choose; leave it out.")
    saved = load_policy(chosen.policy) if chosen.policy is not None and "policy" in wanted else None
    if "policy" in wanted and saved is None:
        _check_policy(model)
    inputs = {
        "source": fingerprint(source.model, with_lam=True) if source else None,
        "policy": asdict(saved) if saved else None,
    }
    source_name = networks.label(chosen.source) if chosen.source is not None else None
    policy_name = Path(chosen.policy).name if chosen.policy is not None else None  # no row holds a path of a machine
    choices = {**asdict(chosen), "protocols": wanted, "source": source_name, "policy": policy_name}
    measurement = evaluation.measurement(
        "attack", inputs, knob=knob.name, choices=choices, crafted=crafted, strengths=strengths, libraries=libraries
    )
    with measurement.keep as keep:
        guard = classifier(model, chosen, saved, data, precision, keep) if "policy" in wanted else None

        def grid_of(count: int) -> Grid:
            split = subset(data.test, count).to(torch_device)
            return Grid(knob, split, knob.start, crafted, strengths, precision, chosen.seed, keep)

        results = _measure(chosen, grid_of, Participants(wanted, source, source_name, guard))
        if chosen.sanity:
            few = grid_of(chosen.images or FEWER[chosen.preset])
            # The largest ball must hold every image, and Square knows no other.
            pixels = replace(chosen, units="pixels")
            results += sanity(few, [pixels.attack("pgd", norm) for norm in chosen.norms], QUERIES[chosen.preset])
        return measurement.finish(results)


def default_protocols(model: nn.Module, chosen: AttackSettings) -> tuple[str, ...]:
    """Every protocol that the network and the settings allow."""
    allowed = {"policy": default_knob(model) == "lam", "transfer": chosen.source is not None}
    return tuple(name for name in PROTOCOLS if allowed.get(name, True))


def grids(
    knob: str, start: float, crafted: tuple[float, ...] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Strengths to craft at, and strengths to score at: the knob's of :data:`GRIDS` and of the sweeps, or as told."""
    crafted = crafted or (*GRIDS[knob], start)
    return tuple(sorted(set(crafted))), tuple(sorted({*KNOBS[knob], *crafted, start}))


def _check_policy(model: nn.Module) -> None:
    """Raise ValueError unless a policy could be fitted for a network."""
    if not coding_layers(model):
        raise ValueError("protocol 'policy' needs a CSC layer whose λ a policy could choose; choose an sdnet.")
    own_lam(model)


def classifier(
    model: nn.Module, chosen: AttackSettings, saved: Policy | None, data: Dataset, precision: str, keep: Keep
) -> RobustClassifier:
    """The network behind a policy: the saved one, or one λ per image, fitted to its residual by Algorithm 1.

    Raises:
        ValueError: for a policy that was fitted for another network.
    """

    def fitted() -> dict[str, Any]:
        lam0 = own_lam(model)
        train = subset(data.train, CALIBRATION[chosen.preset]).to(next(model.parameters()).device)
        points = calibrate(model, train, FITTED_ON, LAMS, lam0=lam0, precision=precision)
        return asdict(fit("per_image", model, points, LAMS, lam0=lam0, per_image=True))

    return RobustClassifier(model, saved or Policy(**keep("policy", fitted)))


def clean_cells(grid: Grid, clean: Tensor) -> list[Cell]:
    """Accuracy on the images as they are, at every strength that is scored."""
    values = clean.double().mean(1).tolist()
    return [
        {"metric": "top1", "split": "test", "strength": strength, "value": value, "n": len(grid.split)}
        for strength, value in zip(grid.strengths, values, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Participants:
    """The protocols of a run, and who takes part in them beside the network."""

    protocols: tuple[str, ...]
    source: Target | None
    source_name: str | None
    guard: RobustClassifier | None


def _measure(chosen: AttackSettings, grid_of: Callable[[int], Grid], participants: Participants) -> list[Cell]:
    cells: list[Cell] = []
    for count in sorted({chosen.count(name) for name in chosen.attacks}, reverse=True):
        grid = grid_of(count)
        clean = grid.clean()
        cells += clean_cells(grid, clean)
        behind_policy = None
        if participants.guard is not None:
            behind_policy, cell = policy_on_clean(grid, participants.guard)
            cells.append(cell)
        for attack in chosen.all_attacks(count):
            cells += _by_protocol(grid, attack, clean, behind_policy, participants)
    return cells


def _by_protocol(
    grid: Grid, attack: Attack, clean: Tensor, behind_policy: Tensor | None, participants: Participants
) -> list[Cell]:
    """Cells of one attack under every protocol, with AutoAttack's own flags."""
    before = len(grid.flags)
    cells = on_grid(grid, attack, clean, [name for name in participants.protocols if name in ON_GRID])
    if "simultaneous" in participants.protocols:
        cells += simultaneous(grid, attack, clean)
    if participants.guard is not None and behind_policy is not None:
        cells += in_the_loop(grid, attack, participants.guard, behind_policy)
    if participants.source is not None and participants.source_name is not None:
        cells += transfer(grid, attack, clean, participants.source, participants.source_name)
    flags = grid.flags[before:]
    if attack.name.startswith("autoattack"):
        text = "; ".join(sorted(set(flags)))
        where = {"attack": attack.name, "norm": attack.norm, "epsilon": attack.epsilon, "flags": text}
        cells.append({"metric": "autoattack_flags", **where, "value": len(flags), "n": len(grid.split)})
    return cells


def _source(name: str, trained: Network, device: torch.device, precision: str) -> Target:
    model = networks.load_source(name, trained).model.to(device).to(memory_format=torch.channels_last)
    knob = knob_of(model, default_knob(model))
    return at(knob, knob.start, precision)
