"""What CSC layers may be given: each argument is checked once, when a layer is made."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Annotated, Any

from sdnet.csc.gradients import GRADIENTS
from sdnet.csc.solvers import METHODS
from sdnet.parameters import NETWORK, Count, Range, check

Size = int | Sequence[int]
MOST = 10_000
"""Of a kernel's side, a stride and the like: beyond it PyTorch overflows, or takes all memory."""
MOST_NUMBERS = 10**9
"""Of a layer's weight: 4 GB."""


def check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    """Raise ValueError unless all are at least 1 and the groups divide both channels."""
    for name, number in [("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)]:
        check(name, number, Count)
    if in_channels % groups or out_channels % groups:
        raise ValueError(f"groups must divide in_channels={in_channels} and out_channels={out_channels}; got {groups}.")


def check_size(in_channels: int, atoms: int, kernel: tuple[int, ...]) -> None:
    """Raise ValueError for a weight that no machine holds."""
    numbers = in_channels * atoms * math.prod(kernel)
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"in_channels={in_channels}, out_channels and kernel_size={kernel} ask for {numbers:,} numbers of weight; "
            f"choose at most {MOST_NUMBERS:,}."
        )


def check_solver(method: str, gradient: str, tolerance: float | None, **numbers: float) -> None:
    """Raise ValueError for a solver or gradient that does not exist, or a number out of its range."""
    for name, number in {**numbers, "tolerance": tolerance}.items():
        check(name, number, NETWORK[name])
    one_of("method", method, METHODS)
    one_of("gradient", gradient, GRADIENTS)
    if tolerance is not None and gradient != "implicit":
        raise ValueError(f"tolerance belongs to gradient='implicit'; got gradient={gradient!r}.")


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ValueError for a value that is not allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def per_dimension(name: str, value: Size, dims: int, least: int) -> tuple[int, ...]:
    """One integer for each dimension, of at least ``least``; ValueError for anything else."""
    values: tuple[Any, ...] = tuple(value) if isinstance(value, Sequence) else (value,) * dims
    if len(values) != dims or not all(isinstance(each, Integral) for each in values):
        raise ValueError(f"{name} must be an integer, or {dims} of them; got {value!r}.")
    for each in values:
        check(name, each, Annotated[int, Range(least, MOST)])
    return values


def pairs(
    padding: Size | str, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Padding before and behind, per dimension."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(f"padding='same' needs stride 1; got stride={stride}.")
        spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((span // 2, span - span // 2) for span in spans)
    if isinstance(padding, str):
        raise ValueError(f"padding must be a number, 'same' or 'valid'; got {padding!r}.")
    return tuple((p, p) for p in per_dimension("padding", padding, len(kernel), 0))
