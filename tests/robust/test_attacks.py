"""Attacks against what is known in closed form, and bad input."""

import copy
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toys import L2, LINF, Linear, images, network

from sdnet.data.batches import to_pixels
from sdnet.experiments.attacks import protocols
from sdnet.robust.attacks import Attack, autoattack_flags, perturb, zero_gradients
from sdnet.robust.policies import RobustClassifier, fixed

EVERY = [LINF, L2, replace(LINF, name="fgsm"), replace(L2, name="fgsm"), replace(LINF, units="normalised")]
EVERY += [replace(L2, units="normalised"), replace(LINF, restarts=3), replace(LINF, name="square", steps=20)]
EVERY += [replace(L2, name="square", steps=20), replace(L2, random_start=False, step_size=0.3)]


def named(attack: Attack) -> str:
    return f"{attack.name}-{attack.norm}-{attack.units}-{attack.restarts}-{attack.random_start}"


def radius(perturbed: Tensor, pixels: Tensor, attack: Attack, std: float = 0.25) -> Tensor:
    shift = (perturbed - pixels).flatten(1) / (std if attack.units == "normalised" else 1)
    return shift.abs().amax(1) if attack.norm == "linf" else shift.norm(dim=1)


@pytest.mark.parametrize(("norm", "dual", "epsilon"), [("linf", 1, 0.004), ("l2", 2, 0.04)])
def test_a_linear_model_is_as_robust_as_its_closed_form(norm: str, dual: int, epsilon: float) -> None:
    """No pixel comes near 0 or 1, so that the ball is whole: robust exactly if the margin is above ε‖w‖."""
    pixels = 0.4 + 0.2 * torch.rand(300, 3, 8, 8)
    model = Linear(pixels)
    with torch.no_grad():
        value = model.value(pixels)
        labels = (value > 0).long()
        needed = epsilon * model.w.norm(p=dual)
    tie = (value.abs() - needed).abs() < 0.02 * needed
    attack = Attack("pgd", norm, epsilon, steps=40)
    for attempt in (attack, replace(attack, name="fgsm")):
        with torch.no_grad():
            robust = model(perturb(model, pixels, labels, attempt)).argmax(1) == labels
        assert torch.equal(robust[~tie], (value.abs() > needed)[~tie])
    assert 0.2 < (value.abs() > needed).float().mean() < 0.9
    assert tie.float().mean() < 0.1


@pytest.mark.parametrize("attack", EVERY, ids=named)
def test_perturbed_images_stay_in_the_ball_and_in_range(attack: Attack) -> None:
    model, split = network(), images(8)
    pixels = to_pixels(split.images)
    pixels[:4] = pixels[:4].round()  # corners of the cube
    state = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    perturbed = perturb(model, pixels, split.labels, attack, seed=3)
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    assert (radius(perturbed, pixels, attack) <= attack.epsilon * (1 + 1e-4) + 1e-5).all()
    assert (radius(perturbed, pixels, attack) > 0).any()
    assert torch.equal(perturb(model, pixels, split.labels, attack, seed=3), perturbed)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_one_step_is_fgsm_and_normalised_units_are_pixels_over_std() -> None:
    torchattack = pytest.importorskip("torchattack")
    model, split = network(), images(6)
    pixels = to_pixels(split.images)
    own = perturb(model, pixels, split.labels, replace(LINF, name="fgsm"))
    theirs = torchattack.FGSM(model, device=pixels.device, eps=LINF.epsilon)(pixels, split.labels)
    torch.testing.assert_close(own, theirs)
    for attack in (LINF, L2):
        normalised = perturb(
            model, pixels, split.labels, replace(attack, epsilon=4 * attack.epsilon, units="normalised")
        )
        torch.testing.assert_close(normalised, perturb(model, pixels, split.labels, attack), rtol=0, atol=1e-4)


def test_autoattack_runs_and_reports_its_flags() -> None:
    model, split = network(), images(6)
    pixels = to_pixels(split.images)
    with torch.no_grad():
        labels = model(pixels).argmax(1)
    attack = Attack("autoattack", "linf", 0.1)
    with autoattack_flags() as flags:
        perturbed = perturb(model, pixels, labels, attack)
    assert not any("randomized" in flag or "dynamic" in flag for flag in flags)
    assert radius(perturbed, pixels, attack).max() <= 0.1 + 1e-5
    with torch.no_grad():
        assert (model(perturbed).argmax(1) != labels).all()


