"""The robustness experiment behind Table 4: a trained network under attacks and protocols; one ledger row."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdnet.csc.layers import csc_layers
from sdnet.data.datasets import Dataset
from sdnet.experiments.attacks.protocols import (
    ON_GRID,
    PROTOCOLS,
    Cell,
    Plan,
    Target,
    Turned,
    at,
    guarded,
    in_the_loop,
    on_grid,
    simultaneous,
    transfer,
)
from sdnet.experiments.attacks.sanity import sanity
from sdnet.experiments.corruptions.policies import CALIBRATION
from sdnet.experiments.corruptions.sweep import KNOBS, LAMS, knob_of, subset
from sdnet.models.resnet import ResNet
from sdnet.names import unknown_name
from sdnet.results import networks
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.results.networks import Network
from sdnet.robust import attacks
from sdnet.robust.algorithm1 import calibrate, fit
from sdnet.robust.attacks import EPSILONS, NAMES, NORMS, Attack, autoattack_flags
from sdnet.robust.policies import RobustClassifier, load_policy

IMAGES = {"paper": 10_000, "quick": 500, "smoke": 10}
"""Size of a run → number of test images for PGD and FGSM."""
FEWER = {"paper": 1000, "quick": 200, "smoke": 10}
"""The same for AutoAttack, Square and the sanity checks."""
QUERIES = {"paper": 5000, "quick": 1000, "smoke": 50}
"""Size of a run → queries of Square."""
GRIDS = {
    "lam": (0.1, 0.3, 0.5, 0.8, 1.1, 1.5),
    "stem threshold": (0.0, 0.05, 0.1, 0.15, 0.2, 0.3),
    "gaussian filter": (0.0, 0.5, 0.8, 1.0),
    "quantisation": (0.0, 0.1, 0.25, 0.5),
}
"""Knob through which gradients pass → strengths at which perturbations are crafted, beside that of training. A stem's
threshold above 0.3 leaves one class for all images, which no attack can change: those strengths are only scored."""
FITTED_ON = "gaussian_noise"


@dataclass(frozen=True)
class Choices:
    """What a run measures.

    Attributes:
        preset: ``"paper"``, ``"quick"`` or ``"smoke"``: see :data:`IMAGES`, :data:`FEWER` and :data:`QUERIES`.
        images: another number of test images, for every attack and check.
        norms, attacks: see :mod:`sdnet.robust.attacks`.
        protocols: names of :data:`sdnet.experiments.attacks.protocols.PROTOCOLS`; None for all that this network
            allows.
        knob: a name of :data:`GRIDS`; None for λ where there is one, else the stem's threshold.
        crafted: strengths at which perturbations are crafted; None for the knob's of :data:`GRIDS`.
        epsilon: another radius than Table 4's.
        units, steps, restarts: of :class:`sdnet.robust.attacks.Attack`, for PGD.
        source: the network on which protocol ``"transfer"`` crafts.
        policy: a saved policy for protocol ``"policy"``; None for one fitted to each image's residual here.
        sanity: run the checks of :mod:`sdnet.experiments.attacks.sanity` too, in pixels.
        seed: of the attacks.
    """

    preset: str = "paper"
    images: int | None = None
    norms: tuple[str, ...] = tuple(NORMS)
    attacks: tuple[str, ...] = ("pgd",)
    protocols: tuple[str, ...] | None = None
    knob: str | None = None
    crafted: tuple[float, ...] | None = None
    epsilon: float | None = None
    units: str = "pixels"
    steps: int = 20
    restarts: int = 1
    source: str | None = None
    policy: str | None = None
    sanity: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset not in IMAGES:
            raise ValueError(unknown_name("preset", self.preset, IMAGES))
        if self.knob is not None and self.knob not in GRIDS:
            raise ValueError(unknown_name("knob that gradients pass through", self.knob, GRIDS))
        if self.images is not None and self.images < 1:
            raise ValueError(f"images must be at least 1; got {self.images}.")
        for what, given, known in (
            ("protocol", self.protocols or (), PROTOCOLS),
            ("attack", self.attacks, NAMES),
            ("norm", self.norms, NORMS),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(unknown_name(what, name, known))
        for what, some in (("protocol", self.protocols), ("attack", self.attacks), ("norm", self.norms)):
            if some is not None and not some:
                raise ValueError(f"a run needs at least one {what}; got none.")
        if self.epsilon is not None and len(self.norms) > 1:
            raise ValueError(
                f"one epsilon for {len(self.norms)} norms is ambiguous; got {self.epsilon}: choose one norm."
            )
        if self.crafted is not None and not all(0 <= strength < float("inf") for strength in self.crafted):
            raise ValueError(f"strengths must be finite and >= 0; got {self.crafted}.")
        if "transfer" in (self.protocols or ()) and self.source is None:
            raise ValueError("protocol 'transfer' needs a source: the network on which perturbations are crafted.")
        self.all_attacks()

    def attack(self, name: str, norm: str) -> Attack:
        """The attack of that name with this run's budget."""
        epsilon = EPSILONS[norm] if self.epsilon is None else self.epsilon
        if name == "pgd":
            return Attack(name, norm, epsilon, self.steps, restarts=self.restarts, units=self.units)
        if name == "fgsm":
            return Attack(name, norm, epsilon, 1, random_start=False, units=self.units)
        return Attack(name, norm, epsilon, QUERIES[self.preset] if name == "square" else 100, units=self.units)

    def all_attacks(self, count: int | None = None) -> list[Attack]:
        """Every attack under every norm; with ``count`` only those that get as many test images."""
        some = [name for name in self.attacks if count in (None, self.count(name))]
        return [self.attack(name, norm) for name in some for norm in self.norms]

    def count(self, name: str) -> int:
        """How many test images that attack gets."""
        return self.images or (IMAGES if name in attacks.GRADIENT else FEWER)[self.preset]


