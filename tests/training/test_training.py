"""The loop, its recipes and its checkpoints."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sdnet import csc_layers, models
from sdnet.data.datasets import Split
from sdnet.experiments.attacks import protocols
from sdnet.robust.attacks import Attack
from sdnet.training import loop
from sdnet.training.checkpoint import load_checkpoint, read_network, save_checkpoint, save_network
from sdnet.training.progress import duration
from sdnet.training.recipes import PRESETS, Recipe, recipe
from sdnet.training.run import BestEpoch, Diverged, optimizer_of

SMALL = Recipe(epochs=3, batch_size=16, lr=0.05, padding=1, width=2)


@pytest.fixture
def split() -> Split:
    """Two classes that the brightness of the upper half tells apart."""
    labels = torch.arange(48) % 2
    images = torch.randint(0, 120, (48, 8, 8, 3), dtype=torch.uint8)
    images[:, :4] += (labels * 120).to(torch.uint8).view(-1, 1, 1, 1)
    return Split(images, labels)


def network() -> nn.Module:
    torch.manual_seed(7)
    return models.build("sdnet18", 2, width=2, atoms=4)


def test_the_papers_recipe() -> None:
    paper = recipe("paper")
    assert (paper.epochs, paper.batch_size, paper.lr, paper.momentum) == (220, 128, 0.1, 0.9)
    assert (paper.nesterov, paper.weight_decay, paper.schedule, paper.width) == (True, 5e-4, "cosine", 64)
    imagenet = recipe("paper_imagenet")
    assert (imagenet.epochs, imagenet.batch_size, imagenet.milestones) == (100, 512, (30, 60, 90))


def test_cosine_schedule() -> None:
    assert PRESETS["paper"].lr_factor(0) == 1
    assert PRESETS["paper"].lr_factor(0.5) == pytest.approx(0.5)
    assert PRESETS["paper"].lr_factor(1 - 1e-9) == pytest.approx(0, abs=1e-8)


def test_warmup_rises_to_the_peak_and_falls_to_zero() -> None:
    factors = [replace(SMALL, warmup=0.2).lr_factor(step / 1000) for step in range(1000)]
    peak = factors.index(max(factors))
    assert peak == 200
    assert factors[:201] == sorted(factors[:201])
    assert factors[200:] == sorted(factors[200:], reverse=True)
    assert max(factors) == pytest.approx(1)


def test_steps_schedule() -> None:
    factor = PRESETS["paper_imagenet"].lr_factor
    assert [factor(epoch / 100) for epoch in (0, 29, 30, 60, 95)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1, at most 1,000,000; got 0"),
        ({"width": 2.5}, "width must be an integer >= 1, at most 1,000,000; got 2.5"),
        ({"lr": 0.0}, "lr must be finite and > 0; got"),
        ({"lr": float("nan")}, "lr must be finite and > 0; got"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
    ],
)
def test_recipe_refuses(numbers: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **numbers)  # type: ignore[arg-type]


def test_unknown_preset_lists_the_presets() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'smoke'.*paper, paper_imagenet, quick, smoke"):
        recipe("smok")


def test_training_learns_and_keeps_the_atoms_on_the_sphere(split: Split) -> None:
    torch.manual_seed(7)
    model = models.build("sdnet18", 2, width=8, atoms=8)
    history = loop.train(model, split, replace(SMALL, epochs=40), flip=False)
    assert loop.accuracy(model, split) > 0.9
    assert history[-1].loss < history[0].loss
    for _, layer in csc_layers(model):
        norms = layer.weight.flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))


def test_training_is_deterministic(split: Split) -> None:
    first, second = network(), network()
    loop.train(first, split, SMALL)
    loop.train(second, split, SMALL)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = network()
    history = loop.train(undisturbed, split, SMALL)
    checkpoint = tmp_path / "checkpoint.pt"

    def interrupted(*arguments: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(*arguments)  # type: ignore[arg-type]

    calls: list[int] = []
    step = loop.training_step
    monkeypatch.setattr(loop, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(network(), split, SMALL, checkpoint=checkpoint, key="a")
    monkeypatch.setattr(loop, "training_step", step)
    torch.manual_seed(99)
    resumed = models.build("sdnet18", 2, width=2, atoms=4)
    rest = loop.train(resumed, split, SMALL, checkpoint=checkpoint, key="a")
    assert [row.loss for row in rest] == [row.loss for row in history]
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_best_epoch_is_kept_through_an_interruption_and_watching_changes_nothing(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is as after its best epoch, the first of several as in the authors' script; epochs are the same."""
    usual, checkpoint = network(), tmp_path / "checkpoint.pt"
    history = loop.train(usual, split, SMALL)
    weights: list[torch.Tensor] = []

    def judge(model: nn.Module) -> float:
        weights.append(model.head.weight.detach().clone())
        return (0.5, 0.7, 0.7)[len(weights) - 1]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, "epoch", interrupted)  # after the checkpoint of the first epoch
        with pytest.raises(KeyboardInterrupt):
            loop.train(network(), split, SMALL, checkpoint=checkpoint, best=BestEpoch(judge))
    model, best = network(), BestEpoch(judge)
    rest = loop.train(model, split, SMALL, checkpoint=checkpoint, best=best)
    assert ([row.loss for row in rest], best.accuracies, best.epoch) == (
        [row.loss for row in history],
        [0.5, 0.7, 0.7],
        2,
    )
    assert torch.equal(model.head.weight, weights[1])
    assert torch.equal(usual.head.weight, weights[2])
    assert not torch.equal(weights[1], weights[2])
    done = network()
    loop.train(done, split, SMALL, checkpoint=checkpoint, best=BestEpoch(judge))
    assert torch.equal(done.head.weight, weights[1])


