"""What a person sees who typed something that does not exist."""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from sdnet.training.distributed import PREEMPTED, Preempted, RankLost
from sdnet.training.run import Diverged


def in_one_sentence(job: Callable[[], object]) -> None:
    """Show what went wrong with the input as one sentence, not as a traceback.

    A run that was told to stop and has saved ends with the exit code 75.
    """
    try:
        job()
    except Preempted as error:
        click.echo(f"Stopped: {error}", err=True)
        sys.exit(PREEMPTED)
    except (ValueError, Diverged, RankLost) as error:
        raise click.ClickException(str(error)) from error


def named_values(given: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` as name → value: text, or a list where it is written as one, ``milestones=[30, 60]``.

    Raises:
        ValueError: where there is no ``=``, or a list that cannot be read.
    """
    for text in given:
        if "=" not in text:
            raise ValueError(f"--set takes NAME=VALUE, such as --set method=ista; got {text!r}.")
    pairs = (text.split("=", 1) for text in given)
    return {name: _listed(name, value) if value.startswith("[") else value for name, value in pairs}


def _listed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"--set {name} takes a list such as [30, 60]; got {text!r}.") from error
