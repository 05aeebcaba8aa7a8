"""Coherence, local sparsity and the stability theorem, against closed forms, dense matrices and planted codes."""

import math
from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary, dense_matrix, unit_norm
from sdnet.csc.lasso import Lasso
from sdnet.csc.solvers import solve
from sdnet.csc.theory import (
    encoder_gap,
    inactive_radius,
    local_norm,
    local_sparsity,
    mutual_coherence,
    overlapping_shifts,
    sparsity_limit,
    support_recovery,
    welch_bound,
)

GEOMETRIES = [
    (dims, stride, dilation, groups, kernel)
    for dims, stride, dilation, groups, kernel in product((1, 2), (1, 2, 3), (1, 2), (1, 2), (1, 2, 3))
]


def dictionary_of(weight: Tensor, stride: int = 1, dilation: int = 1, groups: int = 1, padding: int = 0) -> Dictionary:
    dims = weight.dim() - 2
    return Dictionary(weight, (stride,) * dims, ((padding, padding),) * dims, (dilation,) * dims, groups)


def random_dictionary(dims: int, stride: int, dilation: int, groups: int, kernel: int) -> Dictionary:
    return dictionary_of(torch.randn(4, 2, *[kernel] * dims, dtype=torch.float64), stride, dilation, groups)


def large_enough(dictionary: Dictionary) -> tuple[int, ...]:
    """A signal size whose code holds an atom and all that overlap it."""
    spans = [d * (k - 1) for d, k in zip(dictionary.dilation, dictionary.weight.shape[2:], strict=True)]
    return tuple(2 * span + s + 1 for span, s in zip(spans, dictionary.stride, strict=True))


def cosines(dictionary: Dictionary, size: tuple[int, ...]) -> Tensor:
    """|cos| between all columns of the dense matrix, zero on the diagonal."""
    matrix = dense_matrix(dictionary, size)
    matrix = matrix / matrix.norm(dim=0)
    return (matrix.T @ matrix).abs().fill_diagonal_(0)


@pytest.mark.parametrize(("dims", "stride", "dilation", "groups", "kernel"), GEOMETRIES)
def test_coherence_is_that_of_the_dense_matrix(dims: int, stride: int, dilation: int, groups: int, kernel: int) -> None:
    dictionary = random_dictionary(dims, stride, dilation, groups, kernel)
    expected = cosines(dictionary, large_enough(dictionary)).max().item()
    assert mutual_coherence(dictionary) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("dims", "stride", "dilation", "groups", "kernel"), GEOMETRIES)
def test_welch_bound_is_below_the_coherence(dims: int, stride: int, dilation: int, groups: int, kernel: int) -> None:
    for atoms in (2, 4, 16):
        weight = torch.randn(atoms, 1, *[kernel] * dims, dtype=torch.float64)
        dictionary = dictionary_of(weight, stride, dilation, groups)
        assert welch_bound(dictionary) <= mutual_coherence(dictionary) + 1e-12


def test_welch_bound_of_papyan_et_al() -> None:
    for m, n in [(2, 1), (5, 8), (100, 64)]:
        expected = math.sqrt((m - 1) / (m * (2 * n - 1) - 1))
        assert welch_bound(dictionary_of(torch.randn(m, 1, n))) == pytest.approx(expected)


def test_welch_bound_is_reached_by_an_equiangular_frame() -> None:
    """Three atoms in the plane (two channels, 1×1): 120° apart, coherence ½."""
    angles = torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3
    dictionary = dictionary_of(torch.stack([angles.cos(), angles.sin()], 1)[:, :, None, None])
    assert mutual_coherence(dictionary) == pytest.approx(0.5)
    assert welch_bound(dictionary) == pytest.approx(0.5)


def test_coherence_of_closed_forms() -> None:
    orthonormal = dictionary_of(torch.eye(4).view(4, 1, 2, 2), stride=2)
    assert mutual_coherence(orthonormal) == 0
    assert welch_bound(orthonormal) == 0
    assert sparsity_limit(0.0) == math.inf
    atom = torch.randn(1, 2, 3, 3)
    assert mutual_coherence(dictionary_of(torch.cat([atom, -2 * atom]))) == pytest.approx(1)
    assert mutual_coherence(dictionary_of(torch.ones(1, 1, 2))) == pytest.approx(0.5)  # with its own shift by one
    assert mutual_coherence(dictionary_of(torch.ones(1, 1, 2), stride=2)) == 0
    assert mutual_coherence(dictionary_of(torch.ones(1, 1, 2), dilation=2)) == pytest.approx(0.5)
    assert mutual_coherence(dictionary_of(torch.ones(1, 1, 5))) == pytest.approx(0.8)
    assert mutual_coherence(dictionary_of(torch.ones(2, 1, 1), groups=2)) == 0


