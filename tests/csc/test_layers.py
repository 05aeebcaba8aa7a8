"""A CSC layer is a drop-in for a convolution, and in eval nothing but a function of input, weight and λ."""

import copy
import math
from itertools import product

import pytest
import torch
from torch import nn

from sdnet import CSCConv1d, CSCConv2d, csc_layers, project_after_step, set_lam
from sdnet.csc.lam import at_lams
from sdnet.csc.lipschitz import fourier_bound
from sdnet.models import build, parameter_count

BOTH_L = pytest.mark.parametrize("lipschitz_method", ["fourier", "power"])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # nn.Conv's, not ours
@pytest.mark.parametrize(("ours", "theirs"), [(CSCConv1d, nn.Conv1d), (CSCConv2d, nn.Conv2d)], ids=["1d", "2d"])
def test_shapes_and_parameters_are_those_of_a_convolution(ours: type, theirs: type) -> None:
    sizes = [(9,), (12,)] if ours is CSCConv1d else [(9, 10), (12, 7)]
    for kernel, stride, padding, dilation, groups, bias in product(
        (1, 2, 3), (1, 2), (0, 1, "same", "valid"), (1, 2), (1, 2), (False, True)
    ):
        if padding == "same" and stride > 1:
            continue
        arguments = (4, 6, kernel, stride, padding, dilation, groups, bias)
        layer, conv = ours(*arguments), theirs(*arguments)
        assert parameter_count(layer) == parameter_count(conv), arguments
        assert layer.weight.shape == conv.weight.shape, arguments
        for size in sizes:
            signal = torch.rand(2, 4, *size)
            assert layer(signal).shape == conv(signal).shape, (arguments, size)


def test_one_iteration_is_a_convolution_with_a_shifted_relu() -> None:
    layer, images = CSCConv2d(3, 8, 3, stride=2, padding=1, iterations=1, lam=0.2), torch.rand(2, 3, 9, 9)
    filtered = nn.functional.conv2d(images, layer.weight, stride=2, padding=1)
    torch.testing.assert_close(layer(images), torch.relu((filtered - 0.2) / layer.lipschitz))


def test_enough_iterations_solve_the_layers_problem() -> None:
    layer, images = CSCConv2d(3, 8, 3, padding=1, iterations=500, lam=0.3).double(), torch.rand(2, 3, 8, 8).double()
    exact = layer.solve(images, iterations=5000, tolerance=1e-12)
    assert exact.gap.max() <= 1e-12
    assert (layer(images) - exact.code).norm() <= 1e-3 * exact.code.norm()
    expected = images - layer.dictionary.synthesis(layer(images), (8, 8))
    torch.testing.assert_close(layer.residual(images), expected)


@BOTH_L
def test_atoms_have_unit_norm_at_birth_and_after_every_step(lipschitz_method: str) -> None:
    layer = CSCConv2d(6, 8, 3, padding=1, groups=2, lipschitz_method=lipschitz_method)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9)
    project_after_step(optimizer, layer)
    for _ in range(4):
        torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(8))
        before = layer.weight.detach().clone()
        optimizer.zero_grad()
        layer(torch.rand(2, 6, 8, 8)).square().sum().backward()
        optimizer.step()
        assert not torch.equal(before, layer.weight)
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(8))


def test_l_may_be_that_of_the_atoms_before_their_projection() -> None:
    """As in the authors' code, which finds L before a batch and projects when the batch arrives."""
    layer, usual = (CSCConv2d(3, 8, 3, padding=1, lipschitz_first=first) for first in (True, False))
    usual.load_state_dict(layer.state_dict())
    with torch.no_grad():
        for some in (layer, usual):
            some.weight.mul_(torch.linspace(0.5, 2, 8).view(-1, 1, 1, 1))
            unprojected = fourier_bound(some.dictionary)
            some.project_()
    assert torch.equal(layer.weight, usual.weight)
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(8))
    torch.testing.assert_close(layer.lipschitz, unprojected)
    torch.testing.assert_close(usual.lipschitz, fourier_bound(usual.dictionary))
    layer.project_()
    torch.testing.assert_close(layer.lipschitz, usual.lipschitz)  # once the atoms stay, there is no difference
    with pytest.raises(ValueError, match=r"^lipschitz_first needs atoms that are projected, .*projected=True\.$"):
        CSCConv2d(3, 8, 3, lipschitz_first=True, projected=False)


