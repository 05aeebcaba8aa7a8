"""Randomized smoothing against a plane, of which the certified radius is known: the distance."""

from math import inf

import pytest
import torch
from scipy.stats import beta, norm
from torch import Tensor, nn

from sdnet.experiments.what_is_lambda.certify import ABSTAINED, Smoothing, votes
from sdnet.robust.knobs import Knob


class Plane(Knob):
    """Two classes apart by the plane ⟨w, x⟩ = b, with ‖w‖ = 1; the strength moves it."""

    name = "plane"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.model = nn.Identity()
        self.w = torch.randn(shape)
        self.w /= self.w.norm()

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        value = (images * self.w).flatten(1).sum(1)
        return torch.stack([torch.stack([torch.zeros_like(value), value - b], 1) for b in strengths])


def test_the_bound_is_clopper_and_pearson_s() -> None:
    smoothing = Smoothing(0.25, 1000, 0.001)
    for count in (600, 900, 999):
        low = beta.ppf(0.001, count, 1000 - count + 1)
        assert smoothing.radius(count) == pytest.approx(0.25 * norm.ppf(low))
    assert smoothing.radius(1000) == pytest.approx(0.25 * norm.ppf(0.001 ** (1 / 1000)))
    assert smoothing.radius(500) == smoothing.radius(0) == ABSTAINED


@pytest.mark.parametrize("distance", [0.05, 0.15])
def test_a_plane_is_certified_up_to_its_distance_and_never_beyond(distance: float) -> None:
    """The share of draws on the right side is Φ(d/σ), so that the radius tends to d from below."""
    knob = Plane((3, 8, 8))
    pixels = 0.5 * knob.w
    strengths = torch.tensor([0.5 - distance, 0.5 + distance])
    counts = votes(knob, pixels, strengths, 0.12, 4000, seed=1)
    assert counts.sum(1).tolist() == [4000, 4000]
    assert counts.argmax(1).tolist() == [1, 0]
    for row in counts:
        share = int(row.max()) / 4000
        assert share == pytest.approx(norm.cdf(distance / 0.12), abs=0.03)
        radius = Smoothing(0.12, 4000, 0.001).radius(int(row.max()))
        assert distance - 0.02 < radius <= distance


def test_certificates_are_wrong_as_rarely_as_alpha_says() -> None:
    """By the binomial distribution itself, at the p where the distance is the radius of one count."""
    smoothing = Smoothing(1.0, 100, 0.05)
    p = float(norm.cdf(0.5))
    counts = torch.distributions.Binomial(100, torch.tensor(p)).sample((20_000,)).int().tolist()
    radii = {count: smoothing.radius(count) for count in set(counts)}
    wrong = sum(radii[count] > 0.5 for count in counts) / len(counts)
    assert 0.01 < wrong <= 0.05 + 0.005


def test_draws_are_the_same_for_every_strength_and_every_time() -> None:
    knob = Plane((3, 8, 8))
    pixels = 0.3 * knob.w
    alone = votes(knob, pixels, torch.tensor([0.3]), 0.12, 300, seed=4)
    both = votes(knob, pixels, torch.tensor([0.1, 0.3]), 0.12, 300, seed=4)
    assert torch.equal(alone[0], both[1])
    assert not torch.equal(votes(knob, pixels, torch.tensor([0.3]), 0.12, 300, seed=5), alone)


@pytest.mark.parametrize(
    ("changes", "said_so"),
    [({"sigma": 0.0}, "sigma must be"), ({"sigma": inf}, "sigma must be"), ({"samples": 0}, "samples must be"),
     ({"alpha": 1.0}, "alpha must be")],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(changes: dict[str, float], said_so: str) -> None:
    with pytest.raises(ValueError, match=said_so):
        Smoothing(**changes)  # type: ignore[arg-type]