def test_overlapping_shifts() -> None:
    assert overlapping_shifts(dictionary_of(torch.ones(1, 1, 3, 5))) == [5, 9]
    assert overlapping_shifts(dictionary_of(torch.ones(1, 1, 3, 5), stride=2)) == [3, 5]
    assert overlapping_shifts(dictionary_of(torch.ones(1, 1, 3, 5), dilation=2)) == [5, 9]
    assert overlapping_shifts(dictionary_of(torch.ones(1, 1, 3, 5), stride=3, dilation=2)) == [1, 3]


@pytest.mark.parametrize(("dims", "stride", "dilation", "groups", "kernel"), GEOMETRIES)
def test_local_sparsity_counts_overlapping_columns(
    dims: int, stride: int, dilation: int, groups: int, kernel: int
) -> None:
    """Against the dense matrix of atoms of ones: two columns overlap where their inner product is not zero."""
    dictionary = random_dictionary(dims, stride, dilation, groups, kernel)
    dictionary = dictionary.with_weight(torch.ones_like(dictionary.weight))
    size = large_enough(dictionary)
    overlap = cosines(dictionary, size) + torch.eye(dense_matrix(dictionary, size).shape[1])
    code = torch.randn(3, 4, *dictionary.code_size(size)).mul(torch.rand(3, 4, *dictionary.code_size(size)) < 0.2)
    stripes = (overlap > 0).double() @ (code != 0).flatten(1).double().T
    assert local_sparsity(code, dictionary).tolist() == stripes.amax(0).tolist()


def test_local_sparsity_on_a_ring_wraps_around() -> None:
    code = torch.zeros(1, 1, 8)
    code[0, 0, 0] = code[0, 0, 7] = 1
    line = Dictionary(torch.ones(1, 1, 3), (1,), ((1, 1),), (1,))
    ring = Dictionary(torch.ones(1, 1, 3), (1,), ((1, 1),), (1,), padding_mode="circular")
    assert local_sparsity(code, line).item() == 1
    assert local_sparsity(code, ring).item() == 2


def test_local_norm_is_the_largest_patch() -> None:
    signal = torch.randn(2, 3, 9, 9)
    patches = signal.unfold(2, 4, 1).unfold(3, 4, 1).square().sum((1, 4, 5)).sqrt()
    found = local_norm(signal, dictionary_of(torch.randn(5, 3, 4, 4)))
    torch.testing.assert_close(found, patches.flatten(1).amax(1))


def incoherent_dictionary() -> Dictionary:
    """Six random 7×7 atoms in 24 channels: in so many dimensions nearly orthogonal, with all their shifts."""
    return dictionary_of(unit_norm(torch.randn(6, 24, 7, 7, dtype=torch.float64)))


def planted(dictionary: Dictionary, size: tuple[int, int], images: int, limit: float) -> Tensor:
    """Random codes with as many nonzeros as fit without a stripe reaching the limit."""
    codes = torch.zeros(images, dictionary.weight.shape[0], *dictionary.code_size(size), dtype=torch.float64)
    for code in codes:
        for index in torch.randperm(code.numel())[:400]:
            code.view(-1)[index] = (torch.randn(()).sign() * (0.5 + torch.rand(()))).double()
            if local_sparsity(code[None], dictionary).item() >= limit:
                code.view(-1)[index] = 0
    return codes


@pytest.mark.parametrize("noise_size", [1e-3, 3e-2])
def test_planted_codes_within_the_bound_are_recovered(noise_size: float) -> None:
    """Theorem 1 of the paper: support contained, every entry within 7.5 ‖e‖₂,∞, and large entries found."""
    dictionary, size = incoherent_dictionary(), (24, 24)
    limit = sparsity_limit(mutual_coherence(dictionary))
    assert limit > 3
    code = planted(dictionary, size, 2, limit)
    assert code.count_nonzero() > 10
    clean = dictionary.synthesis(code, size)
    noise = torch.randn_like(clean)
    noise *= noise_size / local_norm(noise, dictionary).view(-1, 1, 1, 1)
    assert 3 <= local_sparsity(code, dictionary).max() < limit
    lasso = Lasso(dictionary, clean + noise, 4 * local_norm(noise, dictionary), nonnegative=False)
    solution = solve(lasso, iterations=3000, tolerance=1e-12, restart=True)
    assert solution.gap.max() < 1e-12
    recovery = support_recovery(solution.code, code)
    assert (recovery.precision == 1).all()
    assert (recovery.largest_error < 7.5 * noise_size).all()
    large = code.abs() > 7.5 * noise_size
    assert large.any()
    assert (solution.code != 0)[large].all()
    if noise_size < 1e-2:
        assert (recovery.recall == 1).all()
        assert (recovery.relative_error < 1e-2).all()


