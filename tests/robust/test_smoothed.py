"""An attacker who smooths thresholds, against models whose robust accuracy is known, and against a network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from toys import LINF, Linear, images, network

from sdnet.csc.prox import soft_threshold
from sdnet.data.batches import to_pixels
from sdnet.experiments.attacks.protocols import at
from sdnet.robust.attacks import Attack, perturb
from sdnet.robust.knobs import Lam
from sdnet.robust.smoothed import SmoothThresholds, check_smoothed

EPSILON, THRESHOLD = 0.1, 0.5


class Thresholded(nn.Module):
    """Four pixels, a class each; a class's score is what its pixel has above the threshold."""

    def forward(self, pixels: Tensor) -> Tensor:
        return soft_threshold(pixels.flatten(1), THRESHOLD, nonnegative=True)


def robust_by_hand(pixels: Tensor, labels: Tensor) -> Tensor:
    """The worst perturbation lowers the own pixel and raises all others, each by ε: the order must survive that."""
    values = pixels.flatten(1)
    own = values.gather(1, labels[:, None]).squeeze(1) - EPSILON - THRESHOLD
    others = (values.scatter(1, labels[:, None], -1).amax(1) + EPSILON - THRESHOLD).clamp_min(0)
    return own.clamp_min(0) > others


def left(model: nn.Module, pixels: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    with torch.no_grad():
        return model(perturb(model, pixels, labels, attack)).argmax(1) == labels


def test_below_a_threshold_pgd_sees_nothing_and_smoothed_pgd_finds_the_closed_form() -> None:
    pixels = torch.full((200, 1, 2, 2), 0.45)  # below the threshold by less than ε: silent, and not for good
    pixels[:, 0, 0, 0] = torch.linspace(0.55, 0.85, 200)
    labels = torch.zeros(200, dtype=torch.long)
    model = Thresholded().eval()
    expected = robust_by_hand(pixels, labels)
    plain = Attack("pgd", "linf", EPSILON, steps=40, random_start=False)
    found = left(model, pixels, labels, replace(plain, name="pgd_smoothed"))
    near = (pixels[:, 0, 0, 0] - (0.45 + 2 * EPSILON)).abs() < 0.005
    assert torch.equal(found[~near], expected[~near])
    blind = left(model, pixels, labels, plain)
    assert blind.float().mean() > expected.float().mean() + 0.05  # which would be called robust, and is not
    assert 0.3 < expected.float().mean() < 0.9


@pytest.mark.parametrize(("norm", "dual", "epsilon"), [("linf", 1, 0.004), ("l2", 2, 0.04)])
def test_without_a_threshold_it_is_pgd_and_finds_the_closed_form(norm: str, dual: int, epsilon: float) -> None:
    pixels = 0.4 + 0.2 * torch.rand(200, 3, 8, 8)
    model = Linear(pixels)
    with torch.no_grad():
        value = model.value(pixels)
        labels = (value > 0).long()
        needed = epsilon * model.w.norm(p=dual)
    attack = Attack("pgd", norm, epsilon, steps=40)
    smoothed = perturb(model, pixels, labels, replace(attack, name="pgd_smoothed"), seed=2)
    assert torch.equal(smoothed, perturb(model, pixels, labels, attack, seed=2))
    tie = (value.abs() - needed).abs() < 0.02 * needed
    with torch.no_grad():
        robust = model(smoothed).argmax(1) == labels
    assert torch.equal(robust[~tie], (value.abs() > needed)[~tie])


def test_values_stay_and_the_derivative_is_the_logistic_one() -> None:
    values = torch.randn(50, dtype=torch.float64, requires_grad=True)
    with SmoothThresholds(0.3):
        for relu in (torch.relu, torch.Tensor.relu, nn.functional.relu, nn.ReLU(), nn.ReLU(inplace=True)):
            result = relu(values * 1)
            assert torch.equal(result, values.clamp_min(0))
            (slope,) = torch.autograd.grad(result.sum(), values)
            scale = 0.3 * values.std(correction=0).float()
            torch.testing.assert_close(slope, torch.sigmoid(values.detach() / scale))
    (slope,) = torch.autograd.grad(torch.relu(values).sum(), values)
    assert set(slope.tolist()) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="width must be finite and > 0; got 0"):
        SmoothThresholds(0)


def test_a_small_width_gives_the_true_gradient_of_a_network() -> None:
    target, split = at(Lam(network()), 0.3), images(4)
    pixels = to_pixels(split.images).requires_grad_()
    (true,) = torch.autograd.grad(target(pixels).square().sum(), pixels)
    with SmoothThresholds(1e-6):
        (near,) = torch.autograd.grad(target(pixels).square().sum(), pixels)
    with SmoothThresholds():
        scores = target(pixels)
        check_smoothed(scores)
        (other,) = torch.autograd.grad(scores.square().sum(), pixels)
    assert (near - true).norm() < 0.02 * true.norm()
    assert (other - true).norm() > 0.1 * true.norm()
    torch.testing.assert_close(scores, target(pixels), rtol=0, atol=1e-6)


def test_a_threshold_that_cannot_be_smoothed_is_refused() -> None:
    split = images(4)
    pixels = to_pixels(split.images)
    smoothed = replace(LINF, name="pgd_smoothed")
    perturb(at(Lam(network()), 0.3), pixels, split.labels, smoothed)
    with pytest.raises(ValueError, match="a threshold of this network keeps its own derivative"):
        perturb(at(Lam(network(nonnegative=False)), 0.3), pixels, split.labels, smoothed)
