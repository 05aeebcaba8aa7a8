"""The family as networks: one iteration is feed-forward, residual blocks and MSDNet are what they explain."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdnet import models, project_, set_lam
from sdnet.csc.lam import at_lams
from sdnet.csc.lipschitz import fourier_bound
from sdnet.csc.network import Connection, Layer, Network
from sdnet.csc.pursuit import feed_forward, fista_weights, pursue
from sdnet.csc.solvers import solve
from sdnet.models.mixed_scale import MSDCSC, MSDNet
from sdnet.models.multilayer import MultiLayer
from sdnet.models.pursuit import PursuitLayer, PursuitNet, plan
from sdnet.models.resnet import BasicBlock
from sdnet.runtime import has_odd_dilation
from sdnet.training import loop

EXACT = {"rtol": 1e-10, "atol": 1e-10}
FAMILY = ("ltp", "ltp_res", "lbp", "dp", "dp_res", "ml_csc", "res_csc", "res_csc_b", "msdnet", "msd_csc")
ITERATED = tuple(arch for arch in FAMILY if "iterations" in models.ARCHITECTURES[arch].options)


def images(count: int = 4, size: int = 12) -> Tensor:
    return torch.rand(count, 3, size, size, dtype=torch.float64)


def network(arch: str, **options: Any) -> Any:
    """A network in double precision whose batch normalisation has seen images and whose λ and β are not the initial."""
    small = {"width": 8, **({"depth": 3} if arch.startswith("msd") else {}), **options}
    model = models.build(arch, 5, **small).double()
    model.normalize.set([0.5] * 3, [0.25] * 3)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.bias") or (name.startswith("norms") and name.endswith("bias")):
            nn.init.uniform_(parameter, -0.3, 0)
        elif name.endswith("norm.weight"):
            nn.init.uniform_(parameter, 0.5, 1.5)
        elif name.endswith("log_step"):
            nn.init.constant_(parameter, 0.3)
    project_(model, 30)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(images(16))
    return model.eval()


def converted(target: nn.Module, source: nn.Module) -> Any:
    """The target with all numbers that the source has too."""
    missing = target.double().load_state_dict(source.state_dict(), strict=False)
    assert all(name.endswith("log_step") for name in [*missing.missing_keys, *missing.unexpected_keys])
    return target.eval()


@pytest.mark.parametrize("arch", FAMILY)
def test_every_member_trains_one_step(arch: str) -> None:
    small: dict[str, Any] = {"depth": 3} if arch.startswith("msd") else {}
    model = models.build(arch, 7, width=4, **small)
    scores = model(torch.rand(3, 3, 16, 16))
    assert scores.shape == (3, 7)
    scores.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_they_have_the_parameters_of_a_cnn_and_one_step_size_per_layer() -> None:
    """The chain and the network with skip connections have equally many (Sec. 4 of the document)."""
    counts = {arch: models.parameter_count(models.build(arch, width=16)) for arch in FAMILY}
    convolutions = sum(9 * i * o + 2 * o for i, o, _ in plan(16, 1)) + 65 * 10
    assert counts["ltp"] == counts["ltp_res"] == convolutions
    assert {counts[arch] for arch in ("lbp", "dp", "dp_res")} == {convolutions + 7}
    assert {counts[arch] for arch in ("ml_csc", "res_csc", "res_csc_b")} == {convolutions}
    copies = sum(3 + 16 * index for index in range(5))
    assert counts["msd_csc"] == counts["msdnet"] + copies + 5


@pytest.mark.parametrize(("arch", "plain"), [("lbp", "ltp"), ("dp", "ltp"), ("dp_res", "ltp_res")])
@pytest.mark.parametrize("training", [False, True])
def test_one_iteration_of_every_pursuit_is_the_feed_forward_network(arch: str, plain: str, training: bool) -> None:
    one = network(arch, iterations=1).train(training)
    other = converted(models.build(plain, 5, width=8), one).train(training)
    x = images()
    torch.testing.assert_close(one(x), other(x), **EXACT)


@pytest.mark.parametrize("skips", [False, True])
def test_the_feed_forward_network_is_made_of_convolutions_normalisation_and_relu(skips: bool) -> None:
    model, x = network("ltp_res" if skips else "ltp"), images()
    codes = [model.normalize(x)]
    for j, (layer, (into, out, stride)) in enumerate(zip(model.layers, model.plan, strict=True), start=1):
        signal = codes[-1]
        if skips and j in (3, 5, 7):
            skipped = codes[j - 2] if j == 3 else codes[j - 2][:, :, ::2, ::2]
            signal = signal + F.pad(skipped, (0, 0, 0, 0, 0, signal.shape[1] - skipped.shape[1]))
        codes.append(F.relu(layer.norm(F.conv2d(signal, layer.weight, stride=stride, padding=1))))
        assert codes[-1].shape[1] == out
        assert signal.shape[1] == into
    torch.testing.assert_close(model(x), model.head(codes[-1].mean((2, 3))), **EXACT)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("arch", ["lbp", "dp", "dp_res"])
def test_the_frozen_problem_has_the_feed_forward_pass_as_its_own(arch: str, training: bool) -> None:
    """Scale and offset go into atoms and penalty, those of the batch too, and the codes stay the same."""
    model, x = network(arch).train(training), images()
    start, correlations = model.feed_forward(model.normalize(x))
    problem = model.problem(correlations)
    for found, expected in zip(feed_forward(problem, model.normalize(x)), start, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("arch", ["dp", "dp_res"])
def test_deep_pursuit_of_a_network_decreases_its_objective(arch: str) -> None:
    """At β = 1 and without extrapolation: the step size of every channel is conservative, normalisation included."""
    model = network(arch, iterations=6, extrapolation=0.0)
    for layer in model.layers:
        nn.init.zeros_(layer.log_step)
    x = model.normalize(images())
    problem, start = model.problem(), model.feed_forward(x)[0]
    trace = [problem.objective(x, start)]
    model.codes(x, watch=lambda layer, step, codes: trace.append(problem.objective(x, codes)))
    values = torch.stack(trace)
    assert len(values) == 1 + 5 * 7
    assert (values[1:] <= values[:-1] + 1e-12 * values[0].abs()).all()
    assert (values[-1] < values[0]).all()


def test_the_step_size_bound_holds() -> None:
    layer = PursuitLayer(3, 8)
    for _ in range(3):
        with torch.no_grad():
            layer.weight.add_(torch.randn_like(layer.weight))
        layer.project_(30)
        exact = fourier_bound(layer.dictionary, (12, 12))
        assert exact * 0.999 < layer.lipschitz < exact * 1.2


def test_projection_keeps_lam_and_beta_in_their_ranges() -> None:
    layer = PursuitLayer(3, 8, lam=0.2, beta=0.5)
    torch.testing.assert_close(layer.beta.detach(), torch.tensor(0.5))
    assert (layer.norm.bias == -0.2).all()
    with torch.no_grad():
        layer.norm.bias.fill_(0.1)
        layer.log_step.fill_(-1)
    layer.project_()
    assert (layer.norm.bias == 0).all()
    assert layer.beta == 1


def normalised(channels: int) -> Layer:
    weight = torch.randn(channels, channels, 3, 3, dtype=torch.float64) / 5
    coding = PursuitLayer(channels, channels).double()
    with torch.no_grad():
        coding.weight.copy_(weight)
    bound = fourier_bound(coding.dictionary).detach()
    return Layer(coding.dictionary, (Connection(0),), torch.rand(channels, dtype=torch.float64) / 9, bound)


def test_one_step_of_res_csc_is_the_residual_block_that_it_explains() -> None:
    """Slides, Eqs. 3 and 4, in torch's convolutions: a skip connection, and a convolution of what it leaves over."""
    layer = normalised(6)
    earlier, signal = (torch.rand(2, 6, 9, 9, dtype=torch.float64) for _ in range(2))
    (found,) = pursue(Network((layer,)), signal, [earlier], 1, "layered")
    atoms = layer.operator.weight  # type: ignore[attr-defined]
    filters, bias = atoms / layer.curvature, -layer.lam / layer.curvature
    left = signal - F.conv_transpose2d(earlier, atoms, padding=1)
    torch.testing.assert_close(found, F.relu(earlier + F.conv2d(left, filters, bias, padding=1)), **EXACT)
    assert (found != F.relu(earlier + F.conv2d(signal, filters, bias, padding=1))).any()


