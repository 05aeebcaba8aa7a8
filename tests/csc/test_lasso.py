"""The problem of Eq. 4: its optimality condition, its duality gap, and λ in every shape."""

import math

import pytest
import torch
from problems import alone, minimiser, problem, tensor

from sdnet.csc.lasso import Lasso
from sdnet.csc.solvers import METHODS, solve

SIGN = pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "nonnegative"])


@SIGN
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_solution_satisfies_the_optimality_condition(ridge: float, nonnegative: bool) -> None:
    """Aᵀ(x − Az) − μz is λ·sign(z) where z ≠ 0 and within [−λ, λ] (or below λ, if z >= 0) elsewhere."""
    lasso = problem("3x3", 0.25, nonnegative, ridge)
    code = minimiser(lasso)
    correlation = lasso.dictionary.analysis(lasso.residual(code)) - ridge * code
    support = code != 0
    assert (correlation - 0.25 * code.sign())[support].abs().max() <= 1e-6
    outside = correlation[~support] if nonnegative else correlation[~support].abs()
    assert outside.max() <= 0.25 + 1e-6
    assert not nonnegative or code.min() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_lam_per_image_and_per_channel_equals_each_alone(method: str) -> None:
    per_image = problem("3x3", [0.1, 0.4, 2.0])
    together = solve(per_image, method, iterations=60).code
    for image in range(3):
        one = solve(alone(per_image, image, per_image.lam[image]), method, iterations=60).code
        torch.testing.assert_close(together[image : image + 1], one, rtol=0, atol=1e-13)


def test_lam_per_channel_equals_scaled_atoms() -> None:
    """A channel's λ_c|z_c| is |y_c| for y_c = λ_c z_c and atom d_c / λ_c: a problem with λ = 1."""
    lam = torch.tensor([[0.1, 0.2, 0.3, 0.5, 0.9, 1.4]], dtype=torch.float64)
    per_channel = problem("3x3", lam.tolist())
    scaled = per_channel.dictionary.with_weight(per_channel.dictionary.weight / lam.view(-1, 1, 1, 1))
    expected = minimiser(Lasso(scaled, per_channel.signal, tensor(1.0), False)) / lam.view(1, -1, 1, 1)
    torch.testing.assert_close(minimiser(per_channel), expected, rtol=0, atol=1e-6)
    per_both = problem("3x3", lam.expand(3, 6).tolist())
    both = Lasso(per_channel.dictionary, per_channel.signal, per_both.lam, False)
    assert torch.equal(solve(both, iterations=20).code, solve(per_channel, iterations=20).code)


def test_lam_above_the_largest_correlation_gives_zero() -> None:
    lasso = problem("3x3", 1.0)
    largest = lasso.dictionary.analysis(lasso.signal).abs().max()
    above = Lasso(lasso.dictionary, lasso.signal, largest * 1.001, False)
    solution = solve(above, iterations=5)
    assert solution.code.count_nonzero() == 0
    assert solution.gap.max() <= 1e-12
    below = Lasso(lasso.dictionary, lasso.signal, largest * 0.99, False)
    assert solve(below, iterations=5).code.count_nonzero() > 0


@SIGN
@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("lam", [0.05, 0.5])
def test_gap_bounds_the_suboptimality_and_goes_to_zero(lam: float, ridge: float, nonnegative: bool) -> None:
    lasso = problem("3x3", lam, nonnegative, ridge)
    best = lasso.objective(minimiser(lasso))
    energy = lasso.signal.square().flatten(1).sum(1) / 2
    last = torch.full((3,), math.inf, dtype=torch.float64)
    for iterations in (1, 2, 4, 8, 16, 64, 256, 1024):
        solution = solve(lasso, iterations=iterations, restart=True)
        suboptimality = (lasso.objective(solution.code) - best) / energy
        assert (solution.gap >= suboptimality - 1e-13).all()
        assert (solution.gap < last).all() or solution.gap.max() < 1e-12
        last = solution.gap
    assert last.max() < 1e-6


@SIGN
def test_gap_holds_for_any_code(nonnegative: bool) -> None:
    lasso = problem("3x3", 0.2, nonnegative)
    best = lasso.objective(minimiser(lasso))
    for _ in range(50):
        code = torch.randn(3, 6, 6, 5, dtype=torch.float64) * 10 ** torch.randn(())
        code = code.clamp_min(0) if nonnegative else code
        suboptimality = (lasso.objective(code) - best) / (lasso.signal.square().flatten(1).sum(1) / 2)
        assert (lasso.relative_gap(code) >= suboptimality * (1 - 1e-12)).all()


def test_zero_signal_and_zero_atoms_have_the_zero_code() -> None:
    lasso = problem("3x3", 0.3)
    dark = solve(Lasso(lasso.dictionary, torch.zeros_like(lasso.signal), lasso.lam), iterations=5)
    assert dark.code.count_nonzero() == 0
    assert dark.gap.max() == 0
    nothing = lasso.dictionary.with_weight(torch.zeros_like(lasso.dictionary.weight))
    blank = solve(Lasso(nothing, lasso.signal, lasso.lam), iterations=5)
    assert blank.code.count_nonzero() == 0
    assert blank.gap.max() <= 1e-12


@pytest.mark.parametrize(
    ("lam", "words"),
    [
        (-0.5, ["lam", "-0.5", ">= 0"]),
        (math.nan, ["lam", "nan", "finite"]),
        ([0.1, 0.2], ["lam", "(2,)", "(3,)", "(1, 6)"]),
        ([[0.1] * 5], ["lam", "(1, 5)", "(3, 6)"]),
    ],
)
def test_bad_lam_is_named(lam: object, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        solve(problem("3x3", lam))
    assert all(word in str(error.value) for word in words), str(error.value)