def run(
    network: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    **choices: Any,
) -> tuple[Record, Path]:
    """Attack a trained network on test images of its data set; write a ledger row.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        precision: of forward and backward passes. float32 by default on every device: in bfloat16 the small steps
            of an attack are rounded, which can look like robustness.
        **choices: fields of :class:`Choices`.

    Raises:
        ValueError: for anything that does not exist, before an attack is run.
    """
    chosen = Choices(**choices)
    evaluation = prepare(network, data_root=data_root, device=device, precision=precision)
    model, place = evaluation.model, evaluation.device
    wanted = chosen.protocols or default_protocols(model, chosen)
    knob, lam0 = turned(model, chosen.knob)
    libraries = {name: version(attacks.library(name).__name__) for name in ("torchattack", "pyautoattack")}
    transferred = chosen.source is not None and "transfer" in wanted
    source = _source(str(chosen.source), evaluation.trained, place, precision) if transferred else None
    data = evaluation.data
    guard = classifier(model, chosen, data, lam0, precision) if "policy" in wanted else None
    grid, strengths = grids(knob.name, lam0, chosen.crafted)

    def plan(count: int) -> Plan:
        return Plan(knob, subset(data.test, count).to(place), lam0, grid, strengths, precision, chosen.seed)

    results = _measure(chosen, plan, Others(wanted, source, chosen.source, guard))
    if chosen.sanity:
        few = plan(chosen.images or FEWER[chosen.preset])
        pixels = replace(chosen, units="pixels")  # the largest ball must hold every image, and Square knows no other
        results += sanity(few, [pixels.attack("pgd", norm) for norm in chosen.norms], QUERIES[chosen.preset])
    # As it will be read from the file: lists, not tuples.
    said = json.loads(json.dumps({**asdict(chosen), "protocols": wanted}))
    return evaluation.record("attack", results, knob=knob.name, choices=said, libraries=libraries)


def default_protocols(model: ResNet, chosen: Choices) -> tuple[str, ...]:
    """Every protocol that the network and the choices allow."""
    left_out = {name for name, fits in (("policy", csc_layers(model)), ("transfer", chosen.source)) if not fits}
    return tuple(name for name in PROTOCOLS if name not in left_out)


