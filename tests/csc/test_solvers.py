"""The solvers find the minimiser that independent solvers find, at the rates that theory promises."""

import math

import pytest
import torch
from problems import GEOMETRIES, alone, minimiser, problem, tensor
from torch import Tensor

from sdnet.csc.dictionary import Dictionary, dense_matrix, unit_norm
from sdnet.csc.lasso import Lasso
from sdnet.csc.lipschitz import fourier_bound
from sdnet.csc.solvers import METHODS, solve

SIGN = pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "nonnegative"])


def scikit_learn(lasso: Lasso) -> Tensor:
    """The codes that scikit-learn's coordinate descent finds, image by image, on the dense matrix."""
    from sklearn.linear_model import ElasticNet
    from sklearn.linear_model import Lasso as SklearnLasso

    matrix = dense_matrix(lasso.dictionary, lasso.signal_size)
    samples, lam = matrix.shape[0], lasso.lam.item()
    options = {"fit_intercept": False, "positive": lasso.nonnegative, "tol": 1e-14, "max_iter": 200_000}
    codes = []
    for image in lasso.signal:
        if lasso.ridge:
            model = ElasticNet(alpha=(lam + lasso.ridge) / samples, l1_ratio=lam / (lam + lasso.ridge), **options)
        else:
            model = SklearnLasso(alpha=lam / samples, **options)
        codes.append(torch.from_numpy(model.fit(matrix.numpy(), image.flatten().numpy()).coef_))
    size = lasso.dictionary.code_size(lasso.signal_size)
    return torch.stack(codes).view(-1, lasso.dictionary.weight.shape[0], *size)


@SIGN
@pytest.mark.parametrize("lam", [0.15, 0.6])
@pytest.mark.parametrize("geometry", list(GEOMETRIES))
def test_agrees_with_scikit_learn_lasso(geometry: str, lam: float, nonnegative: bool) -> None:
    lasso = problem(geometry, lam, nonnegative)
    found, expected = minimiser(lasso), scikit_learn(lasso)
    assert expected.count_nonzero() >= 5
    assert (found - expected).abs().max() <= 1e-6
    assert (lasso.objective(found) - lasso.objective(expected)).abs().max() <= 1e-9


@SIGN
@pytest.mark.parametrize("geometry", ["3x3", "strided", "1d"])
def test_agrees_with_scikit_learn_elastic_net(geometry: str, nonnegative: bool) -> None:
    lasso = problem(geometry, 0.2, nonnegative, ridge=0.35)
    found, expected = minimiser(lasso), scikit_learn(lasso)
    assert (found - expected).abs().max() <= 1e-6
    assert (lasso.objective(found) - lasso.objective(expected)).abs().max() <= 1e-9


@pytest.mark.filterwarnings("ignore")  # SPORCO's own
def test_agrees_with_sporco_convolutional_bpdn() -> None:
    cbpdn = pytest.importorskip("sporco.admm.cbpdn")
    weight = unit_norm(torch.randn(5, 1, 3, 3, dtype=torch.float64))
    # SPORCO's convolution is circular and lays an atom down from its top left corner.
    dictionary = Dictionary(weight, (1, 1), ((0, 2), (0, 2)), (1, 1), padding_mode="circular")
    image = torch.rand(8, 8, dtype=torch.float64)
    lasso = Lasso(dictionary, image.expand(1, 1, 8, 8), tensor(0.2), nonnegative=False)
    # A fixed ADMM penalty: with SPORCO's adaptive default it stalls far from the minimiser.
    options = cbpdn.ConvBPDN.Options(
        {"MaxMainIter": 5000, "RelStopTol": 1e-12, "rho": 1.0, "AutoRho": {"Enabled": False}}
    )
    solver = cbpdn.ConvBPDN(weight[:, 0].permute(1, 2, 0).numpy(), image.numpy(), 0.2, options, dimK=0)
    expected = torch.from_numpy(solver.solve().squeeze()).permute(2, 0, 1)[None]
    assert (minimiser(lasso) - expected).abs().max() <= 1e-6


@SIGN
@pytest.mark.parametrize("lam", [0.02, 0.3])
def test_ista_is_monotone_and_obeys_its_rate(lam: float, nonnegative: bool) -> None:
    """Beck & Teboulle 2009, Theorem 3.1: P(z_k) − P* <= L ‖z*‖² / 2k from z_0 = 0."""
    lasso = problem("3x3", lam, nonnegative)
    best, lipschitz = minimiser(lasso), fourier_bound(lasso.dictionary, lasso.signal_size)
    trace = solve(lasso, "ista", iterations=200, trace=True).objective
    assert trace is not None
    assert trace.shape == (200, 3)
    assert (trace.diff(dim=0) <= 1e-12).all()
    k = torch.arange(1, 201)[:, None]
    bound = lipschitz * best.square().flatten(1).sum(1) / (2 * k)
    assert (trace - lasso.objective(best) <= bound).all()


@SIGN
@pytest.mark.parametrize("restart", [False, True], ids=["plain", "restart"])
def test_fista_obeys_its_rate(restart: bool, nonnegative: bool) -> None:
    """Beck & Teboulle 2009, Theorem 4.4: P(z_k) − P* <= 2L ‖z*‖² / (k+1)² from z_0 = 0."""
    lasso = problem("3x3", 0.02, nonnegative)
    best, lipschitz = minimiser(lasso), fourier_bound(lasso.dictionary, lasso.signal_size)
    trace = solve(lasso, "fista", iterations=200, trace=True, restart=restart).objective
    k = torch.arange(1, 201)[:, None]
    bound = 2 * lipschitz * best.square().flatten(1).sum(1) / (k + 1) ** 2
    assert (trace - lasso.objective(best) <= bound + 1e-12).all()


