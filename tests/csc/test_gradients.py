"""Three ways to the gradient of a sparse code: right against finite differences, and as frugal as they claim."""

from collections.abc import Callable

import pytest
import torch
from problems import problem
from torch import Tensor

from sdnet import CSCConv2d
from sdnet.csc.dictionary import Dictionary, unit_norm
from sdnet.csc.gradients import GRADIENTS, checkpointed, conjugate_gradients, implicit
from sdnet.csc.lasso import Lasso
from sdnet.csc.lipschitz import fourier_bound
from sdnet.csc.solvers import METHODS, unroll
from sdnet.runtime import peak_bytes

# Every entry of the Jacobian, or a random combination of them all.
FAST = pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["fast", "every-entry"])
SIGN = pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "nonnegative"])
Code = Callable[[Lasso, Tensor], Tensor]


def small_inputs(lam: object = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """Signal, atoms and λ of a problem small enough for finite differences."""
    signal = torch.rand(2, 1, 4, 3, dtype=torch.float64).mul_(2).requires_grad_()
    weight = unit_norm(torch.randn(3, 1, 2, 2, dtype=torch.float64)).requires_grad_()
    return signal, weight, torch.tensor(lam, dtype=torch.float64, requires_grad=True)


def as_function(solver: Code, weight: Tensor, nonnegative: bool, ridge: float = 0.0) -> Callable[..., Tensor]:
    """Signal, atoms and λ ↦ code, at a fixed step size."""
    dictionary = Dictionary(weight, (1, 1), ((1, 0), (0, 1)), (1, 1))
    step_size = 1 / (1.1 * fourier_bound(dictionary.with_weight(weight.detach())))

    def code(signal: Tensor, weight: Tensor, lam: Tensor) -> Tensor:
        return solver(Lasso(dictionary.with_weight(weight), signal, lam, nonnegative, ridge), step_size)

    return code


@SIGN
@pytest.mark.parametrize("iterations", [1, 5])
@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_unrolled(method: str, iterations: int, nonnegative: bool) -> None:
    inputs = small_inputs()
    function = as_function(lambda lasso, step: unroll(lasso, step, iterations, method), inputs[1], nonnegative)
    assert torch.autograd.gradcheck(function, inputs)


@SIGN
@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_checkpointed(method: str, nonnegative: bool) -> None:
    inputs = small_inputs()
    function = as_function(lambda lasso, step: checkpointed(lasso, step, 5, method), inputs[1], nonnegative)
    assert torch.autograd.gradcheck(function, inputs)


@FAST
@pytest.mark.parametrize(
    ("lam", "ridge", "nonnegative"),
    [
        pytest.param(0.3, 0.0, False, id="scalar-signed"),
        pytest.param(0.3, 0.2, True, id="scalar-ridge-nonnegative"),
        pytest.param([0.3, 0.2], 0.0, True, id="per_image-nonnegative"),
        pytest.param([[0.2, 0.3, 0.25]], 0.2, False, id="per_channel-ridge-signed"),
    ],
)
def test_gradcheck_implicit(lam: object, ridge: float, nonnegative: bool, fast: bool) -> None:
    inputs = small_inputs(lam)
    function = as_function(
        lambda lasso, step: implicit(lasso, step, 10_000, tolerance=1e-14), inputs[1], nonnegative, ridge
    )
    assert function(*inputs).count_nonzero() >= 4
    assert torch.autograd.gradcheck(function, inputs, eps=1e-5, atol=1e-5, fast_mode=fast)


@SIGN
@pytest.mark.parametrize("geometry", ["3x3", "strided", "grouped", "circular", "1d"])
def test_implicit_equals_unrolled_to_convergence(geometry: str, nonnegative: bool) -> None:
    lasso = problem(geometry, 0.6, nonnegative)
    leaves = (lasso.signal, lasso.dictionary.weight, lasso.lam)
    for leaf in leaves:
        leaf.requires_grad_()
    step_size = 1 / fourier_bound(lasso.dictionary, lasso.signal_size).detach()
    far = unroll(lasso, step_size, 1000)
    direction = torch.randn_like(far)
    expected = torch.autograd.grad(far, leaves, direction)
    found = torch.autograd.grad(implicit(lasso, step_size, 10_000, tolerance=2e-14), leaves, direction)
    for name, one, other in zip(("signal", "weight", "lam"), found, expected, strict=True):
        assert other.norm() > 1e-3, name
        assert (one - other).norm() <= 1e-5 * other.norm(), name


@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("method", METHODS)
def test_checkpointed_equals_unrolled(method: str, iterations: int) -> None:
    inputs = small_inputs()
    results = []
    for solver in (unroll, checkpointed):
        function = as_function(lambda lasso, step, s=solver: s(lasso, step, iterations, method), inputs[1], True)
        code = function(*inputs)
        results.append((code, *torch.autograd.grad(code.square().sum(), inputs)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_implicit_gradient_of_an_empty_support_is_zero() -> None:
    inputs = small_inputs(lam=50.0)
    code = as_function(lambda lasso, step: implicit(lasso, step, 50), inputs[1], True)(*inputs)
    assert code.count_nonzero() == 0
    assert all(gradient.count_nonzero() == 0 for gradient in torch.autograd.grad(code.sum(), inputs))


@FAST
@pytest.mark.parametrize(
    ("lam", "ridge", "nonnegative"),
    [pytest.param(0.3, 0.0, False, id="signed"), pytest.param([0.3, 0.2], 0.2, True, id="ridge")],
)
def test_gradgradcheck_implicit(lam: object, ridge: float, nonnegative: bool, fast: bool) -> None:
    inputs = small_inputs(lam)
    function = as_function(
        lambda lasso, step: implicit(lasso, step, 3000, tolerance=1e-13), inputs[1], nonnegative, ridge
    )
    assert torch.autograd.gradgradcheck(function, inputs, eps=1e-5, atol=1e-5, fast_mode=fast)


def test_the_second_derivative_of_a_linear_function_of_the_minimiser_is_right_in_the_atoms() -> None:
    """‖∂Σz/∂x‖², as in double backpropagation: it was minus the right one, and no error."""
    inputs = small_inputs(0.3)
    found = []
    for solver in (
        lambda lasso, step: implicit(lasso, step, 10_000, tolerance=1e-14),
        lambda lasso, step: unroll(lasso, step, 3000),
    ):
        code = as_function(solver, inputs[1], True)(*inputs)
        (gradient,) = torch.autograd.grad(code.sum(), inputs[0], create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), inputs[1])[0])
    assert found[1].norm() > 1e-2
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-8)


