"""Attacks against what is known in closed form, protocols against each other, and bad input."""

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from toys import images, network

from sdnet import set_lam
from sdnet.attacks import EPSILONS, Attack, autoattack_flags, perturb, zero_gradients
from sdnet.data.batches import to_pixels
from sdnet.data.datasets import Split
from sdnet.experiments import protocols
from sdnet.experiments.protocols import Plan, at, at_all, correct_at, craft, guarded, in_the_loop, on_grid, simultaneous
from sdnet.experiments.sanity import STEPS, Watched, large_epsilon, over_steps, sanity
from sdnet.robust.denoisers import gaussian_filter
from sdnet.robust.knobs import Denoiser, Lam, StemThreshold
from sdnet.robust.policies import Policy, RobustClassifier, fixed

LINF = Attack("pgd", "linf", EPSILONS["linf"], steps=5)
L2 = Attack("pgd", "l2", EPSILONS["l2"], steps=5)
EVERY = [LINF, L2, replace(LINF, name="fgsm"), replace(L2, name="fgsm"), replace(LINF, units="normalised")]
EVERY += [replace(L2, units="normalised"), replace(LINF, restarts=3), replace(LINF, name="square", steps=20)]
EVERY += [replace(L2, name="square", steps=20), replace(L2, random_start=False, step_size=0.3)]


def named(attack: Attack) -> str:
    return f"{attack.name}-{attack.norm}-{attack.units}-{attack.restarts}-{attack.random_start}"


def radius(perturbed: Tensor, pixels: Tensor, attack: Attack, std: float = 0.25) -> Tensor:
    shift = (perturbed - pixels).flatten(1) / (std if attack.units == "normalised" else 1)
    return shift.abs().amax(1) if attack.norm == "linf" else shift.norm(dim=1)


