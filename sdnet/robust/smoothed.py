"""Thresholds with a smooth derivative, for an attacker who will not be stopped by a gradient that is zero (BPDA).

Athalye et al. (2018), "Obfuscated gradients give a false sense of security": forwards the network computes what it
always does; backwards a threshold max(v, 0) has the derivative of a smooth function near it. A ReLU is such a threshold
at 0, and the threshold λ of a non-negative code is a ReLU of v − λη: both are smoothed. What sets small values to 0 and
leaves the others (MeanSparse) is passed through as if it did nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

WIDTH = 0.5
"""Of the smooth step, in standard deviations of the values that a threshold meets."""
RELU: frozenset[Callable[..., Tensor]] = frozenset(
    {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, nn.functional.relu}
)
"""The names under which torch knows max(v, 0)."""
HARD = ("Relu", "FreeReLU", "Hardshrink", "Threshold", "Clamp", "Minimum", "Maximum", "_Minimiser")
"""Beginnings of the names of autograd's nodes whose derivative is a step: none may be left."""


class _Smoothed(torch.autograd.Function):
    """max(v, 0) whose derivative is a logistic step of v over a width, where it would be a step."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.width = width
        return values.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        scale = ctx.width * values.float().std(correction=0).clamp_min(1e-12)
        return grads[0] * torch.sigmoid(values / scale).to(grads[0].dtype), None


class _Through(torch.autograd.Function):
    """Hard shrinkage with the derivative of the identity."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, threshold: float) -> Tensor:
        return nn.functional.hardshrink(values, threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class SmoothThresholds(TorchFunctionMode):
    """Within, every max(v, 0) that is differentiated has the derivative σ(v / (width · s)), s the deviation of all v,
    and every hard shrinkage the derivative 1.

    Args:
        width: > 0. The smaller, the closer to the true derivative, which is 0 below the threshold.

    Raises:
        ValueError: for a width that is not positive.
    """

    def __init__(self, width: float = WIDTH) -> None:
        if not 0 < width < float("inf"):
            raise ValueError(f"width must be finite and > 0; got {width}.")
        super().__init__()
        self.width = width

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (*RELU, nn.functional.hardshrink) and torch.is_grad_enabled() and args[0].requires_grad:
            return _Smoothed.apply(args[0], self.width) if func in RELU else _Through.apply(*args)
        return func(*args, **(kwargs or {}))


def check_smoothed(scores: Tensor) -> None:
    """Raise ValueError unless every threshold between some inputs and these scores is smoothed.

    Args:
        scores: computed within :class:`SmoothThresholds`, from inputs that are differentiated.
    """
    seen, waiting = set(), [scores.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().startswith(HARD):
            raise ValueError(
                f"a threshold of this network keeps its own derivative ({node.name()}): those of signed codes, of "
                "implicit layers, and of networks that are not asked through a knob cannot be smoothed; choose pgd."
            )
        waiting += [before for before, _ in node.next_functions]