def test_labels_that_are_wrong_already_cost_autoattack_nothing() -> None:
    model, split = network(), images(4)
    pixels = to_pixels(split.images)
    with torch.no_grad():
        labels = (model(pixels).argmax(1) + 1) % 10
    assert torch.equal(perturb(model, pixels, labels, Attack("autoattack_rand", "l2", 0.5)), pixels)


def test_a_zero_gradient_is_counted() -> None:
    model, split = network(), images(4)
    pixels = to_pixels(split.images)
    assert not zero_gradients(model, pixels, split.labels).any()
    dead = protocols.Target(model, lambda given: model(given.round() + 0 * given.detach()))
    assert zero_gradients(dead, pixels, split.labels).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "pdg"}, "attack 'pdg' does not exist. Did you mean 'pgd'"),
        ({"norm": "l3"}, "norm 'l3' does not exist"),
        ({"units": "inches"}, "units 'inches' does not exist"),
        ({"epsilon": -0.1}, r"epsilon must be finite and >= 0, at most 1,000,000; got -0.1"),
        ({"epsilon": float("nan")}, "epsilon must be finite"),
        ({"steps": 0}, "steps must be an integer >= 1, at most 1,000,000; got 0"),
        ({"restarts": 1.5}, "restarts must be an integer >= 1, at most 1,000,000; got 1.5"),
        ({"step_size": 0.0}, "step_size must be finite and > 0"),
        ({"restarts": 2, "random_start": False}, "restarts=2 without random_start"),
        ({"name": "square", "units": "normalised"}, "square works in pixels"),
    ],
)
def test_bad_attacks_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LINF, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pixels: 4 * pixels - 2, r"must be pixels in \[0, 1\]; got \[-2, 2\]. Normalisation belongs inside"),
        (lambda pixels: (255 * pixels).byte(), "images must be floats"),
        (lambda pixels: pixels[0], "images must be floats"),
        (lambda pixels: pixels / 0, r"must be pixels in \[0, 1\]"),
        (lambda pixels: pixels[:2], "labels must be 2 integers; got torch.int64, shape"),
    ],
)
def test_bad_images_are_refused(change: Callable[[Tensor], Tensor], message: str) -> None:
    pixels = to_pixels(images(3).images)
    pixels[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=message):
        perturb(network(), change(pixels), images(3).labels, LINF)


def test_bad_models_and_missing_libraries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = network(), images(3)
    pixels, labels = to_pixels(split.images), split.labels
    with pytest.raises(ValueError, match="train mode"):
        perturb(network().train(), pixels, labels, LINF)
    with pytest.raises(ValueError, match="at least 4 classes; this model has 2"):
        perturb(Linear(torch.rand(9, 3, 8, 8)), torch.rand(3, 3, 8, 8), labels % 2, Attack("autoattack", "l2", 0.5))
    with pytest.raises(ValueError, match="one Normalize module; this one has 0"):
        perturb(Linear(torch.rand(9, 3, 8, 8)), pixels[..., :8, :8], labels % 2, replace(L2, units="normalised"))
    with pytest.raises(ValueError, match="was fitted for network"):
        RobustClassifier(model, replace(fixed(0.1), network="0" * 16))
    for name, attack in (("torchattack", LINF), ("pyautoattack", Attack("autoattack", "linf", 0.1))):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ValueError, match=rf"needs the library {name}; get it with: pip install 'sdnet\[attacks\]'"):
            perturb(model, pixels, labels, attack)


def test_what_a_library_returns_is_not_taken_on_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    torchattack = pytest.importorskip("torchattack")
    split = images(3)
    for wrong in (lambda pixels: (pixels + 0.05).clamp(0, 1), lambda pixels: pixels + 1, lambda pixels: pixels / 0):
        monkeypatch.setattr(torchattack.PGD, "forward", lambda self, x, y, wrong=wrong: wrong(x))
        with pytest.raises(RuntimeError, match="left \\[0, 1\\] or its ball"):
            perturb(network(), to_pixels(split.images), split.labels, LINF)
