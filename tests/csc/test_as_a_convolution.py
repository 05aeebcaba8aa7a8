"""What PyTorch can do with nn.Conv2d it can do with CSCConv2d; and a layer notices weights that were not projected."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from sdnet import CSCConv2d, convert, csc_layers, models, project_, set_lam

GRADIENT = pytest.mark.parametrize("gradient", ["unrolled", "checkpointed", "implicit"])
SIGN = pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "nonnegative"])
BOTH_L = pytest.mark.parametrize("lipschitz_method", ["fourier", "power"])


def layer(**options: object) -> CSCConv2d:
    return CSCConv2d(3, 8, 3, padding=1, **{"iterations": 3, **options})


def solved(**options: object) -> CSCConv2d:
    """An implicit layer whose support has independent atoms, solved: only then has the minimiser a derivative."""
    options = {"lam": 0.1, "iterations": 5000, "tolerance": 1e-13, **options}
    return CSCConv2d(3, 4, 3, stride=3, gradient="implicit", dtype=torch.float64, **options)


@GRADIENT
@SIGN
@pytest.mark.parametrize("options", [{}, {"bias": True}, {"iterations": 1}, {"ridge": 0.1}], ids=str)
@pytest.mark.parametrize("shape", [(), (2,)], ids=["scalar", "image"])
def test_a_code_may_be_changed_in_place(gradient: str, nonnegative: bool, options: dict, shape: tuple) -> None:
    coder = layer(gradient=gradient, nonnegative=nonnegative, **options)
    set_lam(coder, torch.full(shape, 0.1))
    images, found = torch.rand(2, 3, 8, 8), []
    for change in (lambda code: torch.relu(code * 2 - 0.1), lambda code: code.mul_(2).sub_(0.1).relu_()):
        coder.zero_grad()
        change(coder(images)).square().sum().backward()
        found.append(coder.weight.grad.clone())
    assert found[0].norm() > 0
    torch.testing.assert_close(found[0], found[1])


def test_a_relu_in_place_behind_a_layer_trains() -> None:
    model = nn.Sequential(layer(), nn.ReLU(inplace=True))
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    assert model[0].weight.grad.norm() > 0


@GRADIENT
@SIGN
def test_vmap_over_images_and_over_networks(gradient: str, nonnegative: bool) -> None:
    options = {"gradient": gradient, "nonnegative": nonnegative}
    several, images = [layer(**options) for _ in range(3)], torch.rand(4, 2, 3, 8, 8)
    expected = torch.stack([several[0](batch) for batch in images])
    torch.testing.assert_close(vmap(several[0])(images), expected)
    parameters, buffers = stack_module_state(several)
    codes = vmap(lambda p, b: functional_call(several[0], (p, b), (images[0],)))(parameters, buffers)
    torch.testing.assert_close(codes, torch.stack([coder(images[0]) for coder in several]))


@pytest.mark.parametrize(
    "coder", [layer(bias=True), layer(nonnegative=False), solved(bias=True), solved(nonnegative=False)], ids=str
)
def test_gradients_per_sample(coder: CSCConv2d) -> None:
    images = torch.rand(4, 3, 9, 9, dtype=coder.weight.dtype)

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(coder, parameters, (image.unsqueeze(0),)).square().sum()

    found = vmap(grad(loss), (None, 0))(dict(coder.named_parameters()), images)
    for number, image in enumerate(images):
        coder.zero_grad()
        coder(image.unsqueeze(0)).square().sum().backward()
        for name, parameter in coder.named_parameters():
            torch.testing.assert_close(found[name][number], parameter.grad, rtol=1e-4, atol=1e-5)
            assert parameter.grad.norm() > 0


def test_fx_keeps_the_layer_and_its_lam() -> None:
    model, images = nn.Sequential(layer(), nn.BatchNorm2d(8), nn.ReLU()).eval(), torch.rand(2, 3, 8, 8)
    traced, before = torch.fx.symbolic_trace(model), model(images)
    assert torch.equal(traced(images), before)
    assert [name for name, _ in csc_layers(traced)] == ["0"]
    set_lam(traced, 1.0)
    assert traced.get_submodule("0").lam.item() == 1
    assert not torch.equal(traced(images), before)
    (node,) = [node for node in traced.graph.nodes if node.target == "0"]
    assert node.op == "call_module"


def test_features_of_inner_layers_can_be_extracted() -> None:
    images, converted = torch.rand(2, 3, 32, 32), resnet18(num_classes=5).eval()
    convert(converted, lam=0.01)
    features = create_feature_extractor(converted, ["conv1", "layer1"])(images)
    assert torch.equal(features["conv1"], converted.conv1(images))
    ours = models.build("sdnet18", 10, width=4, atoms=8).eval()
    found = create_feature_extractor(ours, {"stem.0": "code"})(images)["code"]
    assert torch.equal(found, ours.stem[0](ours.normalize(images)))


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize(
    "options", [{}, {"nonnegative": False}, {"stride": 2}, {"padding_mode": "circular"}, {"bias": True}], ids=str
)
def test_jit_tracing_holds_for_other_sizes(options: dict) -> None:
    coder = layer(**options)
    traced = torch.jit.trace(coder, torch.rand(2, 3, 8, 8))
    images = torch.rand(3, 3, 12, 10)
    torch.testing.assert_close(traced(images), coder(images))


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("gradient", ["checkpointed", "implicit"])
def test_jit_tracing_says_what_it_cannot_record(gradient: str) -> None:
    with pytest.raises(ValueError, match=r"torch\.jit\.trace records unrolled steps only"):
        torch.jit.trace(layer(gradient=gradient), torch.rand(2, 3, 8, 8))


@GRADIENT
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_fp16_autocast_gives_its_type_and_finite_gradients(gradient: str, bias: bool, scale: float) -> None:
    coder, images = layer(gradient=gradient, bias=bias, iterations=4), torch.rand(4, 3, 16, 16) * scale
    with torch.autocast("cpu", torch.float16):
        code = coder(images)
    assert code.dtype == torch.float16  # as nn.Conv2d, with a bias too
    code.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in coder.parameters())
    assert coder.weight.grad.norm() > 0


@BOTH_L
def test_weights_averaged_over_steps_are_refused_until_they_are_projected(lipschitz_method: str) -> None:
    coder, images = layer(lipschitz_method=lipschitz_method), torch.rand(2, 3, 8, 8)
    averaged = AveragedModel(coder)
    for _ in range(2):
        coder.reset_parameters()
        averaged.update_parameters(coder)
    with pytest.raises(ValueError, match=r"an atom of norm 0\.\d+, where each should have norm 1; after averaging"):
        averaged(images)
    project_(averaged, power_steps=30)
    assert averaged(images).isfinite().all()
    assert averaged.module.fault() is None


@BOTH_L
def test_atoms_that_are_not_projected_are_refused_at_the_next_call(lipschitz_method: str) -> None:
    coder, images = layer(lipschitz_method=lipschitz_method, projected=False), torch.rand(2, 3, 8, 8)
    torch.nn.init.uniform_(coder.weight, 2, 3)
    with pytest.raises(ValueError, match=r"its Lipschitz constant is \d\S*, where its atoms need \d+"):
        coder(images)
    coder.project_(power_steps=30)
    assert coder(images).abs().max() < 100


@BOTH_L
@pytest.mark.parametrize("value", [0.0, 1e-6, math.nan, math.inf])
def test_a_lipschitz_constant_that_is_set_after_the_first_call_is_looked_at(
    lipschitz_method: str, value: float
) -> None:
    coder, images = layer(lipschitz_method=lipschitz_method), torch.rand(2, 3, 8, 8)
    coder(images)
    coder.lipschitz.fill_(value)
    with pytest.raises(ValueError, match=r"its Lipschitz constant is .*, where .* call sdnet\.project_\(model"):
        coder(images)
    coder.project_(power_steps=30)
    assert coder(images).abs().max() < 100


@BOTH_L
@pytest.mark.parametrize("left", [0.0, math.nan])
def test_what_to_empty_leaves_is_refused_until_it_is_projected(lipschitz_method: str, left: float) -> None:
    coder, images = layer(lipschitz_method=lipschitz_method), torch.rand(2, 3, 8, 8)
    weight = coder.weight.detach().clone()
    coder.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in coder.state_dict().values():
            tensor.fill_(left)
        coder.lam.fill_(0.1)
    with pytest.raises(ValueError, match=r"its Lipschitz constant is (0|nan), where"):
        coder(images)
    with torch.no_grad():
        coder.weight.copy_(weight)
    coder.project_(power_steps=30)
    torch.testing.assert_close(coder(images), layer_with(weight, lipschitz_method)(images), rtol=0.1, atol=0.02)


def layer_with(weight: torch.Tensor, lipschitz_method: str) -> CSCConv2d:
    coder = layer(lipschitz_method=lipschitz_method)
    coder.load_state_dict({**coder.state_dict(), "weight": weight})
    coder.project_(power_steps=30)
    return coder


def test_atoms_of_zeros_keep_the_probe_for_those_that_follow() -> None:
    coder = layer(lipschitz_method="power")
    weight = coder.weight.detach().clone()
    with torch.no_grad():
        coder.weight.zero_()
        coder.project_()
        coder.weight.copy_(weight)
    coder.project_()
    assert coder.fault() is None
    assert coder(torch.rand(2, 3, 8, 8)).abs().max() < 100


@pytest.mark.parametrize("lam", [-1.0, math.nan])
@pytest.mark.parametrize("learn_lam", [None, "layer"])
def test_a_state_with_a_lam_that_is_none_is_refused(learn_lam: str | None, lam: float) -> None:
    coder = layer(learn_lam=learn_lam)
    with pytest.raises(ValueError, match="lam must be finite and >= 0; got"):
        coder.load_state_dict({**coder.state_dict(), "lam": torch.tensor(lam)})


def test_a_step_of_an_optimizer_without_projection_is_noticed() -> None:
    coder, images = layer(), torch.rand(2, 3, 8, 8)
    optimizer = torch.optim.SGD(coder.parameters(), 0.1)
    coder(images).sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match=r"before training sdnet\.project_after_step"):
        coder(images)


def test_weights_averaged_behind_pytorchs_back_are_noticed() -> None:
    coder, other, images = layer(), layer(), torch.rand(2, 3, 8, 8)
    coder(images)
    coder.weight.data.mul_(0.9).add_(other.weight.data, alpha=0.1)
    with pytest.raises(ValueError, match=r"after averaging.* call sdnet\.project_"):
        coder(images)
    project_(coder)
    assert coder(images).isfinite().all()


def test_weights_that_only_move_house_are_accepted_and_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    coder, images, looked = layer(), torch.rand(2, 3, 8, 8), []
    fault = CSCConv2d.fault
    monkeypatch.setattr(CSCConv2d, "fault", lambda self: looked.append(1) or fault(self))
    for move in (copy.deepcopy, CSCConv2d.double, CSCConv2d.bfloat16, CSCConv2d.float):
        changed = move(coder)
        for _ in range(2):
            assert changed(images.to(changed.weight.dtype)).isfinite().all()
    assert len(looked) == 4
    coder.load_state_dict(layer().state_dict())
    coder(images)
    project_(coder)
    for _ in range(3):
        coder(images)
    assert len(looked) == 5


@pytest.mark.parametrize("compute", [lambda c: prune.l1_unstructured(c, "weight", 0.5), parametrizations.weight_norm])
def test_pruned_and_parametrized_atoms_are_refused_until_they_are_permanent(compute: object) -> None:
    coder = layer()
    compute(coder)
    with torch.no_grad():
        getattr(coder, "weight_orig", next(coder.parameters())).mul_(0.7)
    with pytest.raises(ValueError, match="make the weight permanent"):
        project_(coder)
    with pytest.raises(ValueError, match="where each should have norm 1"):
        coder(torch.rand(2, 3, 8, 8))


def test_pruning_made_permanent_is_noticed_and_keeps_its_zeros() -> None:
    coder, images = layer(), torch.rand(2, 3, 8, 8)
    prune.l1_unstructured(coder, "weight", 0.5)
    prune.remove(coder, "weight")
    with pytest.raises(ValueError, match="where each should have norm 1"):
        coder(images)
    project_(coder, power_steps=30)
    assert (coder.weight == 0).float().mean() == 0.5
    assert coder(images).isfinite().all()


@BOTH_L
def test_a_layer_made_nowhere_begins_anew_where_it_is_put(lipschitz_method: str) -> None:
    options = {"lipschitz_method": lipschitz_method, "lam": 0.3, "bias": True}
    with torch.device("meta"):
        coder = layer(**options)
    coder.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*coder.parameters(), *coder.buffers()):
            tensor.fill_(torch.nan)  # as memory that nobody wrote may read
    torch.manual_seed(5)
    coder.reset_parameters()
    torch.manual_seed(5)
    for name, tensor in layer(**options).state_dict().items():
        assert torch.equal(coder.state_dict()[name], tensor), name
