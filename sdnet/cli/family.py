"""``python -m sdnet pursuit`` and ``follow``: what is measured on members of the family (pages 11 and 12)."""

from typing import Any

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import COUNT, declares_training, on_device, with_data_root, with_others
from sdnet.experiments.attacks.settings import IMAGES
from sdnet.experiments.campaign.announce import announce
from sdnet.experiments.deep_pursuit import measure, study
from sdnet.training.declaration import training


@click.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="quick", show_default=True, help=f"Size of PGD: one of {', '.join(IMAGES)}.")
@click.option("--images", type=COUNT, help="Test images under FGSM; default all.")
@click.option("--source", help="Network to craft on for the transfer attack.")
@click.option("--attacked/--no-attacked", default=True, show_default=True)
@with_data_root
@on_device
def pursuit(network: str, **settings: Any) -> None:
    """Attack a trained NETWORK through all its iterations, and measure its codes and its dictionary.

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and resumes when started again.
    """

    def job() -> None:
        announce("pursuit", network, **settings)
        click.echo(f"Ledger row: {measure.run(network, **settings)[1]}")

    in_one_sentence(job)


@click.command()
@declares_training
@click.option("--images", type=COUNT, help="Test images, instead of the preset's.")
@with_data_root
@on_device
def follow(
    arch: str,
    dataset: str | None,
    preset: str,
    seed: int,
    others: tuple[str, ...],
    images: int | None,
    data_root: str | None,
    device: str | None,
    **changes: Any,
) -> None:
    """Train one network and attack it after every epoch; it starts over when it is interrupted, and is not kept."""

    def job() -> None:
        declared = training(arch, dataset, preset, seed=seed, **with_others(changes, others))
        record = study.follow(declared, images=images, data_root=data_root, device=device)
        click.echo(f"Ledger row: {record.file_name}")

    in_one_sentence(job)
