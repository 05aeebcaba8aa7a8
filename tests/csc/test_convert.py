"""CSC layers take the place of convolutions in networks that were never made for them."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils import parametrizations

from sdnet import CSCConv1d, CSCConv2d, convert, csc_layers, project_after_step
from sdnet.models import parameter_count

NETWORKS = {"resnet50": (53, 32), "vgg11_bn": (8, 32), "mobilenet_v3_small": (52, 32), "densenet121": (120, 64)}
QUICK = "mobilenet_v3_small"
"""All of whose convolutions are converted in every run of the tests."""


def network(name: str) -> nn.Module:
    model = getattr(torchvision.models, name)(weights=None, num_classes=10)
    if name.startswith("vgg"):  # a head of 120 million weights behind eight convolutions
        model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 10)
    return model


@pytest.mark.parametrize(
    ("name", "where"),
    [(name, "first") for name in NETWORKS]
    + [(name, "all") if name == QUICK else pytest.param(name, "all", marks=pytest.mark.slow) for name in NETWORKS],
)
def test_torchvision_network_trains_after_conversion(name: str, where: str) -> None:
    count, size = NETWORKS[name]
    model = network(name)
    parameters = parameter_count(model)
    conversion = convert(model, where)
    assert conversion.model is model
    assert len(conversion.converted) == (1 if where == "first" else count)
    assert [layer for layer, _ in csc_layers(model)] == list(conversion.converted)
    assert conversion.skipped == {}
    assert parameter_count(model) == parameters
    if where == "all":
        assert not any(isinstance(module, nn.Conv2d) for module in model.modules())
    scores = model(torch.rand(2, 3, size, size))
    assert scores.shape == (2, 10)
    F.cross_entropy(scores, torch.tensor([1, 2])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert any(layer.weight.grad.norm() > 0 for _, layer in csc_layers(model))


GEOMETRIES = {
    "grouped": lambda: nn.Conv2d(8, 12, 3, padding=1, groups=4),
    "depthwise": lambda: nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
    "strided": lambda: nn.Conv2d(8, 6, (3, 2), stride=(2, 3), padding=(1, 0)),
    "dilated": lambda: nn.Conv2d(8, 6, 3, dilation=2, padding="same"),
    "1x1": lambda: nn.Conv2d(8, 40, 1),
    "same_even": lambda: nn.Conv2d(8, 6, 4, padding="same"),
    "valid": lambda: nn.Conv2d(8, 6, 4, padding="valid"),
    "circular": lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="circular"),
    "1d": lambda: nn.Conv1d(8, 6, 5, stride=2, padding=2),
    "float64": lambda: nn.Conv2d(8, 6, 3, dtype=torch.float64),
    "frozen": lambda: nn.Conv2d(8, 6, 3).requires_grad_(False),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # nn.Conv's, not ours
@pytest.mark.parametrize("geometry", list(GEOMETRIES))
def test_geometry_type_and_bias_are_kept(geometry: str) -> None:
    conv = GEOMETRIES[geometry]().eval()
    images = torch.rand(2, 8, 13, 14, dtype=conv.weight.dtype)
    images = images if isinstance(conv, nn.Conv2d) else images[..., 0]
    conversion = convert(conv)
    layer = conversion.model
    assert isinstance(layer, CSCConv2d | CSCConv1d)
    assert conversion.converted == ("",)
    assert not layer.training
    code, filtered = layer(images), conv(images)
    assert (code.shape, code.dtype) == (filtered.shape, filtered.dtype)
    assert parameter_count(layer) == parameter_count(conv)
    assert [p.requires_grad for p in layer.parameters()] == [p.requires_grad for p in conv.parameters()]
    assert (conv.bias is None) == (layer.bias is None)
    assert conv.bias is None or torch.equal(conv.bias, layer.bias)
    cosine = F.cosine_similarity(conv.weight.flatten(1), layer.weight.flatten(1))
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones_like(cosine))


def test_options_reach_the_layers_and_weights_can_be_drawn_anew() -> None:
    conv = nn.Conv2d(3, 8, 3)
    layer = convert(conv, lam=0.3, iterations=5, keep_weights=False, nonnegative=False, method="ista").model
    assert (layer.lam.item(), layer.iterations, layer.nonnegative, layer.method) == (
        pytest.approx(0.3), 5, False, "ista",
    )  # fmt: skip
    assert F.cosine_similarity(conv.weight.flatten(1), layer.weight.flatten(1)).abs().min() < 0.9
    assert layer.bias.count_nonzero() == 0


class Stubborn(nn.Module):
    """One convolution that can be converted among all the kinds that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.reflect = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.replicate = nn.Conv1d(3, 4, 3, padding=1, padding_mode="replicate")
        self.good = nn.Conv2d(3, 4, 3)
        self.up = nn.ConvTranspose2d(4, 3, 2)
        self.volume = nn.Conv3d(3, 4, 3)
        self.lazy = nn.LazyConv2d(4, 3)
        self.normed = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.hooked = nn.Conv2d(3, 4, 3)
        self.hooked.register_forward_hook(lambda *_: None)


