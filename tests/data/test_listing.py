"""What is a class and what is an image: the same for images in memory, photographs and ImageNet-C."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sdnet.data import corruption_benchmarks, photographs
from sdnet.data.folders import load_image_folder
from sdnet.training.declaration import training

Found = tuple[tuple[str, ...], int]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two images, in each of two splits."""
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / "set" / split / name / f"{index}.png")
    return tmp_path / "set"


def in_memory(root: Path) -> Found:
    classes, (images, _), _ = load_image_folder(root)
    return classes, len(images)


def as_photographs(root: Path) -> Found:
    data = photographs.load(str(root), workers=0)
    return data.classes, len(data.train)


def as_benchmark(root: Path) -> Found:
    (root / "shot_noise").mkdir()
    (root / "shot_noise" / "1").symlink_to(root / "train")
    files = corruption_benchmarks.imagenet_c(root, "shot_noise", 1, ("a", "b"))
    return tuple(sorted({Path(path).relative_to(root / "shot_noise" / "1").parts[0] for path, _ in files})), len(files)


READERS = pytest.mark.parametrize("read", [in_memory, as_photographs, as_benchmark])


@READERS
def test_hidden_names_are_neither_classes_nor_images(
    read: Callable[[Path], Found], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (root / "train" / ".ipynb_checkpoints", root / "train" / "a" / ".ipynb_checkpoints"):
        folder.mkdir()
        Image.new("RGB", (4, 4)).save(folder / "0-checkpoint.png")
    (root / "val" / ".cache").mkdir()
    (root / "train" / "a" / "._0.png").write_bytes(b"what macOS leaves behind")
    assert read(root) == (("a", "b"), 4)
    assert "skipped" not in capsys.readouterr().out


@READERS
def test_all_suffixes_are_read(read: Callable[[Path], Found], root: Path) -> None:
    for suffix in ("jpg", "JPEG", "bmp", "webp", "tif", "tiff", "ppm", "PGM"):
        Image.new("L" if suffix == "PGM" else "RGB", (4, 4)).save(root / "train" / "b" / f"other.{suffix}")
    assert read(root) == (("a", "b"), 12)


@READERS
def test_images_in_folders_below_a_class_are_its_images(read: Callable[[Path], Found], root: Path) -> None:
    (root / "train" / "b" / "more").mkdir()
    Image.new("RGB", (4, 4)).save(root / "train" / "b" / "more" / "0.png")
    (root / "train" / "b" / "again").symlink_to(root / "train" / "b")
    assert read(root) == (("a", "b"), 5)


def linked_out(root: Path, *places: str) -> None:
    """Files and folders moved out of a data set, with links in their place."""
    for place in places:
        path, away = root / place, root.with_name("elsewhere") / place
        away.parent.mkdir(parents=True, exist_ok=True)
        path.rename(away)
        path.symlink_to(away)


@READERS
def test_a_link_that_leads_out_is_not_followed(
    read: Callable[[Path], Found], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "train" / "b" / "more").mkdir()
    Image.new("RGB", (4, 4)).save(root / "train" / "b" / "more" / "0.png")
    (root / "train" / "b" / "back").symlink_to(root / "train" / "b" / "more")
    for split in ("train", "val"):
        (root / split / "c").mkdir()
        Image.new("RGB", (4, 4)).save(root / split / "c" / "0.png")
    linked_out(root, "train/a/0.png", "train/b/more", "train/c", "val/c")
    root.rename(root.with_name("moved"))
    root.symlink_to(root.with_name("moved"))  # the data set itself may be a link: somebody named it
    assert read(root) == (("a", "b"), 3)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if ": 4 skipped" in line]
    assert line.endswith(f", and no link out of {root} is followed.")


@READERS
@pytest.mark.parametrize("places", [("train",), ("train/a", "train/b"), ("train/a/0.png", "train/a/1.png")], ids=str)
def test_a_data_set_of_links_alone_is_refused(
    read: Callable[[Path], Found], places: tuple[str, ...], root: Path
) -> None:
    linked_out(root, *places)
    with pytest.raises(
        ValueError, match=r"(no class folders|no images in \S+) but 2 links out of \S+, which are not fo"
    ):
        read(root)


@READERS
def test_one_line_says_what_is_left_out(
    read: Callable[[Path], Found], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, other in (("b", "notes.txt"), ("a", "9.gif"), ("a", "note")):
        (root / "train" / name / other).write_text("hello")
    (root / "train" / "b" / "lost.png").symlink_to(root / "nowhere.png")
    assert read(root) == (("a", "b"), 4)
    lines = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert len(lines) == 1
    assert re.search(
        r": 4 skipped, the first is \S*/a/9\.gif; an image is a regular file that ends in \.bmp, ", lines[0]
    )


@READERS
def test_a_named_pipe_is_left_out_and_not_waited_for(
    read: Callable[[Path], Found], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(root / "train" / "a" / "pipe.png")
    assert read(root) == (("a", "b"), 4)
    assert re.search(r": 1 skipped, the first is \S*/a/pipe\.png;", capsys.readouterr().out)


@READERS
def test_a_class_of_hidden_files_alone_is_empty(read: Callable[[Path], Found], root: Path) -> None:
    for path in (root / "train" / "b").iterdir():
        path.rename(path.with_name(f".{path.name}"))
    with pytest.raises(ValueError, match=r"class 'b' has no images in .*; unpack the (data|benchmark) again"):
        read(root)


KAGGLE = {
    "labels of the test only in a table": (
        ("train/cat/0", "train/dog/1", "test/2", "test/3"),
        "test holds no class folders; it needs one folder of images per class",
    ),
    "labels of both only in a table": (
        ("train/0", "train/1", "test/2"),
        "(train|test) holds no class folders; it needs one folder of images per class",
    ),
    "the test in a folder of its own name": (
        ("train/cat/0", "train/dog/1", "test/test/2"),
        "classes that the training split lacks: test|different classes in its two splits",
    ),
    "both in a folder that is no class": (
        ("train/images/0", "train/images/1", "test/images/2"),
        "kaggle has one class only, 'images', so there is nothing to learn; sort its images into one folder per class",
    ),
}
"""How competitions lay out their data → names without suffix, and what is said to it."""


@pytest.mark.parametrize("preset", ["smoke", "paper_imagenet"])
@pytest.mark.parametrize("layout", list(KAGGLE))
def test_a_layout_of_kaggles_is_refused_in_one_sentence(layout: str, preset: str, tmp_path: Path) -> None:
    names, said = KAGGLE[layout]
    for index, name in enumerate(names):
        path = tmp_path / "kaggle" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (index, 0, 0)).save(path)
    (tmp_path / "kaggle" / "train.csv").write_text("id,label\n0,cat\n1,dog\n")
    with pytest.raises(ValueError, match=said):
        training("sdnet18", str(tmp_path / "kaggle"), preset).load(None, workers=0)


@pytest.mark.parametrize("preset", ["smoke", "paper_imagenet"])
def test_kaggles_layout_with_a_sorted_validation_split_is_read(preset: str, root: Path) -> None:
    (root / "test").mkdir()
    Image.new("RGB", (4, 4)).save(root / "test" / "0.jpg")
    (root / "sample_submission.csv").write_text("id,label\n0,a\n")
    data = training("sdnet18", str(root), preset).load(None, workers=0)
    assert (data.classes, len(data.train), len(data.test)) == (("a", "b"), 4, 4)
