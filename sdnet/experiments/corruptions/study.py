"""Everything that Tables 2 and 3 and Figures 2 and 3 need of a set of trained networks, at one size."""

import os
from collections.abc import Sequence

import torch

from sdnet.experiments.corruptions import policies, sweep
from sdnet.names import printed
from sdnet.results import networks
from sdnet.results.ledger import Record


def knobs_of(network: str | os.PathLike[str]) -> list[str]:
    """The knobs that the study turns on a network: its λ if it has any; else its default knob and, if it was trained
    without noise, whatever else a network without λ could be helped by."""
    trained = networks.load(network)
    default = sweep.default_knob(trained.model)
    if default.startswith("lam") or trained.training.recipe.noise:
        return [default]
    return [name for name in sweep.CONTROLS if name in (default, *sweep.ANYWHERE)]


def run(
    names: Sequence[str | os.PathLike[str]],
    *,
    preset: str = "quick",
    images: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    official: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Record]:
    """Sweep every knob of every network, and fit and evaluate the policies of those with one λ; ledger rows for all.

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
        print(f"{networks.label(name)}: {printed(knob)}", flush=True)
        record, _ = sweep.run(
            name, knob, preset=preset, images=images, data_root=data_root, official=official, device=device
        )
        records.append(record)
        if knob == "lam":
            print(f"{networks.label(name)}: policies", flush=True)
            record, _ = policies.run(
                name, preset=preset, images=images, data_root=data_root, official=official, device=device
            )
            records.append(record)
    return records