REASONS = {
    "reflect": "padding_mode='reflect'",
    "replicate": "padding_mode='replicate'",
    "up": "ConvTranspose2d",
    "volume": "Conv3d",
    "lazy": "run the network once",
    "normed": "ParametrizedConv2d",
    "hooked": "forward hooks",
}


def test_what_cannot_be_converted_is_named_with_the_reason() -> None:
    conversion = convert(Stubborn(), "all")
    assert conversion.converted == ("good",)
    assert conversion.skipped.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert reason in conversion.skipped[name]
        assert f"not converted: {name} " in str(conversion)
    assert "1 converted: good" in str(conversion)


@pytest.mark.parametrize("name", list(REASONS))
def test_asking_only_for_what_cannot_be_converted_is_an_error(name: str) -> None:
    model = Stubborn()
    with pytest.raises(ValueError, match=name) as error:
        convert(model, lambda other, _: other == name)
    assert REASONS[name] in str(error.value)
    assert csc_layers(model) == []


def test_predicate_gets_name_and_module() -> None:
    model = network("resnet50")
    conversion = convert(model, lambda name, module: name.startswith("layer1") and module.kernel_size == (3, 3))
    assert conversion.converted == ("layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2")


def test_first_is_the_first_convolution() -> None:
    assert convert(network("resnet50")).converted == ("conv1",)
    assert convert(network("densenet121")).converted == ("features.conv0",)


def test_a_module_held_twice_stays_one_module() -> None:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    conversion = convert(model)
    assert conversion.converted == ("0", "2")
    assert model[0] is model[2]


def test_errors_are_one_sentence_and_leave_the_network_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    state = copy.deepcopy(model.state_dict())
    for where, words in [("frist", "'first'"), ("last", "where 'last'"), (lambda *_: False, "none of the 2 conv")]:
        with pytest.raises(ValueError, match=words):
            convert(model, where)
    with pytest.raises(ValueError, match="iterations must be an integer >= 1, at most 10,000; got 0"):
        convert(model, "all", iterations=0)
    with pytest.raises(ValueError, match="holds none"):
        convert(nn.Linear(3, 4))
    assert all(type(module) is nn.Conv2d for module in model)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("keep_weights", [True, False])
def test_an_optimizer_made_before_conversion_moves_the_atoms(keep_weights: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    convert(model, keep_weights=keep_weights)
    project_after_step(optimizer, model)
    before = model[0].weight.detach().clone()
    norms = before.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    model(torch.rand(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert (model[0].weight - before).norm() > 1e-3
    torch.testing.assert_close(model[0].weight.flatten(1).norm(dim=1), norms)


def test_an_optimizer_of_another_network_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[0] = CSCConv2d(3, 8, 3)
    with pytest.raises(ValueError, match=r"does not hold 0\.weight of layers that are projected"):
        project_after_step(optimizer, model)
    frozen = model.requires_grad_(False)  # whose atoms are not to move
    project_after_step(optimizer, frozen)


def test_an_optimizer_that_lacks_a_parameter_of_a_projected_layer_is_refused() -> None:
    """The λ of a layer that was converted after it was made; all of one of two layers."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    convert(model, learn_lam="layer")
    with pytest.raises(ValueError, match=r"does not hold 0\.lam of layers that are projected"):
        project_after_step(optimizer, model)
    project_after_step(torch.optim.SGD(model.parameters(), lr=0.1), model)
    two = nn.Sequential(CSCConv2d(3, 8, 3), CSCConv2d(8, 8, 3))
    with pytest.raises(ValueError, match=r"does not hold 1\.weight of"):
        project_after_step(torch.optim.SGD(two[0].parameters(), lr=0.1), two)


def test_weights_that_are_no_numbers_are_refused_and_the_network_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    with torch.no_grad():
        model[1].weight[2] = torch.nan
    with pytest.raises(ValueError, match=r"1\.weight holds NaN or infinity"):
        convert(model, "all")
    assert csc_layers(model) == []
    assert convert(model, "all", keep_weights=False).converted == ("0", "1")