def turned(model: ResNet, name: str | None) -> tuple[Turned, float]:
    """The knob of that name, or the network's own, and its strength in training."""
    layers = csc_layers(model)
    knob = knob_of(model, name or ("lam" if layers else "stem threshold"))
    assert isinstance(knob, Turned)
    return knob, round(float(layers[0][1].lam), 6) if knob.name == "lam" else 0.0


def grids(
    knob: str, start: float, crafted: tuple[float, ...] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Strengths to craft at, and strengths to score at: the knob's of :data:`GRIDS` and of the sweeps, or as told."""
    grid = crafted or (*GRIDS[knob], start)
    return tuple(sorted(set(grid))), tuple(sorted({*KNOBS[knob], *grid, start}))


def classifier(model: ResNet, chosen: Choices, data: Dataset, lam0: float, precision: str) -> RobustClassifier:
    """The network behind a policy: the saved one, or one λ per image, fitted to its residual by Algorithm 1.

    Raises:
        ValueError: for a network without λ, or a policy that was fitted for another one.
    """
    if chosen.policy is not None:
        return RobustClassifier(model, load_policy(Path(chosen.policy)))
    if not csc_layers(model):
        raise ValueError("protocol 'policy' needs a CSC layer whose λ a policy could choose; choose an sdnet.")
    train = subset(data.train, CALIBRATION[chosen.preset]).to(next(model.parameters()).device)
    points = calibrate(model, train, FITTED_ON, LAMS, lam0=lam0, precision=precision)
    return RobustClassifier(model, fit("per_image", model, points, LAMS, lam0=lam0, per_image=True))


def clean_cells(plan: Plan, clean: Tensor) -> list[Cell]:
    """Accuracy on the images as they are, at every strength that is scored."""
    values = clean.double().mean(1).tolist()
    return [
        {"metric": "top1", "split": "test", "strength": strength, "value": value, "n": len(plan.split)}
        for strength, value in zip(plan.strengths, values, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Others:
    """The protocols of a run, and who takes part in them beside the network."""

    protocols: tuple[str, ...]
    source: Target | None
    source_name: str | None
    guard: RobustClassifier | None


def _measure(chosen: Choices, plan_of: Callable[[int], Plan], others: Others) -> list[Cell]:
    cells: list[Cell] = []
    for count in sorted({chosen.count(name) for name in chosen.attacks}, reverse=True):
        plan = plan_of(count)
        clean = plan.clean()
        cells += clean_cells(plan, clean)
        usual = None
        if others.guard is not None:
            usual, cell = guarded(plan, others.guard)
            cells.append(cell)
        for attack in chosen.all_attacks(count):
            cells += _by_protocol(plan, attack, clean, usual, others)
    return cells


def _by_protocol(plan: Plan, attack: Attack, clean: Tensor, usual: Tensor | None, others: Others) -> list[Cell]:
    """Cells of one attack under every protocol, with AutoAttack's own flags."""
    with autoattack_flags() as flags:
        cells = on_grid(plan, attack, clean, [name for name in others.protocols if name in ON_GRID])
        if "simultaneous" in others.protocols:
            cells += simultaneous(plan, attack, clean)
        if others.guard is not None and usual is not None:
            cells += in_the_loop(plan, attack, others.guard, usual)
        if others.source is not None and others.source_name is not None:
            cells += transfer(plan, attack, clean, others.source, others.source_name)
    if attack.name.startswith("autoattack"):
        said = "; ".join(sorted(set(flags)))
        where = {"attack": attack.name, "norm": attack.norm, "epsilon": attack.epsilon, "flags": said}
        cells.append({"metric": "autoattack_flags", **where, "value": len(flags), "n": len(plan.split)})
    return cells


def _source(name: str, trained: Network, place: torch.device, precision: str) -> Target:
    other = networks.load(name)
    if other.training.dataset != trained.training.dataset:
        own, its = trained.training.dataset, other.training.dataset
        raise ValueError(f"{name} was trained on {its}, this network on {own}; choose a source of the same data set.")
    if other.classes != trained.classes:
        raise ValueError(f"{name} knows other classes than this network; choose a source trained on the same ones.")
    model = other.model.to(place).to(memory_format=torch.channels_last)
    return at(*turned(model, None), precision)
