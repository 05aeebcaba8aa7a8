"""Proximal operators: the nonlinearities of sparse coding.

The proximal operator of a penalty h is prox(v) = argmin_z h(z) + ½(z − v)². For the penalties of
the convolutional Lasso (Eq. 4 of the paper) it has a closed form that acts on every entry alone.
"""

from typing import Any

import torch
from torch import Tensor


def soft_threshold(values: Tensor, threshold: Tensor | float, *, nonnegative: bool = False) -> Tensor:
    """Proximal operator of ``threshold * |z|``: shrink every entry towards zero.

    Signed: ``sign(v) * max(|v| - t, 0)``. Non-negative (the penalty plus the constraint z >= 0):
    ``max(v - t, 0)``, which is a ReLU whose kink sits at t.

    Args:
        values: any shape, any floating type.
        threshold: t >= 0, a number or a tensor that broadcasts against ``values``.
        nonnegative: restrict the result to z >= 0.
    """
    if nonnegative:
        return torch.relu(values - threshold)
    if isinstance(threshold, Tensor):
        return values - torch.minimum(torch.maximum(values, -threshold), threshold)
    return values - values.clamp(-threshold, threshold)


def elastic_net(
    values: Tensor, threshold: Tensor | float, ridge: Tensor | float, *, nonnegative: bool = False
) -> Tensor:
    """Proximal operator of ``threshold * |z| + ridge/2 * z²``: shrink, then scale by 1/(1 + ridge).

    With ``ridge=0`` this is :func:`soft_threshold`.
    """
    shrunk = soft_threshold(values, threshold, nonnegative=nonnegative)
    return shrunk if isinstance(ridge, float | int) and ridge == 0 else shrunk / (1 + ridge)


class FreeReLU(torch.autograd.Function):
    """ReLU whose result may be changed in place, as a convolution's may: the gradient keeps a mask, not the result."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return values.relu()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output > 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (mask,) = ctx.saved_tensors
        # Several times as fast as a product with the mask.
        result: Tensor = torch.ops.aten.threshold_backward(grads[0], mask.to(grads[0].dtype), 0)
        return result
