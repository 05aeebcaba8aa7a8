"""Pictures to look at without a data set: a reader's own, and crops of photographs."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from sdnet.data.pictures import load_picture, photo_crops


def test_a_readers_picture(tmp_path: Path) -> None:
    assert load_picture(None, 32).shape == (1, 3, 32, 32)
    Image.new("L", (50, 20), 128).save(tmp_path / "grey.png")
    torch.testing.assert_close(load_picture(tmp_path / "grey.png", 40), torch.full((1, 3, 40, 40), 128 / 255))
    with pytest.raises(ValueError, match=r"there is no picture at nowhere\.jpg; give the path of an image file"):
        load_picture("nowhere.jpg", 32)


def test_crops_of_photographs_are_natural_images() -> None:
    crops = photo_crops(6, 12)
    assert crops.shape == (6, 3, 12, 12)
    assert 0 <= crops.min() < crops.max() <= 1
    assert crops.std(dim=(1, 2, 3)).min() > 0.02
    assert torch.equal(crops, photo_crops(6, 12))
    assert not torch.equal(crops, photo_crops(6, 12, seed=1))
