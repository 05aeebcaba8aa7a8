"""A threshold behind the normalisation, and λ with recomputed statistics, against what they must equal."""

import copy

import pytest
import torch
from toys import images, network

from sdnet.csc.lam import at_lam
from sdnet.data.batches import to_pixels
from sdnet.robust.knobs import BatchStatistics
from sdnet.robust.thresholds import LamWithBatchStatistics, NormThreshold


def test_without_a_threshold_the_network_is_as_it_was() -> None:
    model, pixels = network(iterations=1), to_pixels(images().images)
    with torch.no_grad():
        found = NormThreshold(model).scores(pixels, torch.tensor([0.0, 0.5, 1e6]))
        torch.testing.assert_close(found[0], model(pixels))
        assert (found[1] - found[0]).abs().max() > 1e-4
        torch.testing.assert_close(found[2], found[2][:1].expand_as(found[2]))  # silence is the same for every image


def test_with_one_scale_for_all_channels_it_is_lam() -> None:
    """One step, steps of 1/L, and a normalisation that multiplies by one number: t behind it is λ + tL/γ before."""
    model = network(iterations=1).double()
    layer, norm = model.stem[0], model.stem[1]
    with torch.no_grad():
        norm.weight.fill_(1.5)
        norm.running_var.fill_(1.0)
        norm.eps = 0.0
        pixels = to_pixels(images().images).double()
        found = NormThreshold(model).scores(pixels, torch.tensor([0.2], dtype=torch.float64))[0]
        lam = layer.lam + 0.2 / 1.5 * layer.lipschitz
        torch.testing.assert_close(found, at_lam(model, lam, pixels))


def test_statistics_are_recomputed_at_every_lam_and_the_network_stays() -> None:
    model, pixels = network(), to_pixels(images().images)
    before = copy.deepcopy(model.state_dict())
    knob = LamWithBatchStatistics(model)
    found = knob.scores(pixels, torch.tensor([0.1, 0.7]))
    own = BatchStatistics(model).scores(pixels, torch.tensor([1.0]))[0]
    torch.testing.assert_close(found[0], own)
    assert (found[1] - own).abs().max() > 1e-3
    assert knob.start == pytest.approx(0.1)
    torch.testing.assert_close(knob.scores(pixels, torch.tensor([0.1]))[0], own)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_networks_without_such_a_layer_are_refused() -> None:
    for knob in (NormThreshold, LamWithBatchStatistics):
        with pytest.raises(ValueError, match="no CSC layer"):
            knob(network("resnet18"))
    with pytest.raises(ValueError, match="train mode"):
        NormThreshold(network().train())