@BOTH_L
def test_lipschitz_constant_follows_the_weight(lipschitz_method: str) -> None:
    layer = CSCConv2d(6, 8, 3, padding=1, lipschitz_method=lipschitz_method)
    with torch.no_grad():
        layer.weight.copy_(torch.ones(8, 6, 3, 3))
    layer.project_(power_steps=50)
    # At frequency 0 the symbol is an 8 × 6 matrix of nines over √54, the norm of an atom: ‖A‖² = 8 · 6 · 81 / 54.
    assert 72 * (1 - 1e-5) <= layer.lipschitz <= 72 * 1.12


@BOTH_L
@pytest.mark.parametrize("gradient", ["unrolled", "checkpointed", "implicit"])
@torch.no_grad()
def test_eval_output_does_not_depend_on_batch_history_or_a_round_trip(gradient: str, lipschitz_method: str) -> None:
    options = {"gradient": gradient, "lipschitz_method": lipschitz_method, "iterations": 50, "padding": 1, "lam": 0.3}
    options["tolerance"] = 1e-3 if gradient == "implicit" else None
    layer = CSCConv2d(3, 8, 3, **options, dtype=torch.float64).eval()
    # Images of different difficulty: they would stop at different iterations.
    images = torch.rand(5, 3, 10, 10, dtype=torch.float64) * torch.tensor([0.1, 0.5, 1, 3, 10]).view(-1, 1, 1, 1)
    state = copy.deepcopy(layer.state_dict())
    together = layer(images)
    for count in (1, 2, 3):
        for start in range(5 - count + 1):
            alone = layer(images[start : start + count])
            torch.testing.assert_close(alone, together[start : start + count], rtol=0, atol=1e-11)
    layer(torch.rand(2, 3, 17, 13, dtype=torch.float64))
    assert torch.equal(layer(images), together)
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())
    other = CSCConv2d(3, 8, 3, **options, dtype=torch.float64).eval()
    assert not torch.equal(other(images), together)
    other.load_state_dict(state)
    assert torch.equal(other(images), together)
    assert torch.equal(copy.deepcopy(layer)(images), together)


@pytest.mark.parametrize("shape", [(), (1, 8), (2,), (2, 8)], ids=["scalar", "channel", "image", "both"])
@torch.no_grad()
def test_lam_of_every_shape_is_saved_and_loaded(shape: tuple[int, ...]) -> None:
    model = nn.Sequential(CSCConv2d(3, 8, 3), nn.ReLU())
    set_lam(model, torch.rand(shape))
    other = nn.Sequential(CSCConv2d(3, 8, 3), nn.ReLU())
    other.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 8, 8)
    assert other[0].lam.shape == shape
    assert torch.equal(model(images), other(images))


@torch.no_grad()
def test_lam_per_image_equals_one_lam_after_the_other() -> None:
    model = build("sdnet18_all", width=4, atoms=8).eval()
    images, lams = torch.rand(3, 3, 16, 16), torch.tensor([0.0, 0.2, 0.9])
    set_lam(model, lams)
    together = model(images)
    for image, lam in enumerate(lams):
        set_lam(model, lam.item())
        torch.testing.assert_close(model(images[image : image + 1]), together[image : image + 1], rtol=1e-4, atol=1e-5)


def test_set_lam_where_and_errors() -> None:
    model = build("sdnet18_all", width=4, atoms=8)
    set_lam(model, 0.5, where=lambda name: name.startswith("stem"))
    assert [layer.lam.item() for _, layer in csc_layers(model)] == pytest.approx([0.5] + [0.1] * 16)
    set_lam(model, 1)
    assert {layer.lam.item() for _, layer in csc_layers(model)} == {1.0}
    lam = torch.tensor(0.2)
    set_lam(model, lam)
    lam.fill_(7)
    assert csc_layers(model)[0][1].lam.item() == pytest.approx(0.2)  # a copy
    for bad, word in [(-1.0, "-1.0"), (math.nan, "nan"), (torch.tensor([0.1, math.inf]), "inf")]:
        with pytest.raises(ValueError, match=rf"lam must be finite and >= 0.*; got \[?{word}"):
            set_lam(model, bad)
    with pytest.raises(ValueError, match="no CSC layer"):
        set_lam(nn.Conv2d(3, 4, 3), 0.1)


