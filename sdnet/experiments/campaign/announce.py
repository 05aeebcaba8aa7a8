"""What one command is about to do and about how long it takes, said before it starts."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from sdnet.data.corruptions import NOISES
from sdnet.decoding.decode import layer_at
from sdnet.experiments.ablations import grid
from sdnet.experiments.attacks.protocols import PROTOCOLS
from sdnet.experiments.attacks.settings import AttackSettings
from sdnet.experiments.campaign.cost import TEST, Costs, Estimate, passes, total
from sdnet.experiments.campaign.declared import adapted
from sdnet.experiments.campaign.family import pursued
from sdnet.experiments.campaign.questions import certificates, confident, waves
from sdnet.experiments.campaign.runs import Run, attacked, swept
from sdnet.experiments.corruptions.policies import check_policies
from sdnet.experiments.corruptions.sweep import KNOBS, check_requested, default_knob, images_of
from sdnet.experiments.visualisation import reconstruction
from sdnet.names import unknown_name
from sdnet.parameters import Count, Positive, check
from sdnet.results import networks
from sdnet.results.ledger import rows_here
from sdnet.results.networks import Network
from sdnet.robust.policies import load_policy
from sdnet.runtime import device_of
from sdnet.training import loop
from sdnet.training.declaration import Training

TEST_IMAGES = {"digits": 360}
"""Where they are not as many as CIFAR's."""
BATCH = 100
"""Images that are timed where the ledger knows nothing similar."""


def announce(command: str, network: str | os.PathLike[str], device: str | None, **options: Any) -> None:
    """Print about how long a measurement of a trained network takes, from the ledger or from a batch timed here.

    Args:
        command: ``"sweep"``, ``"policies"``, ``"attack"`` or ``"visual"``.
        options: of the command; what they do not say is its default.

    Raises:
        ValueError: for a network, size or device that does not exist.
    """
    torch_device, trained = device_of(device), networks.load(network)
    if "preset" in options:
        images_of(options["preset"], options.get("images"))  # refuses what does not exist
    runs, parts = RUNS[command](trained, options), []  # which refuses what the command would refuse later
    costs = Costs(rows_here(), torch_device)
    for run in runs:
        found = costs.of(run)
        parts.append(found if found.seconds is not None else _timed(trained, run, torch_device))
    bases = ", ".join(dict.fromkeys(part.basis for part in parts))
    where = f"on {torch_device.type} (by {bases})"
    print(f"{command} of {networks.label(network)}: about {total(parts)} {where}", flush=True)


def announce_ablations(plan: Sequence[Training], device: str | None, images: int | None) -> None:
    """Print about how long the trainings of a grid, and their sweeps, take that the ledger does not have yet."""
    torch_device = device_of(device)
    rows = rows_here()
    costs = Costs(rows, torch_device)
    parts = []
    for training in plan:
        if not any(grid.answers(row, training) for row in rows):
            knob, strengths = grid.knob_and_strengths(training)
            count = images_of(training.preset.removesuffix("_imagenet"), images)
            runs = Run("train", training), swept(training, count, "", knob, strengths, grid.NOISES)
            parts += [costs.of(run) for run in runs]
    known = "" if None not in [part.seconds for part in parts] else "; each says so once it starts"
    what = f"{len(parts) // 2} networks to train and sweep"
    print(f"{what}: about {total(parts)} on {torch_device.type}{known}", flush=True)


def _timed(trained: Network, run: Run, torch_device: torch.device) -> Estimate:
    """From how long the network takes to classify one batch here."""
    model = trained.model.to(torch_device)
    images = torch.rand(BATCH, 3, trained.size, trained.size, device=torch_device)
    seconds = 0.0
    with torch.no_grad(), loop.precision_of(torch_device, loop.best_precision(torch_device, model)):
        for _ in range(2):  # the first one warms up
            start = time.monotonic()
            model(images).sum().item()
            seconds = time.monotonic() - start
    return Estimate(passes(run) * seconds / BATCH, "a batch timed here")


def _sweep(trained: Network, options: dict[str, Any]) -> list[Run]:
    images = images_of(options["preset"], options["images"])
    check_requested(options["corruptions"], options["strengths"], options.get("official"))
    knob = options["knob"] or default_knob(trained.model)
    if knob not in KNOBS:
        raise ValueError(unknown_name("knob", knob, KNOBS))
    return [swept(trained.training, images, "", knob, options["strengths"] or (), options["corruptions"])]


def _policies(trained: Network, options: dict[str, Any]) -> list[Run]:
    check_policies(options["only"], options.get("corruptions", ()), options.get("official"))
    run = adapted(trained.training, images_of(options["preset"], options["images"]), "", options["only"] or ())
    return [replace(run, options={**run.options, "preset": options["preset"]})]


def _attack(trained: Network, options: dict[str, Any]) -> list[Run]:
    chosen: AttackSettings = options["chosen"]
    if chosen.source is not None:
        networks.load_source(chosen.source, trained)
    if chosen.policy is not None:
        load_policy(chosen.policy)
    own: dict[str, Any] = {"knob": chosen.knob} if chosen.knob else {}
    protocols, crafted = chosen.protocols or tuple(PROTOCOLS), chosen.crafted or ()
    return [
        attacked(
            trained.training, chosen.count(name), "", protocols, attack=name, crafted=crafted, norms=chosen.norms, **own
        )
        for name in chosen.attacks
    ]


def _visual(trained: Network, options: dict[str, Any]) -> list[Run]:
    for depth in options.get("depths") or ():
        layer_at(trained.model, depth)
    images = options["images"] or reconstruction.IMAGES[options["preset"]]
    steps = {"inversion_steps": options["steps"] or reconstruction.STEPS[options["preset"]]}
    methods = {"method": tuple(options["methods"] or reconstruction.METHODS)}
    return [Run("visual", trained.training, steps, methods, images)]


def _pursuit(trained: Network, options: dict[str, Any]) -> list[Run]:
    images = options["images"] or TEST_IMAGES.get(trained.training.dataset, TEST)
    source = None if options["source"] is None else networks.load(options["source"]).training
    run = pursued(trained.training, images, "", source, attacked=options["attacked"])
    return [replace(run, settings={**run.settings, "size": options["preset"]})]


def _turned(command: str, trained: Network, options: dict[str, Any]) -> list[Run]:
    check_requested(options.get("corruptions", ()), options["strengths"], None, known=tuple(NOISES))
    for name, kind in (("sigma", Positive), ("samples", Count | None)):
        check(name, options.get(name, 1), kind)
    knob = options.pop("knob") or default_knob(trained.model)
    if command == "confidence":
        options["images"] = images_of(options["preset"], options["images"])
        return [confident(trained.training, claim="", knob=knob, **options)]
    make = waves if command == "fourier" else certificates
    return [make(trained.training, "", knob, **options)]


RUNS: dict[str, Callable[[Network, dict[str, Any]], list[Run]]] = {
    "sweep": _sweep,
    "policies": _policies,
    "attack": _attack,
    "visual": _visual,
    "pursuit": _pursuit,
    **{command: partial(_turned, command) for command in ("fourier", "confidence", "certify")},
}
"""Command → the declared runs that its options ask for."""
