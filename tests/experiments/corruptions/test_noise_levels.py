"""Which benchmark's noise levels images get depends on their size alone."""

import pytest
import torch

from sdnet.data.corruptions import add_noise, level_of
from sdnet.data.datasets import Split
from sdnet.experiments.corruptions.sweep import conditions


@pytest.mark.parametrize(("side", "benchmark"), [(32, "cifar"), (64, "imagenet"), (128, "imagenet")])
def test_a_scaled_down_imagenet_gets_the_noises_of_imagenet_c(side: int, benchmark: str) -> None:
    split = Split(torch.randint(256, (2, side, side, 3), dtype=torch.uint8), torch.zeros(2, dtype=torch.long))
    for condition in list(conditions(split, ("gaussian_noise",)))[1:]:
        level = level_of("gaussian_noise", condition.severity, benchmark)
        expected = add_noise(split.images, "gaussian_noise", level, seed=condition.severity)
        assert torch.equal(condition.split.images, expected)
