r"""Three ways to differentiate through a sparse code.

* ``unrolled``: autograd through every step. Exact for the code the steps computed; memory grows with n.
* ``checkpointed``: the same gradient, recomputing the steps in segments of √n; memory grows with √n.
* ``implicit``: the gradient of the minimiser itself, from its optimality condition; memory is that of
  one step however many were made. On the support S of z* the condition
  :math:`A_S^\top(x - Az) - \lambda s - \mu z = 0` (s: the signs of z) determines z, so that
  :math:`dz_S = (A_S^\top A_S + \mu I)^{-1} d[A_S^\top(x - Az) - \lambda s - \mu z]` at fixed z.
  It is as good as the solution: solve to a small duality gap first.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.lasso import Lasso
from sdnet.csc.solvers import Iterate, ProximalStep, first_iterate, next_iterate, solve, unroll

GRADIENTS = ("unrolled", "checkpointed", "implicit")
CHECK_EVERY = 8
"""Steps of conjugate gradients between two looks at the residuals, each of which waits for an accelerator."""


def checkpointed(lasso: Lasso, step_size: Tensor, iterations: int, method: str = "fista") -> Tensor:
    """:func:`sdnet.csc.solvers.unroll` with the activations of √n segments recomputed in the backward pass."""
    segment = math.isqrt(iterations - 1) + 1
    step = ProximalStep(lasso, step_size)
    iterate: Iterate | None = None
    for first in range(0, iterations, segment):
        steps = min(segment, iterations - first)
        iterate = checkpoint(_segment, step, method, iterate, steps, use_reentrant=False, preserve_rng_state=False)
    assert iterate is not None
    return iterate.code


def _segment(step: ProximalStep, method: str, iterate: Iterate | None, steps: int) -> Iterate:
    for _ in range(steps):
        iterate = first_iterate(step) if iterate is None else next_iterate(step, method, iterate)
    assert iterate is not None
    return iterate


def implicit(
    lasso: Lasso,
    step_size: Tensor,
    iterations: int,
    method: str = "fista",
    *,
    tolerance: float | None = None,
    damping: float = 0.0,
    cg_iterations: int = 100,
) -> Tensor:
    """The solved code, carrying the gradient of the minimiser with respect to signal, atoms and λ.

    Args:
        iterations, tolerance: as in :func:`sdnet.csc.solvers.solve`, for the forward solve (no graph is kept).
        damping: added to the diagonal of A_SᵀA_S, for supports on which the atoms are dependent.
        cg_iterations: at most this many conjugate-gradient steps in the backward solve.
    """
    if tolerance is None:
        with torch.no_grad():
            code = unroll(lasso, step_size, iterations, method)
    else:
        restart = method == "fista"  # the minimiser is the same, and it is reached sooner
        solution = solve(
            lasso, method, iterations=iterations, tolerance=tolerance, lipschitz=1 / step_size, restart=restart
        )
        code = solution.code
    # Zero up to the accuracy of the solve; what matters is how it depends on signal, atoms and λ.
    stationarity = lasso.dictionary.analysis(lasso.residual(code)) - lasso.penalty * code.sign() - lasso.ridge * code
    solved: Tensor = _SupportSolve.apply(
        stationarity, code, code != 0, lasso.dictionary.weight, lasso, damping + lasso.ridge, cg_iterations
    )
    return solved


class _SupportSolve(torch.autograd.Function):
    """Forward: the code. Backward: β = (A_SᵀA_S + δI)⁻¹ g_S, handed to the stationarity condition."""

    @staticmethod
    def forward(
        ctx: Any,
        stationarity: Tensor,
        code: Tensor,
        support: Tensor,
        weight: Tensor,
        lasso: Lasso,
        damping: float,
        cg_iterations: int,
    ) -> Tensor:
        ctx.save_for_backward(support, weight)
        ctx.dictionary, ctx.signal_size = lasso.dictionary.with_weight(weight.new_empty(0)), lasso.signal_size
        ctx.damping, ctx.cg_iterations = damping, cg_iterations
        return code.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        support, weight = ctx.saved_tensors
        # Under autocast the code has a smaller type than the atoms: the linear system is solved in theirs.
        target = support * grads[0].to(weight.dtype)
        dictionary: Dictionary = ctx.dictionary.with_weight(weight)

        def gram(direction: Tensor) -> Tensor:
            image = dictionary.analysis(dictionary.synthesis(direction, ctx.signal_size))
            return support * image + ctx.damping * direction

        beta = conjugate_gradients(gram, target, ctx.cg_iterations)
        return beta, None, None, None, None, None, None


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor], target: Tensor, iterations: int, tolerance: float | None = None
) -> Tensor:
    """Solve ``operator(x) = target`` for a symmetric positive semidefinite operator, for every image alone.

    Args:
        target: one right-hand side per image, (N, ...).
        iterations: steps at most.
        tolerance: an image keeps the solution whose residual is at most this part of its target, by norm, and the
            steps end when all images do. By default ten times the type's precision, that is at rounding level.
    """
    limits = torch.finfo(target.dtype)
    solution = torch.zeros_like(target)
    residual = direction = target
    energy = _dot(residual, residual)
    goal = energy * (10 * limits.eps if tolerance is None else tolerance) ** 2
    # When one looks changes no result, since an image that is done stays as it is. On a CPU it is free.
    pause = 1 if target.device.type == "cpu" else CHECK_EVERY
    for iteration in range(iterations):
        # Where nothing is computed there is nothing to see.
        if (iteration + 1) % pause == 0 and not target.is_meta and bool((energy <= goal).all()):
            break
        image = operator(direction)
        length = energy / _dot(direction, image).clamp_min(limits.tiny) * (energy > goal)
        solution = torch.addcmul(solution, length, direction)
        residual = torch.addcmul(residual, length, image, value=-1)
        last, energy = energy, _dot(residual, residual)
        direction = torch.addcmul(residual, energy / last.clamp_min(limits.tiny), direction)
    return solution


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).flatten(1).sum(1).view(-1, *[1] * (first.dim() - 1))
