"""From an image file to 8-bit RGB: every mode has the right pixels or is refused, in each of the three readers."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdnet.data import datasets, folders, photographs
from sdnet.data.pictures import load_picture

Reader = Callable[[Path], torch.Tensor]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_CACHE", str(tmp_path / "cache"))


def as_folder(path: Path) -> Path:
    """A data set in which the file is every image."""
    for part in ("train", "val"):
        (path.parent / "set" / part / "a").mkdir(parents=True)
        os.link(path, path.parent / "set" / part / "a" / path.name)
    return path.parent / "set"


def in_memory(path: Path) -> torch.Tensor:
    return datasets.load(str(as_folder(path))).train.images[0]


def as_photograph(path: Path) -> torch.Tensor:
    split = photographs.load(str(as_folder(path)), workers=0).test
    return photographs.Photographs(split.files, size=4, cropped=True).decoded(1).images[0]


def as_picture(path: Path) -> torch.Tensor:
    return (load_picture(path, 4)[0].permute(1, 2, 0) * 255).round().byte()


READERS = pytest.mark.parametrize("read", [in_memory, as_photograph, as_picture])


def grey(values: list[int], suffix: str, folder: Path, **options: object) -> Path:
    """A 4×4 image of 16-bit grey, each of its rows these values."""
    path = folder / f"grey{suffix}"
    Image.fromarray(np.tile(np.array(values, dtype=np.uint16), (4, 1))).save(path, **options)  # type: ignore[arg-type]
    return path


@READERS
@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_is_scaled(read: Reader, suffix: str, tmp_path: Path) -> None:
    image = read(grey([0, 386, 32896, 65535], suffix, tmp_path))  # 386 / 257 is 1.502
    assert image[..., 0].tolist() == [[0, 2, 128, 255]] * 4
    assert (image == image[..., :1]).all()


@READERS
def test_a_transparent_grey_value_of_16_bits_is_white(read: Reader, tmp_path: Path) -> None:
    image = read(grey([0, 257, 5140, 5141], ".png", tmp_path, transparency=5140))
    assert image[0, :, 0].tolist() == [0, 1, 255, 20]


@READERS
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P and bytes", "RGB and a colour", "L and a value"])
def test_transparent_pixels_lie_on_white(read: Reader, mode: str, tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (4, 4), (40, 40, 40, 255))
    rgba.paste((0, 0, 0, 0), (2, 0, 4, 4))
    path = tmp_path / "alpha.png"
    match mode:
        case "P" | "P and bytes":
            image = Image.new("P", (4, 4))
            image.putpalette([40, 40, 40, 0, 0, 0])
            image.paste(1, (2, 0, 4, 4))
            image.save(path, transparency=1 if mode == "P" else b"\xff\x00")
        case "RGB and a colour":
            rgba.convert("RGB").save(path, transparency=(0, 0, 0))
        case "L and a value":
            rgba.convert("L").save(path, transparency=0)
        case _:
            rgba.convert(mode).save(path)
    assert read(path)[..., 1].tolist() == [[40, 40, 255, 255]] * 4


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 100, 255, 128)).save(tmp_path / "half.png")
    assert as_picture(tmp_path / "half.png")[0, 0].tolist() == [127, 177, 255]


@READERS
@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "png"), ("L", "png"), ("RGB", "jpg"), ("CMYK", "jpg")])
def test_8_bit_images_without_alpha_are_what_pillow_makes_of_them(
    read: Reader, mode: str, suffix: str, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path = tmp_path / f"plain.{suffix}"
    Image.fromarray(pixels).convert(mode).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
        assert np.array_equal(read(path).numpy(), np.asarray(image.convert("RGB")))


@READERS
@pytest.mark.parametrize(("kind", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_a_mode_without_a_range_is_refused(
    read: Reader, kind: type, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "depth.png"  # the suffix says nothing about the contents, which are TIFF
    Image.fromarray(np.ones((4, 4), dtype=kind)).save(path, format="TIFF")
    with pytest.raises(ValueError, match=r"depth\.png") as caught:
        read(path)
    assert f"its mode is {mode}, which has no fixed range" in str(caught.value) + capsys.readouterr().out


@READERS
@pytest.mark.parametrize("pixels", [15, 6])  # twice the limit is an error to Pillow, one more a warning
def test_an_image_with_too_many_pixels_cannot_be_decoded(
    read: Reader, pixels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(ValueError, match=r"huge\.png.*(replace it|replace them)"):
        read(tmp_path / "huge.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_where_warnings_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(ValueError, match=r"huge\.png cannot be decoded \(it has 4×4 pixels, more than 15 in all\)"):
        as_picture(tmp_path / "huge.png")


def test_a_readers_picture_is_turned_as_its_camera_was_and_a_data_set_is_not(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4))
    image.paste((255, 255, 255), (0, 0, 4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90°
    image.save(tmp_path / "turned.png", exif=exif)
    assert as_picture(tmp_path / "turned.png")[..., 0].tolist() == [[0, 0, 255, 255]] * 4
    assert in_memory(tmp_path / "turned.png")[..., 0].T.tolist() == [[255, 255, 0, 0]] * 4


def test_a_named_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"there is no picture at .*pipe\.png"):
        load_picture(tmp_path / "pipe.png", 4)


def test_what_was_decoded_by_an_older_rule_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = as_folder(grey([0, 257, 514, 65535], ".png", tmp_path))
    with monkeypatch.context() as older:
        older.setattr(folders, "READING", folders.READING - 1)
        older.setattr(folders, "open_rgb", lambda path: Image.new("RGB", (4, 4), "white"))
        assert datasets.load(str(root)).train.images.min() == 255
    assert datasets.load(str(root)).train.images[0, 0, :, 0].tolist() == [0, 1, 2, 255]
