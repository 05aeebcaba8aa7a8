"""Feature inversion: the objective falls, the network stays as it was, and a wide layer gives its image back."""

import copy

import pytest
import torch
from toys import network

from sdnet.decoding.decode import layer_at
from sdnet.decoding.inversion import Search, invert, mismatch, total_variation
from sdnet.decoding.likeness import psnr


def test_inversion_lowers_its_objective_and_leaves_the_network_alone() -> None:
    model, pixels = network("resnet18"), torch.rand(2, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    part = layer_at(model, "stage1.block1.conv2").to_output
    with torch.no_grad():
        target = part(pixels)
    search = Search(steps=30)
    found = invert(part, target, (16, 16), search)
    assert found.objective.shape == (31, 2)
    assert (found.objective[-1] < 0.3 * found.objective[0]).all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():  # as seeded, whatever the batch and the caller's mode
        alone = invert(part, target[1:], (16, 16), search)
    torch.testing.assert_close(alone.images, found.images[1:], atol=1e-3, rtol=0)
    missed = (part(found.images) - target).square().flatten(1).sum(1) / target.square().flatten(1).sum(1)
    torch.testing.assert_close(mismatch(part(found.images), target), missed)
    expected = missed + search.total_variation * total_variation(found.images)
    torch.testing.assert_close(found.objective[-1], expected)


def test_inversion_of_a_wide_first_layer_finds_the_image() -> None:
    model = network("resnet18", stem_relu=False)
    pixels = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4), size=(16, 16), mode="bilinear")
    part = layer_at(model, "stem").to_output
    found = invert(part, part(pixels).detach(), (16, 16), Search(steps=150, total_variation=0.0))
    assert psnr(found.images, pixels).min() > 30


def test_inversion_refuses() -> None:
    part = layer_at(network("resnet18"), "stem").to_output
    with pytest.raises(ValueError, match=r"have shape \(1, 8, 16, 16\); got a target of shape \(1, 8, 9, 9\)"):
        invert(part, torch.rand(1, 8, 9, 9), (16, 16))
    with pytest.raises(ValueError, match="train mode"):
        invert(layer_at(network().train(), "stem").to_output, torch.rand(1, 8, 16, 16), (16, 16))
    for name, value in (("steps", 0), ("lr", 0.0), ("total_variation", -1.0)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            Search(**{name: value})
