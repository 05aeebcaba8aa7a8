"""Everything that Tables 2 and 3 and Figures 2 and 3 need of a set of trained networks, at one size."""

import os
from collections.abc import Sequence

import torch

from sdnet.csc.layers import csc_layers
from sdnet.experiments.corruptions import policies, sweep
from sdnet.results import networks
from sdnet.results.ledger import Record


def knobs_of(network: str | os.PathLike[str]) -> list[str]:
    """The knobs that the study turns on a network: λ if it has CSC layers; else its stem's threshold and, if it was
    trained without noise, whatever else a ResNet could be helped by."""
    trained = networks.load(network)
    if csc_layers(trained.model):
        return ["lam"]
    return ["stem threshold"] if trained.training.recipe.noise else list(sweep.CONTROLS)


def run(
    names: Sequence[str | os.PathLike[str]],
    *,
    preset: str = "quick",
    images: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    official: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Record]:
    """Sweep every knob of every network, and fit and ask the policies of those with CSC layers; ledger rows for all.

    Args:
        names: of :func:`sdnet.results.networks.names`, or paths.
        preset, images, official: as for :func:`sdnet.experiments.corruptions.sweep.run`.

    Raises:
        ValueError: for a network or preset that does not exist, before any is run.
    """
    sweep.images_of(preset, images)
    plan = [(name, knob) for name in names for knob in knobs_of(name)]
    records = []
    for name, knob in plan:
        print(f"{networks.label(name)}: {knob}", flush=True)
        options = {"preset": preset, "images": images, "data_root": data_root, "official": official, "device": device}
        records.append(sweep.run(name, knob, **options)[0])  # type: ignore[arg-type]
        if knob == "lam":
            print(f"{networks.label(name)}: policies", flush=True)
            records.append(policies.run(name, **options)[0])  # type: ignore[arg-type]
    return records
