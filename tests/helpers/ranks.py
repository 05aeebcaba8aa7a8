"""Several ranks in a test: processes that meet over Gloo, forked from a server that has loaded everything already."""

import io
import multiprocessing
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import torch
from torch import Tensor, nn

from sdnet import csc_layers, models
from sdnet.data.datasets import Split
from sdnet.training import loop
from sdnet.training.distributed import ALONE, Execution, Ranks, joined
from sdnet.training.recipes import Recipe

CONTEXT = multiprocessing.get_context("forkserver")
# The first optimizer loads torch._dynamo; without it here every rank would do so, for 2 s.
LOADED = ["pytest", "torch._dynamo", "torchvision", "sdnet.training.loop", "sdnet.experiments.attacks.robust_accuracy"]
CONTEXT.set_forkserver_preload(LOADED)
RECIPE = Recipe(epochs=3, batch_size=12, lr=0.05, padding=1, width=2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_ranks(
    size: int, job: Callable[..., Any], *arguments: object, timeout: float = 20, within: float = 90
) -> list[Any]:
    """What ``job(ranks, *arguments)`` returns or raises on each rank; fails if any takes longer than ``within``."""
    queue, port = CONTEXT.Queue(), free_port()
    processes = [
        CONTEXT.Process(target=_rank, args=(queue, rank, size, port, timeout, job, arguments), daemon=True)
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    results: dict[int, Any] = {}
    end = time.monotonic() + within
    try:
        while len(results) < size and time.monotonic() < end:
            if not queue.empty() or any(process.is_alive() for process in processes):
                try:
                    rank, result = queue.get(timeout=0.2)
                except Empty:
                    continue
                results[rank] = torch.load(io.BytesIO(result), weights_only=True)
            else:
                break
    finally:
        hung = [rank for rank, process in enumerate(processes) if process.is_alive() and rank not in results]
        for process in processes:
            process.join(5)
            process.kill()
    assert not hung, f"ranks {hung} hang"
    return [results.get(rank) for rank in range(size)]


def _rank(
    queue: Any, rank: int, size: int, port: int, timeout: float, job: Callable[..., Any], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with joined(torch.device("cpu"), timeout) as ranks:
            result = job(ranks, *arguments)
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    file = io.BytesIO()  # tensors in a queue would die with their process
    torch.save(result, file)
    queue.put((rank, file.getvalue()))


def split(count: int = 45) -> Split:
    """Two classes that the brightness of the upper half tells apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 120, (count, 8, 8, 3), dtype=torch.uint8, generator=generator)
    images[:, :4] += (labels * 120).to(torch.uint8).view(-1, 1, 1, 1)
    return Split(images, labels)


def network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(7)
    model = models.build("sdnet18_all", 2, width=2, atoms=4)
    if dropout:
        model.stages.append(nn.Dropout(dropout))
    return model


def trained(
    ranks: Ranks = ALONE,
    checkpoint: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008
    dropout: float = 0.0,
    die: Callable[[Ranks, int], None] | None = None,
) -> tuple[dict[str, Tensor], list[float]]:
    """Train; the network's state and the epochs' losses. ``die(ranks, step)`` is called before every step."""
    model, steps, step = network(dropout), [], loop.training_step

    def counted(*options: Any) -> Tensor:
        steps.append(1)
        if die is not None:
            die(ranks, len(steps))
        return step(*options)

    loop.training_step = counted
    try:
        history = loop.train(
            model, split(), RECIPE, seed=3, checkpoint=checkpoint, key="a", ranks=ranks, execution=execution
        )
    finally:
        loop.training_step = step
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, [row.loss for row in history]


def steps(ranks: Ranks, mode: str | None) -> dict[str, Tensor]:
    """The network's state after three steps in float64, compiled by the backend that runs what was traced as it is."""
    compiler, model = torch.compile, network().double()
    torch.compile = lambda model, mode, dynamic: compiler(model, dynamic=dynamic, backend="aot_eager")
    try:
        together = ranks.wrap(model, Execution(compile=mode))
    finally:
        torch.compile = compiler
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    pixels, labels = loop.example(split(), 24)
    for count in (24, 24, 16):  # an epoch's last batch is smaller
        part = ranks.shard(count)
        loop.training_step(together, optimizer, pixels[part].double(), labels[part], 0.05, "fp32")
    return model.state_dict()


def told_to_stop(ranks: Ranks, step: int) -> None:
    """The last rank gets SIGTERM in the middle of the second epoch."""
    if step == 6 and ranks.rank == ranks.size - 1:
        os.kill(os.getpid(), signal.SIGTERM)


def vanish(ranks: Ranks, step: int) -> None:
    """The last rank dies as if by kill -9."""
    if step == 3 and ranks.rank == ranks.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)


def fall_silent(ranks: Ranks, step: int) -> None:
    """The last rank says nothing for longer than the others wait."""
    if step == 3 and ranks.rank == ranks.size - 1:
        time.sleep(8)


def dictionaries(ranks: Ranks) -> list[Tensor]:
    """The atoms of every CSC layer after each of several steps, as this rank holds them."""
    model, data = network(), split()
    together = ranks.wrap(model, Execution())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    seen = []
    for step in range(5):
        part = ranks.shard(12)
        images, labels = loop.example(data, 12)
        loop.training_step(together, optimizer, images[part] + 0.01 * step, labels[part], 0.1, "fp32")
        seen += [layer.weight.detach().clone() for _, layer in csc_layers(model)]
    return seen


def own_value(ranks: Ranks) -> None:
    """Ranks whose data differ."""
    ranks.assert_same("the data", {"images": 10 + ranks.rank})


def own_weights(ranks: Ranks, checkpoint: Path) -> None:
    """A checkpoint of ranks whose weights differ in one bit."""
    model = network()
    if ranks.rank:
        weight = next(model.parameters())
        with torch.no_grad():
            weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(2.0))
    loop.Run(model, torch.optim.SGD(model.parameters(), 0.1), ranks, checkpoint, "a").save()


def accuracy(ranks: Ranks) -> float:
    return loop.accuracy(network(), split(), batch_size=7, ranks=ranks)


def fake(folder: Path, name: str, script: str) -> None:
    """A program for the PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/bash\n" + script)
    (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)
