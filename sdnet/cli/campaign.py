"""``python -m sdnet status`` and ``campaign``: all runs behind the paper's claims, how far they are, and doing them."""

import re

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import COUNT, on_device
from sdnet.experiments.campaign import declared
from sdnet.experiments.campaign.execute import Campaign
from sdnet.experiments.campaign.status import serving, show, standings
from sdnet.experiments.claims.rules import RULES
from sdnet.results.cells import to_frame
from sdnet.results.ledger import rows_here
from sdnet.runtime import device_of

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}

on_claim = click.option("--claim", help="Only what serves this: C1, Table-2, Figure-3, 06 (a page), ...")
at_scale = click.option("--scale", default="quick", show_default=True, help=f"One of {', '.join(declared.SCALES)}.")


@click.command()
@on_claim
@at_scale
@on_device
def status(claim: str | None, scale: str, device: str | None) -> None:
    """How far the campaign is: done, done by code that has changed (stale), scaled down, not run; and what is left.

    What is left is in core time on this device, from the ledger's own rows. Stale: a module that computes the numbers
    differs from the row's commit in more than comments; "?" where git cannot say.
    """

    def job() -> None:
        rows = rows_here()
        chosen = serving(declared.campaign(scale), claim)
        click.echo(show(standings(chosen, rows, device_of(device))))
        if claim in RULES:
            click.echo(f"{claim} on the landing page: {RULES[claim](to_frame(rows))[0].verdict}")

    in_one_sentence(job)


@click.command()
@click.option("--budget", required=True, help="Wall time, for instance 2h, 90m.")
@click.option("--workers", type=COUNT, default=1, show_default=True, help="Runs at a time, a thread each.")
@click.option("--stale", is_flag=True, help="Do anew what was done by code that has changed since.")
@on_claim
@at_scale
@on_device
def campaign(budget: str, workers: int, stale: bool, claim: str | None, scale: str, device: str | None) -> None:
    """Do the most valuable unfinished runs that fit into the budget, each a command line of its own.

    It says beforehand what these are. Interrupted (SIGTERM, Ctrl-C), it lets them save and ends with exit code 75; the
    same command resumes. Several campaigns on one ledger share the work.
    """

    def job() -> None:
        seconds = seconds_of(budget)
        chosen = serving(declared.campaign(scale), claim)
        Campaign(chosen, device_of(device), seconds, workers, stale).run()

    in_one_sentence(job)


def seconds_of(text: str) -> float:
    """Seconds of ``"2h"``, ``"90m"``, ``"1.5 h"``.

    Raises:
        ValueError: for anything else, or nothing.
    """
    match = re.fullmatch(rf"\s*(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})\s*", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"the budget must be a number above 0 and a unit ({', '.join(UNITS)}), as 2h; got {text!r}.")
    return float(match[1]) * UNITS[match[2]]
