"""Faults that are put in on purpose, and what became of each of them."""

import csv
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sdnet.results.ledger import code_state

SURVIVED, SENTENCE, TRACEBACK, SILENT = OUTCOMES = ("survived", "clear sentence", "traceback", "wrong in silence")
SECONDS = 60
"""What takes longer hangs, on however busy a machine."""


def is_sentence(text: str, named: Iterable[str]) -> bool:
    """Whether a message is one line, not endless, and names one of these words."""
    words, *names = (str(word).lower().replace("-", "_") for word in (text, *named))
    return "\n" not in text.strip() and len(text) < 3000 and any(name in words for name in names)


class Tally:
    """Counts the outcomes of faults, by kind; a test ends with :meth:`check`, which fails on the two bad ones."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.bad: list[str] = []

    def add(self, kind: str, outcome: str, what: str) -> None:
        self.counts.setdefault(kind, Counter())[outcome] += 1
        if outcome in (TRACEBACK, SILENT):
            self.bad.append(f"{kind}: {outcome}: {what}"[:400])

    def tried(
        self,
        kind: str,
        what: str,
        job: Callable[[], Any],
        named: Iterable[str],
        right: Callable[[Any], bool] = lambda result: False,
        errors: tuple[type[Exception], ...] = (ValueError, TypeError),
    ) -> None:
        """Run a job with a fault in it: it must refuse in a sentence with a name in it, or give what is ``right``."""
        begun = time.process_time()
        try:
            with in_time():
                result = job()
        except errors as error:
            clear = is_sentence(str(error), named)
            self.add(kind, SENTENCE if clear else TRACEBACK, f"{what}: {type(error).__name__}: {error}")
        except Exception as error:
            self.add(kind, TRACEBACK, f"{what}: {type(error).__name__}: {error}")
        else:
            self.add(kind, SURVIVED if right(result) else SILENT, f"{what}: gave {result!r}")
        seconds = time.process_time() - begun  # which other programs do not lengthen
        if seconds > 1:
            self.bad.append(f"{kind}: {what}: took {seconds:.1f} s")

    def check(self) -> None:
        """Fail if anything ended in a traceback, or wrong in silence, or slowly."""
        bad, self.bad = self.bad, []
        assert not bad, f"{len(bad)} faults were not met:\n" + "\n".join(bad)

    def write(self, path: Path) -> None:
        """One line per kind."""
        commit = code_state()["commit"]
        with path.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["fault", "tried", *OUTCOMES, "commit"])
            for kind, count in self.counts.items():
                rows.writerow([kind, count.total(), *(count[outcome] for outcome in OUTCOMES), commit])


class Late(Exception):
    """Something hangs. It is no error of the system, which a command would put into a sentence."""


class in_time:
    """Raises :class:`Late` in what hangs, in the main thread."""

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGALRM, self._late)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    def _late(self, *_: object) -> None:
        raise Late(f"hangs for more than {SECONDS} s")
