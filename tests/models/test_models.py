"""The registry and the residual network."""

import pytest
import torch
from torch import nn

from sdnet import csc_layers, models
from sdnet.results.paper import paper_table

# Architecture depth, classes, stem → parameters, as counted by hand from the paper's description of the networks.
COUNTS = [
    ("18", 10, "cifar", 11_173_962),
    ("18", 100, "cifar", 11_220_132),
    ("18", 1000, "imagenet", 11_689_512),
    ("34", 10, "cifar", 21_282_122),
    ("34", 100, "cifar", 21_328_292),
    ("34", 1000, "imagenet", 21_797_672),
]


@pytest.mark.parametrize("family", ["resnet{}", "sdnet{}", "sdnet{}_all"])
@pytest.mark.parametrize(("depth", "classes", "stem", "count"), COUNTS)
def test_parameter_counts_are_those_of_the_paper(family: str, depth: str, classes: int, stem: str, count: int) -> None:
    with torch.device("meta"):
        network = models.build(family.format(depth), classes, stem=stem)
    assert models.parameter_count(network) == count


@pytest.mark.parametrize(
    ("arch", "classes", "stem", "count"),
    [
        ("scn18", 10, "cifar", 11_173_963),  # ResNet-18's, and λ
        ("scn18", 1000, "imagenet", 11_689_513),
        ("scn", 10, "cifar", 694_216),
        ("scn", 100, "cifar", 717_346),
        ("mdeq", 10, "cifar", 11_098_398),
        ("mdeq", 100, "cifar", 11_249_688),
    ],
)
def test_the_rivals_have_the_sizes_of_table_1(arch: str, classes: int, stem: str, count: int) -> None:
    with torch.device("meta"):
        network = models.build(arch, classes, stem=stem)
    assert models.parameter_count(network) == count
    dataset = {10: "cifar10", 100: "cifar100", 1000: "imagenet"}[classes]
    table = paper_table(1)
    printed = table[(table["arch"] == arch) & (table["dataset"] == dataset) & (table["metric"] == "parameters")][
        "value"
    ]
    assert printed.empty or abs(printed.item() - count / 1e6) <= 0.05


RESIDUAL = [arch for arch in models.names() if models.ARCHITECTURES[arch].depths]


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        *((arch, {"atoms": 4, "shortcut": shortcut}) for arch in RESIDUAL for shortcut in (True, False)),
        ("scn", {"iterations": 5}),
        ("mdeq", {"iterations": 2}),
    ],
)
def test_every_architecture_trains_one_step(arch: str, options: dict[str, object]) -> None:
    network = models.build(arch, 7, width=4, **options)
    scores = network(torch.rand(3, 3, 32, 32))
    assert scores.shape == (3, 7)
    scores.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("arch", "count"), [("resnet18", 0), ("sdnet18", 1), ("sdnet18_all", 17), ("sdnet34_all", 33)])
def test_number_of_csc_layers(arch: str, count: int) -> None:
    network = models.build(arch, width=2, atoms=4)
    assert len(csc_layers(network)) == count


def test_imagenet_stem_reduces_by_four() -> None:
    network = models.build("sdnet18", 5, width=2, atoms=4, stem="imagenet")
    assert network.stem(torch.rand(1, 3, 64, 64)).shape == (1, 4, 16, 16)


def test_relu_after_the_stem_is_a_switch() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert (models.build("sdnet18", width=2, atoms=4).stem(images) < 0).any()
    assert (models.build("sdnet18", width=2, atoms=4, stem_relu=True).stem(images) >= 0).all()
    assert (models.build("resnet18", width=2, atoms=4).stem(images) >= 0).all()


def test_relu_inside_the_blocks_is_a_switch() -> None:
    features = torch.randn(2, 2, 8, 8)
    for given, relu in ((None, nn.Identity()), (True, nn.ReLU())):
        block = models.build("sdnet18_all", width=2, atoms=2, block_relu=given).eval().stages[0][0]
        expected = block.bn2(block.conv2(relu(block.bn1(block.conv1(features)))))
        torch.testing.assert_close(block(features), torch.relu(expected + features))
    assert isinstance(models.build("sdnet18", width=2).stages[0][0].relu, nn.ReLU)
    assert isinstance(models.build("resnet18", width=2, block_relu=False).stages[0][0].relu, nn.Identity)


