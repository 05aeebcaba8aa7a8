"""``python -m sdnet fourier``, ``confidence`` and ``certify``: what page 13 measures of a network and a knob."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import AMOUNT, COUNT, POSITIVE, on_device, with_data_root
from sdnet.data.corruptions import NOISES
from sdnet.experiments.campaign.announce import announce
from sdnet.experiments.corruptions.sweep import IMAGES
from sdnet.experiments.what_is_lambda import certify as certificates
from sdnet.experiments.what_is_lambda import confidence as confident
from sdnet.experiments.what_is_lambda import fourier as waves
from sdnet.experiments.what_is_lambda.setup import STRENGTHS
from sdnet.results.ledger import Record


def turned(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a network and a knob of it, in their order."""
    for option in (
        on_device,
        with_data_root,
        click.option("--strength", "strengths", type=AMOUNT, multiple=True, help="Instead of the knob's own."),
        click.option("--images", type=COUNT, help="Test images, instead of the preset's."),
        click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(IMAGES)}."),
        click.option("--knob", help=f"One of {', '.join(STRENGTHS)}; default the network's own."),
        click.argument("network", type=click.Path()),
    ):
        command = option(command)
    return command


@click.command()
@turned
def fourier(network: str, **settings: Any) -> None:
    """Accuracy of a trained NETWORK when a wave of a single frequency is added to its images.

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and resumes when started again.
    """
    _measured("fourier", waves.run, network, settings)


@click.command()
@click.option("--corruption", "corruptions", multiple=True, default=tuple(NOISES), show_default=True)
@turned
def confidence(network: str, **settings: Any) -> None:
    """Accuracy, calibration error and likelihood of a trained NETWORK under noise, at every strength of a knob.

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and resumes when started again.
    """
    _measured("confidence", confident.run, network, settings)


@click.command()
@click.option(
    "--sigma", type=POSITIVE, default=0.12, show_default=True, help="Standard deviation of the noise, in pixels."
)
@click.option("--samples", type=COUNT, help="Draws of the noise per image, instead of the preset's.")
@turned
def certify(network: str, **settings: Any) -> None:
    """Certify a trained NETWORK by randomized smoothing, at a few strengths of a knob.

    Stopped by SIGTERM or Ctrl-C it ends with exit code 75, and resumes when started again.
    """
    _measured("certify", certificates.run, network, settings)


def _measured(command: str, run: Callable[..., tuple[Record, Path]], network: str, settings: dict[str, Any]) -> None:
    def job() -> None:
        options = {**settings, "strengths": settings["strengths"] or None}
        announce(command, network, **{name: value for name, value in options.items() if name != "data_root"})
        click.echo(f"Ledger row: {run(network, **options)[1]}")

    in_one_sentence(job)
