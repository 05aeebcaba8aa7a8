"""The pursuits against what they must equal: a feed-forward network, ISTA, our solver, scikit-learn on dense blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Lasso as Judge
from torch import Tensor
from torch.autograd import gradcheck

from sdnet.csc.coherence import dense_blocks
from sdnet.csc.dictionary import Dictionary
from sdnet.csc.lasso import Lasso
from sdnet.csc.lipschitz import fourier_bound
from sdnet.csc.network import Connection, Layer, MixedScale, Network, Subsampling, chain
from sdnet.csc.pursuit import SCHEDULES, feed_forward, fista_weights, pursue
from sdnet.csc.solvers import solve

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def convolution(into: int, out: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> Dictionary:
    weight = torch.randn(out, into, kernel, kernel, dtype=torch.float64) / kernel / into**0.5
    padding = dilation * (kernel - 1) // 2
    return Dictionary(weight, (stride,) * 2, ((padding, padding),) * 2, (dilation,) * 2)


def subsampled(into: int, out: int) -> Connection:
    return Connection(1, Subsampling(into, out, (2, 2)))


def plain(lam: float = 0.05, **options: object) -> Network:
    """3 → 4 → 6 (stride 2) → 5 channels."""
    return chain([convolution(3, 4), convolution(4, 6, stride=2), convolution(6, 5)], lam, **options)  # type: ignore[arg-type]


def residual(lam: float = 0.05, **options: object) -> Network:
    """The same with a skip connection from layer 1, subsampled and filled up with zeros, to layer 3."""
    return plain(lam, skips={3: subsampled(4, 6)}, **options)


NETWORKS = {"plain": plain, "residual": residual}


def images(count: int = 2, size: int = 6) -> Tensor:
    return torch.randn(count, 3, size, size, dtype=torch.float64)


def test_the_feed_forward_pass_is_a_network_of_convolutions_with_biases() -> None:
    network, x = residual(), images()
    one, two, three = (layer.operator.weight for layer in network.layers)  # type: ignore[union-attr]
    bias = -torch.full((6,), 0.05, dtype=torch.float64)
    first = F.relu(F.conv2d(x, one, bias[:4], padding=1))
    second = F.relu(F.conv2d(first, two, bias, stride=2, padding=1))
    skipped = F.pad(first[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2))
    third = F.relu(F.conv2d(second + skipped, three, bias[:5], padding=1))
    for found, expected in zip(feed_forward(network, x), (first, second, third), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)
    assert (third > 0).any()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_iteration_of_every_pursuit_is_the_feed_forward_network(name: str, schedule: str) -> None:
    network, x = NETWORKS[name](), images()
    start = feed_forward(network, x)
    for found, expected in zip(pursue(network, x, start, 0, schedule, extrapolation=0.5), start, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("method", ["ista", "fista"])
def test_on_one_layer_every_pursuit_is_ista_and_our_solver(schedule: str, method: str) -> None:
    network, x = chain([convolution(3, 8)], 0.1), images()
    layer = network.layers[0]
    problem = Lasso(layer.operator, x, layer.lam)  # type: ignore[arg-type]
    zero = [x.new_zeros(problem.code_shape)]
    alpha = fista_weights(9) if method == "fista" else 0.0
    (found,) = pursue(network, x, zero, 9, schedule, extrapolation=alpha)
    expected = solve(problem, method, iterations=9, lipschitz=layer.curvature).code
    torch.testing.assert_close(found, expected, **EXACT)
    start = feed_forward(network, x)
    (found,) = pursue(network, x, start, 9, schedule)
    expected = solve(problem, "ista", iterations=9, lipschitz=layer.curvature, start=start[0]).code
    torch.testing.assert_close(found, expected, **EXACT)


def test_layered_pursuit_is_a_solver_per_layer_on_the_codes_before() -> None:
    """Layered ISTA and FISTA (slides, Layered ISTA) are our solver, layer by layer."""
    network, signal = plain(), images()
    zeros = [torch.zeros_like(code) for code in feed_forward(network, signal)]
    found = {method: pursue(network, signal, zeros, 7, "layered", extrapolation=alpha)
             for method, alpha in (("ista", 0.0), ("fista", fista_weights(7)))}  # fmt: skip
    for method, codes in found.items():
        x = signal
        for layer, code in zip(network.layers, codes, strict=True):
            problem = Lasso(layer.operator, x, layer.lam)  # type: ignore[arg-type]
            expected = solve(problem, method, iterations=7, lipschitz=layer.curvature).code
            torch.testing.assert_close(code, expected, **EXACT)
            x = code


@pytest.mark.parametrize("name", NETWORKS)
def test_the_block_matrix_is_the_operator_and_its_adjoint(name: str) -> None:
    network = NETWORKS[name]()
    inputs, shapes = network.shapes((3, 6, 6))
    matrix, right = dense_blocks(network, (3, 6, 6))
    codes = [torch.randn(2, *shape, dtype=torch.float64) for shape in shapes]
    rows = [torch.randn(2, *shape, dtype=torch.float64) for shape in inputs]
    flat = torch.cat([code.flatten(1) for code in codes], 1)
    forward = torch.cat([row.flatten(1) for row in network.synthesis(codes, [s[1:] for s in inputs])], 1)
    torch.testing.assert_close(forward, flat @ matrix.T, **EXACT)
    stacked = torch.cat([row.flatten(1) for row in rows], 1)
    back = torch.cat([code.flatten(1) for code in network.analysis(rows, [s[1:] for s in shapes])], 1)
    torch.testing.assert_close(back, stacked @ matrix, **EXACT)
    x = images()
    left = torch.cat([row.flatten(1) for row in network.residuals(x, codes)], 1)
    torch.testing.assert_close(left, x.flatten(1) @ right.T - flat @ matrix.T, **EXACT)


def test_the_block_matrix_has_the_shape_of_equation_16() -> None:
    matrix, right = dense_blocks(residual(), (3, 6, 6))
    a, b, c = 3 * 36, 4 * 36, 6 * 9  # entries of the inputs
    p, q = 4 * 36, 6 * 9  # entries of the first codes
    assert matrix.shape == (a + b + c, p + q + 5 * 9)
    torch.testing.assert_close(matrix[a : a + b, :p], -torch.eye(p, dtype=torch.float64))
    torch.testing.assert_close(matrix[a + b :, p : p + q], -torch.eye(q, dtype=torch.float64))
    assert (matrix[a + b :, :p] != 0).sum() == 4 * 9  # the skip connection: every second pixel of four channels
    assert not matrix[:a, p:].any()
    assert not matrix[a : a + b, p + q :].any()
    assert not right[a:].any()


@pytest.mark.parametrize("name", NETWORKS)
def test_deep_pursuit_never_increases_the_objective(name: str) -> None:
    """Eq. 11 after every step of every layer, at the conservative step size."""
    network, x = NETWORKS[name](lam=0.02), images()
    start = feed_forward(network, x)
    trace = [network.objective(x, start)]
    pursue(network, x, start, 60, watch=lambda layer, step, codes: trace.append(network.objective(x, codes)))
    values = torch.stack(trace)
    assert len(values) == 1 + 3 * 60
    assert (values[1:] <= values[:-1] * (1 + 1e-12)).all()
    assert (values[-1] < 0.9 * values[0]).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_deep_pursuit_converges_to_scikit_learns_minimum_on_the_dense_matrix(name: str) -> None:
    base, x = NETWORKS[name](), images(1)
    lams = [0.05, 0.02, 0.1]
    layers = [replace(layer, lam=layer.lam * 0 + lam) for layer, lam in zip(base.layers, lams, strict=True)]
    network = Network(tuple(layers))
    matrix, right = dense_blocks(network, (3, 6, 6))
    # One λ for all columns, as the judge wants it: a column at λ_j is a column divided by λ_j at 1.
    shapes = network.shapes((3, 6, 6))[1]
    prices = torch.cat([torch.full((torch.Size(s).numel(),), lam) for s, lam in zip(shapes, lams, strict=True)])
    columns = (matrix / prices).numpy()
    judge = Judge(alpha=1 / len(columns), positive=True, fit_intercept=False, tol=1e-15, max_iter=1_000_000)
    expected = judge.fit(columns, (right @ x.flatten()).numpy()).coef_ / prices.numpy()
    codes = pursue(network, x, feed_forward(network, x), 6_000, extrapolation=0.9)
    found = torch.cat([code.flatten() for code in codes]).numpy()
    assert 10 < (expected > 0).sum() < len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["fast", "every-entry"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gradients_are_finite_differences(name: str, schedule: str, fast: bool) -> None:
    base, x = NETWORKS[name](), images(1, 4).requires_grad_()
    weights = [layer.operator.weight.clone().requires_grad_() for layer in base.layers]  # type: ignore[union-attr]
    lam = torch.full((3,), 0.02, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def output(x: Tensor, lam: Tensor, beta: Tensor, *weights: Tensor) -> Tensor:
        layers = [
            replace(layer, operator=layer.operator.with_weight(w), lam=lam[j], beta=beta)  # type: ignore[union-attr]
            for j, (layer, w) in enumerate(zip(base.layers, weights, strict=True))
        ]
        network = Network(tuple(layers))
        return pursue(network, x, feed_forward(network, x), 3, schedule, extrapolation=0.5)[-1]

    assert (output(x, lam, beta, *weights) > 0).any()
    assert gradcheck(output, (x, lam, beta, *weights), atol=1e-6, fast_mode=fast)


def test_extrapolation_is_equation_14() -> None:
    """Two steps by hand, with the gradients of Eq. 15 and the corrections that the module names."""
    network, x = chain([convolution(3, 4), convolution(4, 5)], 0.03, beta=0.5), images()
    one, two = network.layers
    old = now = feed_forward(network, x)
    for _ in range(3):
        point = [b + 0.4 * (b - a) for a, b in zip(old, now, strict=True)]
        g = one.operator.analysis(one.operator.synthesis(point[0], (6, 6)) - x)
        g = g + point[0] - two.operator.synthesis(now[1], (6, 6))
        step = 1 / (0.5 * (one.curvature + 1))
        first = F.relu(point[0] - step * (g + 0.03))
        g = two.operator.analysis(two.operator.synthesis(point[1], (6, 6)) - first)
        second = F.relu(point[1] - 1 / (0.5 * two.curvature) * (g + 0.03))
        old, now = now, [first, second]
    for found, expected in zip(pursue(network, x, feed_forward(network, x), 3, extrapolation=0.4), now, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


def test_curvature_per_channel_descends_where_atoms_differ_in_length() -> None:
    """What frozen batch normalisation needs: atoms scaled by s have the curvature s²L, channel by channel."""
    base, x = convolution(3, 8), images()
    scale = torch.logspace(-1, 1, 8, dtype=torch.float64)
    layer = Layer(base.scaled(scale), (Connection(0),), x.new_tensor(0.01), scale.square() * fourier_bound(base))
    network, trace = Network((layer,)), []
    start = feed_forward(network, x)
    pursue(network, x, start, 30, watch=lambda layer, step, codes: trace.append(network.objective(x, codes)))
    values = torch.stack([network.objective(x, start), *trace])
    assert (values[1:] <= values[:-1] * (1 + 1e-12)).all()
    assert (values[1] < values[0]).all()


@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_subsampling_is_a_convolution_with_the_identity(size: tuple[int, int], stride: int) -> None:
    eye = torch.eye(5, 3, dtype=torch.float64)[:, :, None, None]
    judge = Dictionary(eye, (stride, stride), ((0, 0), (0, 0)), (1, 1))
    ours = Subsampling(3, 5, (stride, stride))
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    code = judge.analysis(x)
    torch.testing.assert_close(ours.analysis(x), code, rtol=0, atol=0)
    assert ours.code_size(size) == judge.code_size(size)
    back = torch.randn_like(code)
    torch.testing.assert_close(ours.synthesis(back, size), judge.synthesis(back, size), rtol=0, atol=0)


def test_mixed_scale_is_the_identity_beside_a_dictionary() -> None:
    dictionary = convolution(3, 4, dilation=2)
    mixed, x = MixedScale(dictionary, torch.ones(3, dtype=torch.float64)), images()
    torch.testing.assert_close(mixed.analysis(x), torch.cat([x, dictionary.analysis(x)], 1), **EXACT)
    code = torch.randn(2, 7, 6, 6, dtype=torch.float64)
    inner = (mixed.synthesis(code, (6, 6)) * x).sum()
    torch.testing.assert_close(inner, (code * mixed.analysis(x)).sum(), **EXACT)
    factors, bias = torch.rand(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    expected = factors.view(-1, 1, 1) * mixed.analysis(x) + bias.view(-1, 1, 1)
    torch.testing.assert_close(mixed.scaled(factors).analysis(x, bias), expected, **EXACT)
    torch.testing.assert_close(
        mixed.scaled(factors).synthesis(code, (6, 6)), mixed.synthesis(code * factors.view(-1, 1, 1), (6, 6)), **EXACT
    )


def test_a_signed_code_shrinks_from_both_sides() -> None:
    layer = Layer(
        convolution(1, 2), (Connection(0),), torch.tensor(0.5), torch.tensor(1.0), signed=torch.tensor([1.0, 0.0])
    )
    values = torch.tensor([-2.0, -0.3, 0.3, 2.0]).expand(1, 2, 1, 4)
    assert layer.shrink(values)[0, :, 0].tolist() == [[-1.5, 0, 0, 1.5], [0, 0, 0, 1.5]]


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: plain(beta=0.0), "beta must be > 0 and at most 1; got 0"),
        (lambda: plain(beta=1.5), "beta must be > 0 and at most 1; got 1.5"),
        (lambda: plain(lam=-0.1), r"lam must be finite and >= 0; got \[-0.1"),
        (
            lambda: feed_forward(plain(skips={3: Connection(1)}), images()),
            "the connection from layer 1 to layer 3 gives 4 x 6 x 6, where 6 x 3 x 3 are needed",
        ),
        (lambda: feed_forward(plain(), images()[:, :2]), "from layer 0 to layer 1 gives 2 x 6 x 6, where 3 x 6 x 6"),
        (
            lambda: plain(skips={2: Connection(2)}),
            r"layer 2 must have inputs among 0 \(the signal\) to 1; got \[1, 2\]",
        ),
        (lambda: pursue(plain(), images(), feed_forward(plain(), images()), -1), "steps >= 0; got 0.0 for -1 steps"),
        (lambda: pursue(plain(), images(), [], 1, "wide"), "schedule must be one of layered, deep; got 'wide'"),
        (lambda: pursue(plain(), images(), [], 1, extrapolation=1.0), r"extrapolation must be in \[0, 1\)"),
        (lambda: pursue(plain(), images(), [images()] * 3, 1), "codes must have the shapes"),
    ],
)
def test_bad_input_ends_in_one_sentence(attempt, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message) as error:
        attempt()
    assert "\n" not in str(error.value)
