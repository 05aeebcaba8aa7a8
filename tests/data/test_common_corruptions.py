"""Blur, weather and digital corruptions from the kept library: seeded, in our layout, refused where they fail."""

import sys

import numpy as np
import pytest
import torch
from imagecorruptions import corrupt
from torch import Tensor

from sdnet.data.common_corruptions import COMMON, add_corruption
from sdnet.data.corruptions import NOISES


def photos() -> Tensor:
    ramp = torch.linspace(0, 255, 32)
    image = torch.stack([ramp.expand(32, 32), ramp.expand(32, 32).T, 128 + 0 * ramp.expand(32, 32)], 2)
    return torch.stack([image, image.flip(0)]).to(torch.uint8)


@pytest.mark.parametrize("corruption", COMMON)
def test_shape_type_seed_and_the_global_generator(corruption: str) -> None:
    images = photos()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, worse = (add_corruption(images, corruption, s, seed=1) for s in (2, 2, 5))
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, images)
    assert not torch.equal(first, worse)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_it_is_the_librarys_corruption() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = corrupt(photos()[0].numpy(), corruption_name="fog", severity=4)
    assert torch.equal(add_corruption(photos(), "fog", 4, seed=3)[0], torch.from_numpy(expected))


def test_what_cannot_be_corrupted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"corruption 'blur' does not exist. Did you mean 'zoom_blur'"):
        add_corruption(photos(), "blur", 1)
    with pytest.raises(ValueError, match="severity must be an integer >= 1, at most 5; got 0"):
        add_corruption(photos(), "fog", 0)
    with pytest.raises(ValueError, match=r"at least 32×32 pixels; got torch.uint8 of 16×16"):
        add_corruption(photos()[:, :16, :16], "fog", 1)
    with pytest.raises(ValueError, match=r"got torch\.float32"):
        add_corruption(photos().float(), "fog", 1)
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ValueError, match=r"install it with: pip install 'sdnet\[corruptions\]'"):
        add_corruption(photos(), "fog", 1)


def test_no_name_is_both_ours_and_the_librarys() -> None:
    assert not set(COMMON) & set(NOISES)
