"""Waves of single frequencies: an orthonormal family that spans all images, and a network that hears one of them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toys import images

from sdnet.data.batches import to_pixels
from sdnet.data.datasets import Split
from sdnet.experiments.what_is_lambda.fourier import NORM, disturbed, frequencies, right_at, wave
from sdnet.experiments.what_is_lambda.setup import Setup
from sdnet.robust.knobs import Knob


@pytest.mark.parametrize(("side", "count"), [(8, 34), (7, 25), (32, 514)])
def test_frequencies_are_half_of_the_plane_and_no_two_are_alike(side: int, count: int) -> None:
    """(side² + s) / 2 of them, where s = 4 (even side) or 1 (odd side) are their own opposites."""
    assert len(frequencies(side)) == count


@pytest.mark.parametrize("side", [7, 8])
def test_waves_have_norm_1_and_one_frequency_and_are_orthogonal(side: int) -> None:
    waves = {one: wave(*one, side) for one in frequencies(side)}
    stacked = torch.stack(list(waves.values())).flatten(1).double()
    torch.testing.assert_close(stacked @ stacked.T, torch.eye(len(waves), dtype=torch.float64), atol=1e-5, rtol=0)
    for (down, across), values in waves.items():
        spectrum = torch.fft.fft2(values.double()).abs() > 1e-4
        places = {(down % side, across % side), (-down % side, -across % side)}
        assert {(int(i), int(j)) for i, j in spectrum.nonzero()} == places


def test_a_wave_of_spacing_2_is_one_of_all() -> None:
    assert 100 < len(frequencies(32, 2)) < 514 / 3
    assert all(down % 2 == across % 2 == 0 for down, across in frequencies(32, 2))


def test_images_are_moved_by_the_norm_whatever_their_batch() -> None:
    pixels = torch.full((6, 3, 32, 32), 0.5)
    moved = disturbed(pixels, 3, -5)
    norms = (moved - pixels).flatten(2).norm(dim=2)
    torch.testing.assert_close(norms, torch.full((6, 3), NORM), atol=1e-4, rtol=0)
    assert torch.equal(moved[4:], disturbed(pixels[4:], 3, -5, first=4))
    signs = ((moved - pixels)[:, :, 0, 0] > 0).flatten()
    assert 0 < signs.sum() < len(signs)
    dark = disturbed(to_pixels(images(4).images), 1, 1)
    assert dark.min() >= 0
    assert dark.max() <= 1


def test_who_hears_one_frequency_is_disturbed_by_no_other() -> None:
    """A classifier that reads the amplitude of one wave is disturbed by that one and by no other."""
    heard = wave(2, 1, 16)

    class Ear(Knob):
        name = "ear"

        def __init__(self) -> None:
            self.model = torch.nn.Identity()

        def scores(self, pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
            loud = (pixels[:, 0] * heard).sum((1, 2)).abs()
            return torch.stack(
                [torch.stack([0.5 * NORM * 0.5 + strength - loud, loud * 0], 1) for strength in strengths]
            )

    split = Split(torch.full((8, 16, 16, 3), 128, dtype=torch.uint8), torch.zeros(8, dtype=torch.long))
    evaluation: Any = SimpleNamespace(precision="fp32")
    setup = Setup(evaluation, Ear(), (0.0, 5.0), split)
    for frequency in (None, *frequencies(16, 1)):
        right = right_at(setup, frequency).double().mean(1).tolist()
        assert right == [0.0 if frequency == (2, 1) else 1.0, 1.0], frequency