@pytest.mark.parametrize("arch", ["res_csc", "res_csc_b"])
def test_blocks_of_res_csc(arch: str) -> None:
    """The first layer of a block starts at zero, the second at the code before the block (slides: alternately)."""
    model = network(arch, iterations=1)
    x = model.normalize(images())
    codes = model.codes(x)
    for j in (1, 2):
        layer, signal = model.layers[j], model.norms[j - 1](codes[j - 1])
        start = codes[j - 2] if j == 2 else torch.zeros_like(codes[j])
        left = signal - F.conv_transpose2d(start, layer.weight, padding=1) if arch == "res_csc" else signal
        bias = (-layer.lam / layer.lipschitz).expand(8)
        expected = F.relu(start + F.conv2d(left, layer.weight / layer.lipschitz, bias, padding=1))
        torch.testing.assert_close(codes[j], expected, **EXACT)
        assert (expected > 0).any()


def test_variant_b_is_the_basic_block_of_our_resnet() -> None:
    """With the step size in the filters and λ in the offset of the normalisation, one block is He et al.'s."""
    model = network("res_csc_b", iterations=1)
    block = BasicBlock(8, 8, 1, nn.Conv2d, inner_relu=True, shortcut=True).double().eval()
    pairs = ((block.conv1, block.bn1, model.layers[1]), (block.conv2, block.bn2, model.layers[2]))
    with torch.no_grad():
        for conv, norm, layer in pairs:
            conv.weight.copy_(layer.weight / layer.lipschitz)
            norm.bias.fill_(-layer.lam / layer.lipschitz)
        for norm in (block.bn1, block.bn2, model.norms[0], model.norms[1]):
            norm.reset_running_stats()
            norm.running_var.fill_(1 - norm.eps)
            norm.weight.fill_(1)
        for norm in model.norms[:2]:
            norm.bias.zero_()
    codes = model.codes(model.normalize(images()))
    torch.testing.assert_close(codes[2], block(codes[0]), **EXACT)


