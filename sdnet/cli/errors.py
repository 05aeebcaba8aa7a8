"""What a person sees who typed something that does not exist."""

from collections.abc import Callable

import click

from sdnet.training.loop import Diverged


def in_one_sentence(job: Callable[[], object]) -> None:
    """Show what went wrong with the input as one sentence, not as a traceback."""
    try:
        job()
    except (ValueError, Diverged) as error:
        raise click.ClickException(str(error)) from error
