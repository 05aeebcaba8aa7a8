"""Benchmarks: ratios of times measured side by side, interleaved in one process."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.csc.layers import CSCConv2d
from sdnet.results import ledger
from sdnet.runtime import keep_freed_memory

STEMS = {"cifar": (3, 1, 128, 32), "imagenet": (7, 2, 8, 224)}
"""Kernel, stride, images per batch and image size of the two stems (3 → 64 channels)."""


PROGRAMS = 256
"""The most that one function may be compiled to in a benchmark, a program per network, mode and shape."""


@dataclass(frozen=True)
class Timing:
    """Median and quartiles of one case, in seconds."""

    name: str
    median: float
    low: float
    high: float

    def rate(self, amount: float) -> dict[str, float]:
        """``amount`` per second as ``value``, ``low`` and ``high`` of a ledger cell; of another case's median time, the
        speed as a ratio to that case."""
        return {"value": amount / self.median, "low": amount / self.high, "high": amount / self.low}

    def over(self, seconds: float) -> dict[str, float]:
        """The time as a multiple of ``seconds``, as ``value``, ``low`` and ``high`` of a ledger cell."""
        return {"value": self.median / seconds, "low": self.low / seconds, "high": self.high / seconds}


def interleaved(cases: Mapping[str, Callable[[], object]], device: torch.device, repeats: int = 20) -> list[Timing]:
    """Time every case ``repeats`` times, taking turns, so that whatever else happens happens to all of them.

    Each turn has an order of its own: what ran before leaves caches and memory as it needed them, which is worth some
    percent to who runs next. Each case runs twice before it counts, which leaves compilation out. However many of them
    are compiled, none is timed that is not.

    Raises:
        ValueError: for fewer than two repeats, which have no quartiles.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2, since quartiles need two; got {repeats}.")
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    orders, names = random.Random(0), list(cases)
    with _compiling(PROGRAMS):
        for turn in range(repeats + 2):
            orders.shuffle(names)
            for name in names:
                _wait(device)
                start = time.perf_counter()
                cases[name]()
                _wait(device)
                if turn >= 2:
                    seconds[name].append(time.perf_counter() - start)
    timings = []
    for name, values in seconds.items():
        low, median, high = statistics.quantiles(values, n=4)
        timings.append(Timing(name, median, low, high))
    return timings


def _compiling(programs: int) -> AbstractContextManager[object]:
    """Let every function be compiled so often, and raise an error instead of running it as it is from then on.

    By default that is eight times, and then silence: four networks of one class, in training and in evaluation.
    """
    patch: AbstractContextManager[object] = torch._dynamo.config.patch(
        recompile_limit=programs, accumulated_recompile_limit=programs, fail_on_recompile_limit_hit=True
    )
    return patch


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def recorded(
    measure: Callable[[], list[dict[str, Any]]], device: torch.device, config: dict[str, Any], name: str = "benchmark"
) -> tuple[Path, list[dict[str, Any]]]:
    """Measure, and write the cells to the ledger as an experiment of that name and configuration."""
    keep_freed_memory()
    ledger.check_writable(ledger.ledger_folder())
    start, results = ledger.start(), measure()
    row = start.record(
        experiment=name,
        config={"seed": 0, **config},
        data_hash=None,
        device=ledger.describe_device(device),
        results=results,
    )
    return ledger.write(row, ledger.ledger_folder()), results


def _forward(layer: Callable[[Tensor], Tensor], images: Tensor) -> None:
    with torch.no_grad():
        layer(images)


def _forward_backward(layer: Callable[[Tensor], Tensor], images: Tensor) -> None:
    layer(images).sum().backward()


def benchmark_layer(
    stem: str,
    device: torch.device,
    *,
    iterations: tuple[int, ...] = (1, 2, 4, 8),
    compiled: str | None = None,
    repeats: int = 20,
) -> dict[str, list[Timing]]:
    """The CSC layer against ``nn.Conv2d`` as a stem, per number of iterations.

    Args:
        compiled: None, or a mode of ``torch.compile`` for all layers.

    Returns timings of ``"forward"`` and of ``"forward + backward"``; the first of each is the convolution's.
    """
    kernel, stride, batch, size = STEMS[stem]
    images = torch.randn(batch, 3, size, size, device=device, requires_grad=True)
    layers: dict[str, nn.Module] = {"nn.Conv2d": nn.Conv2d(3, 64, kernel, stride, kernel // 2, bias=False)}
    for count in iterations:
        layers[f"CSC, n = {count}"] = CSCConv2d(3, 64, kernel, stride, kernel // 2, iterations=count)
    calls: dict[str, Callable[[Tensor], Tensor]] = {name: layer.to(device) for name, layer in layers.items()}
    if compiled is not None:
        compiler = partial(torch.compile, mode=compiled, fullgraph=True, dynamic=False)
        calls = {name: compiler(call) for name, call in calls.items()}
    modes: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], None]] = {
        "forward": _forward,
        "forward + backward": _forward_backward,
    }
    return {
        mode: interleaved({name: partial(run, call, images) for name, call in calls.items()}, device, repeats)
        for mode, run in modes.items()
    }


def format_ratios(timings: list[Timing]) -> str:
    """One line per case: its median time as a multiple of the first case's, with the quartiles."""
    base = timings[0].median
    lines = []
    for case in timings:
        ratio = case.over(base)
        spread = f"({ratio['low']:.2f} – {ratio['high']:.2f})"
        lines.append(f"  {case.name:<12} {ratio['value']:6.2f} × {spread:<16} {1e3 * case.median:9.2f} ms")
    return "\n".join(lines)
