"""The audit as tables: one per part of the page, a line per switch."""

import html
from collections.abc import Iterable, Sequence

import pandas as pd

from sdnet.experiments.paper_versus_code.price import price
from sdnet.experiments.paper_versus_code.switches import COMMIT, REPOSITORY, Switch
from sdnet.experiments.paper_versus_code.worth import NOT_RUN, Estimate, decide, worth
from sdnet.report.origin import Origin, computed
from sdnet.report.shown import Shown
from sdnet.report.tables import chip, page
from sdnet.results.cells import to_frame
from sdnet.results.ledger import Record

NOTEBOOK = "14_paper_versus_code"
AUDIT = Origin(
    f"the ledger (data/runs) and {REPOSITORY} at commit {COMMIT[:7]}; every line names its seeds and images.",
    ("# reads the ledger again and computes what a line is worth", f"papermill book/{NOTEBOOK}.ipynb out.ipynb"),
)
GIVES = {"paper": "gives the paper's", "code": "gives the code's", "both": "times both", "": ""}


def show_switches(records: Sequence[Record], switches: Iterable[Switch], identity: str) -> Shown:
    """What the paper says, what the code does, the command, what it is worth, and whether it matters.

    Worth is the released code's choice less the paper's, in points of test accuracy.
    """
    cells = to_frame(records)
    lines = [_line(cells, records, switch) for switch in switches]
    caption = (
        "Where the released code differs from the paper, the command that runs the other choice, and what the code's "
        "choice is worth: its accuracy minus that of the paper's choice, in points. "
        "Where that was not measured: what the command costs."
    )
    return page(pd.DataFrame(lines), caption, identity, wrap=True, made_from=AUDIT)


def _line(cells: pd.DataFrame, records: Sequence[Record], switch: Switch) -> dict[str, str]:
    """Three cells, so that the table fits a page and a phone: which and whether it matters; what; what it is worth."""
    estimates = worth(cells, switch.effect)
    verdict = decide(switch, estimates)
    value = _all(estimates)
    if not estimates:
        cost = "" if switch.exact else price(cells, records, switch)
        value = _small(f"{'to measure it' if switch.effect else 'to run it'}: {cost}" if cost else _why(switch))
    matters = chip(verdict) if verdict == NOT_RUN else html.escape(verdict)
    texts = [
        f"<b>Paper</b> {html.escape(switch.paper)}",
        f"<b>Code</b> {html.escape(switch.code)} {_small(switch.where)}",
        _command(switch),
        _small(switch.note),
    ]
    return {
        "difference, and does it matter?": f"{switch.number} <b>{html.escape(switch.name)}</b><br>{matters}",
        "the paper, the released code, and the switch": "<br>".join(part for part in texts if part),
        "code − paper": value,
    }


def _why(switch: Switch) -> str:
    """Why a difference has neither a worth nor a price."""
    if switch.exact or not switch.command:
        return "nothing to measure"
    return "no price: the ledger has no run like it"


def _command(switch: Switch) -> str:
    if not switch.command:
        return ""
    gives = f" {_small(GIVES[switch.gives])}" if switch.gives else ""
    return f'<code style="white-space:normal">{html.escape(switch.command)}</code>{gives}'


def _all(estimates: Sequence[Estimate]) -> str:
    """All estimates of a switch, and once what they have in common."""
    parts = [_words(estimate) for estimate in estimates]
    if estimates:
        parts.append(_small(estimates[0].scale))
    return "<br>".join(parts)


def _words(estimate: Estimate) -> str:
    if estimate.what == "speed":
        text = f"speed × <b>{estimate.value:.3f}</b> ({estimate.low:.3f} to {estimate.high:.3f})<br>"
        return text + _small(f"{estimate.n} repetitions")
    if estimate.of_seeds:
        of = f"{len(estimate.by_seed)} seeds: {', '.join(f'{one:+.2f}' for one in estimate.by_seed)}"
    else:
        of = "1 seed, interval over images"
    text = f"{estimate.what} <b>{estimate.value:+.2f}</b> ({estimate.low:+.2f} to {estimate.high:+.2f})<br>"
    return text + _small(f"{of}; n = {estimate.n:,}")


def _small(text: str) -> str:
    return f'<span style="opacity:0.75;font-size:0.85em">{html.escape(text)}</span>' if text else ""


def show_numbers(frame: pd.DataFrame, caption: str, identity: str) -> Shown:
    """A small computed table, numbers with three decimals."""
    lines = frame.reset_index().map(lambda value: f"{value:.3f}" if isinstance(value, float) else str(value))
    return page(lines, caption, identity, made_from=computed("numbers in float64", NOTEBOOK))


def show_summary(records: Sequence[Record], switches: Sequence[Switch]) -> Shown:
    """How many of the differences matter, do not, are undecided, were not run, and where nothing can be turned."""
    cells = to_frame(records)
    groups: dict[str, list[str]] = {}
    for switch in switches:
        verdict = decide(switch, worth(cells, switch.effect))
        verdict = "no" if switch.exact else verdict
        groups.setdefault(verdict, []).append(f"{html.escape(switch.name)} ({switch.number})")
    labels = {
        "yes": "matter",
        "no": "do not matter",
        "undecided": "undecided",
        NOT_RUN: NOT_RUN,
        "—": "nothing to measure",
    }
    lines = [
        {"": f"<b>{label}</b>", "how many": f"{len(groups[verdict])}", "differences": ", ".join(groups[verdict])}
        for verdict, label in labels.items()
        if verdict in groups
    ]
    commands = sum(bool(switch.command) for switch in switches)
    source = (
        f"The {len(switches)} differences between the paper and {REPOSITORY} at commit {COMMIT[:7]}, by whether they "
    )
    source += (
        f"change the numbers. In brackets the number of the difference in the tables below; {commands} have a command."
    )
    return page(pd.DataFrame(lines), source, "audit-summary", wrap=True, made_from=AUDIT)