def test_a_checkpoint_of_another_run_is_refused(split: Split, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    loop.train(network(), split, replace(SMALL, epochs=1), checkpoint=checkpoint, key="a")
    with pytest.raises(ValueError, match="belongs to another run"):
        loop.train(network(), split, SMALL, checkpoint=checkpoint, key="b")


def test_a_checkpoint_of_an_older_version_is_refused(split: Split, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint, {"key": "a", "history": []})
    with pytest.raises(ValueError, match="was written by an older version; delete it"):
        loop.train(network(), split, SMALL, checkpoint=checkpoint, key="a")


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half of it")
    with pytest.raises(ValueError, match=r"not a readable checkpoint .* delete it to start over"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_checkpoint_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1})

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}


def test_divergence_ends_in_one_sentence_and_keeps_the_last_checkpoint(split: Split, tmp_path: Path) -> None:
    model, checkpoint = network(), tmp_path / "checkpoint.pt"
    loop.train(model, split, replace(SMALL, epochs=1), checkpoint=checkpoint, key="a")
    before = load_checkpoint(checkpoint)
    with pytest.raises(Diverged, match=r"no longer finite in epoch 2; lr=1e\+30 is too large"):
        loop.train(model, split, replace(SMALL, lr=1e30), checkpoint=checkpoint, key="a")
    after = load_checkpoint(checkpoint)
    assert after["history"] == before["history"]


@pytest.mark.parametrize(
    ("arch", "options"),
    [("sdnet18_all", {}), ("scn", {}), ("scn18", {}), ("sdnet18", {"learn_lam": "layer"}), ("lbp", {})],
)
def test_a_layer_that_is_given_what_is_not_finite_says_that_the_training_diverged(
    split: Split, arch: str, options: dict[str, str]
) -> None:
    with pytest.raises(Diverged, match="the loss is no longer finite in epoch 1"):
        loop.train(models.build(arch, 2, width=2, **options), split, replace(SMALL, lr=1e30))


