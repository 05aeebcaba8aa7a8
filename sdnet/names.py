"""One way to say that a name does not exist, one to print a name, and one to name plain values by their content."""

import difflib
import hashlib
import json
from collections.abc import Iterable
from typing import Any


def unknown_name(what: str, given: object, known: Iterable[str]) -> str:
    """A sentence naming what was given, the nearest name that exists, and all of them."""
    known = list(known)
    near = difflib.get_close_matches(str(given), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{what} {given!r} does not exist.{hint} Available: {', '.join(known)}."


def printed(name: str) -> str:
    """A name as people read it: ``"stem threshold"`` for ``"stem_threshold"``."""
    return name.replace("_", " ")


def sha256_of(values: Any) -> str:
    """SHA-256 of what JSON holds of plain values, in hexadecimal, independent of the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def config_hash(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits of a configuration's :func:`sha256_of`."""
    return sha256_of(config)[:8]
