"""Proximal-gradient solvers of the convolutional Lasso: ISTA, FISTA, and the authors' variant.

Every step is z ← prox(y + η Aᵀ(x − A(v))) with η = 1/L. The solvers differ in y and v only:

* ``ista``: y = v = the last code;
* ``fista``: y = v = the extrapolated point z + w (z − z₋₁) (Beck & Teboulle 2009, Eqs. 4.1–4.3);
* ``heavy_ball``: y extrapolated, v the last code. This is what the paper's released code computes.

The first step starts from z = 0, where A(0) = 0 costs nothing, and momentum sets in with the third: n
iterations take 2n − 1 convolutions, and for n <= 2 the three solvers are the same.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from sdnet.csc.lasso import Lasso
from sdnet.csc.lipschitz import fourier_bound
from sdnet.csc.prox import FreeReLU, elastic_net
from sdnet.parameters import Amount, Count, check
from sdnet.runtime import is_jit_traced

METHODS = ("fista", "ista", "heavy_ball")
CHECK_EVERY = 10
"""Iterations between two looks at the duality gap when a tolerance is asked for."""


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Attributes:
        code: z, (N, C, ...).
        iterations: how many were made.
        gap: relative duality gap per image, (N,): (P(z) − min P) / P(0) is at most this.
        objective: P(z) per image after each iteration, (iterations, N), if a trace was asked for.
    """

    code: Tensor
    iterations: int
    gap: Tensor
    objective: Tensor | None = field(default=None, repr=False)


class Iterate(NamedTuple):
    """z, the code before it, FISTA's t, and the weight w of the extrapolation to come."""

    code: Tensor
    previous: Tensor
    t: float | Tensor = 1.0
    weight: float | Tensor = 0.0


class ProximalStep:
    """The map (y, v) ↦ prox(y + η Aᵀ(x − A(v))) of one problem, with what all its steps share computed once.

    The step size goes into the atoms of the analysis, and where the prox is a shifted ReLU whose shift does not
    depend on the image, the shift goes into the convolution's bias. A step is then one synthesis and one
    analysis, and no pass over the code that these do not make anyway, save an addition and a ReLU in place.

    ``correlation`` is η Aᵀx where somebody knows it already; the first step is then a threshold and nothing else.
    """

    def __init__(self, lasso: Lasso, step_size: Tensor, correlation: Tensor | None = None) -> None:
        self.lasso, self.step_size, self.correlation = lasso, step_size, correlation
        self.scaled = lasso.dictionary.with_weight(step_size * lasso.dictionary.weight)
        self.bias: Tensor | None = None
        if (
            lasso.nonnegative
            and lasso.ridge == 0
            and (lasso.lam.dim() == 0 or lasso.lam.shape[0] == 1 < lasso.lam.dim())
        ):
            shift = -step_size * lasso.lam.reshape(-1)
            self.bias = shift.expand(lasso.dictionary.weight.shape[0]).to(self.scaled.weight.dtype)

    def __call__(self, point: Tensor | None = None, gradient_at: Tensor | None = None, free: bool = False) -> Tensor:
        """One step; without arguments the step from zero. A ``free`` code may be changed in place."""
        lasso = self.lasso
        if gradient_at is None and self.correlation is not None:
            values, bias = self.correlation, None
        else:
            residual, bias = lasso.signal if gradient_at is None else lasso.residual(gradient_at), self.bias
            values = self.scaled.analysis(residual, bias)
        if bias is not None:
            values = values if point is None else values.add_(point)
            return _free_relu(values) if free else values.relu_()
        values = values if point is None else point + values
        # Under autocast the values have a smaller type than λ; the code keeps theirs, whatever the shape of λ.
        threshold = (self.step_size * lasso.penalty).to(values.dtype)
        code = elastic_net(
            values, threshold, lasso.ridge and self.step_size * lasso.ridge, nonnegative=lasso.nonnegative
        )
        return code.clone() if free and lasso.nonnegative and code.requires_grad else code


def _free_relu(values: Tensor) -> Tensor:
    if not values.requires_grad or is_jit_traced():
        return values.relu_()
    code: Tensor = FreeReLU.apply(values)
    return code


def first_iterate(step: ProximalStep, free: bool = False) -> Iterate:
    """One step from z = 0: prox(η Aᵀx)."""
    code = step(free=free)
    return Iterate(code, code, t=(1 + math.sqrt(5)) / 2)