@pytest.mark.parametrize("arch", ["res_csc", "res_csc_b"])
def test_unfolded_res_csc_is_our_solver_from_its_start(arch: str) -> None:
    model = network(arch, iterations=5)
    codes = model.codes(model.normalize(images()))
    layer, signal = model.layers[2], model.norms[1](codes[1])
    problem = layer.lasso(signal)
    start, steps = codes[0], 5
    if arch == "res_csc_b":
        start = F.relu(start + (layer.dictionary.analysis(signal) - layer.lam) / layer.lipschitz)
        steps = 4
    expected = solve(problem, "ista", iterations=steps, lipschitz=layer.lipschitz, start=start.detach())
    torch.testing.assert_close(codes[2], expected.code, **EXACT)


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_ml_csc_is_layered_pursuit_and_our_solver_layer_by_layer(method: str) -> None:
    model = network("ml_csc", iterations=4, method=method)
    signal = model.normalize(images())
    weights = fista_weights(4) if method == "fista" else 0.0
    for layer, norm, code in zip(model.layers, model.norms, model.codes(signal), strict=True):
        problem = layer.lasso(signal)
        expected = solve(problem, method, iterations=4, lipschitz=layer.lipschitz).code
        torch.testing.assert_close(code, expected, **EXACT)
        one = Network((Layer(layer.dictionary, (Connection(0),), layer.lam, layer.lipschitz),))
        (found,) = pursue(one, signal, [torch.zeros_like(code)], 4, "layered", extrapolation=weights)
        torch.testing.assert_close(found, expected, **EXACT)
        assert (code > 0).any()
        signal = norm(code)


@pytest.mark.parametrize("training", [False, True])
def test_one_pass_of_msd_csc_is_msdnet(training: bool) -> None:
    """Proposition 1 of the slides, for the same numbers; and the copies have a threshold that changes it."""
    model = network("msdnet", depth=4, dilations=3)
    coded = MSDCSC(5, width=8, depth=4, dilations=3).double()
    coded.normalize.load_state_dict(model.normalize.state_dict())
    coded.head.load_state_dict(model.head.state_dict())
    with torch.no_grad():
        for layer, conv, norm in zip(coded.layers, model.convs, model.norms, strict=True):
            layer.weight.copy_(conv.weight)
            layer.norm.load_state_dict(norm.state_dict())
    project_(coded, 30)
    x = images()
    torch.testing.assert_close(coded.train(training)(x), model.train(training)(x), **EXACT)
    with torch.no_grad():
        coded.layers[1].copy_lam.fill_(0.5)
    assert (coded(x) - model(x)).abs().max() > 1e-3


def test_unfolded_msd_csc_descends_from_msdnet() -> None:
    """At β = 1 each further step lowers the Lasso of [I Fᵀ] of every layer."""
    model = network("msd_csc", iterations=5)
    layer = model.layers[2]
    with torch.no_grad():
        layer.copy_lam.fill_(0.05)
        layer.log_step.fill_(0)
    signal = model.codes(model.normalize(images()))[1]
    problem = Network((layer.problem(),))
    trace = []
    start = feed_forward(problem, signal)
    pursue(problem, signal, start, 20, watch=lambda j, t, codes: trace.append(problem.objective(signal, codes)))
    values = torch.stack([problem.objective(signal, start), *trace])
    assert (values[1:] <= values[:-1] + 1e-12).all()
    assert (values[-1] < values[0]).all()


