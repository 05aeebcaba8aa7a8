"""The command line: ``python -m sdnet``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sdnet import notebook
from sdnet.cli.bench import bench
from sdnet.cli.campaign import campaign, status
from sdnet.cli.errors import in_one_sentence
from sdnet.cli.family import follow, pursuit
from sdnet.cli.knob import certify, confidence, fourier
from sdnet.cli.launch import declared, launch
from sdnet.cli.options import declares_training, on_device, with_data_root
from sdnet.data.corruptions import NOISES
from sdnet.experiments.ablations import grid
from sdnet.experiments.accuracy import cards
from sdnet.experiments.accuracy import train as experiment
from sdnet.experiments.accuracy.precision import record_precision
from sdnet.experiments.architectures.sizes import record_sizes
from sdnet.experiments.attacks.protocols import PROTOCOLS
from sdnet.experiments.attacks.robust_accuracy import run as run_attack
from sdnet.experiments.attacks.settings import GRIDS, AttackSettings
from sdnet.experiments.campaign.announce import announce, announce_ablations
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
from sdnet.training.distributed import COMPILE_MODES
from sdnet.training.recipes import PRESETS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train and measure networks of convolutional sparse coding layers."""


@main.command()
@declares_training
@with_data_root
@click.option("--output", help="Where the network goes; default $SDNET_OUTPUT, else outputs.")
@on_device
@click.option("--accumulate", default=1, show_default=True, help="Pieces of each rank's batch, to save memory.")
@click.option("--sync-batchnorm", is_flag=True, help="Normalise over all ranks' images; on GPUs.")
@click.option("--save-every", type=int, help="Steps between checkpoints within an epoch.")
@click.option("--workers", default=4, show_default=True, help="Processes per rank that read photographs.")
@click.option("--max-corrupt", default=0, show_default=True, help="Photographs that may be unreadable.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds that ranks wait for each other.")
@click.option("--compile", help=f"A mode of torch.compile: {', '.join(COMPILE_MODES)}; default none.")
def train(
    data_root: str | None,
    output: str | None,
    device: str | None,
    **options: Any,
) -> None:
    """Train one network and record the run; the same as notebook 04, without Jupyter.

    Interrupted, it goes on from the last checkpoint when started again with the same options. SIGTERM or Ctrl-C makes
    it save and end with exit code 75. Under torchrun, or `python -m sdnet launch`, it is one of several ranks.
    """

    def job() -> None:
        run, execution = declared(**options)
        experiment.run(run, data_root=data_root, output=output, device=device, execution=execution)

    in_one_sentence(job)


@main.command()
@click.argument("paths", nargs=-1, metavar="NETWORK...", type=click.Path(path_type=Path))
def publish(paths: tuple[Path, ...]) -> None:
    """Put trained NETWORKs into data/networks for everybody to load, and renew the cards of all from the ledger."""

    def job() -> None:
        for name in cards.publish(paths):
            click.echo(f"Stored {name}")
        click.echo(f"Cards: {cards.renew()}")

    in_one_sentence(job)


@main.command()
def sizes() -> None:
    """Count the parameters of the paper's networks and record them."""
    in_one_sentence(lambda: click.echo(f"Ledger row: {record_sizes()}"))


@main.command()
@click.option("--group", "groups", multiple=True, help=f"Default all of {', '.join(grid.GRID)}.")
@click.option("--dataset", default="cifar10", show_default=True, help="digits, cifar10, cifar100, or an image folder.")
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(PRESETS)}.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1), show_default=True)
@click.option("--epochs", type=int, help="Instead of the preset's.")
@click.option("--images", type=int, help="Test images under noise, instead of the preset's.")
@with_data_root
@click.option("--output", help="Where the networks go; default $SDNET_OUTPUT, else outputs.")
@on_device
def ablate(
    groups: tuple[str, ...], dataset: str, preset: str, seeds: tuple[int, ...], epochs: int | None, **where: Any
) -> None:
    """Train the variants of the ablation grid and ask them under noise (Table 5); what the ledger has is left out."""

    def job() -> None:
        chosen = grid.variants(groups or tuple(grid.GRID))
        for one in grid.trainings(chosen[:1], dataset, preset, seeds[:1], epochs=epochs):
            one.load(where["data_root"], workers=0)  # all have the same data, and what is missing is said at once
        plan = grid.trainings(chosen, dataset, preset, seeds, epochs=epochs)
        announce_ablations(plan, where["device"], where["images"])
        grid.run(plan, **where)

    in_one_sentence(job)


