"""Knobs and sweeps: many strengths at once give what one at a time gives."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor, nn
from toys import images, network

import sdnet
from sdnet.data.datasets import Split
from sdnet.experiments.attacks.protocols import at_a_time
from sdnet.experiments.corruptions import sweep as experiment
from sdnet.robust import denoisers, knobs
from sdnet.robust import sweep as sweeps
from sdnet.robust.knobs import BatchStatistics, Denoiser, Knob, Lam, StemThreshold
from sdnet.robust.sweep import batch_size_for, successive_halving, sweep

STRENGTHS = torch.tensor([0.1, 0.5, 1.0, 0.3])


@pytest.mark.parametrize("options", [{}, {"iterations": 1}, {"iterations": 4}, {"nonnegative": False, "ridge": 0.1}])
@pytest.mark.parametrize("arch", ["sdnet18", "sdnet18_all"])
def test_many_lams_at_once_are_the_plain_loop(arch: str, options: dict[str, object]) -> None:
    model = network(arch, **options)
    before = copy.deepcopy(model.state_dict())
    pixels = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        every = Lam(model).scores(pixels, STRENGTHS)
        for lam, scores in zip(STRENGTHS.tolist(), every, strict=True):
            one = copy.deepcopy(model)
            sdnet.set_lam(one, lam)
            torch.testing.assert_close(scores, one(pixels), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (every[0] - every[2]).abs().max() > 1e-3


def test_many_codes_of_a_layer_with_bias_stride_and_padding() -> None:
    layer = sdnet.CSCConv2d(3, 8, 4, stride=2, padding="valid", bias=True, iterations=3).requires_grad_(False)
    layer.bias.copy_(torch.randn(8))
    signal = torch.randn(2, 3, 11, 9)
    codes = layer.many_codes(signal, STRENGTHS).unflatten(0, (4, 2))
    for lam, code in zip(STRENGTHS.tolist(), codes, strict=True):
        sdnet.set_lam(layer, lam)
        torch.testing.assert_close(code, layer(signal))


def test_a_sweep_predicts_what_the_plain_loop_predicts() -> None:
    model, split = network(), images(300)
    correct = sweep(Lam(model), split, STRENGTHS)
    pixels = split.images.permute(0, 3, 1, 2) / 255
    for lam, row in zip(STRENGTHS.tolist(), correct, strict=True):
        sdnet.set_lam(model, lam)
        with torch.no_grad():
            assert torch.equal(row, model(pixels).argmax(1) == split.labels)


def test_a_failing_sweep_leaves_the_network_as_it_was() -> None:
    model = network()
    with pytest.raises(RuntimeError, match="size of tensor"):
        Lam(model).scores(torch.rand(2, 5, 16, 16), STRENGTHS)
    assert model.stem[0].lam == pytest.approx(0.1)
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 10)


def test_the_stems_threshold_shifts_its_relu() -> None:
    model = network("resnet18")
    pixels = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        scores = StemThreshold(model).scores(pixels, torch.tensor([0.0, 0.7]))
        torch.testing.assert_close(scores[0], model(pixels), rtol=1e-4, atol=1e-4)
        values = model.stem[:2](model.normalize(pixels))
        torch.testing.assert_close(scores[1], model.classify(F.relu(values - 0.7)), rtol=1e-4, atol=1e-4)


def test_batch_statistics_are_the_batchs_own_and_then_forgotten() -> None:
    model = network("resnet18")
    pixels = 0.5 + 0.5 * torch.rand(16, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        kept, followed = BatchStatistics(model).scores(pixels, torch.tensor([0.0, 1.0]))
        torch.testing.assert_close(kept, model(pixels))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        judge = copy.deepcopy(model)
        for module in judge.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        torch.testing.assert_close(followed, judge(pixels), rtol=1e-4, atol=1e-4)


def test_denoisers_against_their_definitions() -> None:
    pixels = torch.rand(2, 3, 8, 8)
    for denoise, strengths in denoisers.DENOISERS.values():
        assert torch.equal(denoise(pixels, 0.0), pixels)
        for strength in strengths:
            result = denoise(pixels, strength)
            assert result.shape == pixels.shape
            assert result.dtype == pixels.dtype
            assert result.min() >= 0
            assert result.max() <= 1 + 1e-6
    middle = denoisers.median(pixels, 2.0)[0, 1, 3, 4]
    assert middle == pixels[0, 1, 2:5, 3:6].median()
    one = denoise_tv_chambolle(pixels[1].numpy(), weight=0.1, channel_axis=0)
    np.testing.assert_allclose(denoisers.total_variation(pixels, 0.1)[1].numpy(), one)
    spread = denoisers.gaussian_filter(F.pad(torch.ones(1, 3, 1, 1), (8, 8, 8, 8)), 1.0)
    assert spread.sum().item() == pytest.approx(3, rel=1e-3)
    offsets = torch.arange(-8.0, 9)
    assert (spread[0, 0].sum(0) * offsets**2).sum().item() == pytest.approx(1.0, rel=0.02)


def test_quantisation_rounds_and_lets_gradients_through() -> None:
    pixels = torch.tensor([0.0, 0.12, 0.13, 0.5, 0.9, 1.0], requires_grad=True)
    rounded = denoisers.quantisation(pixels, 0.25)
    assert rounded.tolist() == pytest.approx([0.0, 0.0, 0.25, 0.5, 1.0, 1.0])
    rounded.sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.tolist() == [1.0] * 6


def test_a_denoiser_stands_in_front_of_the_network() -> None:
    model = network("resnet18")
    pixels = torch.rand(3, 3, 16, 16)
    knob = Denoiser(model, denoisers.median, "median")
    with torch.no_grad():
        plain, filtered = knob.scores(pixels, torch.tensor([0.0, 2.0]))
        torch.testing.assert_close(plain, model(pixels))
        torch.testing.assert_close(filtered, model(denoisers.median(pixels, 2.0)))


class Peaked(Knob):
    """Right on image i at strength s with a probability that has one maximum in s; counts what it classifies."""

    name = "peaked"

    def __init__(self, best: float, labels: Tensor) -> None:
        self.best, self.labels, self.classified, self.at = best, labels, 0, 0

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        self.classified += len(images) * len(strengths)
        difficulty = images[:, 0, 0, 0]  # evenly spread over [0, 1]
        right = difficulty[None] < 1 - 0.4 * (strengths[:, None] - self.best).abs()
        return F.one_hot(right.long(), 2).float()


@pytest.mark.parametrize("best", [0.1, 0.4, 0.9, 1.5])
def test_halving_finds_the_best_strength_for_a_third_of_the_price(best: float) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (800, 1, 1, 3), dtype=torch.uint8, generator=generator)
    split = Split(pixels, torch.ones(800, dtype=torch.long))
    strengths = torch.linspace(0.1, 1.5, 15)
    knob = Peaked(best, split.labels)
    winner = successive_halving(knob, split, strengths)
    assert abs(strengths[winner].item() - best) < 0.11
    assert knob.classified <= 800 * 15 / 3


def test_what_cannot_be_turned_is_refused() -> None:
    with pytest.raises(ValueError, match="no CSC layer whose λ could be turned"):
        Lam(network("resnet18"))
    with pytest.raises(ValueError, match="no ReLU whose threshold"):
        StemThreshold(network("sdnet18"))
    with pytest.raises(ValueError, match="train mode"):
        Lam(network().train())
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; got 2"):
        BatchStatistics(network("resnet18")).scores(torch.rand(2, 3, 16, 16), torch.tensor([2.0]))
    with pytest.raises(ValueError, match="lam must be"):
        Lam(network()).scores(torch.rand(2, 3, 16, 16), torch.tensor([-1.0]))
    with pytest.raises(ValueError, match="needs images and strengths; got 0 images"):
        sweep(Lam(network()), images(0), STRENGTHS)
    with pytest.raises(ValueError, match="ascending"):
        successive_halving(Lam(network()), images(), STRENGTHS)


def test_published_images_go_where_the_clean_ones_are() -> None:
    """Files are read on the CPU; sweeps and policies run where the network is."""
    split = Split(torch.zeros(3, 8, 8, 3, dtype=torch.uint8), torch.arange(3))
    asked = list(experiment.conditions(split.to("meta"), ("shot_noise",), lambda corruption, severity: split))
    assert len(asked) == 6
    assert {tensor.device.type for one in asked for tensor in (one.split.images, one.split.labels)} == {"meta"}


@pytest.mark.parametrize(
    ("place", "side", "strengths", "swept", "perturbed"),
    [
        ("cpu", 32, 8, 32, 250),
        ("cpu", 224, 8, 32, 250),
        ("meta", 32, 8, 1024, 1000),
        ("meta", 224, 8, 20, 20),
        ("meta", 224, 1000, 2, 20),
        ("meta", 5000, 1, 1, 1),
    ],
)
def test_fewer_large_images_go_together_on_an_accelerator(
    place: str, side: int, strengths: int, swept: int, perturbed: int
) -> None:
    knob = Lam(network("sdnet18"))
    assert batch_size_for(knob, strengths, torch.device(place), side) == swept
    split = Split(torch.empty(1, side, side, 3, dtype=torch.uint8, device=place), torch.empty(1, device=place))
    assert at_a_time(split) == perturbed


def test_many_strengths_are_swept_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    knob, strengths = Lam(network("sdnet18")), torch.linspace(0, 2, 7)
    split = Split(torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8), torch.arange(5))
    whole, asked = sweep(knob, split, strengths), []
    scores = Lam.scores
    monkeypatch.setattr(knobs, "MOST", 3)
    monkeypatch.setattr(Lam, "scores", lambda self, x, some: asked.append(len(some)) or scores(self, x, some))
    assert torch.equal(sweep(knob, split, strengths), whole)
    assert asked == [3, 3, 1]


def test_a_sweep_asks_for_the_size_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    monkeypatch.setattr(sweeps, "batch_size_for", lambda knob, count, device, side: sides.append(side) or 2)
    split = Split(torch.zeros(3, 8, 9, 3, dtype=torch.uint8), torch.zeros(3).long())
    assert sweep(Lam(network("sdnet18")), split, torch.tensor([0.1])).shape == (1, 3)
    assert sides == [9]