@pytest.mark.parametrize("gradient", ["unrolled", "checkpointed", "implicit"])
@pytest.mark.parametrize("shape", [(), (1, 8), (4,)], ids=["scalar", "channel", "image"])
def test_autocast_is_right_and_gives_its_type(gradient: str, shape: tuple[int, ...]) -> None:
    layer, images = CSCConv2d(3, 8, 3, padding=1, iterations=4, gradient=gradient), torch.rand(4, 3, 12, 12)
    set_lam(layer, torch.full(shape, 0.2))
    exact = layer(images)
    direction = torch.randn_like(exact)
    (expected,) = torch.autograd.grad(exact, layer.weight, direction)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(images)
    assert rounded.dtype == torch.bfloat16  # as nn.Conv2d
    assert (rounded - exact).norm() <= 0.02 * exact.norm()
    (found,) = torch.autograd.grad(rounded, layer.weight, direction.bfloat16())
    assert found.dtype == torch.float32
    if gradient != "implicit":  # after four steps the code is not the minimiser that its gradient is about
        assert (found - expected).norm() <= 0.1 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_layers_of_another_type(dtype: torch.dtype) -> None:
    layer = CSCConv2d(3, 8, 3, padding=1, bias=True, dtype=dtype)
    assert layer(torch.rand(2, 3, 8, 8, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_compiles_to_one_graph(iterations: int) -> None:
    """Traced through forward and backward; what the default backend makes of it is a slow test."""
    layer = CSCConv2d(3, 8, 3, padding=1, iterations=iterations)
    images = torch.rand(2, 3, 9, 8)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    code = compiled(images)
    torch.testing.assert_close(code, layer(images))
    code.square().sum().backward()
    found = layer.weight.grad.clone()
    layer.zero_grad()
    layer(images).square().sum().backward()
    torch.testing.assert_close(found, layer.weight.grad)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own, about the machine it finds
def test_compiles_with_the_default_backend() -> None:
    layer = CSCConv2d(3, 16, 3, padding=1, iterations=4)
    images = torch.rand(2, 3, 16, 16)
    code = torch.compile(layer, fullgraph=True)(images)
    torch.testing.assert_close(code, layer(images), rtol=1e-4, atol=1e-5)
    code.sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_a_dead_dictionary_gives_zero_and_not_nan() -> None:
    for method in ("fourier", "power"):
        layer = CSCConv2d(3, 8, 3, lipschitz_method=method)
        with torch.no_grad():
            layer.weight.zero_()
        layer.project_()
        code = layer(torch.rand(2, 3, 8, 8))
        assert code.count_nonzero() == 0
        code.sum().backward()
        assert layer.weight.grad.isfinite().all()


def make(**options: object) -> CSCConv2d:
    return CSCConv2d(**{"in_channels": 4, "out_channels": 8, "kernel_size": 3, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out_channels": 0}, "out_channels must be an integer >= 1, at most 1,000,000; got 0"),
        ({"in_channels": -2}, "in_channels must be an integer >= 1, at most 1,000,000; got -2"),
        ({"iterations": 0}, "iterations must be an integer >= 1, at most 10,000; got 0"),
        ({"iterations": 2.5}, "iterations must be an integer >= 1, at most 10,000; got 2.5"),
        ({"lam": -0.1}, "lam must be finite and >= 0, at most 1,000,000; got -0.1"),
        ({"lam": math.nan}, "lam must be finite and >= 0, at most 1,000,000; got nan"),
        ({"ridge": -1.0}, "ridge must be finite and >= 0, at most 1,000,000; got -1.0"),
        ({"tolerance": 0.0, "gradient": "implicit"}, "tolerance must be finite and > 0, at most 1,000,000; got 0.0"),
        ({"tolerance": 1e-3}, "tolerance belongs to gradient='implicit'; got gradient='unrolled'"),
        ({"kernel_size": 0}, "kernel_size must be an integer >= 1, at most 10,000; got 0"),
        ({"stride": (1, 2, 3)}, "stride must be an integer, or 2 of them; got (1, 2, 3)"),
        ({"padding": -1}, "padding must be an integer >= 0, at most 10,000; got -1"),
        ({"stride": 10**20}, "stride must be an integer >= 1, at most 10,000; got 100000000000000000000"),
        ({"kernel_size": (3, 10**10)}, "kernel_size must be an integer >= 1, at most 10,000; got 10000000000"),
        ({"padding": "some"}, "padding must be a number, 'same' or 'valid'; got 'some'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1; got stride=(2, 2)"),
        ({"groups": 3}, "groups must divide in_channels=4 and out_channels=8; got 3"),
        ({"padding_mode": "reflect"}, "padding_mode must be one of 'zeros', 'circular'; got 'reflect'"),
        ({"method": "newton"}, "method must be one of 'fista', 'ista', 'heavy_ball'; got 'newton'"),
        ({"gradient": "exact"}, "gradient must be one of 'unrolled', 'checkpointed', 'implicit'; got 'exact'"),
    ],
)
def test_bad_options_are_named_with_value_and_range(options: dict, words: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make(**options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("options", "signal", "words"),
    [
        ({}, torch.rand(2, 3, 8, 8), "signal must have shape (images, 4, size, size); got (2, 3, 8, 8)"),
        ({}, torch.rand(4, 8, 8), "signal must have shape (images, 4, size, size); got (4, 8, 8)"),
        ({}, torch.ones(2, 4, 8, 8, dtype=torch.int64), "signal must be floating point; got torch.int64"),
        (
            {},
            torch.rand(2, 4, 8, 8).double(),
            "signal must have the type of the atoms, torch.float32; got torch.float64",
        ),
        ({}, torch.rand(2, 4, 8, 8).numpy(), "signal must be a tensor; got ndarray"),
        ({}, torch.full((2, 4, 8, 8), math.nan), "signal must be finite"),
        ({}, torch.full((2, 4, 8, 8), math.inf), "signal must be finite"),
        ({}, torch.rand(2, 4, 2, 8), "signal of size (2, 8) is smaller than the kernel (3, 3)"),
        ({"padding_mode": "circular", "padding": 2, "kernel_size": 5}, torch.rand(1, 4, 4, 9), "size (4, 9)"),
    ],
    ids=["channels", "dimensions", "integer", "double", "numpy", "nan", "infinity", "small", "circular"],
)
def test_bad_signals_are_named_with_value_and_range(options: dict, signal: torch.Tensor, words: str) -> None:
    layer = make(**options)
    for door in (layer, layer.solve, layer.residual):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            door(signal)
        assert words in str(error.value)


@pytest.mark.parametrize("number", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("shape", [(), (2,), (1, 8)])
def test_a_lam_written_in_place_is_noticed(number: float, shape: tuple[int, ...]) -> None:
    layer, signal = make(), torch.rand(2, 4, 8, 8)
    set_lam(layer, torch.full(shape, 0.1))
    before = layer(signal)
    layer.lam.data.view(-1)[-1:].fill_(number)
    for door in (layer, layer.solve, layer.residual):
        with pytest.raises(ValueError, match=rf"lam must be finite and >= 0; got \[{number}\]"):
            door(signal)
    layer.lam.data.fill_(0.1)
    assert torch.equal(layer(signal), before)


def test_a_signal_that_is_not_finite_is_named_at_many_lams_too() -> None:
    with pytest.raises(ValueError, match="signal must be finite"):
        at_lams(make(), torch.tensor([0.1, 0.2]), torch.full((2, 4, 8, 8), math.nan))


@pytest.mark.parametrize("shape", [(3,), (1, 7), (3, 8), (2, 8, 1)])
def test_lam_that_does_not_fit_the_batch_is_named_at_the_call(shape: tuple[int, ...]) -> None:
    layer = make()
    set_lam(layer, torch.rand(shape))
    with pytest.raises(ValueError, match=r"lam has shape .*; with 2 images and 8 atoms it may be") as error:
        layer(torch.rand(2, 4, 8, 8))
    assert str(shape) in str(error.value)


def test_finite_signals_whose_sum_overflows_are_accepted() -> None:
    assert make()(torch.full((1, 4, 8, 8), 1e37)).shape == (1, 8, 6, 6)


@BOTH_L
@pytest.mark.parametrize("projected", [True, False])
def test_a_convolutions_weights_bring_their_own_lipschitz_constant(lipschitz_method: str, projected: bool) -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1)
    nn.init.uniform_(conv.weight, 2.0, 3.0)
    options = {"padding": 1, "lipschitz_method": lipschitz_method, "projected": projected}
    layer, expected = CSCConv2d(3, 8, 3, **options), CSCConv2d(3, 8, 3, **options)
    with torch.no_grad():
        expected.weight.copy_(conv.weight)
    expected.project_(power_steps=100)
    model = nn.Sequential(layer)
    model.load_state_dict({"0.weight": conv.weight}, strict=False)
    torch.testing.assert_close(layer.weight, expected.weight)
    # Power iterations come close from below: 30 on loading, 100 here.
    torch.testing.assert_close(layer.lipschitz, expected.lipschitz, rtol=1e-2, atol=0)
    code = model(torch.rand(2, 3, 16, 16))
    assert code.isfinite().all()
    assert code.abs().max() < 100


def test_a_saved_layer_is_loaded_bit_by_bit() -> None:
    layer, other = CSCConv2d(3, 8, 3, projected=False), CSCConv2d(3, 8, 3)
    with torch.no_grad():
        layer.weight.mul_(3)
        layer.lipschitz.fill_(123.0)
    other.load_state_dict(layer.state_dict())
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in layer.state_dict().items())
    with torch.device("meta"):
        nowhere = CSCConv2d(3, 8, 3)
    nowhere.load_state_dict({"weight": layer.weight}, strict=False, assign=True)  # no L here to bring up to date
