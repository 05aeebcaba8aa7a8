"""Options that several commands have."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import click

from sdnet import models, parameters
from sdnet.parameters import Amount, Batch, Count, Depth, Fraction, Natural, Positive, Rate, Seed, Steps
from sdnet.training.recipes import PRESETS


class Number(click.ParamType):  # type: ignore[type-arg]
    """A number with its range, in every spelling that a notebook or a YAML file may use: ``1e3``, ``1_000``."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.name = "integer" if get_args(kind)[0] is int else "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        option = "a number" if param is None else param.opts[0]
        try:
            return parameters.read(option, value, self.kind)
        except ValueError as error:
            raise click.ClickException(str(error)) from None  # as every other refusal looks


COUNT, NATURAL, STEPS, SEED = (Number(kind) for kind in (Count, Natural, Steps, Seed))
AMOUNT, POSITIVE, RATE, FRACTION = (Number(kind) for kind in (Amount, Positive, Rate, Fraction))
on_device = click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
with_data_root = click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")


with_dataset = click.option(
    "--dataset", help="digits, cifar10, cifar100, or an image folder; default cifar10, for smoke digits."
)
DECLARING = (
    click.option("--arch", default="sdnet18", show_default=True, help=f"One of {', '.join(models.names())}."),
    with_dataset,
    click.option("--preset", default="quick", show_default=True, help=f"One of {', '.join(PRESETS)}."),
    click.option("--seed", type=SEED, default=0, show_default=True),
    click.option("--epochs", type=COUNT, help="Instead of the preset's."),
    click.option("--batch-size", type=Number(Batch), help="Instead of the preset's."),
    click.option("--lr", type=RATE, help="Instead of the preset's."),
    click.option("--width", type=COUNT, help="Channels of the first stage; 64 in the paper."),
    click.option("--lam", type=AMOUNT, help="λ of the CSC layers; 0.1 in the paper."),
    click.option("--iterations", type=STEPS, help="FISTA steps of the CSC layers, 2 in the paper; or of a pursuit."),
    click.option("--depth", type=Number(Depth), help="Blocks per stage of a pursuit, layers of a mixed-scale network."),
    click.option("--noise", type=AMOUNT, help="Standard deviation of Gaussian noise on every other training image."),
    click.option("--shortcut/--no-shortcut", default=None, help="Residual connections."),
    click.option("--hold-out", type=FRACTION, help="Fraction of the training images kept for validation."),
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
