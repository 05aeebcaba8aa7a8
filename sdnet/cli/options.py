"""Options that several commands have."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from sdnet import models, parameters
from sdnet.training.recipes import PRESETS

COUNT = click.IntRange(1, parameters.MANY)
on_device = click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
with_data_root = click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")


with_dataset = click.option(
    "--dataset", help="digits, cifar10, cifar100, or an image folder; default cifar10, for smoke digits."
)
DECLARING = (
    click.option("--arch", default="sdnet18", show_default=True, help=f"One of {', '.join(models.names())}."),
    with_dataset,
    click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(PRESETS)}."),
    click.option("--seed", default=0, show_default=True),
    click.option("--epochs", type=int, help="Instead of the preset's."),
    click.option("--batch-size", type=int, help="Instead of the preset's."),
    click.option("--lr", type=float, help="Instead of the preset's."),
    click.option("--width", type=int, help="Channels of the first stage; 64 in the paper."),
    click.option("--lam", type=float, help="λ of the CSC layers; 0.1 in the paper."),
    click.option("--iterations", type=int, help="FISTA steps of the CSC layers, 2 in the paper; or of a pursuit."),
    click.option("--depth", type=int, help="Blocks per stage of a pursuit, layers of a mixed-scale network."),
    click.option("--noise", type=float, help="Standard deviation of Gaussian noise on every other training image."),
    click.option("--shortcut/--no-shortcut", default=None, help="Residual connections."),
    click.option("--hold-out", type=float, help="Fraction of the training images kept for validation."),
    click.option("--precision", help="fp32, bf16, or auto."),
    click.option(
        "--set", "others", multiple=True, metavar="NAME=VALUE", help="Any other parameter: nonnegative=false, ..."
    ),
)


def declares_training(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that declare a training, in their order."""
    for option in reversed(DECLARING):
        command = option(command)
    return command


def with_others(changes: dict[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """Parameters of a training with those given as ``NAME=VALUE`` added.

    Raises:
        ValueError: for text of another form, or a parameter that is given twice.
    """
    together = {name: value for name, value in changes.items() if value is not None}
    for text in others:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise ValueError(f"--set takes NAME=VALUE, for instance --set nonnegative=false; got {text!r}.")
        if name in together:
            raise ValueError(f"parameter {name!r} is given twice; give it once.")
        together[name] = value
    return together
