"""Ranks: processes that train one network together, each on its shard of every batch.

PyTorch's own engine does the work. ``torchrun`` (or ``python -m sdnet launch``, the same with errors in one sentence)
starts the ranks and starts them again when one dies; ``DistributedDataParallel`` averages their gradients, over NCCL on
GPUs and over Gloo on CPUs. What is here: joining and leaving, sharing a batch, and agreeing.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from sdnet.names import unknown_name
from sdnet.parameters import Count, Natural, Positive, check_fields

PREEMPTED = 75
"""Exit code of a run that was told to stop (SIGTERM, Ctrl-C) and has saved: start it again to resume (EX_TEMPFAIL)."""
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")
"""Of ``torch.compile``."""
GLOO_LOST = ("gloo", "pair closure")
"""What Gloo's plain RuntimeErrors say when another rank is gone, or silent."""


class Preempted(RuntimeError):
    """The run was told to stop, and resumes from its checkpoint when it is started again."""


class RankLost(RuntimeError):
    """Another rank ended or does not answer."""


@dataclass(frozen=True)
class Execution:
    """How a training is carried out: matters of memory, speed and safety, which may change when it is resumed.

    Attributes:
        accumulate: pieces that each rank's shard of a batch is cut into, one after the other; saves memory. Batch
            normalisation sees the pieces.
        sync_batchnorm: normalise over the images of all ranks instead of each rank's own; on GPUs only.
        save_every: steps between two checkpoints within an epoch; None: one at the end of each epoch.
        workers: processes per rank that read photographs from files, where the data set is one of photographs.
        max_corrupt: photographs that cannot be read before the run stops.
        timeout: seconds that ranks wait for each other before they give up.
        compile: None, or a mode of ``torch.compile``: the step as one program, made in the first minute or so.
            ``"reduce-overhead"`` replays it as CUDA graphs, where small batches leave a GPU waiting for the next call.
            A step changes by rounding only, which a training in float32 magnifies like any other rounding: two
            trainings, one of them compiled, differ as two do whose first weights differ in the last digit.

    Raises ValueError for a value of another type, or out of the range that its annotation names.
    """

    accumulate: Count = 1
    sync_batchnorm: bool = False
    save_every: Count | None = None
    workers: Natural = 4
    max_corrupt: Natural = 0
    timeout: Positive = 300.0
    compile: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.compile not in (None, *COMPILE_MODES):
            raise ValueError(unknown_name("compile", self.compile, COMPILE_MODES))

    @property
    def shared(self) -> dict[str, Any]:
        """What has to be the same on all ranks."""
        own = ("workers", "timeout")
        return {name: value for name, value in vars(self).items() if name not in own}

    def check_batch(self, size: int, ranks: int) -> None:
        """Raise ValueError if a batch of ``size`` images has fewer than two for each piece of each rank."""
        if size < 2 * ranks * self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} on {ranks} ranks leaves fewer than two images of a batch of {size} for "
                f"each piece; take at most {size // (2 * ranks)} pieces, fewer ranks, or a larger batch_size."
            )


