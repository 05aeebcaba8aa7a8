"""The picture of the idea: what its numbers say."""

import numpy as np
import torch

from sdnet.experiments.layer import idea


def test_a_mosaic_has_a_channel_per_tile() -> None:
    channels = torch.zeros(64, 2, 3)
    channels[9] = 4.0
    drawn = idea._mosaic(channels)
    assert drawn.shape == (16, 24, 3)
    black = np.argwhere(drawn[..., 0] == 0)
    assert (black.min(0).tolist(), black.max(0).tolist()) == ([2, 3], [3, 5])
    assert (drawn[..., 0] == 1).sum() == 16 * 24 - 6


def test_a_larger_lam_leaves_more_zeros_and_the_parts_add_up() -> None:
    shown = idea.show_idea("sdnet18-w16-cifar10-s0", "resnet18-w16-cifar10-s0")
    labels = [text for ax in shown.axes if "zeros" in (text := ax.get_ylabel())]
    zeros = [int(text.split("\n")[-1].split()[0]) for text in labels]
    assert len(zeros) == 2
    assert 40 < zeros[0] < zeros[1] < 100
    image, _, explained, left = (np.asarray(ax.images[0].get_array()) for ax in shown.axes[4:8])
    inside = (explained > 0) & (explained < 1) & (left > 0) & (left < 1)
    np.testing.assert_allclose((explained + 2 * (left - 0.5))[inside], image[inside], atol=1e-5)