def test_dilations_go_round() -> None:
    model = MSDNet(5, width=8, depth=5, dilations=3)
    assert [conv.dilation[0] for conv in model.convs] == [1, 2, 3, 1, 2]  # type: ignore[index,union-attr]
    assert [layer.dilation for layer in MSDCSC(5, width=8, depth=5, dilations=3).layers] == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("arch", ITERATED)
def test_more_iterations_change_the_codes_and_are_pure_in_eval(arch: str) -> None:
    model, x = network(arch, iterations=3), images()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores = model(x)
    torch.testing.assert_close(model(x), scores, rtol=0, atol=0)
    torch.testing.assert_close(model(x[:1]), scores[:1], **EXACT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for module in model.layers if isinstance(model, MultiLayer) else (model,):  # type: ignore[union-attr]
        module.iterations = 1
    assert (model(x) - scores).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("dp", {"beta": 0.0}, "beta must be finite and > 0, at most 1; got 0.0"),
        ("dp", {"beta": 1.2}, "beta must be finite and > 0, at most 1; got 1.2"),
        ("lbp", {"lam": -1.0}, "lam must be finite and >= 0, at most 1,000,000; got -1.0"),
        ("dp_res", {"iterations": 0}, "iterations must be an integer >= 1, at most 10,000; got 0"),
        ("dp", {"extrapolation": 1.0}, "extrapolation must be finite and >= 0 and < 1; got 1.0"),
        ("ltp", {"iterations": 2}, "ltp has no option 'iterations'. It has: depth, lam"),
        ("ltp", {"depth": 0}, "depth must be an integer >= 1, at most 1,000; got 0"),
        ("ml_csc", {"method": "heavy_ball"}, "method 'heavy_ball' does not exist"),
        ("msdnet", {"stem": "imagenet"}, "msdnet is a network for small images"),
    ],
)
def test_bad_options_end_in_one_sentence(arch: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        models.build(arch, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arch", ["msdnet", "msd_csc"])
def test_dilations_beyond_the_image_end_in_one_sentence(arch: str) -> None:
    model = models.build(arch, width=4)
    with pytest.raises(ValueError, match=r"a dilation of 5 reaches beyond images of 5 x 12 pixels; choose .* below 5"):
        model(torch.rand(2, 3, 5, 12))
    model(torch.rand(2, 3, 6, 12))


def test_normalisation_over_ranks_is_refused() -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(models.build("dp", width=4))
    layer = model.layers[0]  # type: ignore[index]
    with pytest.raises(ValueError, match="a pursuit has no sync_batchnorm"):
        layer.frozen()  # type: ignore[operator,union-attr]
    assert isinstance(model, PursuitNet)
    assert isinstance(models.build("ml_csc", width=4), MultiLayer)


@pytest.mark.parametrize("arch", ["ml_csc", "res_csc", "res_csc_b"])
def test_multilayer_networks_are_evaluated_at_many_lams_at_once(arch: str) -> None:
    torch.manual_seed(0)
    model, images, lams = models.build(arch, 10, width=4), torch.rand(4, 3, 16, 16), torch.tensor([0.05, 0.3])
    with torch.no_grad():
        for _ in range(30):  # brings the statistics of the normalisations to what comes out of the layers
            model(images)
        model.eval()
        together = at_lams(model, lams, images)
        for lam, scores in zip(lams, together, strict=True):
            set_lam(model, lam)
            torch.testing.assert_close(model(images), scores)
    assert not torch.allclose(*together)


@pytest.mark.parametrize("arch", FAMILY)
def test_every_member_computes_in_bfloat16(arch: str) -> None:
    small: dict[str, Any] = {"depth": 3} if arch.startswith("msd") else {}
    model = models.build(arch, 5, width=16, **small)
    x = torch.rand(8, 3, 16, 16)
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(x)
    rounded.float().sum().backward()
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("arch", ["msdnet", "msd_csc"])
def test_mixed_scale_networks_train_in_float32_on_a_cpu(arch: str) -> None:
    """oneDNN's gradient of a dilated filter with 19 input channels is NaN in bfloat16."""
    cpu = torch.device("cpu")
    assert has_odd_dilation(models.build(arch, width=16))
    assert loop.best_precision(cpu, models.build(arch, width=16)) == "fp32"
    assert not has_odd_dilation(models.build("dp_res", width=16))
    assert not has_odd_dilation(models.build(arch, width=16, dilations=1))