@main.command()
@click.argument("network", type=click.Path())
@click.option("--knob", help=f"One of {', '.join(KNOBS)}; default λ, without one the stem's threshold or a filter.")
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=int, help="Instead of the preset's.")
@click.option("--corruption", "corruptions", multiple=True, default=tuple(NOISES), show_default=True)
@click.option("--strength", "strengths", type=float, multiple=True, help="Instead of all of the knob's.")
@click.option("--official", type=click.Path(path_type=Path), help="Folder with the published CIFAR-10-C.")
@with_data_root
@on_device
def sweep(network: str, **settings: Any) -> None:
    """Accuracy of a trained NETWORK on corrupted test images at every strength of a knob (Figure 2).

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and goes on when started again.
    """
    _announced("sweep", run_sweep, network, {**settings, "strengths": settings["strengths"] or None})


@main.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=int, help="Test images, instead of the preset's.")
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

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and goes on when started again.
    """
    _announced("policies", run_policies, network, {"only": only or None, **settings})


@main.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=int, help="Test images, instead of the preset's.")
@click.option("--norm", "norms", multiple=True, default=tuple(NORMS), show_default=True)
@click.option("--attack", "attacks", multiple=True, default=("pgd",), show_default=True, help=f"{', '.join(ATTACKS)}.")
@click.option("--protocol", "protocols", multiple=True, help=f"Default all that fit: {', '.join(PROTOCOLS)}.")
@click.option("--knob", help=f"One of {', '.join(GRIDS)}; default λ, without one the stem's threshold or a filter.")
@click.option("--crafted", type=float, multiple=True, help="Strengths to craft at, instead of the knob's grid.")
@click.option("--epsilon", type=float, help="Instead of 8/255 (linf) and 0.5 (l2).")
@click.option("--units", default="pixels", show_default=True, help=f"One of {', '.join(UNITS)}.")
@click.option("--steps", default=20, show_default=True, help="Of PGD.")
@click.option("--restarts", default=1, show_default=True, help="Of PGD.")
@click.option("--source", help="Network to craft on for protocol transfer.")
@click.option("--policy", type=click.Path(), help="Saved policy for protocol policy; default one fitted here.")
@click.option("--sanity/--no-sanity", default=True, show_default=True)
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

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and goes on when started again.
    """

    def job() -> None:
        chosen = AttackSettings(protocols=protocols or None, crafted=crafted or None, **budget)
        announce("attack", network, device, chosen=chosen)
        _, path = run_attack(network, chosen, data_root=data_root, device=device, precision=precision)
        click.echo(f"Ledger row: {path}")

    in_one_sentence(job)


@main.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=int, help="Test images, instead of the preset's.")
@click.option("--method", "methods", multiple=True, help=f"Default all that fit: {', '.join(METHODS)}.")
@click.option(
    "--depth",
    "depths",
    multiple=True,
    help="stem, stage1.block2.conv1, ...; by default all, or for inversions the ends of blocks.",
)
@click.option("--steps", type=int, help="Of an inversion, instead of the preset's.")
@click.option("--seed", default=0, show_default=True, help="Of the random weights and the inversions' start.")
@with_data_root
@on_device
def visual(network: str, methods: tuple[str, ...], depths: tuple[str, ...], **settings: Any) -> None:
    """How much of an image every depth of a trained NETWORK keeps: decoded, inverted, and with random weights."""
    choices = {"methods": methods or None, "depths": depths or None, **settings}
    _announced("visual", run_visual, network, choices)


def _announced(command: str, run: Callable[..., tuple[Record, Path]], network: str, options: dict[str, Any]) -> None:
    """Say about how long a measurement takes, then make it."""

    def job() -> None:
        announce(command, network, **options)
        click.echo(f"Ledger row: {run(network, **options)[1]}")

    in_one_sentence(job)


@main.command()
@click.argument("network", type=click.Path())
@with_data_root
@on_device
def precision(network: str, data_root: str | None, device: str | None) -> None:
    """Compare bfloat16 with float32 inside a trained NETWORK (a file that `train` left) and record it."""
    in_one_sentence(lambda: click.echo(f"Ledger row: {record_precision(network, data_root, device)}"))


@main.command()
@click.argument("network", type=click.Path())
@click.option("--images", default=50, show_default=True)
@with_data_root
@on_device
def guarantee(network: str, **settings: Any) -> None:
    """Does Theorem 1's condition hold for the atoms and codes of a trained NETWORK?"""
    in_one_sentence(lambda: click.echo(f"Ledger row: {run_guarantee(network, **settings)[1]}"))


@main.command()
@click.argument("notebooks", nargs=-1, type=click.Path(exists=True, path_type=Path))
def renew(notebooks: tuple[Path, ...]) -> None:
    """Execute NOTEBOOKS and store their outputs in them, as they are committed."""
    for path in notebooks:
        click.echo(f"Executing {path}")
        notebook.renew(path)


main.add_command(bench)
main.add_command(launch)
main.add_command(status)
main.add_command(campaign)
main.add_command(pursuit)
main.add_command(follow)
main.add_command(fourier)
main.add_command(confidence)
main.add_command(certify)