def test_a_csc_layer_may_take_the_place_of_max_pooling() -> None:
    """The authors' SDNet-All has an 18th CSC layer on ImageNet, 64 → 64, 3×3, stride 2, without normalisation."""
    size = {"width": 2, "atoms": 4, "stem": "imagenet"}
    usual, other = (models.build("sdnet18_all", 5, csc_pool=chosen, **size) for chosen in (False, True))
    assert (len(csc_layers(usual)), len(csc_layers(other))) == (17, 18)
    pool, images = other.stem[3], torch.rand(1, 3, 64, 64)
    assert (pool.weight.shape, pool.stride, pool.padding) == ((4, 4, 3, 3), (2, 2), ((1, 1), (1, 1)))
    assert other.stem(images).shape == usual.stem(images).shape == (1, 4, 16, 16)
    torch.testing.assert_close(other.stem(images), pool(other.stem[1](other.stem[0](images))))
    with pytest.raises(ValueError, match="csc_pool replaces max-pooling, which the stem 'cifar' does not have"):
        models.build("sdnet18_all", csc_pool=True)
    with pytest.raises(ValueError, match="sdnet18 has no option 'csc_pool'"):
        models.build("sdnet18", stem="imagenet", csc_pool=True)


def test_resnet_equals_torchvision_on_the_imagenet_stem() -> None:
    from torchvision.models import resnet18

    ours = models.build("resnet18", 1000, stem="imagenet").eval()
    theirs = resnet18(weights=None).eval()
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine)
        images = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(ours(images), theirs(images))


def test_normalisation_is_inside_the_network() -> None:
    network = models.build("sdnet18", width=2, atoms=4).eval()
    plain = models.build("sdnet18", width=2, atoms=4).eval()
    plain.load_state_dict(network.state_dict())
    network.normalize.set([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    images = torch.rand(2, 3, 8, 8)
    standardised = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    torch.testing.assert_close(network(images), plain(standardised))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "sdnet81"}, "Did you mean 'sdnet18'"),
        ({"arch": "sdnet18", "width": 0}, "width must be an integer >= 1, at most 1,000,000; got 0"),
        ({"arch": "sdnet18", "width": 1.5}, "width must be an integer >= 1, at most 1,000,000; got 1.5"),
        ({"arch": "sdnet18", "width": "wide"}, "width must be an integer >= 1, at most 1,000,000; got 'wide'"),
        ({"arch": "sdnet18", "num_classes": -1}, "num_classes must be an integer >= 1"),
        ({"arch": "sdnet18", "stem": "mnist"}, "stem 'mnist' does not exist"),
        ({"arch": "sdnet18", "lam": -0.1}, "lam must be finite and >= 0, at most 1,000,000; got -0.1"),
        ({"arch": "sdnet18", "iterations": 0}, "iterations must be an integer >= 1, at most 10,000; got 0"),
        ({"arch": "resnet18", "lam": 0.5}, "resnet18 has no option 'lam'. It has: atoms, kernel, shortcut, stem_relu"),
        ({"arch": "mdeq", "shortcut": False}, "mdeq has no option 'shortcut'. It has: iterations"),
        ({"arch": "scn", "stem": "imagenet"}, "scn is a network for small images; it has no stem 'imagenet'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.build(**arguments)  # type: ignore[arg-type]


def test_names_are_all_buildable_modules() -> None:
    assert all(isinstance(models.build(arch, width=4), nn.Module) for arch in models.names())


def test_the_registry_holds_every_architecture_of_table_1_by_its_printed_name() -> None:
    printed = paper_table(1)[["arch", "row"]].drop_duplicates()
    assert len(printed) == 7
    for arch, label in zip(printed["arch"], printed["row"], strict=True):
        assert models.ARCHITECTURES[arch].label == label
