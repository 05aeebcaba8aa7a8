"""Theorems 7 and 8 of the slides, and layered ISTA under noise, on planted codes that satisfy what they assume."""

import math

import pytest
import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.layered import patch_error, pursuit_bounds, thresholding_bounds
from sdnet.csc.prox import soft_threshold
from sdnet.experiments.deep_pursuit.planted import found_by_pursuit, found_by_thresholding, planted


def recovered(found: Tensor, code: Tensor, exactly: bool) -> None:
    ours, theirs = found != 0, code != 0
    assert torch.equal(ours, theirs) if exactly else not (ours & ~theirs).any()


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.04])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_layered_thresholding_finds_supports_within_its_bounds(noise: float, seed: int) -> None:
    dictionaries, codes, error = planted(noise, seed)
    bounds = thresholding_bounds(dictionaries, codes, error)
    assert all(bound.holds for bound in bounds)
    signal = dictionaries[0].synthesis(codes[0], error.shape[2:]) + error
    found = found_by_thresholding(dictionaries, bounds, signal)
    for i, (ours, code, bound) in enumerate(zip(found, codes, bounds, strict=True)):
        recovered(ours, code, exactly=True)
        following = dictionaries[i + 1] if i + 1 < len(dictionaries) else None
        assert 0 < patch_error(ours, code, following) <= bound.error  # never exact, as the slides say: β is lost


def test_a_threshold_outside_its_interval_loses_the_support() -> None:
    """Condition b of Theorem 7 is sufficient; far outside, its conclusion fails, and the bound says it is silent."""
    dictionaries, codes, error = planted(0.01, 0)
    size = error.shape[2:]
    signal = dictionaries[0].synthesis(codes[0], size) + error
    for beta in (1e-4, 10.0):
        assert not thresholding_bounds(dictionaries, codes, error, [beta, 0.1])[0].holds
        found = soft_threshold(dictionaries[0].analysis(signal), beta)
        assert not torch.equal(found != 0, codes[0] != 0)


@pytest.mark.parametrize("noise", [0.001, 0.004])
@pytest.mark.parametrize("seed", [0, 1])
def test_layered_ista_contains_its_support_within_its_bounds(noise: float, seed: int) -> None:
    dictionaries, codes, error = planted(noise, seed)
    bounds = pursuit_bounds(dictionaries, codes, error)
    assert all(bound.holds for bound in bounds)
    signal = dictionaries[0].synthesis(codes[0], error.shape[2:]) + error
    found = found_by_pursuit(dictionaries, [bound.lowest for bound in bounds], signal)
    for i, (ours, code, bound) in enumerate(zip(found, codes, bounds, strict=True)):
        recovered(ours, code, exactly=False)
        following = dictionaries[i + 1] if i + 1 < len(dictionaries) else None
        assert patch_error(ours, code, following) <= bound.error


def test_theorem_8_without_noise_the_codes_are_recovered_as_lam_vanishes() -> None:
    dictionaries, codes, error = planted(0.0, 0)
    bounds = pursuit_bounds(dictionaries, codes, error)
    assert all(bound.holds and bound.error == 0 for bound in bounds)
    signal = dictionaries[0].synthesis(codes[0], error.shape[2:])
    errors = []
    for lam in (1e-2, 1e-3, 1e-4):
        found = found_by_pursuit(dictionaries, [lam, lam], signal)
        errors.append(max((a - b).abs().max().item() for a, b in zip(found, codes, strict=True)))
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 5 < 1e-2


def test_theorem_11_the_error_is_proportional_to_the_noise() -> None:
    """One layer, λ proportional to ‖E‖: the support is contained and the error falls with the noise."""
    ratios = []
    for noise in (0.02, 0.005, 0.00125):
        dictionaries, codes, error = planted(noise, 3)
        size = pursuit_bounds(dictionaries[:1], codes[:1], error)[0].lowest / 4
        signal = dictionaries[0].synthesis(codes[0], error.shape[2:]) + error
        (found,) = found_by_pursuit(dictionaries[:1], [4 * size], signal)
        recovered(found, codes[0], exactly=False)
        ratios.append((found - codes[0]).norm().item() / error.norm().item())
    assert max(ratios) < 3 * min(ratios)


def test_bounds_by_hand() -> None:
    """An orthonormal dictionary of single entries: μ = 0, stripes and patches of one position."""
    identity = Dictionary(torch.eye(3, dtype=torch.float64)[:, :, None], (1,), ((0, 0),), (1,))
    code = torch.tensor([[[3.0, 0], [-2, 0], [0, 0]]], dtype=torch.float64)
    noise = torch.zeros_like(code)
    noise[0, :, 1] = torch.tensor([0.3, 0.4, 0])
    (one,) = thresholding_bounds([identity], [code], noise, [0.8])
    assert (one.coherence, one.sparsity, one.limit, one.holds) == (0, 2, math.inf, True)
    assert (one.lowest, one.highest) == pytest.approx((0.5, 1.5))
    assert one.error == pytest.approx(math.sqrt(2) * (0.5 + 0.8))
    (two,) = pursuit_bounds([identity], [code], noise)
    assert two.threshold == pytest.approx(2.0)
    assert two.error == pytest.approx(7.5 * math.sqrt(2) * 0.5)
