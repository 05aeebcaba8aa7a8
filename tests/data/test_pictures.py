"""Pictures to look at without a data set: a reader's own, and crops of photographs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sdnet.data.pictures import load_picture, photo_crops, resized


def test_a_readers_picture(tmp_path: Path) -> None:
    assert load_picture(None, 32).shape == (1, 3, 32, 32)
    Image.new("L", (50, 20), 128).save(tmp_path / "grey.png")
    torch.testing.assert_close(load_picture(tmp_path / "grey.png", 40), torch.full((1, 3, 40, 40), 128 / 255))
    with pytest.raises(ValueError, match=r"there is no picture at 'nowhere\.jpg'; give the path of an image file"):
        load_picture("nowhere.jpg", 32)
    with pytest.raises(ValueError, match=r"path must be text; got 3"):
        load_picture(3, 32)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1, 8.5, True, "8", None, 10**9])
def test_a_size_that_no_picture_has(size: Any) -> None:
    with pytest.raises(ValueError, match=f"size must be an integer >= 1, at most 10,000; got {size!r}"):
        load_picture(None, size)
    with pytest.raises(ValueError, match=f"size must be an integer >= 1, at most 10,000; got {size!r}"):
        photo_crops(1, size)


@pytest.mark.parametrize(("mode", "shape"), [("L", (16, 16)), ("RGBA", (16, 16)), ("P", (16, 16)), ("RGB", (16, 8))])
def test_only_an_rgb_square_is_resized(mode: str, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"as wide as high; got {mode} of {shape[0]}×{shape[1]} pixels"):
        resized(Image.new(mode, shape), 8)
    assert resized(Image.new("RGB", (16, 16)), 8).shape == (1, 3, 8, 8)


def test_crops_of_photographs_are_natural_images() -> None:
    crops = photo_crops(6, 12)
    assert crops.shape == (6, 3, 12, 12)
    assert 0 <= crops.min() < crops.max() <= 1
    assert crops.std(dim=(1, 2, 3)).min() > 0.02
    assert torch.equal(crops, photo_crops(6, 12))
    assert not torch.equal(crops, photo_crops(6, 12, seed=1))
    with pytest.raises(ValueError, match=r"count must be an integer >= 1, at most 1,000,000; got 0"):
        photo_crops(0, 12)
    with pytest.raises(ValueError, match=r"seed must be an integer >= 0, .*; got 1\.5"):
        photo_crops(6, 12, seed=1.5)  # type: ignore[arg-type]
