"""The machine that work is done on: its device, the precision there, and its memory."""

import ctypes
import platform
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdnet.names import unknown_name


def device_of(name: str | torch.device | None = None) -> torch.device:
    """The named device; by default the accelerator if there is one, else the CPU.

    Raises:
        ValueError: if there is no such device here.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return accelerator or torch.device("cpu")
    here = ["cpu"]
    if accelerator is not None:
        kind, count = accelerator.type, torch.accelerator.device_count()
        here += [kind, *(f"{kind}:{index}" for index in range(count))]
    if str(name) not in here:
        raise ValueError(unknown_name("device", str(name), here))
    return torch.device(name)


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast, on devices that have any (the one that computes nothing has none)."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def has_autocast(device: torch.device) -> bool:
    """Whether autocast is on there, which lets values of two types meet."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def is_traced() -> bool:
    """Whether PyTorch is recording a program, by ``torch.compile`` or ``torch.jit.trace``: values are not there yet."""
    return torch.compiler.is_compiling() or is_jit_traced()


def is_jit_traced() -> bool:
    """Whether ``torch.jit.trace`` is recording."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined]


def random_order(count: int, seed: int = 0) -> Tensor:
    """The numbers from 0 to ``count`` − 1 in an order that the seed alone decides, on the CPU.

    Whatever PyTorch's default device is: a generator serves one kind of device only.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed), device="cpu")


def is_narrow(model: nn.Module) -> bool:
    """Whether a network lies on a CPU and has a convolution whose channels are no multiple of 16."""
    # What convolves has weights of four dimensions, whichever layer of this package it is.
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    return any(weight.device.type == "cpu" and weight.shape[0] % 16 for weight in weights)


def has_odd_dilation(model: nn.Module) -> bool:
    """Whether a network lies on a CPU and has a dilated convolution whose input channels are no multiple of 16.

    oneDNN's gradient of such a filter is NaN in bfloat16 (seen with PyTorch 2.15 on AVX-512); in float32 it is right.
    """
    for module in model.modules():
        weight = getattr(module, "weight", None)
        odd = isinstance(weight, Tensor) and weight.dim() == 4 and weight.device.type == "cpu" and weight.shape[1] % 16
        if odd and getattr(module, "dilation", 1) not in (1, (1, 1)):
            return True
    return False


def peak_bytes(function: Callable[[], object]) -> int:
    """The most bytes of tensors alive at one time while ``function()`` runs, beyond those it was given.

    Every storage that an operation of the function allocates counts from then until it is freed; what a
    kernel allocates inside and frees before it returns does not. For the memory that training a layer
    takes: ``peak_bytes(lambda: layer(images).sum().backward())``.
    """
    with _Ledger() as ledger:
        function()
    return ledger.peak


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory for the next tensor instead of giving it back to the system.

    On a CPU every operation allocates its result anew, and a large one is mapped, zeroed and unmapped by the system
    each time: without this, a sweep over λ was measured to take 1.7 times as long and a training step 1.1 times. For
    programs, since it holds for the whole process; where the C library is not glibc it does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_max = -1, -4  # as in <malloc.h>
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


class _Ledger(TorchDispatchMode):
    """Enters every new storage when an operation returns it and strikes it out when it dies."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {id(storage) for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            # Views and in-place results live in a storage that was there before.
            if id(storage) not in given and id(storage) not in self.alive:
                self.alive[id(storage)] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._strike, id(storage))
        return result

    def _strike(self, key: int) -> None:
        self.now -= self.alive.pop(key)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
