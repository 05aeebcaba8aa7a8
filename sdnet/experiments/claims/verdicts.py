"""The verdicts on the paper's claims, computed from the ledger by :mod:`sdnet.experiments.claims.rules`."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from sdnet.experiments.claims.estimates import SEEDS
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED, Verdict
from sdnet.experiments.claims.rules import RULES
from sdnet.names import unknown_name
from sdnet.report.origin import Origin
from sdnet.report.shown import Shown
from sdnet.report.tables import coloured, page
from sdnet.results import ledger

TONES = {HOLDS: "good", FAILS: "bad", UNDECIDED: "open", NOT_RUN: "none"}
CHANGES_IN = Origin(
    "data/paper/rule_changes.csv, as of the commit at the foot of this page.",
    ("# shows when each line was written", "git log -p data/paper/rule_changes.csv"),
)


class Judged(Mapping[str, tuple[Verdict, ...]]):
    """Claim → its verdicts, found when they are asked for, with the cells that the rules are given."""

    def __init__(self, cells: pd.DataFrame) -> None:
        self.cells = cells
        self._found: dict[str, tuple[Verdict, ...] | None] = dict.fromkeys(claims()["id"])

    def __getitem__(self, claim: str) -> tuple[Verdict, ...]:
        found = self._found[claim]
        if found is None:
            found = self._found[claim] = RULES[claim](self.cells)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def behind(self, names: Sequence[str]) -> pd.DataFrame:
        """The cells that the rules of the claims named may choose from: those of the experiments that they ask."""
        experiments = {getattr(RULES[name], "experiment", "benchmark") for name in names}
        return self.cells[self.cells["experiment"].isin(experiments)]


def judge(cells: pd.DataFrame) -> Judged:
    """The verdicts on every claim: first the one that counts, at the largest scale with three seeds, then the others.

    Args:
        cells: all cells of the ledger (:func:`sdnet.results.cells.to_frame`). Every rule chooses its own scale.
    """
    return Judged(cells)


def claims() -> pd.DataFrame:
    """The paper's claims, with when each holds and when it does not (``data/paper/claims.csv``)."""
    return pd.read_csv(ledger.repository_data() / "paper" / "claims.csv")


def show_verdicts(verdicts: Judged, only: tuple[str, ...] = ()) -> Shown:
    """The claims with their verdicts, and what each rests on; all of them, or ``only`` those named.

    Raises:
        ValueError: for a claim that does not exist.
    """
    for name in only:
        if name not in verdicts:
            raise ValueError(unknown_name("claim", name, verdicts))
    lines = []
    for claim in claims().to_dict("records"):
        if only and claim["id"] not in only:
            continue
        first, *others = verdicts[claim["id"]]
        rule = f"holds: {claim['holds']}; does not hold: {claim['fails']}"
        rule += f"; controls match: {claim['match']}" if isinstance(claim["match"], str) else ""
        texts = [claim["id"], f'{claim["claim"]} <span style="opacity:0.75">({claim["where"]})</span>']
        elsewhere = [one for one in others if one.seeds >= SEEDS]
        lines.append(_line(first, texts, rule, elsewhere))
        # A timing at another scale is no smaller copy of the first: it has a line of its own.
        lines += [_line(one, ["", ""], rule) for one in others if not one.seeds]
    caption = "Each claim with its place in the paper, its verdict, and the measurements that the verdict rests on."
    return page(pd.DataFrame(lines), caption, "verdicts", wrap=True, made_from=verdicts.behind(only or tuple(verdicts)))


def summary(verdicts: Judged) -> str:
    """The verdict words with the claims that have each, in one line of Markdown, for the README.

    What was decided is named in words.
    """
    short = dict(zip(claims()["id"], claims()["short"], strict=True))
    parts = []
    for word in TONES:
        names = [claim for claim, found in verdicts.items() if found[0].verdict == word]
        texts = [f"{short[name]} ({name})" for name in names] if word in (HOLDS, FAILS) else names
        parts += [f"**{word}:** {', '.join(texts)}"] if names else []
    return "; ".join(parts) + "."


def show_changes() -> Shown:
    """Which rules were changed after which first numbers (``data/paper/rule_changes.csv``), the latest last."""
    changes = pd.read_csv(ledger.repository_data() / "paper" / "rule_changes.csv")
    caption = "When the rules were written or changed, and which numbers were known by then."
    return page(changes, caption, "rule-changes", wrap=True, made_from=CHANGES_IN)


def _line(verdict: Verdict, texts: Sequence[str], rule: str, others: Sequence[Verdict] = ()) -> dict[str, str]:
    return {
        "": texts[0],
        "claim": texts[1],
        "verdict": _chip(verdict.verdict, rule),
        "measured [95 % interval]": _measured(verdict, others),
        "the same rule on the paper's numbers": verdict.paper,
    }


def _chip(verdict: str, rule: str) -> str:
    return f"{coloured(verdict, TONES[verdict])}<details><summary>rule</summary>{rule}</details>"


def _measured(first: Verdict, others: Sequence[Verdict]) -> str:
    """What a verdict rests on, a line each; then the verdicts at other scales that have one."""
    lines = [first.numbers, first.excludes, first.needed and f"<i>{first.needed}</i>"]
    lines += [f"controls: {first.controls}" if first.controls else "", _small(_scale(first))]
    lines += [_small(f"{_scale(one)}: <b>{one.verdict}</b>") for one in others]
    return "<br>".join(line for line in lines if line)


def _scale(verdict: Verdict) -> str:
    return f"{verdict.scale}, {verdict.seeds} seeds" if verdict.seeds else verdict.scale


def _small(text: str) -> str:
    return f'<span style="opacity:0.75;font-size:0.9em">{text}</span>' if text else ""
