"""Protocols against each other, and the checks that an evaluation must pass."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from toys import LINF, images, network

from sdnet import set_lam
from sdnet.data.batches import to_pixels
from sdnet.data.datasets import Split
from sdnet.experiments.attacks import protocols
from sdnet.experiments.attacks.protocols import (
    Grid,
    at,
    at_all,
    correct_at,
    craft,
    in_the_loop,
    on_grid,
    policy_on_clean,
    simultaneous,
)
from sdnet.experiments.attacks.sanity import STEPS, Watched, large_epsilon, over_steps, sanity
from sdnet.robust.attacks import Attack, perturb
from sdnet.robust.denoisers import gaussian_filter
from sdnet.robust.knobs import Denoiser, Knob, Lam, StemThreshold
from sdnet.robust.policies import Policy, RobustClassifier


def grid_of(model: nn.Module, count: int = 24, **changes: object) -> Grid:
    """A plan whose labels are what the network says at λ₀, so that there is something to lose."""
    split = images(count)
    with torch.no_grad():
        labels = model(to_pixels(split.images)).argmax(1)
    return replace(Grid(Lam(model), Split(split.images, labels), 0.1, (0.1, 0.5), (0.1, 0.3, 0.5)), **changes)


def values(cells: list[dict[str, object]], metric: str = "robust_top1") -> dict[tuple[object, object], float]:
    return {(cell["protocol"], cell["strength"]): cell["value"] for cell in cells if cell["metric"] == metric}


def test_with_epsilon_zero_every_protocol_gives_the_clean_accuracy() -> None:
    model = network()
    grid, nothing = grid_of(model), replace(LINF, epsilon=0.0)
    clean = grid.clean()
    found = values([*on_grid(grid, nothing, clean, protocols.ON_GRID), *simultaneous(grid, nothing, clean)])
    usual = dict(zip(grid.strengths, clean.double().mean(1).tolist(), strict=True))
    assert usual[0.1] == 1 > usual[0.5]
    assert {protocol for protocol, _ in found} == {*protocols.ON_GRID, "simultaneous"}
    assert all(value == usual[strength] for (_, strength), value in found.items())
    classifier = RobustClassifier(model, Policy("line", 0.05, 0.0, 0.1, 0.5, per_image=True))
    usual, cell = policy_on_clean(grid, classifier)
    assert {each["value"] for each in in_the_loop(grid, nothing, classifier, usual)} == {cell["value"]}


def test_protocols_against_each_other() -> None:
    grid = grid_of(network(), 40)
    attack = replace(LINF, epsilon=0.02)
    clean = grid.clean()
    found = values(on_grid(grid, attack, clean, protocols.ON_GRID))
    assert found["adaptive", 0.1] == found["oblivious", 0.1] < 1
    assert all(found["worst_case", strength] <= found["adaptive", strength] for strength in grid.crafted)
    assert found["worst_case", 0.5] <= found["oblivious", 0.5]
    right = correct_at(grid.knob, craft(at(grid.knob, 0.5), grid.split, attack), grid.split.labels, (0.1, 0.3, 0.5))
    assert found["adaptive", 0.5] == (right[2] & clean[2]).double().mean()
    only = on_grid(grid, attack, clean, ["oblivious"])
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
    grid = grid_of(network(), 30)
    attack = Attack("pgd", norm, 0.01 if norm == "linf" else 0.2, steps=10)
    cells = sanity(grid, [attack], queries=10)
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
    grid = grid_of(network())
    attack = replace(LINF, step_size=0.004)
    target = at(grid.knob, 0.1)
    cells = {
        cell["steps"]: cell["value"] for cell in over_steps(target, grid, attack) if cell["metric"] == "steps_loss"
    }
    pixels = craft(target, grid.split, replace(attack, steps=5))
    with torch.no_grad():
        assert cells[5] == pytest.approx(
            nn.functional.cross_entropy(target(pixels), grid.split.labels).item(), rel=1e-4
        )
    watched = Watched(target)
    craft(watched, grid.split, replace(attack, steps=5))
    assert len(watched.calls) == 5


@pytest.mark.parametrize("knob", ["stem", "blur"])
def test_controls_are_attacked_too(knob: str) -> None:
    model = network("resnet18")
    turned = StemThreshold(model) if knob == "stem" else Denoiser(model, gaussian_filter, "gaussian_filter")
    grid = grid_of_control(model, turned)
    found = values(on_grid(grid, replace(LINF, epsilon=0.05), grid.clean(), protocols.ON_GRID))
    assert found["adaptive", 0.0] == found["oblivious", 0.0]
    assert found["adaptive", 0.8] <= found["oblivious", 0.8]
    assert large_epsilon(at(turned, 0.0), grid, LINF)["value"] == 0


def grid_of_control(model: nn.Module, knob: Knob) -> Grid:
    split = images(24)
    with torch.no_grad():
        labels = model(to_pixels(split.images)).argmax(1)
    return Grid(knob, Split(split.images, labels), 0.0, (0.0, 0.8), (0.0, 0.8))
