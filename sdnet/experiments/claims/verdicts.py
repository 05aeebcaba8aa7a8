"""One verdict per claim of the paper, computed from the ledger by the rules of :mod:`sdnet.experiments.claims.rules`.

A verdict holds for the scale at which the cells were measured, which is passed in by choosing the cells.
"""

import pandas as pd

from sdnet.experiments.claims.outcome import NOT_RUN, REFUTED, SUPPORTED, UNDECIDED, Verdict
from sdnet.experiments.claims.rules import OWN_SCALE, RULES
from sdnet.report.shown import Shown
from sdnet.report.tables import coloured, page
from sdnet.results import ledger

TONES = {SUPPORTED: "good", REFUTED: "bad", UNDECIDED: "open", NOT_RUN: "none"}
ASKED = {
    **dict.fromkeys(("C1", "C2"), ("train",)),
    **dict.fromkeys(("C3", "C4"), ("benchmark",)),
    **dict.fromkeys(("C5", "C6"), ("sweep",)),
    **dict.fromkeys(("C7", "C8", "C12"), ("policies",)),
    "C9": ("attack",),
    "C10": ("train", "sweep"),
    "C11": ("train", "visual"),
    "C13": ("guarantee",),
}
"""Claim → the experiments whose cells its rule asks."""


class Judged(dict[str, Verdict]):
    """Claim → verdict, with the cells that the rules were given."""

    def __init__(self, verdicts: dict[str, Verdict], cells: pd.DataFrame) -> None:
        super().__init__(verdicts)
        self.cells = cells


def judge(cells: pd.DataFrame, everything: pd.DataFrame | None = None) -> Judged:
    """A verdict for every claim; those without a rule here, or without cells, are ``"not run"``.

    Args:
        cells: of one scale (:func:`sdnet.experiments.corruptions.robustness.one_scale`).
        everything: all cells of the ledger, for the claims whose rules choose a scale
            themselves (:data:`sdnet.experiments.claims.rules.OWN_SCALE`). By default ``cells``.
    """
    verdicts = {claim: Verdict(NOT_RUN) for claim in claims()["id"]}
    every = cells if everything is None else everything
    ruled = {claim: rule(every if claim in OWN_SCALE else cells) for claim, rule in RULES.items()}
    return Judged({**verdicts, **ruled}, every)


def claims() -> pd.DataFrame:
    """The paper's claims, with what would support and what would refute each (``data/paper/claims.csv``)."""
    return pd.read_csv(ledger.repository_data() / "paper" / "claims.csv")


def show_verdicts(verdicts: Judged, only: tuple[str, ...] = ()) -> Shown:
    """The claims with their verdicts, numbers and controls; all of them, or ``only`` those named."""
    lines = []
    for claim in claims().to_dict("records"):
        if only and claim["id"] not in only:
            continue
        found = verdicts[claim["id"]]
        rule = f"supported: {claim['supported']}; refuted: {claim['refuted']}"
        rule += f"; controls match: {claim['match']}" if isinstance(claim["match"], str) else ""
        verdict = coloured(found.verdict, TONES[found.verdict])
        said = f'{claim["claim"]} <span style="opacity:0.8">({claim["where"]})</span>'
        lines.append(
            {
                "": claim["id"],
                "the paper says": said,
                "verdict": f"{verdict}<details><summary>rule</summary>{rule}</details>",
                "measured": found.numbers,
                "controls": found.controls,
            }
        )
    caption = "What the paper claims, and the verdict of its rule on what was measured."
    asked = {experiment for line in lines for experiment in ASKED[line[""]]}
    behind = verdicts.cells[verdicts.cells["experiment"].isin(asked)]
    return page(pd.DataFrame(lines), caption, "verdicts", wrap=True, made_from=behind)
