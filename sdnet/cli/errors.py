"""What a person sees who typed something that does not exist."""

import sys
from collections.abc import Callable

import click

from sdnet.training.agent import refuse
from sdnet.training.distributed import PREEMPTED, Preempted, RankLost
from sdnet.training.run import Diverged


def in_one_sentence(job: Callable[[], object]) -> None:
    """Show what went wrong with the input as one sentence, not as a traceback.

    A run that was told to stop and has saved ends with the exit code 75. A rank that cannot run tells its agent.
    """
    try:
        job()
    except Preempted as error:
        click.echo(f"Stopped: {error}", err=True)
        sys.exit(PREEMPTED)
    except BrokenPipeError:
        raise  # the reader of what is printed has gone: click ends in silence
    except (ValueError, OSError, Diverged, RankLost) as error:
        click.ClickException(str(error)).show()
        if not isinstance(error, RankLost):
            refuse()  # what was said stays; the agent may end this process at once
        sys.exit(1)
