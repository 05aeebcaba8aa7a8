"""The bound on ‖A‖² is never below the spectral norm of the dense matrix, and not far above it."""

from itertools import product

import pytest
import torch

from sdnet.csc.dictionary import Dictionary, dense_matrix, unit_norm
from sdnet.csc.lipschitz import fourier_bound, power_iteration, random_probe

KERNELS = {
    "random": torch.randn,
    "constant": torch.ones,  # the largest norm unit atoms can have, at frequency 0
    "alternating": lambda *shape, dtype: torch.ones(*shape, dtype=dtype) * (-1.0) ** torch.arange(shape[-1]),
    "one_tap": lambda *shape, dtype: torch.zeros(*shape, dtype=dtype).index_fill_(-1, torch.tensor(shape[-1] - 1), 1.0),
}


def spectral_norm_squared(dictionary: Dictionary, size: tuple[int, ...]) -> torch.Tensor:
    matrix = dense_matrix(dictionary, size)
    return torch.linalg.eigvalsh(matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix)[-1]


def grid(dims: int, mode: str):
    """Geometries with their signal sizes, among them padding far beyond the kernel's reach."""
    sizes = (4, 7, 8) if dims == 1 else (4, 7)
    for stride, dilation, groups, kernel, padding, size in product(
        (1, 2, 3), (1, 2), (1, 2), (1, 2, 3), (0, 1, 4), sizes
    ):
        span = dilation * (kernel - 1)
        if size + 2 * padding >= span + 1 and (mode == "zeros" or size >= max(span + 1, padding)):
            yield stride, dilation, groups, kernel, padding, (size,) * dims


