"""The lines λ(r) of Algorithm 1 that the playground shows: fitted once on training images, stored with the networks."""

import os
from pathlib import Path

import torch

from sdnet.data import datasets
from sdnet.data.corruptions import NOISES
from sdnet.experiments.corruptions.calibration import CALIBRATION, fit_all
from sdnet.experiments.corruptions.sweep import LAMS, subset
from sdnet.results import networks
from sdnet.results.ledger import repository_data
from sdnet.robust.algorithm1 import calibrate
from sdnet.robust.policies import Policy, fingerprint, load_policy

ANY = "all"
"""What the line is called that was fitted on all noises together."""


def folder_of(network: str) -> Path:
    """Where the lines of a network of the repository are stored."""
    return repository_data() / "policies" / network


def fit_lines(network: str, *, data_root: str | os.PathLike[str] | None = None, size: str = "quick") -> Path:
    """Calibrate Algorithm 1 (lines 3-12) on training images and store a line for each noise and one for all.

    No test image is looked at. It takes some minutes on one core; what is stored was made by this function, and it is
    to be called again only for other networks.

    Args:
        network: a name of :func:`sdnet.results.networks.names`.
        data_root: where the images lie on which the network was trained; None for ``$SDNET_DATA`` or the usual place.
        size: a key of :data:`sdnet.experiments.corruptions.policies.CALIBRATION`.

    Returns:
        The folder with a file for each noise, and one for all.
    """
    trained = networks.load(network)
    train = subset(datasets.load(trained.training.dataset, root=data_root).train, CALIBRATION[size])
    with torch.no_grad():
        points = {noise: calibrate(trained.model, train, noise, LAMS) for noise in NOISES}
    folder = folder_of(network)
    folder.mkdir(parents=True, exist_ok=True)
    for fitted in fit_all(trained.model, points, {}):
        if fitted.policy.name in ("residual_fit", "type_free"):
            fitted.policy.save(folder / f"{fitted.corruption}.json")
    return folder


def read_lines(network: str) -> dict[str, Policy]:
    """The stored lines of a network: noise → policy, and :data:`ANY` → the one fitted on all noises.

    Raises:
        ValueError: if one is missing, or was fitted for other weights than the network has now.
    """
    own = fingerprint(networks.load(network).model)
    lines = {name: load_policy(folder_of(network) / f"{name}.json") for name in (*NOISES, ANY)}
    for name, policy in lines.items():
        if policy.network != own:
            raise ValueError(
                f"the line for {name} was fitted for network {policy.network}, {network} is {own}; "
                f"fit it again with sdnet.experiments.playground.lines.fit_lines."
            )
    return lines