def test_fista_follows_the_textbook_recursion() -> None:
    lasso = problem("3x3", 0.1)
    step = 1 / fourier_bound(lasso.dictionary, lasso.signal_size)
    z = y = torch.zeros_like(lasso.dictionary.analysis(lasso.signal))
    t = 1.0
    for k in range(1, 8):
        v = y + step * lasso.dictionary.analysis(lasso.residual(y))
        last, z = z, v.sign() * (v.abs() - step * lasso.lam).clamp_min(0)
        t, t_last = (1 + math.sqrt(1 + 4 * t**2)) / 2, t
        y = z + (t_last - 1) / t * (z - last)
        torch.testing.assert_close(solve(lasso, iterations=k).code, z, rtol=0, atol=1e-13)


@SIGN
@pytest.mark.parametrize("iterations", [1, 2])
def test_up_to_two_iterations_the_methods_are_one(iterations: int, nonnegative: bool) -> None:
    lasso = problem("3x3", 0.1, nonnegative)
    codes = [solve(lasso, method, iterations=iterations).code for method in METHODS]
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0], codes[2])
    later = [solve(lasso, method, iterations=3).code for method in METHODS]
    assert not torch.equal(later[0], later[1])
    assert not torch.equal(later[0], later[2])


@SIGN
def test_all_methods_reach_the_same_minimiser(nonnegative: bool) -> None:
    lasso = problem("3x3", 0.3, nonnegative)
    expected = minimiser(lasso)
    # With momentum that goes to 1 and the gradient at the last code, the heavy ball rings for a long time.
    for method, distance in [("ista", 1e-6), ("fista", 1e-6), ("heavy_ball", 1e-3)]:
        solution = solve(lasso, method, iterations=5000, tolerance=2e-14)
        assert (solution.code - expected).abs().max() <= distance, method


def test_restart_needs_fewer_iterations() -> None:
    lasso = problem("3x3", 0.1)
    plain = solve(lasso, iterations=20000, tolerance=1e-10)
    restarted = solve(lasso, iterations=20000, tolerance=1e-10, restart=True)
    assert restarted.iterations <= plain.iterations / 2
    assert (restarted.code - plain.code).abs().max() <= 1e-3


def test_restart_is_decided_image_by_image() -> None:
    lasso = problem("3x3", 0.1)
    together = solve(lasso, iterations=150, restart=True).code
    for image in range(3):
        one = solve(alone(lasso, image), iterations=150, restart=True).code
        torch.testing.assert_close(together[image : image + 1], one, rtol=0, atol=1e-12)


def test_tolerance_stops_early_and_is_kept() -> None:
    lasso = problem("3x3", 0.3)
    solution = solve(lasso, iterations=10000, tolerance=1e-4)
    assert solution.iterations < 300
    assert solution.gap.max() <= 1e-4
    before = solve(lasso, iterations=solution.iterations - 10)
    assert before.gap.max() > 1e-4


def test_not_reaching_the_tolerance_is_told_not_raised() -> None:
    solution = solve(problem("3x3", 0.05), iterations=20, tolerance=1e-12)
    assert solution.iterations == 20
    assert solution.gap.max() > 1e-12


def test_warm_start_from_the_minimiser_stays_there() -> None:
    lasso = problem("3x3", 0.3)
    code = minimiser(lasso)
    assert (solve(lasso, iterations=1, start=code).code - code).abs().max() <= 1e-9
    near = Lasso(lasso.dictionary, lasso.signal, lasso.lam * 1.02, False)
    cold = solve(near, iterations=5000, tolerance=1e-9, restart=True)
    warm = solve(near, iterations=5000, tolerance=1e-9, restart=True, start=code)
    assert warm.iterations < cold.iterations


def test_start_from_zero_is_the_default() -> None:
    lasso = problem("strided", 0.2)
    zero = torch.zeros_like(lasso.dictionary.analysis(lasso.signal))
    for method in METHODS:
        cold, warm = (solve(lasso, method, iterations=9, start=start).code for start in (None, zero))
        torch.testing.assert_close(cold, warm, rtol=0, atol=1e-13)


def test_no_gradient_flows_through_solve() -> None:
    lasso = problem("3x3", 0.3)
    weight = lasso.dictionary.weight.requires_grad_()
    assert not solve(
        Lasso(lasso.dictionary.with_weight(weight), lasso.signal, lasso.lam), iterations=2
    ).code.requires_grad


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "fist"}, ["method", "'fist'", "fista", "heavy_ball"]),
        ({"iterations": 0}, ["iterations must be an integer >= 1", "got 0"]),
        ({"iterations": 2.5}, ["iterations must be an integer >= 1", "got 2.5"]),
        ({"iterations": True}, ["iterations must be an integer >= 1", "got True"]),
        ({"iterations": "10"}, ["iterations must be an integer >= 1", "got '10'"]),
        ({"tolerance": -1.0}, ["tolerance must be finite and >= 0", "got -1.0"]),
        ({"tolerance": math.nan}, ["tolerance must be finite and >= 0", "got nan"]),
        ({"tolerance": "1e-6"}, ["tolerance must be finite and >= 0", "got '1e-6'"]),
        ({"method": "ista", "restart": True}, ["restart", "fista", "'ista'"]),
        ({"lipschitz": 0.0}, ["lipschitz", "0.0", "> 0"]),
        ({"start": torch.zeros(1, 6, 6, 5, dtype=torch.float64)}, ["start", "(3, 6, 6, 5)", "(1, 6, 6, 5)"]),
    ],
)
def test_bad_options_are_named(options: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        solve(problem("3x3", 0.1), **options)
    assert all(word in str(error.value) for word in words), str(error.value)