def test_the_theorem_is_silent_about_dense_codes_and_coherent_atoms() -> None:
    dictionary = dictionary_of(unit_norm(torch.randn(16, 3, 3, 3)))
    assert local_sparsity(torch.ones(2, 16, 4, 4), dictionary).tolist() == [256, 256]
    assert sparsity_limit(mutual_coherence(dictionary)) < 2


def test_support_recovery_counts() -> None:
    truth = torch.tensor([[[1.0, 0, 2, 0]], [[0, 0, 0, 0]]])
    found = torch.tensor([[[1.0, 3, 0, 0]], [[0, 0, 0, 1e-4]]])
    recovery = support_recovery(found, truth)
    assert recovery.precision.tolist() == [0.5, 0]
    assert recovery.recall.tolist() == [0.5, 1]
    assert recovery.relative_error[0].item() == pytest.approx(math.sqrt(13 / 5))
    assert recovery.largest_error.tolist() == pytest.approx([3, 1e-4])
    assert support_recovery(found, truth, threshold=1e-3).precision.tolist() == [0.5, 1]
    with pytest.raises(ValueError, match=r"found must have the shape of planted, \(2, 1, 4\); got \(1, 1, 4\)"):
        support_recovery(found[:1], truth)
    with pytest.raises(ValueError, match="threshold must be >= 0; got -1"):
        support_recovery(found, truth, threshold=-1)


def test_of_an_orthogonal_dictionary_the_radius_of_a_zero_is_its_distance_from_the_threshold() -> None:
    eye = dictionary_of(torch.eye(4, dtype=torch.float64).view(4, 4, 1))
    signal = torch.tensor([0.9, 0.2, -0.7, 0.0], dtype=torch.float64).view(1, 4, 1)
    lam = torch.tensor(0.5, dtype=torch.float64)
    for nonnegative, expected in ((True, [0.0, 0.3, 1.2, 0.5]), (False, [0.0, 0.3, 0.0, 0.5])):
        lasso = Lasso(eye, signal, lam, nonnegative)
        code = solve(lasso, iterations=50, restart=True).code
        assert inactive_radius(lasso, code).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("nonnegative", "ridge"), [(True, 0.0), (False, 0.0), (True, 0.3)])
def test_zeros_stay_zero_within_their_radius_and_are_lost_beyond_it(nonnegative: bool, ridge: float) -> None:
    weight = unit_norm(torch.randn(6, 2, 3, dtype=torch.float64))
    dictionary = dictionary_of(weight, padding=1)
    lasso = Lasso(dictionary, torch.randn(1, 2, 6, dtype=torch.float64), torch.tensor(0.4).double(), nonnegative, ridge)
    exact = {"iterations": 2000, "tolerance": 1e-12, "restart": True}
    code = solve(lasso, **exact).code
    radius = inactive_radius(lasso, code).flatten()
    matrix = dense_matrix(dictionary, (6,))
    kept = lost = 0
    for entry in (code.flatten() == 0).nonzero().flatten()[::3]:
        # Towards its own column an entry gains most: the worst direction if nothing else changed.
        for size in (0.99, 10.0):
            moved = lasso.signal + size * radius[entry] * unit_norm(matrix[:, entry].view(1, 2, 6))
            other = solve(Lasso(dictionary, moved, lasso.lam, nonnegative, ridge), **exact).code.flatten()
            if size < 1:
                sure = radius > size * radius[entry] + 1e-9
                assert not other[sure & (code.flatten() == 0)].any()
                kept += int(sure.sum())
            lost += int(size > 1 and other[entry] != 0)
    assert kept > 20
    assert lost > 0


def test_the_encoder_gap_is_its_definition() -> None:
    radius = torch.rand(3, 2, 3, dtype=torch.float64)
    for atoms in range(6):
        subsets = combinations(range(6), 6 - atoms)
        expected = torch.stack([radius.flatten(1)[:, list(chosen)].amin(1) for chosen in subsets]).amax(0)
        assert torch.equal(encoder_gap(radius, atoms), expected)
    for wrong in (-1, 6):
        with pytest.raises(ValueError, match=f"atoms must be from 0 to 5; got {wrong}"):
            encoder_gap(radius, wrong)
