"""λ of a network, however many layers have one: read, set, and evaluated at others without a trace."""

import copy

import pytest
import torch
from torch import nn
from toys import network

from sdnet import CSCConv2d, project_after_step, set_lam
from sdnet.csc.lam import at_lam, at_lams, coding_layers, own_lam
from sdnet.models.scn import PatchCoding2d

LAMS = torch.tensor([0.1, 0.5, 1.0, 0.3])
NETWORKS = ("sdnet18", "sdnet18_all", "scn18", "scn")


def coding(kind: str) -> nn.Module:
    layer = CSCConv2d(3, 8, 3, padding=1) if kind == "csc" else PatchCoding2d(3, 8, 3, padding=1, lam=0.1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight) / 3)
    layer.project_(30)
    return layer


@pytest.mark.parametrize("arch", NETWORKS)
@torch.no_grad()
def test_many_lams_are_one_after_the_other_and_leave_the_network_as_it_was(arch: str) -> None:
    model, pixels = network(arch), torch.rand(3, 3, 16, 16)
    before, forward = copy.deepcopy(model.state_dict()), model(pixels)
    together = at_lams(model, LAMS, pixels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(pixels), forward)
    assert not any("forward" in vars(module) for module in model.modules())
    for lam, scores in zip(LAMS, together, strict=True):
        torch.testing.assert_close(at_lam(model, lam, pixels), scores, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(at_lam(model, lam.expand(3), pixels), scores, rtol=1e-4, atol=1e-4)
        set_lam(model, lam)
        torch.testing.assert_close(model(pixels), scores, rtol=1e-4, atol=1e-4)
        assert own_lam(model) == pytest.approx(lam.item())
    assert (together[0] - together[2]).abs().max() > 1e-3


@pytest.mark.parametrize("arch", NETWORKS)
@torch.no_grad()
def test_shifts_add_to_every_layers_own_lam(arch: str) -> None:
    model, pixels = network(arch), torch.rand(3, 3, 16, 16)
    for index, (_, layer) in enumerate(coding_layers(model)):
        layer.lam.fill_(1e-4 * (index + 1))
    shifted = copy.deepcopy(model)
    for _, layer in coding_layers(shifted):
        layer.lam.add_(0.01)
    same, more = at_lams(model, torch.tensor([0.0, 0.01]), pixels, shift=True)
    torch.testing.assert_close(same, model(pixels), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(more, shifted(pixels), rtol=1e-4, atol=1e-4)
    assert not torch.equal(same, more)


@pytest.mark.parametrize("kind", ["csc", "patches"])
@pytest.mark.parametrize("shape", [(3,), (1, 8), (3, 1), (3, 8)], ids=["image", "channel", "column", "both"])
@torch.no_grad()
def test_layers_take_a_lam_for_each_image_and_channel(kind: str, shape: tuple[int, ...]) -> None:
    layer, signal, lam = coding(kind), torch.randn(3, 3, 6, 7), torch.rand(shape)
    codes = at_lam(layer, lam, signal)
    full = lam.view(*shape, *[1] * (2 - len(shape))).expand(3, 8)
    for image in range(3):
        per_channel = at_lam(layer, full[image : image + 1], signal[image : image + 1])
        torch.testing.assert_close(codes[image : image + 1], per_channel, rtol=1e-4, atol=1e-5)
    assert not torch.equal(codes, layer(signal))
    with pytest.raises(ValueError, match=r"lam has shape \(5,\); with 3 images and 8 atoms it may be"):
        at_lam(layer, torch.rand(5), signal)


def test_a_lam_from_outside_has_its_whole_gradient_and_a_learned_one_its_rate() -> None:
    layer = PatchCoding2d(2, 6, 3, padding=1, lam=0.05, lam_rate=0.25, iterations=4000).double()
    signal, lam = torch.randn(2, 2, 4, 4).double(), torch.tensor(0.05).double().requires_grad_()
    at_lam(layer, lam, signal).sum().backward()
    layer(signal).sum().backward()
    torch.testing.assert_close(layer.lam.grad, 0.25 * lam.grad)
    per_image = torch.full((2,), 0.05).double().requires_grad_()
    at_lam(layer, per_image, signal).sum().backward()
    assert per_image.grad.shape == (2,)
    torch.testing.assert_close(per_image.grad.sum(), lam.grad)
    with torch.no_grad():
        ahead, behind = (at_lam(layer, lam + step, signal).sum() for step in (1e-6, -1e-6))
    torch.testing.assert_close(lam.grad, (ahead - behind) / 2e-6, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_residual_of_patches_is_theirs() -> None:
    layer, signal = coding("patches"), torch.randn(2, 3, 5, 6)
    code = layer(signal)
    residual = layer.residual(signal, code)
    assert torch.equal(layer.residual(signal), residual)
    patches = torch.nn.functional.pad(signal, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    for image, row, column in ((0, 0, 0), (1, 4, 2)):
        patch = patches[image, :, row, column].reshape(-1)
        expected = patch - layer.weight.flatten(1).T @ code[image, :, row, column]
        torch.testing.assert_close(residual[image, :, row * 6 + column], expected)


def test_a_network_has_one_lam_or_says_why_not() -> None:
    assert own_lam(network()) == 0.1
    model = network("scn")
    coding_layers(model)[3][1].lam.data.fill_(0.25)
    with pytest.raises(ValueError, match=r"no one λ of its own: its 14 layers have 14 from 0 to 0.25; shift them all"):
        own_lam(model)
    with pytest.raises(ValueError, match="no layer with a λ"):
        own_lam(nn.Conv2d(3, 4, 3))
    per_channel = CSCConv2d(3, 4, 3)
    set_lam(per_channel, torch.full((1, 4), 0.1))
    with pytest.raises(ValueError, match="no one λ"):
        own_lam(per_channel)


def test_a_learned_lam_stays_the_parameter_that_its_optimizer_knows() -> None:
    model = network("scn18")
    (parameter,) = (value for name, value in model.named_parameters() if name.endswith("lam"))
    set_lam(model, 0.4)
    assert coding_layers(model)[0][1].lam is parameter
    assert parameter.item() == pytest.approx(0.4)
    with pytest.raises(ValueError, match=r"shape \(\), since a layer here learns its λ; got \(2,\)"):
        set_lam(model, torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match=r"lam must have the shape .*; got \(4, 1, 1\)"):
        set_lam(CSCConv2d(3, 4, 3), LAMS.view(-1, 1, 1))


@pytest.mark.parametrize(("learn_lam", "shape"), [("layer", ()), ("channel", (1, 6))])
@pytest.mark.parametrize("gradient", ["unrolled", "checkpointed", "implicit"])
def test_a_csc_layer_learns_its_lam_and_keeps_it_nonnegative(
    learn_lam: str, shape: tuple[int, ...], gradient: str
) -> None:
    layer = CSCConv2d(2, 6, 3, padding=1, lam=0.05, gradient=gradient, iterations=400, learn_lam=learn_lam).double()
    signal, lam = torch.randn(2, 2, 4, 4).double(), torch.full(shape, 0.05).double().requires_grad_()
    assert layer.lam.shape == shape
    at_lam(layer, lam, signal).sum().backward()
    code = layer(signal)
    torch.testing.assert_close(code, at_lam(layer, lam, signal))
    code.sum().backward()
    sharing = 6 * 16 / layer.lam.numel()
    torch.testing.assert_close(layer.lam.grad, lam.grad / sharing**0.5)
    assert layer.lam.grad.abs().min() > 0
    optimizer = torch.optim.SGD(layer.parameters(), 1.0)
    project_after_step(optimizer, layer)
    layer.lam.grad.fill_(0.02)
    optimizer.step()
    torch.testing.assert_close(layer.lam.detach(), torch.full(shape, 0.03).double())
    layer.lam.grad.fill_(0.5)
    optimizer.step()
    assert torch.equal(layer.lam.detach(), torch.zeros(shape).double())


def test_a_lam_learned_per_channel_is_shifted_saved_and_set() -> None:
    layer, signal = CSCConv2d(3, 5, 3, padding=1, learn_lam="channel"), torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        layer.lam.copy_(torch.linspace(0.05, 0.3, 5)[None])
    found = at_lams(layer, torch.tensor([0.0, 0.2]), signal, shift=True)
    torch.testing.assert_close(found[0], layer(signal))
    torch.testing.assert_close(found[1], at_lam(layer, layer.lam.detach() + 0.2, signal))
    again = CSCConv2d(3, 5, 3, padding=1, learn_lam="channel")
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.lam, layer.lam)
    with pytest.raises(RuntimeError, match="size mismatch for lam"):
        CSCConv2d(3, 5, 3, padding=1, learn_lam="layer").load_state_dict(layer.state_dict())
    set_lam(layer, torch.full((1, 5), 0.4))
    set_lam(again, 0.4)
    assert torch.equal(layer.lam, again.lam)
    with pytest.raises(ValueError, match=r"shape \(\) or \(1, 5\), since a layer here learns its λ; got \(2,\)"):
        set_lam(layer, torch.tensor([0.1, 0.2]))
    layer.reset_parameters()
    assert isinstance(layer.lam, nn.Parameter)
    assert torch.equal(layer.lam.detach(), torch.full((1, 5), 0.1))
    with pytest.raises(ValueError, match="learn_lam must be one of None, 'layer', 'channel'; got 'image'"):
        CSCConv2d(3, 5, 3, learn_lam="image")
