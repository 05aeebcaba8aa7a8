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
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.lasso import Lasso, broadcast_lam
from sdnet.csc.solvers import Iterate, ProximalStep, first_iterate, next_iterate, solve, unroll
from sdnet.runtime import is_traced, no_autocast

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
    """The solved code, carrying the derivatives of the minimiser, of every order, by signal, atoms and λ.

    Under autocast the code has autocast's type; the derivatives are computed in that of the atoms, since a solve
    multiplies rounding errors. ``torch.func.vmap`` solves its items one after the other.

    Args:
        iterations, tolerance: as in :func:`sdnet.csc.solvers.solve`, for the forward solve (no graph is kept).
        damping: added to the diagonal of A_SᵀA_S, for supports on which the atoms are dependent.
        cg_iterations: at most this many conjugate-gradient steps in the backward solve.
    """

    def code(signal: Tensor, weight: Tensor, lam: Tensor, step_size: Tensor) -> Tensor:
        posed = replace(lasso, dictionary=lasso.dictionary.with_weight(weight), signal=signal, lam=lam)
        if tolerance is None:
            return unroll(posed, step_size, iterations, method)
        restart = method == "fista"  # the minimiser is the same, and it is reached sooner
        options: dict[str, Any] = {"tolerance": tolerance, "lipschitz": 1 / step_size, "restart": restart}
        return solve(posed, method, iterations=iterations, **options).code

    geometry = lasso.dictionary.with_weight(torch.empty(0))
    system = _System(geometry, tuple(lasso.signal_size), lasso.ridge, damping, cg_iterations)
    solved: Tensor = _Minimiser.apply(lasso.signal, lasso.dictionary.weight, lasso.lam, step_size, code, system)
    return solved.clone()  # which may be changed in place: the derivatives need the code itself


@dataclass(frozen=True)
class _System:
    """The linear system on a support, (A_SᵀA_S + (μ + damping) I) β = g, and what its solution is handed to."""

    geometry: Dictionary
    signal_size: tuple[int, ...]
    ridge: float
    damping: float
    cg_iterations: int

    def gram(self, direction: Tensor, support: Tensor, weight: Tensor) -> Tensor:
        """(A_SᵀA_S + (μ + damping) I) of a direction on the support."""
        dictionary = self.geometry.with_weight(weight)
        image = dictionary.analysis(dictionary.synthesis(direction, self.signal_size))
        return support * image + (self.ridge + self.damping) * direction

    def stationarity(self, code: Tensor, signal: Tensor, weight: Tensor, lam: Tensor) -> Tensor:
        """Aᵀ(x − Az) − λ s − μ z: zero up to the accuracy of the solve; what matters is how it depends on all four."""
        dictionary = self.geometry.with_weight(weight)
        residual = signal.to(weight.dtype) - dictionary.synthesis(code, self.signal_size)
        return dictionary.analysis(residual) - broadcast_lam(lam, code.dim()) * code.sign() - self.ridge * code


class _OneByOne(torch.autograd.Function):
    """A function of tensors that ``torch.func.vmap`` calls for each of its items."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        each = [
            [value if dim is None else value.select(dim, item) for value, dim in zip(inputs, in_dims, strict=True)]
            for item in range(info.batch_size)
        ]
        return torch.stack([cls.apply(*values) for values in each]), 0


class _Minimiser(_OneByOne):
    """Forward: the code. Backward: β, the solution for g_S, handed to the stationarity condition at fixed code."""

    @staticmethod
    def forward(
        signal: Tensor, weight: Tensor, lam: Tensor, step_size: Tensor, code: Callable[..., Tensor], system: _System
    ) -> Tensor:
        with torch.no_grad():
            return code(signal, weight, lam, step_size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, _, _, ctx.system = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *leaves, code = ctx.saved_tensors
        system: _System = ctx.system
        with no_autocast(code.device):
            # Under autocast the code has a smaller type than the atoms.
            code, target = code.to(leaves[1].dtype), grads[0].to(leaves[1].dtype)
            support = code != 0
            beta = _SupportSolve.apply(support * target, support, leaves[1], system)

            places = [place for place, want in enumerate(ctx.needs_input_grad[:3]) if want]

            def stationarity(*wanted: Tensor) -> Any:
                given = dict(zip(places, wanted, strict=True))
                return system.stationarity(code, *(given.get(place, leaf) for place, leaf in enumerate(leaves)))

            found = torch.func.vjp(stationarity, *(leaves[place] for place in places))[1](beta)
            by_place = dict(zip(places, found, strict=True))
        return *(by_place.get(place) for place in range(3)), None, None, None


class _SupportSolve(_OneByOne):
    """β for a g on the support, differentiable by g and by the atoms."""

    @staticmethod
    def forward(target: Tensor, support: Tensor, weight: Tensor, system: _System) -> Tensor:
        with torch.no_grad():
            return conjugate_gradients(lambda v: system.gram(v, support, weight), target, system.cg_iterations)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, support, weight, ctx.system = inputs
        ctx.save_for_backward(support, weight, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        support, weight, beta = ctx.saved_tensors
        with no_autocast(beta.device):
            adjoint = _SupportSolve.apply(support * grads[0], support, weight, ctx.system)
            pull = torch.func.vjp(lambda atoms: -ctx.system.gram(beta, support, atoms), weight)[1]
            return adjoint, None, pull(adjoint)[0], None


def first_only(gradient: Tensor) -> None:
    """Called in a backward pass that PyTorch cannot differentiate once more: it would leave out a term in silence.

    Raises:
        ValueError: where a graph of the backward pass is asked for.
    """
    if torch.is_grad_enabled() and not is_traced():
        raise ValueError(
            "create_graph must be False for the layers of SCN and MDEQ, which have first derivatives only; got True; "
            "for second derivatives take a network with CSC layers."
        )


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
