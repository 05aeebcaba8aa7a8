"""What a further rank gains: one rank alone, all ranks on their own, and all ranks together, taking turns.

Run it under torchrun; every rank calls :func:`measure`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sdnet import models
from sdnet.experiments.benchmark import interleaved
from sdnet.results import ledger
from sdnet.runtime import keep_freed_memory
from sdnet.training import distributed, loop
from sdnet.training.distributed import Execution, Ranks

Case = Callable[[], None]
CASES = ("one rank alone", "all ranks, each for itself", "all ranks together")


def cases(
    ranks: Ranks, arch: str, width: int, batch: int, stem: str, precision: str, torch_device: torch.device
) -> dict[str, Case]:
    """Name → a training step on ``batch`` images: by the main process, while the others wait; or sharded among ranks,
    without and with communication. All ranks begin and end a step at the same time.
    """
    size = 32 if stem == "cifar" else 224
    images = torch.rand(batch, 3, size, size, device=torch_device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=torch_device)

    def step(together: bool, part: slice) -> Case:
        torch.manual_seed(0)
        model = models.build(arch, 10, width=width, stem=stem).to(torch_device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        network = ranks.wrap(model, Execution()) if together else model
        x, y = images[part], labels[part]

        def run() -> None:
            ranks.all_reduce(torch.zeros(1))
            if len(y):
                loop.training_step(network, optimizer, x, y, 1e-3, precision)
            if torch_device.type != "cpu":
                torch.accelerator.synchronize(torch_device)
            ranks.all_reduce(torch.zeros(1))

        return run

    alone = slice(0, batch if ranks.is_main else 0)
    parts = (alone, ranks.shard(batch), ranks.shard(batch))
    return {name: step(name == CASES[2], part) for name, part in zip(CASES, parts, strict=True)}


def measure(
    ranks: Ranks,
    torch_device: torch.device,
    *,
    arch: str = "sdnet18",
    width: int = 64,
    batch: int = 128,
    stem: str = "cifar",
    repeats: int = 10,
) -> list[dict[str, Any]]:
    """Ledger cells: images/s of each case, and its efficiency, that is its speed over ranks × the speed of one alone.

    Raises:
        ValueError: if there is only one rank.
    """
    if ranks.size < 2:
        raise ValueError("there is one rank only; start several: torchrun --nproc-per-node 2 -m sdnet bench ranks.")
    precision = loop.best_precision(torch_device)
    timings = interleaved(cases(ranks, arch, width, batch, stem, precision, torch_device), torch_device, repeats)
    alone, cells = timings[0].median, []
    for timing in timings:
        about = {"case": timing.name, "width": width, "batch": batch, "n": batch}
        cells.append({"metric": "images_per_second", **about, **timing.rate(batch)})
        if timing.name != CASES[0]:
            cells.append({"metric": "efficiency", **about, **timing.rate(alone / ranks.size)})
    return cells


def record(device: torch.device, **settings: Any) -> tuple[Path | None, list[dict[str, Any]]]:
    """Run :func:`measure` on every rank; the main process writes the cells to the ledger, the others return no path.

    A further cell is the machine's load per core before: where it is not near 0, a second rank also takes its part of
    what others would have had, and the efficiency is too high.
    """
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    keep_freed_memory()
    start = ledger.start()
    with distributed.joined(device, 300) as ranks:
        torch_device = distributed.own_device(device, ranks)
        if ranks.is_main:
            ledger.check_writable(ledger.ledger_folder())
        results = measure(ranks, torch_device, **settings)
        if not ranks.is_main:
            return None, []
        row = start.record(
            experiment="ranks",
            config={"seed": 0, **settings, "ranks": ranks.size},
            data_hash=None,
            device=ledger.describe_device(torch_device),
            results=[*results, {"metric": "load_before", "value": round(load, 2), "n": 1}],
        )
        return ledger.write(row, ledger.ledger_folder()), results