@pytest.mark.parametrize("kind", list(KERNELS))
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("dims", [1, 2], ids=["1d", "2d"])
@torch.no_grad()
def test_fourier_bound_is_never_below_the_spectral_norm(dims: int, mode: str, kind: str) -> None:
    for stride, dilation, groups, kernel, padding, size in grid(dims, mode):
        weight = KERNELS[kind](4, 2 // groups, *[kernel] * dims, dtype=torch.float64)
        dictionary = Dictionary(
            weight, (stride,) * dims, ((padding, padding),) * dims, (dilation,) * dims, groups, mode
        )
        case = f"{stride=} {dilation=} {groups=} {kernel=} {padding=} {size=}"
        true = spectral_norm_squared(dictionary, size) * (1 - 1e-12)
        assert fourier_bound(dictionary) >= true, case
        assert fourier_bound(dictionary, size) >= true, f"with its size: {case}"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@torch.no_grad()
def test_signals_smaller_than_the_kernel(size: int) -> None:
    weight = torch.randn(3, 2, 5, dtype=torch.float64)
    dictionary = Dictionary(weight, (1,), ((4, 4),), (1,))
    true = spectral_norm_squared(dictionary, (size,))
    assert true * (1 - 1e-12) <= fourier_bound(dictionary, (size,)) <= fourier_bound(dictionary) * (1 + 1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("kind", list(KERNELS))
@torch.no_grad()
def test_single_precision_does_not_round_below_the_norm(kind: str, scale: float) -> None:
    weight = KERNELS[kind](8, 3, 5, 5, dtype=torch.float32) * scale
    single = Dictionary(weight, (1, 1), ((2, 2), (2, 2)), (1, 1), padding_mode="circular")
    true = spectral_norm_squared(single.with_weight(weight.double()), (8, 8))
    assert fourier_bound(single, (8, 8)).double() >= true
    assert fourier_bound(single).double() >= true


@pytest.mark.parametrize("kernel", [3, 5, 7])
@torch.no_grad()
def test_is_tight_for_a_stem(kernel: int) -> None:
    """3 → 64 unit atoms: at most 5 % above the supremum of the symbol, found by looking at 128² frequencies."""
    weight = unit_norm(torch.randn(64, 3, kernel, kernel, dtype=torch.float64))
    dictionary = Dictionary(weight, (1, 1), ((kernel // 2,) * 2,) * 2, (1, 1))
    symbol = torch.fft.fft2(weight, s=(128, 128)).permute(2, 3, 0, 1)
    supremum = torch.linalg.matrix_norm(symbol, 2).amax() ** 2
    assert supremum <= fourier_bound(dictionary) <= 1.05 * supremum


@torch.no_grad()
def test_is_tight_with_a_signal_size() -> None:
    """Circular and aligned: A is a circulant, and the bound is its norm but for the factor 3^(1/256)."""
    weight = unit_norm(torch.randn(16, 3, 3, 3, dtype=torch.float64))
    dictionary = Dictionary(weight, (1, 1), ((1, 1), (1, 1)), (1, 1), padding_mode="circular")
    true = spectral_norm_squared(dictionary, (6, 8))
    assert true * (1 - 1e-12) <= fourier_bound(dictionary, (6, 8)) <= true * 3 ** (1 / 256) * (1 + 1e-10)


@torch.no_grad()
def test_orthonormal_atoms_have_norm_one() -> None:
    identity = torch.eye(4, dtype=torch.float64).view(4, 1, 2, 2)
    dictionary = Dictionary(identity, (2, 2), ((0, 0), (0, 0)), (1, 1))
    # A bound up to 4^(1/256): the trace of a power stands for its largest eigenvalue.
    assert 1 <= fourier_bound(dictionary) <= 4 ** (1 / 256) * (1 + 1e-10)
    assert power_iteration(dictionary, random_probe(dictionary), 3)[0] == pytest.approx(1)


@pytest.mark.parametrize(("stride", "mode"), [(1, "zeros"), (2, "zeros"), (1, "circular"), (2, "circular")])
@torch.no_grad()
def test_power_iteration_converges_from_below(stride: int, mode: str) -> None:
    weight = unit_norm(torch.randn(24, 6, 3, 3, dtype=torch.float64))
    dictionary = Dictionary(weight, (stride, stride), ((1, 1), (1, 1)), (1, 1), padding_mode=mode)
    bound, probe, estimates = fourier_bound(dictionary), random_probe(dictionary), []
    for _ in range(60):
        estimate, probe = power_iteration(dictionary, probe, 10)
        estimates.append(estimate)
    steps = torch.stack(estimates)
    assert (steps.diff() >= -1e-12).all()
    assert steps[-1] <= bound
    assert steps[-1] >= 0.94 * bound  # the probe's grid of 16² misses the exact frequency by a little
    assert probe.norm() == pytest.approx(1)


@torch.no_grad()
def test_the_default_margin_of_a_layer_covers_the_power_estimate() -> None:
    """Thirty steps, as at a layer's construction, divided by 0.9 are above the true norm (64 → 64 channels)."""
    weight = unit_norm(torch.randn(64, 64, 3, 3))
    dictionary = Dictionary(weight, (1, 1), ((1, 1), (1, 1)), (1, 1))
    estimate, _ = power_iteration(dictionary, random_probe(dictionary), 30)
    symbol = torch.fft.rfft2(weight, s=(32, 32)).permute(2, 3, 0, 1)
    assert estimate / 0.9 >= torch.linalg.matrix_norm(symbol, 2).amax() ** 2


@torch.no_grad()
def test_zero_atoms_give_a_finite_step() -> None:
    dictionary = Dictionary(torch.zeros(4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    assert 0 < fourier_bound(dictionary) < 1e-30
    assert (1 / fourier_bound(dictionary)).isfinite()


@torch.no_grad()
def test_half_precision_weights_are_bounded_in_single_precision() -> None:
    weight = unit_norm(torch.randn(8, 3, 3, 3)).bfloat16()
    dictionary = Dictionary(weight, (1, 1), ((1, 1), (1, 1)), (1, 1))
    bound = fourier_bound(dictionary)
    assert bound.dtype == torch.float32
    torch.testing.assert_close(bound, fourier_bound(dictionary.with_weight(weight.float())))
