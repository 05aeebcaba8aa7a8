"""``python -m sdnet publish``, ``sizes``, ``ablate``, ``renew``: what the repository and its book are made with."""

from pathlib import Path
from typing import Any

import click

from sdnet import notebook
from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import COUNT, SEED, on_device, with_data_root, with_dataset
from sdnet.experiments.ablations import grid
from sdnet.experiments.accuracy import cards
from sdnet.experiments.architectures.sizes import record_sizes
from sdnet.experiments.campaign.announce import announce_ablations
from sdnet.training.recipes import PRESETS


@click.command()
@click.argument("paths", nargs=-1, metavar="NETWORK...", type=click.Path(path_type=Path))
def publish(paths: tuple[Path, ...]) -> None:
    """Put trained NETWORKs into data/networks for everybody to load, and renew the cards of all from the ledger."""

    def job() -> None:
        for name in cards.publish(paths):
            click.echo(f"Stored {name}")
        click.echo(f"Cards: {cards.renew()}")

    in_one_sentence(job)


@click.command()
def sizes() -> None:
    """Count the parameters of the paper's networks and record them."""
    in_one_sentence(lambda: click.echo(f"Ledger row: {record_sizes()}"))


@click.command()
@click.option("--group", "groups", multiple=True, help=f"Default all of {', '.join(grid.GRID)}.")
@with_dataset
@click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(PRESETS)}.")
@click.option("--seed", "seeds", multiple=True, type=SEED, default=(0, 1), show_default=True)
@click.option("--epochs", type=COUNT, help="Instead of the preset's.")
@click.option("--images", type=COUNT, help="Test images under noise, instead of the preset's.")
@with_data_root
@click.option("--output", help="Where the networks go; default $SDNET_OUTPUT, else outputs.")
@on_device
def ablate(
    groups: tuple[str, ...], dataset: str | None, preset: str, seeds: tuple[int, ...], epochs: int | None, **where: Any
) -> None:
    """Train the variants of the ablation grid and sweep them under noise (Table 5); what the ledger has is skipped."""

    def job() -> None:
        chosen = grid.variants(groups or tuple(grid.GRID))
        for one in grid.trainings(chosen[:1], dataset, preset, seeds[:1], epochs=epochs):
            one.load(where["data_root"], workers=0)  # all have the same data, and what is missing is said at once
        plan = grid.trainings(chosen, dataset, preset, seeds, epochs=epochs)
        announce_ablations(plan, where["device"], where["images"])
        grid.run(plan, **where)

    in_one_sentence(job)


@click.command()
@click.argument("notebooks", nargs=-1, type=click.Path(exists=True, path_type=Path))
def renew(notebooks: tuple[Path, ...]) -> None:
    """Execute NOTEBOOKS and store their outputs in them, as they are committed."""
    for path in notebooks:
        click.echo(f"Executing {path}")
        notebook.renew(path)