class Linear(nn.Module):
    """Two classes apart by a plane: the class is the sign of ⟨w, x⟩ + b, the margin the distance from it times ‖w‖."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3 * 8 * 8) * torch.rand(3 * 8 * 8))
        self.b = nn.Parameter(-(pixels.flatten(1) @ self.w).mean())
        self.eval()

    def value(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1) @ self.w + self.b

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(pixels)), self.value(pixels)], 1)


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
        ({"epsilon": -0.1}, r"epsilon must be finite and >= 0; got -0.1"),
        ({"epsilon": float("nan")}, "epsilon must be finite"),
        ({"steps": 0}, "steps must be an integer >= 1; got 0"),
        ({"restarts": 1.5}, "restarts must be an integer >= 1; got 1.5"),
        ({"step_size": 0.0}, "step_size must be > 0"),
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


def plan_of(model: nn.Module, count: int = 24, **changes: object) -> Plan:
    """A plan whose labels are what the network says at λ₀, so that there is something to lose."""
    split = images(count)
    with torch.no_grad():
        labels = model(to_pixels(split.images)).argmax(1)
    return replace(Plan(Lam(model), Split(split.images, labels), 0.1, (0.1, 0.5), (0.1, 0.3, 0.5)), **changes)


def values(cells: list[dict[str, object]], metric: str = "robust_top1") -> dict[tuple[object, object], float]:
    return {(cell["protocol"], cell["strength"]): cell["value"] for cell in cells if cell["metric"] == metric}


def test_with_epsilon_zero_every_protocol_gives_the_clean_accuracy() -> None:
    model = network()
    plan, nothing = plan_of(model), replace(LINF, epsilon=0.0)
    clean = plan.clean()
    found = values([*on_grid(plan, nothing, clean, protocols.ON_GRID), *simultaneous(plan, nothing, clean)])
    usual = dict(zip(plan.strengths, clean.double().mean(1).tolist(), strict=True))
    assert usual[0.1] == 1 > usual[0.5]
    assert {protocol for protocol, _ in found} == {*protocols.ON_GRID, "simultaneous"}
    assert all(value == usual[strength] for (_, strength), value in found.items())
    classifier = RobustClassifier(model, Policy("line", 0.05, 0.0, 0.1, 0.5, per_image=True))
    usual, cell = guarded(plan, classifier)
    assert {each["value"] for each in in_the_loop(plan, nothing, classifier, usual)} == {cell["value"]}


def test_protocols_against_each_other() -> None:
    plan = plan_of(network(), 40)
    attack = replace(LINF, epsilon=0.02)
    clean = plan.clean()
    found = values(on_grid(plan, attack, clean, protocols.ON_GRID))
    assert found["adaptive", 0.1] == found["oblivious", 0.1] < 1
    assert all(found["worst_case", strength] <= found["adaptive", strength] for strength in plan.grid)
    assert found["worst_case", 0.5] <= found["oblivious", 0.5]
    right = correct_at(plan.knob, craft(at(plan.knob, 0.5), plan.split, attack), plan.split.labels, (0.1, 0.3, 0.5))
    assert found["adaptive", 0.5] == (right[2] & clean[2]).double().mean()
    only = on_grid(plan, attack, clean, ["oblivious"])
    assert values(only) == {key: value for key, value in found.items() if key[0] == "oblivious"}


def test_targets_are_the_network_at_that_strength() -> None:
    model, pixels = network(), torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        one, both = at(Lam(model), 0.5)(pixels), at_all(Lam(model), (0.1, 0.5))(pixels)
        first = model(pixels).softmax(1)
        set_lam(model, 0.5)
        torch.testing.assert_close(one, model(pixels), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(both.exp(), (first + one.softmax(1)) / 2, rtol=1e-4, atol=1e-4)


def test_the_policys_gradient_flows_through_lam() -> None:
    model = network()
    classifier = RobustClassifier(model, Policy("line", 0.05, 0.0, 0.0, 5.0, per_image=True))
    frozen = copy.deepcopy(classifier)
    frozen.lam = lambda given: classifier.lam(given).detach()  # type: ignore[method-assign]
    split = images(6)
    pixels = to_pixels(split.images).requires_grad_()
    gradients = []
    for target in (classifier, frozen):
        loss = nn.functional.cross_entropy(target(pixels), split.labels, reduction="sum")
        gradients += torch.autograd.grad(loss, pixels)
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[1].norm()
    through = perturb(protocols.Target(classifier, classifier), pixels, split.labels, LINF)
    assert not torch.equal(through, perturb(protocols.Target(frozen, frozen), pixels, split.labels, LINF))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_sanity_on_a_network(norm: str) -> None:
    plan = plan_of(network(), 30)
    attack = Attack("pgd", norm, 0.01 if norm == "linf" else 0.2, steps=10)
    cells = sanity(plan, [attack], queries=10)
    curve = {cell["steps"]: cell["value"] for cell in cells if cell["metric"] == "steps_loss"}
    assert tuple(curve) == STEPS
    losses = list(curve.values())
    assert all(later >= 0.99 * earlier for earlier, later in pairwise(losses))
    right = [cell["value"] for cell in cells if cell["metric"] == "steps_top1"]
    assert all(later <= earlier + 1 / 30 + 1e-6 for earlier, later in pairwise(right))
    assert losses[-1] > losses[0]
    assert right[-1] < right[0]
    (large,) = (cell["value"] for cell in cells if cell["metric"] == "large_epsilon_top1")
    assert large == 0
    white, black = (cell["value"] for cell in cells if cell["metric"] in ("white_box_top1", "black_box_top1"))
    assert white <= black
    assert [cell["strength"] for cell in cells if cell["metric"] == "zero_gradient"] == [0.1, 0.5]


def test_the_curve_over_steps_is_what_shorter_attacks_reach() -> None:
    plan = plan_of(network())
    attack = replace(LINF, step_size=0.004)
    target = at(plan.knob, 0.1)
    cells = {
        cell["steps"]: cell["value"] for cell in over_steps(target, plan, attack) if cell["metric"] == "steps_loss"
    }
    pixels = craft(target, plan.split, replace(attack, steps=5))
    with torch.no_grad():
        assert cells[5] == pytest.approx(
            nn.functional.cross_entropy(target(pixels), plan.split.labels).item(), rel=1e-4
        )
    watched = Watched(target)
    craft(watched, plan.split, replace(attack, steps=5))
    assert len(watched.calls) == 5


@pytest.mark.parametrize("knob", ["stem", "blur"])
def test_controls_are_attacked_too(knob: str) -> None:
    model = network("resnet18")
    turned = StemThreshold(model) if knob == "stem" else Denoiser(model, gaussian_filter, "gaussian filter")
    plan = plan_of_control(model, turned)
    found = values(on_grid(plan, replace(LINF, epsilon=0.05), plan.clean(), protocols.ON_GRID))
    assert found["adaptive", 0.0] == found["oblivious", 0.0]
    assert found["adaptive", 0.8] <= found["oblivious", 0.8]
    assert large_epsilon(at(turned, 0.0), plan, LINF)["value"] == 0


def plan_of_control(model: nn.Module, knob: protocols.Turned) -> Plan:
    split = images(24)
    with torch.no_grad():
        labels = model(to_pixels(split.images)).argmax(1)
    return Plan(knob, Split(split.images, labels), 0.0, (0.0, 0.8), (0.0, 0.8))
