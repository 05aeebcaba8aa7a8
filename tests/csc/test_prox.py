"""The soft thresholds are what they claim to be: minimisers of penalty + ½(z − v)²."""

import pytest
import torch

from sdnet.csc.prox import elastic_net, soft_threshold

VALUES = torch.linspace(-3, 3, 61, dtype=torch.float64)
CANDIDATES = torch.arange(-4000, 4001, dtype=torch.float64) / 1000


def brute_force(values: torch.Tensor, threshold: float, ridge: float, nonnegative: bool) -> torch.Tensor:
    """argmin over a fine grid of z, by looking at every point."""
    z = CANDIDATES[CANDIDATES >= 0] if nonnegative else CANDIDATES
    cost = threshold * z.abs() + ridge / 2 * z**2 + (z - values[:, None]) ** 2 / 2
    return z[cost.argmin(1)]


@pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "nonnegative"])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.7])
def test_is_the_minimiser_found_by_looking_everywhere(threshold: float, ridge: float, nonnegative: bool) -> None:
    expected = brute_force(VALUES, threshold, ridge, nonnegative)
    found = elastic_net(VALUES, threshold, ridge, nonnegative=nonnegative)
    assert (found - expected).abs().max() <= 0.5e-3 + 1e-9  # half the spacing of the candidates


@pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "nonnegative"])
def test_threshold_as_number_and_as_tensor_agree(nonnegative: bool) -> None:
    number = soft_threshold(VALUES, 0.7, nonnegative=nonnegative)
    tensor = soft_threshold(VALUES, torch.tensor(0.7, dtype=torch.float64), nonnegative=nonnegative)
    assert torch.equal(number, tensor)
    assert torch.equal(number, elastic_net(VALUES, 0.7, 0.0, nonnegative=nonnegative))


def test_threshold_broadcasts_per_image_and_per_channel() -> None:
    values = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    threshold = torch.tensor([[0.0, 0.5, 1.0], [2.0, 0.1, 9.0]])
    together = soft_threshold(values, threshold[:, :, None, None])
    for image in range(2):
        for channel in range(3):
            alone = soft_threshold(values[image, channel], threshold[image, channel].item())
            assert torch.equal(together[image, channel], alone)


def test_zero_inside_the_threshold_and_shifted_outside() -> None:
    values = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    assert soft_threshold(values, 1.0).tolist() == [-1, 0, 0, 0, 0, 0, 1]
    assert soft_threshold(values, 1.0, nonnegative=True).tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_is_nonexpansive() -> None:
    first, second = torch.randn(2, 1000, generator=torch.Generator().manual_seed(1))
    moved = (elastic_net(first, 0.4, 0.2) - elastic_net(second, 0.4, 0.2)).abs()
    assert (moved <= (first - second).abs() / 1.2 + 1e-6).all()


@pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "nonnegative"])
def test_gradient_with_respect_to_values_and_threshold(nonnegative: bool) -> None:
    values = (VALUES[::5] + 0.013).requires_grad_()
    threshold = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, t: elastic_net(v, t, 0.3, nonnegative=nonnegative), (values, threshold))
