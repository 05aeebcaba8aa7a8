"""What values a parameter may have: read from any spelling, or refused in one sentence.

A type with its range is written as an annotation, ``epochs: Count``, and nowhere else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, TypedDict, Union, get_args, get_origin, get_type_hints

MANY = 10**6


@dataclass(frozen=True)
class Range:
    """Numbers from ``least`` (not itself if ``above``) to ``most`` (not itself if ``below``), and never infinity."""

    least: float = 0
    most: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, number: Any) -> bool:
        """Whether a number lies in it; NaN does not."""
        from_below = number > self.least if self.above else number >= self.least
        return bool(from_below and (number < self.most if self.below else number <= self.most) and number < math.inf)

    def __str__(self) -> str:
        text = f"{'>' if self.above else '>='} {self.least:,}"
        if self.most == math.inf:
            return text
        return text + (f" and < {self.most:,}" if self.below else f", at most {self.most:,}")


Count = Annotated[int, Range(1, MANY)]
Natural = Annotated[int, Range(0, MANY)]
Batch = Annotated[int, Range(2, MANY)]
"""Images per step. Batch normalisation is undefined on one."""
Steps = Annotated[int, Range(1, 10**4)]
"""Of a solver within a network: each of them is computed anew for every image."""
Seed = Annotated[int, Range(0, 2**32 - 1)]
Amount = Annotated[float, Range(0, MANY)]
Signed = Annotated[float, Range(-(10**12), 10**12)]
Positive = Annotated[float, Range(0, MANY, above=True)]
Rate = Annotated[float, Range(0, above=True)]
Fraction = Annotated[float, Range(0, 1, below=True)]
Share = Annotated[float, Range(0, 1, above=True)]
Depth = Annotated[int, Range(1, 1000)]
"""Of a network in blocks or layers."""
Side = Annotated[int, Range(1, 10_000)]
"""Of a square image in pixels."""
Severity = Annotated[int, Range(1, 5)]
"""Of a benchmark's corruption."""


class CodingOptions(TypedDict, total=False):
    """Options of every layer with a λ, by name: what a signature with ``**options: Unpack[...]`` takes."""

    lam: Amount
    iterations: Steps


class SolverOptions(TypedDict, total=False):
    """Those that CSC layers have beside. What the names may be is said in :class:`sdnet.CSCConv2d`."""

    nonnegative: bool
    ridge: Amount
    method: str
    gradient: str
    tolerance: Positive | None
    lipschitz_method: str | None
    projected: bool
    lipschitz_first: bool
    learn_lam: str | None


class NetworkOptions(CodingOptions, SolverOptions, total=False):
    """Options of :func:`sdnet.models.build`, which says what ``kernel`` may be and which network has which of them."""

    atoms: Count
    kernel: int
    shortcut: bool
    stem_relu: bool
    block_relu: bool
    csc_shortcut: bool
    csc_pool: bool
    depth: Depth
    dilations: Count
    extrapolation: Fraction
    beta: Share


YES_OR_NO = dict.fromkeys(("true", "yes", "on", "y"), True) | dict.fromkeys(("false", "no", "off", "n"), False)
NOTHING = ("none", "null", "~")


def kinds(declared: type) -> dict[str, Any]:
    """Field → type with its range, of a dataclass or a ``TypedDict``."""
    return get_type_hints(declared, include_extras=True)


NETWORK: Mapping[str, Any] = {"stem": str, **kinds(NetworkOptions)}
"""Option of a network → what it may be."""


def is_nothing(value: object) -> bool:
    """Whether a value is None in Python, YAML or JSON."""
    return value is None or (isinstance(value, str) and value.strip().lower() in NOTHING)


def read(name: str, value: Any, kind: Any) -> Any:
    """A value in its own type, from any spelling that YAML, JSON or a command line gives it.

    An integer stays an integer where a float is wanted.

    Raises:
        ValueError: if it has another type, or lies out of the range.
    """
    base, limits, optional = _parts(kind)
    given = value
    if optional and is_nothing(value):
        return None
    if get_origin(base) is tuple:
        value = listed(value)
    if get_origin(base) is tuple and isinstance(value, list | tuple):
        return tuple(read(name, each, get_args(base)[0]) for each in value)
    if base is bool and isinstance(value, str):
        value = YES_OR_NO.get(value.strip().lower(), value)
    elif base in (int, float) and not isinstance(value, bool):
        value = _number(value, base)
    if not _fits(value, base, limits):
        raise _refusal(name, given, base, limits)
    return value


def listed(value: Any) -> Any:
    """Text with commas as the list that it spells, with or without brackets and quotes; a single number as one of it.

    Anything else is given back.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, str):
        return value
    parts = value.strip().removeprefix("[").removesuffix("]").split(",")
    return [text for part in parts if (text := part.strip().strip("'\""))]


def check(name: str, value: Any, kind: Any) -> None:
    """Raise ValueError, naming the parameter, unless a value has that type and lies in its range."""
    base, limits, optional = _parts(kind)
    if optional and value is None:
        return
    if get_origin(base) is tuple and isinstance(value, list | tuple):
        for each in value:
            check(name, each, get_args(base)[0])
    elif not _fits(value, base, limits):
        raise _refusal(name, value, base, limits)


def check_fields(instance: Any) -> None:
    """Raise ValueError unless every field of a dataclass's instance has the type and range of its annotation."""
    for name, kind in kinds(type(instance)).items():
        check(name, getattr(instance, name), kind)


def _parts(kind: Any) -> tuple[Any, Range | None, bool]:
    """The plain type, the range, and whether None is allowed."""
    optional = get_origin(kind) in (Union, UnionType)
    if optional:
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
    if get_origin(kind) is Annotated:
        base, limits = get_args(kind)
        return base, limits, optional
    return kind, None, optional


def _number(value: Any, base: type) -> Any:
    """A number from text; of whole numbers the integer, if that is wanted. What is no number is given back."""
    number = value
    for reader in (int, float) if base is int else (float,):
        try:
            number = reader(value) if isinstance(value, str) else value
            break
        except ValueError:
            continue
    if isinstance(number, Integral):
        return int(number)
    if not isinstance(number, Real):
        return value
    number = float(number)
    if base is float:
        return number
    return int(number) if number.is_integer() else value


def _fits(value: Any, base: Any, limits: Range | None) -> bool:
    if base in (int, float):
        is_number = isinstance(value, Integral if base is int else Real) and not isinstance(value, bool)
        return is_number and (limits is None or limits.holds(value))
    if isinstance(value, str) and "\0" in value:
        return False  # which no name of a file or of anything else has
    return get_origin(base) is None and isinstance(value, base)


LISTED = {int: "integers", float: "numbers", str: "text"}


def _refusal(name: str, given: object, base: Any, limits: Range | None) -> ValueError:
    if get_origin(base) is tuple:
        allowed = f"a list of {LISTED[_parts(get_args(base)[0])[0]]}"
    else:
        words = {bool: "true or false", str: "text", int: "an integer", float: "finite and" if limits else "a number"}
        allowed = words[base] + (f" {limits}" if limits else "")
    return ValueError(f"{name} must be {allowed}; got {given!r}.")
