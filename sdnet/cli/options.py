"""Options that several commands have."""

from collections.abc import Sequence
from typing import Any

import click

on_device = click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
with_data_root = click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")


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
