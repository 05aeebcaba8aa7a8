"""On a GPU: no step mixes devices, waits for a value or brings anything from the host; rehearsed without one.

Forward passes run on a CUDA device that is not there. Backward passes of PyTorch's engine need a real one, so that
whole steps run on ``meta``, whose tensors have no values either.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from fake_device import Copies, fake_cuda
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from sdnet import CSCConv2d, models, project_after_step
from sdnet.csc.lipschitz import random_probe
from sdnet.data.batches import draw_windows, training_batches
from sdnet.data.corruptions import NOISES
from sdnet.data.datasets import Split, load
from sdnet.experiments.attacks.protocols import at, at_all
from sdnet.experiments.performance import speed
from sdnet.robust.knobs import Knob, Lam, LamShift, StemThreshold
from sdnet.robust.policies import Policy, RobustClassifier, all_residuals, predictions
from sdnet.robust.sweep import sweep
from sdnet.robust.thresholds import NormThreshold
from sdnet.runtime import random_order
from sdnet.training import loop

ARCHS = ("sdnet18", "resnet18", "scn18")
FAMILY = tuple(name for name in models.names() if "34" not in name)
# Layers remember where their weights lie.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")


def network(arch: str = "sdnet18") -> nn.Module:
    return models.build(arch, 10, width=4)


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 16, 16)


def test_a_value_that_is_read_is_found() -> None:
    with fake_cuda(), pytest.raises(DataDependentOutputException):
        bool(images().isfinite().all())
    with fake_cuda(), Copies() as copies:
        torch.tensor([0.1], device="cpu").to("cuda")
    assert len(copies.seen) == 1


@pytest.mark.parametrize("arch", FAMILY)
def test_a_training_step(arch: str) -> None:
    with torch.device("meta"):
        model, labels = network(arch).train(), torch.zeros(4, dtype=torch.long)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
        with Copies() as copies:
            loop.training_step(model, optimizer, images(), labels, 0.1, "fp32")
    assert not copies.seen


@pytest.mark.parametrize("learn_lam", [None, "layer"])
def test_lam_is_looked_at_after_someone_wrote_into_it_and_no_other_time(learn_lam: str | None) -> None:
    with torch.device("meta"):
        layer, signal = CSCConv2d(3, 4, 3, learn_lam=learn_lam), images()
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        project_after_step(optimizer, layer)
        for _ in range(2):
            layer(signal).sum().backward()
            optimizer.step()
        with torch.no_grad():
            layer.lam.fill_(0.2)
        with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
            layer(signal)


@pytest.mark.parametrize("arch", FAMILY)
def test_an_evaluation(arch: str) -> None:
    with fake_cuda(), torch.no_grad():
        model, pixels = network(arch).eval(), images()
        with Copies() as copies:
            model(pixels)
    assert not copies.seen


@pytest.mark.parametrize(
    ("arch", "knob"),
    [("sdnet18", Lam), ("scn18", LamShift), ("resnet18", StemThreshold), ("sdnet18", NormThreshold)],
)
def test_a_sweep(arch: str, knob: Callable[[nn.Module], Knob]) -> None:
    """What is done once for all batches is not looked at; a batch of 4 images at 3 strengths is."""
    with fake_cuda(), torch.no_grad():
        turned, strengths = knob(network(arch).eval()), torch.rand(3)
        with Copies() as copies:
            assert turned.scores(images(), strengths).shape == (3, 4, 10)
    assert not copies.seen
    with torch.device("meta"):
        model = network(arch).eval()
    assert knob(model).ready([0.1, 0.5]).device.type == "meta"


def test_a_whole_sweep_reads_strengths_once_and_on_the_cpu() -> None:
    with torch.device("meta"):
        split = Split(torch.zeros(40, 16, 16, 3, dtype=torch.uint8), torch.zeros(40, dtype=torch.long))
        knob = Lam(network().eval())
        knob.batch = 10
    with Copies() as copies:
        strengths = torch.tensor([0.1, 0.5])
        assert sweep(knob, split, strengths).shape == (2, 40)
    assert len(copies.seen) == 1


@pytest.mark.parametrize("number", [-1.0, float("nan")])
def test_a_lam_set_by_hand_is_looked_at_when_it_is_set(number: float) -> None:
    for layer in (CSCConv2d(3, 4, 3), models.build("scn18", 10, width=4).stem[0]):
        wrong = torch.tensor(number)
        with pytest.raises(ValueError, match=r"lam must be finite and >= 0; got"):
            layer.lam = nn.Parameter(wrong) if isinstance(layer.lam, nn.Parameter) else wrong


def test_what_is_drawn_on_the_cpu_is_drawn_there_whatever_the_default_device() -> None:
    """A GPU as the default device would refuse a generator of the CPU; ``meta`` would give numbers without values."""
    layer, digits = CSCConv2d(16, 32, 3, lipschitz_method="power"), load("digits")
    generator = torch.Generator().manual_seed(0)

    def drawn() -> list[Tensor]:
        rows, columns = draw_windows(3, (32, 32), 2, True, generator.manual_seed(0))
        pixels, _ = next(training_batches(digits.train, 8, seed=0, epoch=0, padding=2, flip=True))
        return [
            random_probe(layer.dictionary),
            random_order(9, 1),
            digits.hold_out(0.1).train.labels,
            rows,
            columns,
            pixels,
        ]

    expected = drawn()
    with torch.device("meta"):
        found = drawn()
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("noise", NOISES)
def test_noise(noise: str) -> None:
    with fake_cuda(), Copies() as copies:
        NOISES[noise](images(), 0.1, None)  # type: ignore[arg-type]  # a generator needs a device that is there
    assert not copies.seen


def test_what_algorithm_1_asks_of_a_batch() -> None:
    with fake_cuda(), torch.no_grad():
        model, pixels = network().eval(), torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
        with Copies() as copies:
            norms = all_residuals(model, pixels, 0.1)
            lam = Policy("fitted", 1.0, 0.0, 0.1, 1.0, per_image=True).lam(norms)
            assert predictions(model, pixels, lam).shape == (4,)
    assert not copies.seen


def test_what_is_timed() -> None:
    with fake_cuda():
        inference = speed.inference(network(), images(), "fp32")
        with Copies() as copies:
            inference()
    assert not copies.seen
    with torch.device("meta"):
        training = speed.training(network(), images(), torch.zeros(4, dtype=torch.long), "fp32")
    with Copies() as copies:
        training()
    assert not copies.seen


def step(target: nn.Module, pixels: Tensor, labels: Tensor, norm: str) -> None:
    """What :func:`sdnet.robust.attacks.perturb` repeats: a step of torchattack's PGD."""
    torchattack = pytest.importorskip("torchattack")
    kind = torchattack.PGD if norm == "linf" else torchattack.PGDL2
    low, high = torch.zeros(3, 1, 1, device="meta"), torch.ones(3, 1, 1, device="meta")
    options = {"eps": 0.03, "steps": 2, "alpha": 0.01, "random_start": False, "clip_min": low, "clip_max": high}
    inner = kind(target, normalize=partial(torch.mul, torch.ones(3, 1, 1, device="meta")), device="meta", **options)
    inner(pixels, labels)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("target", ["at", "at_all", "policy"])
def test_a_step_of_an_attack(norm: str, target: str) -> None:
    with torch.device("meta"):
        model, pixels, labels = network().eval(), images(), torch.zeros(4, dtype=torch.long)
    knob = Lam(model)
    attacked = {
        "at": lambda: at(knob, 0.3),
        "at_all": lambda: at_all(knob, (0.1, 0.3)),
        "policy": lambda: RobustClassifier(model, Policy("fitted", 1.0, 0.0, 0.1, 0.1, 1.0)),
    }[target]()
    with Copies() as copies:
        step(attacked, pixels, labels, norm)
    assert not copies.seen
