"""One way to say that a name does not exist."""

import difflib
from collections.abc import Iterable


def unknown_name(what: str, given: object, known: Iterable[str]) -> str:
    """A sentence naming what was given, the nearest name that exists, and all of them."""
    known = list(known)
    near = difflib.get_close_matches(str(given), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{what} {given!r} does not exist.{hint} Available: {', '.join(known)}."