@dataclass(frozen=True)
class Ranks:
    """The group of processes from the point of view of one of them; a group of one by default.

    Attributes:
        rank: this process, counted from 0 over all nodes.
        size: how many there are.
        local: this process, counted on its node.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, rank 0: it prints and writes for all."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """This rank's part of ``count`` items: consecutive, and equal among ranks up to one item."""
        base, extra = divmod(count, self.size)
        first = self.rank * base + min(self.rank, extra)
        return slice(first, first + base + (self.rank < extra))

    def all_reduce(self, numbers: Tensor) -> Tensor:
        """The sum over ranks, the same on each of them."""
        if self.size > 1:
            numbers = numbers.clone()
            dist.all_reduce(numbers)
        return numbers

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of ranks."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def from_main(self, make: Callable[[], Any]) -> Any:
        """What ``make()`` gives in the main process, on every rank; the others do not call it."""
        if self.size == 1:
            return make()
        values = [make() if self.is_main else None]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give every rank the buffers of the main process: batch statistics, λ, Lipschitz constants."""
        for buffer in model.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, src=0)

    def assert_same(self, what: str, value: Any) -> None:
        """Check that all ranks hold the same value.

        Raises:
            ValueError: on every rank, naming the first that differs from rank 0.
        """
        values = self.all_gather(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise ValueError(
                    f"ranks disagree about {what}: rank 0 has {values[0]}, rank {rank} has {other}. Give every node "
                    "the same files and options."
                )

    def wrap(self, model: nn.Module, execution: Execution) -> nn.Module:
        """The network as it is trained: its backward pass averages gradients over ranks. It shares the given weights.

        Before each forward pass the buffers of the main process go to the other ranks: running statistics of batch
        normalisation, and λ and the Lipschitz constants of CSC layers.

        Raises:
            ValueError: for ``execution.sync_batchnorm`` without GPUs.
        """
        device = next(model.parameters()).device
        if execution.sync_batchnorm and device.type != "cuda":
            raise ValueError(f"sync_batchnorm needs GPUs, PyTorch has it for CUDA only; this run is on {device.type}.")
        if self.size > 1 and execution.sync_batchnorm:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        trained: Any = model
        if execution.compile is not None:
            # One program for each shape: there are two, that of a batch and that of an epoch's last.
            trained = torch.compile(model, mode=execution.compile, dynamic=False)
        if self.size > 1:
            trained = DistributedDataParallel(trained, device_ids=[device] if device.type == "cuda" else None)
        return cast(nn.Module, trained)


ALONE = Ranks()


def unsynchronised(model: nn.Module, apart: bool) -> Any:
    """A context in which, if ``apart``, backward passes add up on each rank without being averaged."""
    return model.no_sync() if apart and isinstance(model, DistributedDataParallel) else nullcontext()


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of all parameters, bit by bit: equal on all ranks if training is correct."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def launched() -> bool:
    """Whether this process was started as one of several ranks (by torchrun, or something that sets its variables)."""
    return "WORLD_SIZE" in os.environ


def environment() -> Ranks:
    """The rank that torchrun's variables describe.

    Raises:
        ValueError: if they are missing or contradict each other.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(f"WORLD_SIZE is set, but {', '.join(missing)} not; start the ranks with torchrun.")
    try:
        rank, size, local, _ = (int(os.environ[name]) for name in (*names[:3], names[4]))
    except ValueError as error:
        raise ValueError(f"{', '.join(names[:3])} and {names[4]} must be integers ({error}); use torchrun.") from error
    if not 0 <= rank < size or not 0 <= local < size:
        raise ValueError(f"rank {rank} (local {local}) does not exist among {size} ranks; start them with torchrun.")
    return Ranks(rank, size, local)


def world_size() -> int:
    """How many ranks there are, as far as this process was told.

    Raises:
        ValueError: as :func:`environment`.
    """
    return environment().size if launched() else 1


def own_device(device: torch.device, ranks: Ranks) -> torch.device:
    """The device of this rank: on a GPU machine, the GPU of its number.

    Raises:
        ValueError: if there are fewer GPUs than ranks on this node.
    """
    if device.type != "cuda" or ranks.size == 1:
        return device
    count = torch.cuda.device_count()
    if ranks.local >= count:
        raise ValueError(f"rank {ranks.rank} has no GPU: this node has {count}. Start at most {count} ranks on it.")
    return torch.device("cuda", ranks.local)


@contextmanager
def joined(device: torch.device, timeout: float) -> Iterator[Ranks]:
    """Meet the other ranks, if this process was started as one of several; leave them at the end.

    Args:
        device: of this run; on ``cuda`` tensors travel over NCCL, on the CPU over Gloo.
        timeout: seconds to wait for ranks, now and at every later step.

    Raises:
        ValueError: if the ranks do not come together within that time.
        RankLost: if one is lost later.
    """
    ranks = environment() if launched() else ALONE
    if ranks.size == 1:
        yield ranks
        return
    own = own_device(device, ranks)
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        if own.type == "cuda":
            torch.cuda.set_device(own)
        backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
        wait = timedelta(seconds=timeout)
        store = _meeting_point(ranks, wait)
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size, timeout=wait)
    except (RuntimeError, ValueError) as error:
        busy = "EADDRINUSE" in str(error)
        what = "the port is busy; choose another" if busy else "a rank is missing, or the address is wrong"
        raise ValueError(
            f"rank {ranks.rank} did not meet the other {ranks.size - 1} at {where} within {timeout:g} s: {what} "
            f"({_first_line(error)})."
        ) from error
    try:
        yield ranks
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(words in str(error) for words in GLOO_LOST):
            raise RankLost(
                f"rank {ranks.rank} lost another rank, whose message says why; a rank that is silent for {timeout:g} s "
                f"counts as lost ({_first_line(error)})."
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _meeting_point(ranks: Ranks, wait: timedelta) -> Store:
    """Where ranks leave their addresses: at rank 0, or at torchrun's agent if that says so."""
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store: Store = TCPStore(address, port, ranks.size, ranks.is_main and not agent, wait)
    if agent and os.environ.get("GROUP_WORLD_SIZE") == "1":
        # The agent keeps the addresses of ranks that died; ranks started again would wait for those. (Agents of several
        # nodes count attempts differently: there `sdnet launch` has each attempt meet at a new place.)
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    return store


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]
