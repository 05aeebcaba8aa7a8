"""What a trained network is put through: ``python -m sdnet sweep``, ``policies``, ``attack``, ``visual`` and more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import AMOUNT, COUNT, SEED, on_device, with_data_root
from sdnet.data.corruptions import NOISES
from sdnet.experiments.accuracy.precision import record_precision
from sdnet.experiments.attacks.protocols import PROTOCOLS
from sdnet.experiments.attacks.robust_accuracy import run as run_attack
from sdnet.experiments.attacks.settings import GRIDS, AttackSettings
from sdnet.experiments.campaign.announce import announce
from sdnet.experiments.corruptions.policies import POLICIES
from sdnet.experiments.corruptions.policies import run as run_policies
from sdnet.experiments.corruptions.sweep import IMAGES, KNOBS
from sdnet.experiments.corruptions.sweep import run as run_sweep
from sdnet.experiments.layer.guarantee import run as run_guarantee
from sdnet.experiments.visualisation.reconstruction import METHODS
from sdnet.experiments.visualisation.reconstruction import run as run_visual
from sdnet.results.ledger import Record
from sdnet.robust.algorithm1 import DEVIATIONS
from sdnet.robust.attacks import ATTACKS, NORMS, UNITS


@click.command()
@click.argument("network", type=click.Path())
@click.option("--knob", help=f"One of {', '.join(KNOBS)}; default λ, without one the stem's threshold or a filter.")
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=COUNT, help="Instead of the preset's.")
@click.option("--corruption", "corruptions", multiple=True, default=tuple(NOISES), show_default=True)
@click.option("--strength", "strengths", type=AMOUNT, multiple=True, help="Instead of all of the knob's.")
@click.option("--official", type=click.Path(path_type=Path), help="Folder with the published CIFAR-10-C.")
@with_data_root
@on_device
def sweep(network: str, **settings: Any) -> None:
    """Accuracy of a trained NETWORK on corrupted test images at every strength of a knob (Figure 2).

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and resumes when started again.
    """
    _announced("sweep", run_sweep, network, {**settings, "strengths": settings["strengths"] or None})


@click.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=COUNT, help="Test images, instead of the preset's.")
@click.option("--corruption", "corruptions", multiple=True, default=tuple(NOISES), show_default=True)
@click.option("--official", type=click.Path(path_type=Path), help="Folder with the published CIFAR-10-C.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to save the fitted policies in.")
@click.option(
    "--policy", "only", multiple=True, help=f"Default all of {', '.join(POLICIES)}; or {', '.join(DEVIATIONS)}."
)
@with_data_root
@on_device
def policies(network: str, only: tuple[str, ...], **settings: Any) -> None:
    """Algorithm 1 and its relatives for a trained NETWORK: fit λ to the residual, then evaluate on corrupted images.

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and resumes when started again.
    """
    _announced("policies", run_policies, network, {"only": only or None, **settings})


@click.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=COUNT, help="Test images, instead of the preset's.")
@click.option("--norm", "norms", multiple=True, default=tuple(NORMS), show_default=True)
@click.option("--attack", "attacks", multiple=True, default=("pgd",), show_default=True, help=f"{', '.join(ATTACKS)}.")
@click.option("--protocol", "protocols", multiple=True, help=f"Default all that fit: {', '.join(PROTOCOLS)}.")
@click.option("--knob", help=f"One of {', '.join(GRIDS)}; default λ, without one the stem's threshold or a filter.")
@click.option("--crafted", type=AMOUNT, multiple=True, help="Strengths to craft at, instead of the knob's grid.")
@click.option("--epsilon", type=AMOUNT, help="Instead of 8/255 (linf) and 0.5 (l2).")
@click.option("--units", default="pixels", show_default=True, help=f"One of {', '.join(UNITS)}.")
@click.option("--steps", type=COUNT, default=20, show_default=True, help="Gradient steps that PGD takes.")
@click.option("--restarts", type=COUNT, default=1, show_default=True, help="Random starts of PGD and Square.")
@click.option("--source", help="Network to craft on for protocol transfer.")
@click.option("--policy", type=click.Path(), help="Saved policy for protocol policy; default one fitted here.")
@click.option("--sanity/--no-sanity", default=True, show_default=True, help="Also check the attacks themselves.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@with_data_root
@on_device
def attack(
    network: str,
    protocols: tuple[str, ...],
    crafted: tuple[float, ...],
    data_root: str | None,
    device: str | None,
    precision: str,
    **budget: Any,
) -> None:
    """Robust accuracy of a trained NETWORK under attacks and protocols (Table 4).

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and resumes when started again.
    """

    def job() -> None:
        chosen = AttackSettings(protocols=protocols or None, crafted=crafted or None, **budget)
        announce("attack", network, device, chosen=chosen)
        _, path = run_attack(network, chosen, data_root=data_root, device=device, precision=precision)
        click.echo(f"Ledger row: {path}")

    in_one_sentence(job)


@click.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=COUNT, help="Test images, instead of the preset's.")
@click.option("--method", "methods", multiple=True, help=f"Default all that fit: {', '.join(METHODS)}.")
@click.option(
    "--depth",
    "depths",
    multiple=True,
    help="stem, stage1.block2.conv1, ...; by default all, or for inversions the ends of blocks.",
)
@click.option("--steps", type=COUNT, help="Of an inversion, instead of the preset's.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of the random weights and the inversions' start."
)
@with_data_root
@on_device
def visual(network: str, methods: tuple[str, ...], depths: tuple[str, ...], **settings: Any) -> None:
    """How much of an image every depth of a trained NETWORK keeps: decoded, inverted, and with random weights."""
    choices = {"methods": methods or None, "depths": depths or None, **settings}
    _announced("visual", run_visual, network, choices)


@click.command()
@click.argument("network", type=click.Path())
@with_data_root
@on_device
def precision(network: str, data_root: str | None, device: str | None) -> None:
    """Compare bfloat16 with float32 inside a trained NETWORK (a file that `train` left) and record it."""
    in_one_sentence(lambda: click.echo(f"Ledger row: {record_precision(network, data_root, device)}"))


@click.command()
@click.argument("network", type=click.Path())
@click.option("--images", type=COUNT, default=50, show_default=True)
@with_data_root
@on_device
def guarantee(network: str, **settings: Any) -> None:
    """Does Theorem 1's condition hold for the atoms and codes of a trained NETWORK?"""
    in_one_sentence(lambda: click.echo(f"Ledger row: {run_guarantee(network, **settings)[1]}"))


def _announced(command: str, run: Callable[..., tuple[Record, Path]], network: str, options: dict[str, Any]) -> None:
    """Say about how long a measurement takes, then make it."""

    def job() -> None:
        announce(command, network, **options)
        click.echo(f"Ledger row: {run(network, **options)[1]}")

    in_one_sentence(job)
