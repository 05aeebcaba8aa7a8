"""A GPU that is not there: tensors without values, which raise where a program reads one or mixes devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


class Copies(TorchDispatchMode):
    """Lists the operations that bring a tensor from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor)]
        if isinstance(result, Tensor) and any(value.device.type != result.device.type for value in given):
            self.seen.append(f"{operation} {tuple(result.shape)}")
        return result


@contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Within, what is made lies on a CUDA device unless told otherwise, and nothing is computed."""
    with FakeTensorMode() as mode, torch.device("cuda"):
        yield mode