def next_iterate(step: ProximalStep, method: str, last: Iterate, restart: bool = False, free: bool = False) -> Iterate:
    """One proximal-gradient step of the named method from ``last``; a ``free`` code may be changed in place."""
    moving = isinstance(last.weight, Tensor) or last.weight != 0
    point = last.code + last.weight * (last.code - last.previous) if moving else last.code
    code = step(point, last.code if method == "heavy_ball" else point, free)
    if method == "ista":
        return Iterate(code, code)
    t = last.t
    if restart:
        # Gradient scheme of O'Donoghue & Candès (2015), for every image alone: forget the momentum
        # where the step points against it.
        uphill = ((point - code) * (code - last.code)).flatten(1).sum(1) > 0
        uphill = uphill.view(-1, *[1] * (code.dim() - 1))
        t = torch.where(uphill, torch.ones_like(uphill, dtype=code.dtype), t)
    root = (1 + 4 * t**2) ** 0.5
    t_next = (1 + root) / 2
    return Iterate(code, last.code, t_next, (t - 1) / t_next)


def unroll(
    lasso: Lasso, step_size: Tensor, iterations: int, method: str = "fista", correlation: Tensor | None = None
) -> Tensor:
    """The code after a fixed number of steps from zero, without checks: what a layer differentiates through.

    It may be changed in place, as by a ReLU with ``inplace=True``, before it is differentiated.
    """
    step = ProximalStep(lasso, step_size, correlation)
    iterate = first_iterate(step, free=iterations == 1)
    for left in range(iterations - 2, -1, -1):
        iterate = next_iterate(step, method, iterate, free=left == 0)
    return iterate.code


@torch.no_grad()
def solve(
    lasso: Lasso,
    method: str = "fista",
    *,
    iterations: int = 1000,
    tolerance: float | None = None,
    lipschitz: Tensor | float | None = None,
    restart: bool = False,
    start: Tensor | None = None,
    trace: bool = False,
) -> Solution:
    """Solve the Lasso and certify the result. No gradient flows; for that see :mod:`sdnet.csc.gradients`.

    Args:
        method: ``"fista"``, ``"ista"`` or ``"heavy_ball"``.
        iterations: how many steps at most, >= 1.
        tolerance: an image is done as soon as its relative duality gap is at most this (looked at every ten
            steps), and the solver when all are. Not reaching it is no error: ``Solution.gap`` tells.
        lipschitz: L >= ‖A‖²; the step size is 1/L. By default :func:`sdnet.csc.lipschitz.fourier_bound`.
        restart: FISTA with adaptive restart, image by image.
        start: the code to start from, instead of zero.
        trace: keep the objective after every step.

    Raises:
        ValueError: for a signal, λ, tolerance or number of iterations out of range, an unknown method, a Lipschitz
            constant that is not positive, or a start of the wrong shape.
    """
    lasso.check()
    check("iterations", iterations, Count)
    check("tolerance", tolerance, Amount | None)
    _check_options(lasso, method, restart, start)
    step = ProximalStep(lasso, _step_size(lasso, lipschitz))

    objectives = []
    iterate = None if start is None else Iterate(start, start)
    reached: Tensor | None = None
    for done in range(1, iterations + 1):
        if iterate is None:
            code = (iterate := first_iterate(step)).code
        else:
            iterate = next_iterate(step, method, iterate, restart)
            # An image keeps the code it reached the tolerance with, however long the others of its batch take.
            code = iterate.code if reached is None else torch.where(reached, code, iterate.code)
        if trace:
            objectives.append(lasso.objective(code))
        if tolerance is not None and done % CHECK_EVERY == 0:
            reached = (lasso.relative_gap(code) <= tolerance).view(-1, *[1] * (code.dim() - 1))
            if reached.all():
                break
    return Solution(code, done, lasso.relative_gap(code), torch.stack(objectives) if trace else None)


def _step_size(lasso: Lasso, lipschitz: Tensor | float | None) -> Tensor:
    if lipschitz is None:
        lipschitz = fourier_bound(lasso.dictionary, lasso.signal_size)
    lipschitz = torch.as_tensor(lipschitz, dtype=lasso.signal.dtype, device=lasso.signal.device)
    if not (lipschitz.isfinite() & (lipschitz > 0)):
        raise ValueError(f"lipschitz must be finite and > 0, at least ‖A‖²; got {lipschitz.item()}.")
    return 1 / lipschitz


def _check_options(lasso: Lasso, method: str, restart: bool, start: Tensor | None) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if restart and method != "fista":
        raise ValueError(f"restart belongs to method='fista'; got method={method!r}.")
    if start is not None and start.shape != lasso.code_shape:
        raise ValueError(f"start must have the shape of the code, {lasso.code_shape}; got {tuple(start.shape)}.")