def test_bf16_is_close_to_fp32(split: Split) -> None:
    model = network().eval()
    images = split.images.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad(), loop.precision_of(torch.device("cpu"), "bf16"):
        half = model(images).float()
    torch.testing.assert_close(half, model(images), atol=0.05, rtol=0.05)


class Watched(nn.Module):
    """Scores as a linear function of the brightness, which note whether TF32 is allowed, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.seen: list[bool] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.note()
        scores = images.mean((1, 2, 3))[:, None] * self.weight
        if scores.requires_grad:
            scores.register_hook(self.note)
        return scores

    def note(self, gradient: torch.Tensor | None = None) -> None:
        self.seen.append(bool(torch.backends.cudnn.allow_tf32))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_float32_is_not_tf32(precision: str) -> None:
    assert torch.backends.cudnn.allow_tf32  # PyTorch's default
    with loop.precision_of(torch.device("cpu"), precision):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    with pytest.raises(ValueError, match="iterations"), loop.precision_of(torch.device("cpu"), precision):
        models.build("scn18", iterations=0)
    assert torch.backends.cudnn.allow_tf32


def test_training_evaluation_and_attacks_are_exact_forwards_and_backwards(split: Split) -> None:
    optimizer = torch.optim.SGD((model := Watched()).parameters())
    loop.training_step(model, optimizer, torch.rand(4, 3, 8, 8), split.labels[:4], 0.1, "fp32")
    assert model.seen == [False, False]
    loop.accuracy(model, split)
    assert model.seen == [False] * 3
    protocols.craft(model.eval(), Split(split.images[:2], split.labels[:2]), Attack("pgd", "linf", 0.01, 2))
    assert len(model.seen) > 6
    assert not any(model.seen)
    assert torch.backends.cudnn.allow_tf32


def test_accuracy_counts_in_eval_mode_and_restores_the_mode(split: Split) -> None:
    model = network().train()
    value = loop.accuracy(model, split, batch_size=7)
    assert model.training
    images = split.images.permute(0, 3, 1, 2).float() / 255
    expected = (model.eval()(images).argmax(1) == split.labels).float().mean().item()
    assert value == pytest.approx(expected)


def test_estimate_leaves_the_network_alone(split: Split) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert 0 < loop.estimated_seconds(model, split, SMALL, "fp32") < math.inf
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_network_files_round_trip(tmp_path: Path) -> None:
    model = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_network(tmp_path / "network.safetensors", model, {"classes": ["a", "b"]})
    state, description = read_network(tmp_path / "network.safetensors")
    assert description == {"classes": ["a", "b"]}
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_reading_no_network_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no network at .*; train one first"):
        read_network(tmp_path / "network.safetensors")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("width", "atoms", "safe"), [(16, 64, True), (8, 64, False), (16, 4, False)])
def test_narrow_networks_keep_away_from_onednn(width: int, atoms: int, safe: bool) -> None:
    model = models.build("sdnet18", 2, width=width, atoms=atoms)
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = True
    try:
        with loop.safe_kernels(model):
            assert torch.backends.mkldnn.enabled is safe
        if not safe:
            assert loop.best_precision(torch.device("cpu"), model) == "fp32"
        assert torch.backends.mkldnn.enabled is True
    finally:
        torch.backends.mkldnn.enabled = before


def test_a_learned_lam_does_not_decay() -> None:
    model = models.build("sdnet18", width=4, atoms=4, learn_lam="channel")
    (layer,) = (layer for _, layer in csc_layers(model))
    optimizer = optimizer_of(model, Recipe(1, lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = layer.weight.detach().clone()
    optimizer.step()
    assert torch.equal(layer.lam.detach(), torch.full((1, 4), 0.1))
    torch.testing.assert_close(layer.weight.detach(), 0.95 * before)
    assert len(optimizer_of(models.build("sdnet18", width=4, atoms=4), Recipe(1)).param_groups) == 1