def test_implicit_works_under_no_grad() -> None:
    inputs = small_inputs()
    with torch.no_grad():
        code = as_function(lambda lasso, step: implicit(lasso, step, 500), inputs[1], True)(*inputs)
    assert not code.requires_grad


def test_conjugate_gradients_solves_each_image_alone() -> None:
    factor = torch.randn(3, 8, 8, dtype=torch.float64)
    matrix = factor @ factor.mT + torch.eye(8, dtype=torch.float64) * torch.tensor([1e-2, 1.0, 1e2]).view(3, 1, 1)
    target = torch.randn(3, 8, dtype=torch.float64)
    found = conjugate_gradients(lambda x: torch.einsum("nij,nj->ni", matrix, x), target, 100)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, target), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_an_image_that_is_done_stays_as_it_is_however_long_the_others_take(tolerance: float | None) -> None:
    spread = torch.stack([torch.ones(8), torch.linspace(1, 2, 8), torch.logspace(0, 4, 8), torch.zeros(8)])
    target = torch.stack([torch.zeros(8), torch.rand(8), torch.rand(8), torch.zeros(8)])
    together = conjugate_gradients(lambda x: spread * x, target, 200, tolerance)
    alone = [
        conjugate_gradients(lambda x, row=row: row * x, one, 200, tolerance)
        for row, one in zip(spread.split(1), target.split(1), strict=True)
    ]
    assert torch.equal(together, torch.cat(alone))
    torch.testing.assert_close(spread * together, target, rtol=0, atol=1e-5 if tolerance is None else 1e-2)


def training_bytes(gradient: str, iterations: int) -> int:
    """Peak memory of a forward and backward pass of a 3 → 16 stem over two 16×16 images."""
    layer = CSCConv2d(3, 16, 3, padding=1, gradient=gradient, iterations=iterations)
    images = torch.rand(2, 3, 16, 16)
    return peak_bytes(lambda: layer(images).sum().backward())


def test_memory_grows_linearly_with_the_root_and_not_at_all() -> None:
    counts = (2, 8, 32, 128)
    used = {gradient: [training_bytes(gradient, n) for n in counts] for gradient in GRADIENTS}
    unrolled, saved, constant = (used[name] for name in ("unrolled", "checkpointed", "implicit"))
    assert 3.5 < unrolled[3] / unrolled[2] < 4.5
    assert 1.5 < saved[3] / saved[2] < 2.5  # √4
    assert len(set(constant)) == 1
    assert constant[0] < unrolled[1]
    assert constant[0] < saved[2] < unrolled[2]


def test_peak_bytes_counts_what_is_alive_together() -> None:
    start = torch.zeros(256)  # 1024 bytes

    def chain() -> Tensor:
        first = start + 1
        second = first + 1
        del first
        return second + 1

    assert peak_bytes(chain) == 2 * 1024
    assert peak_bytes(lambda: start.view(2, -1).add_(1)) == 0
    assert peak_bytes(lambda: [start + i for i in range(5)]) == 5 * 1024
