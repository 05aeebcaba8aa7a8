"""MeanSparse on features whose mean and deviation are known, on networks, and under an attacker who passes through."""

import pytest
import torch
from torch import nn
from toys import network

from sdnet.robust.mean_sparse import MeanSparse
from sdnet.robust.smoothed import SmoothThresholds, check_smoothed


def test_features_near_their_mean_become_it() -> None:
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(norm, nn.Flatten()).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -0.5]))
        norm.bias.copy_(torch.tensor([1.0, 3.0]))
    normalised = torch.tensor([0.2, -0.3, 0.5, -2.0]).view(1, 1, 2, 2).expand(1, 2, 2, 2)
    images = normalised * (1 + norm.eps) ** 0.5
    kept = torch.tensor([0.0, 0.0, 0.5, -2.0])
    untouched, sparse = MeanSparse(model).scores(images, torch.tensor([0.0, 0.4]))
    torch.testing.assert_close(untouched, model(images))
    torch.testing.assert_close(sparse, torch.cat([1 + 2 * kept, 3 - 0.5 * kept])[None])
    assert not norm._forward_hooks


@pytest.mark.parametrize("arch", ["resnet18", "sdnet18"])
def test_a_network_at_zero_is_itself_and_at_a_large_strength_says_the_same_to_all(arch: str) -> None:
    model, pixels = network(arch), torch.rand(4, 3, 16, 16)
    same, other, silent = MeanSparse(model).scores(pixels, torch.tensor([0.0, 0.3, 1e3]))
    assert torch.equal(same, model(pixels))
    assert not torch.equal(other, same)
    # The shortcut of a first block has no normalisation: what is left depends on the image through it alone.
    assert (silent - silent[:1]).abs().max() < (same - same[:1]).abs().max()


def test_its_gradient_is_zero_below_the_threshold_and_passes_through_when_smoothed() -> None:
    norm = nn.BatchNorm2d(1)
    knob = MeanSparse(nn.Sequential(norm).eval())
    pixels = torch.tensor([0.1, 0.2, 0.9, -1.5]).view(4, 1, 1, 1)
    pixels.requires_grad_()
    scale = (1 + norm.eps) ** -0.5
    (slope,) = torch.autograd.grad(knob.scores(pixels, torch.tensor([0.5])).sum(), pixels)
    torch.testing.assert_close(slope.flatten(), scale * torch.tensor([0.0, 0.0, 1.0, 1.0]))
    plain = knob.scores(pixels, torch.tensor([0.5]))
    with pytest.raises(ValueError, match="keeps its own derivative"):
        check_smoothed(plain)
    with SmoothThresholds():
        smoothed = knob.scores(pixels, torch.tensor([0.5]))
        (through,) = torch.autograd.grad(smoothed.sum(), pixels, retain_graph=True)
    assert torch.equal(smoothed, plain)
    torch.testing.assert_close(through.flatten(), torch.full((4,), scale))
    check_smoothed(smoothed)


def test_what_it_cannot_work_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no nn\.BatchNorm2d"):
        MeanSparse(nn.Conv2d(3, 4, 3).eval())
    with pytest.raises(ValueError, match="in train mode"):
        MeanSparse(network().train())
