"""Data sets: splits, folders, and everything that can be wrong with them."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import in_time
from PIL import Image
from safetensors.torch import save_file

from sdnet.data import batches, content, datasets, folders, photographs
from sdnet.data.datasets import Split
from sdnet.data.folders import load_image_folder
from sdnet.experiments.accuracy import train
from sdnet.results import networks
from sdnet.training.declaration import training


def make_folder(
    root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 3, test: str = "test", suffix: str = "jpg"
) -> Path:
    """An image folder of random 8×8 images."""
    noise = np.random.default_rng(0)
    for part in ("train", test):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{index:04}.{suffix}")
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_CACHE", str(tmp_path / "cache"))


def test_digits_are_embedded() -> None:
    data = datasets.load("digits")
    assert data.train.images.shape == (1437, 32, 32, 3)
    assert data.train.images.dtype == torch.uint8
    assert len(data.test) == 360
    assert data.classes == tuple("0123456789")
    assert not data.flip
    assert data.data_hash == datasets.load("digits").data_hash


def test_hold_out_is_seeded_and_disjoint() -> None:
    data = datasets.load("digits")
    first, again, other = data.hold_out(0.25, 1), data.hold_out(0.25, 1), data.hold_out(0.25, 2)
    assert len(first.validation) == 359
    assert len(first.train) + len(first.validation) == len(data.train)
    assert torch.equal(first.validation.images, again.validation.images)
    assert not torch.equal(first.validation.images, other.validation.images)
    assert torch.equal(first.test.images, data.test.images)
    labels = torch.cat((first.train.labels, first.validation.labels)).bincount()
    assert torch.equal(labels, data.train.labels.bincount())


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_hold_out_refuses_other_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        datasets.load("digits").hold_out(fraction)


def test_channel_statistics() -> None:
    data = datasets.load("digits")
    mean, std = data.channel_statistics()
    pixels = data.train.images.double() / 255
    assert mean == pytest.approx(pixels.mean((0, 1, 2)).tolist())
    assert std == pytest.approx(pixels.reshape(-1, 3).std(0, unbiased=False).tolist())


@pytest.mark.parametrize("test", ["test", "val"])
def test_image_folder(tmp_path: Path, test: str) -> None:
    make_folder(tmp_path / "pets", test=test)
    by_name = datasets.load("pets", tmp_path)
    by_path = datasets.load(str(tmp_path / "pets"))
    assert by_name.classes == ("cat", "dog")
    assert by_name.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert by_name.data_hash == by_path.data_hash
    with Image.open(tmp_path / "pets" / "train" / "dog" / "0001.jpg") as image:
        assert np.array_equal(by_name.train.images[4].numpy(), np.asarray(image))
    assert "pets" in datasets.available(tmp_path)


def test_second_load_reads_the_cache_and_notices_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder(tmp_path / "pets")
    first = datasets.load("pets", tmp_path)
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda path, *rest: opened.append(path) or original(path, *rest))
    assert datasets.load("pets", tmp_path).data_hash == first.data_hash
    assert not opened
    Image.new("RGB", (8, 8)).save(root / "train" / "cat" / "0000.jpg")
    os.utime(root / "train" / "cat" / "0000.jpg", (1, 1))
    assert datasets.load("pets", tmp_path).data_hash != first.data_hash


@pytest.mark.parametrize("kept", [b"", b"no safetensors", None], ids=["empty", "damaged", "cut"])
def test_a_damaged_cache_is_decoded_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes | None
) -> None:
    make_folder(tmp_path / "pets")
    first = datasets.load("pets", tmp_path)
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(file.read_bytes()[:-9] if kept is None else kept)
    again = datasets.load("pets", tmp_path)
    assert again.data_hash == first.data_hash
    assert "is damaged" in capsys.readouterr().out
    datasets.load("pets", tmp_path)
    assert "is damaged" not in capsys.readouterr().out


def flipped(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:])


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def emptied(path: Path) -> None:
    nothing = {"images": torch.zeros(0, 8, 8, 3, dtype=torch.uint8), "labels": torch.zeros(0, dtype=torch.int64)}
    save_file(nothing, path)


@pytest.mark.parametrize("harm", [flipped, piped, emptied])
def test_other_pixels_in_the_cache_are_noticed(
    harm: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were trained on without a word, and a named pipe was waited for."""
    make_folder(tmp_path / "pets")
    first = datasets.load("pets", tmp_path)
    for file in (tmp_path / "cache").iterdir():
        harm(file)
    with in_time():
        assert datasets.load("pets", tmp_path).data_hash == first.data_hash
    assert capsys.readouterr().out.count("is damaged") == 2
    datasets.load("pets", tmp_path)
    assert "is damaged" not in capsys.readouterr().out


def test_what_dead_writers_left_in_the_cache_is_deleted(tmp_path: Path) -> None:
    make_folder(tmp_path / "pets")
    (tmp_path / "cache").mkdir()
    dead, alive, others = (
        tmp_path / "cache" / name for name in (f"a-{'0' * 16}.1.part", f"b-{'0' * 16}.2.part", "c.part")
    )
    for path in (dead, alive, others):
        path.write_bytes(b"half")
    for path in (dead, others):
        os.utime(path, (1, 1))
    datasets.load("pets", tmp_path)
    assert (dead.exists(), alive.exists(), others.exists()) == (False, True, True)


def test_a_cache_that_cannot_be_written_costs_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "pets")
    (tmp_path / "file").write_text("a file is no folder")
    monkeypatch.setenv("SDNET_CACHE", str(tmp_path / "file"))
    assert len(datasets.load("pets", tmp_path).train.images) == 6
    assert "cannot keep the decoded images" in capsys.readouterr().out
    full = Path("/dev/full")
    monkeypatch.setenv("SDNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "save_file", lambda *_, **__: full.write_bytes(bytes(9)))
    assert len(datasets.load("pets", tmp_path).train.images) == 6
    assert "No space left" in capsys.readouterr().out


@pytest.mark.parametrize("labelled", ["val", "test"])
def test_the_test_split_is_the_sorted_one(tmp_path: Path, labelled: str) -> None:
    root = make_folder(tmp_path / "pets")
    if labelled == "val":
        (root / "test").rename(root / "val")
    flat = root / ("test" if labelled == "val" else "val")
    flat.mkdir()
    Image.new("RGB", (8, 8)).save(flat / "0000.jpg")
    assert folders.test_folder(root) == root / labelled
    assert datasets.load("pets", tmp_path).classes == ("cat", "dog")


def break_folder(root: Path, how: str) -> None:
    cat = root / "train" / "cat"
    match how:
        case "no test split":
            os.rename(root / "test", root / "elsewhere")
        case "no training split":
            os.rename(root / "train", root / "elsewhere")
        case "empty class":
            [path.unlink() for path in cat.iterdir()]
        case "class missing in test":
            os.rename(root / "test" / "cat", root / "elsewhere")
        case "class only in test":
            (root / "test" / "cow").mkdir()
        case "corrupt image":
            (cat / "0001.jpg").write_bytes((cat / "0001.jpg").read_bytes()[:200])
        case "not an image":
            (cat / "0000.jpg").write_text("hello")
        case "odd size":
            Image.new("RGB", (9, 8)).save(cat / "0002.jpg")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no test split", "is not complete"),
        ("no training split", "is not complete"),
        ("empty class", "class 'cat' has no images in .*train"),
        ("class missing in test", "class 'cat' has no images in .*test"),
        ("class only in test", "classes that the training split lacks: cow"),
        ("corrupt image", "1 images cannot be decoded, the first is .*0001.jpg"),
        ("not an image", "1 images cannot be decoded, the first is .*0000.jpg"),
        ("odd size", r"1 images are not 8×8, the first is .*0002.jpg \(9×8\)"),
    ],
)
def test_broken_folders_end_in_one_sentence(tmp_path: Path, how: str, message: str) -> None:
    break_folder(make_folder(tmp_path / "pets"), how)
    with pytest.raises(ValueError, match=message):
        datasets.load("pets", tmp_path)


def test_a_data_root_without_effect_is_refused(tmp_path: Path) -> None:
    pets, photos = make_folder(tmp_path / "pets"), "data_root '/nope' has no effect on dataset "
    for load in (datasets.load, photographs.load):
        with pytest.raises(ValueError, match=f"{photos}'{pets}', which is a path of its own; leave it out"):
            load(str(pets), "/nope")
        with pytest.raises(ValueError, match=f"{photos}'digits', which comes with scikit-learn; leave it out"):
            load("digits", "/nope")


def test_missing_dataset_lists_what_exists(tmp_path: Path) -> None:
    make_folder(tmp_path / "pets")
    with pytest.raises(ValueError, match=r"'pet' does not exist. Did you mean 'pets'.*digits, cifar10, cifar100, pets"):
        datasets.load("pet", tmp_path)


def make_cifar10(root: Path) -> None:
    """Files in the form of the CIFAR-10 archive, with other contents: every checksum is wrong."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
    for name in [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps(batch))


def test_cifar_with_a_wrong_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets as torchvision_datasets

    make_cifar10(tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not the archive")

    def no_network(*_: object, **__: object) -> None:
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision_datasets.cifar, "download_and_extract_archive", no_network)
    with pytest.raises(ValueError, match=r"cifar10 could not be had at .*delete a broken one"):
        datasets.load("cifar10", tmp_path)


def test_cifar_in_its_official_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets as torchvision_datasets

    make_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision_datasets.cifar, "check_integrity", lambda *_: True)
    with pytest.raises(ValueError, match=r"training and test images or labels of cifar10 at .* are not the"):
        datasets.load("cifar10", tmp_path)
    splits = [(torch.zeros(count, 32, 32, 3, dtype=torch.uint8), torch.arange(count) % 2) for count in (10, 2)]
    digests = tuple(content.digest(content.image_digests(*split)) for split in splits)
    monkeypatch.setitem(content.DIGESTS, "cifar10", digests)
    data = datasets.load("cifar10", tmp_path)
    assert data.train.images.shape == (10, 32, 32, 3)
    assert sorted(data.test.labels.tolist()) == [0, 1]
    assert data.classes == tuple("abcdefghij")


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of PNGs that is taken for CIFAR-10: its size and its digests stand where CIFAR-10's do."""
    root = make_folder(tmp_path / "elsewhere" / "cifar10-png", tuple("abcdefghij"), suffix="png")
    classes, train, test = load_image_folder(root)
    assert len(classes) == 10
    monkeypatch.setattr(content, "COUNTS", (30, 30))
    monkeypatch.setattr(content, "PIXELS", (8, 8, 3))
    digests = tuple(content.digest(content.image_digests(*split)) for split in (train, test))
    monkeypatch.setitem(content.DIGESTS, "cifar10", digests)
    return root


def test_cifar10_is_known_by_its_content_under_any_file_names(small_cifar10: Path, tmp_path: Path) -> None:
    first = datasets.load("cifar10", small_cifar10.parent)
    assert first.name == "cifar10"
    for number, path in enumerate(sorted((small_cifar10 / "train" / "c").iterdir())):
        path.rename(path.with_name(f"{9 - number}.png"))
    small_cifar10.rename(tmp_path / "pictures")
    again = datasets.load("pictures", tmp_path)
    assert (again.name, again.data_hash) == ("cifar10", first.data_hash)
    assert torch.equal(again.train.images, first.train.images)


def test_torchvisions_archive_and_a_folder_of_pngs_are_one_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets as torchvision_datasets

    make_cifar10(tmp_path / "archive")
    batches, noise = tmp_path / "archive" / "cifar-10-batches-py", np.random.default_rng(0)
    splits: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "test": []}
    for path in sorted(batches.iterdir()):
        data, labels = noise.integers(0, 256, (10, 3072), dtype=np.uint8), noise.permutation(10).tolist()
        path.write_bytes(pickle.dumps({"data": data, "labels": labels}))
        splits["test" if path.name == "test_batch" else "train"] += zip(data, labels, strict=True)
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    for part, images in splits.items():
        for number, (row, label) in enumerate(reversed(images)):
            folder = tmp_path / "folder" / "cifar10" / part / "abcdefghij"[label]
            folder.mkdir(parents=True, exist_ok=True)
            # As the archive stores it: all of red, row by row, then green, then blue.
            Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).save(folder / f"{number}.png")
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision_datasets.cifar, "check_integrity", lambda *_: True)
    monkeypatch.setattr(content, "COUNTS", (50, 10))
    _, *decoded = load_image_folder(tmp_path / "folder" / "cifar10")
    digests = tuple(content.digest(content.image_digests(*split)) for split in decoded)
    monkeypatch.setitem(content.DIGESTS, "cifar10", digests)
    pngs, archive = (datasets.load("cifar10", tmp_path / name) for name in ("folder", "archive"))
    assert (archive.name, archive.data_hash) == ("cifar10", pngs.data_hash)
    assert torch.equal(archive.train.images, pngs.train.images)
    assert torch.equal(archive.test.labels, pngs.test.labels)


def test_one_pixel_makes_another_data_set(
    small_cifar10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_cifar10 / "test" / "c" / "0001.png"
    with Image.open(path) as image:
        image.putpixel((3, 3), tuple(value ^ 1 for value in image.getpixel((3, 3))))
        image.save(path)
    assert datasets.load(str(small_cifar10)).name == "cifar10-png"
    assert "looks like cifar10 and is not: its test images or labels differ" in capsys.readouterr().out
    with pytest.raises(ValueError, match="cifar10-png does not hold the images of cifar10; give the folder another"):
        datasets.load("cifar10", small_cifar10.parent)
    small_cifar10.rename(tmp_path / "cifar10")
    with pytest.raises(ValueError, match="cifar10 does not hold the images of cifar10"):
        datasets.load(str(tmp_path / "cifar10"))


def test_an_image_under_another_label_makes_another_data_set(small_cifar10: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (small_cifar10 / "train" / name / "0000.png").rename(small_cifar10 / "train" / other / f"from-{name}.png")
    assert datasets.load(str(small_cifar10)).name == "cifar10-png"


def test_a_training_on_a_folder_of_cifar10_is_one_on_cifar10(
    small_cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path / "ledger"))
    declared = training("sdnet18", str(small_cifar10), "smoke", epochs=1, width=4)
    trained = train.run(declared, output=tmp_path / "out", device="cpu")
    assert trained.record.config["dataset"] == "cifar10"
    assert networks.load(trained.network_file).training.dataset == "cifar10"


def test_crop_and_flip_is_a_shifted_mirrored_window() -> None:
    image = torch.arange(1, 4 * 5 * 3 + 1, dtype=torch.uint8).view(1, 4, 5, 3)
    padded = torch.zeros(1, 8, 9, 3, dtype=torch.uint8)
    padded[:, 2:6, 2:7] = image
    windows = [padded[:, y : y + 4, x : x + 5] for y in range(5) for x in range(5)]
    windows += [window.flip(2) for window in windows]
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(800):
        crop = batches.cut(image, 2, batches.draw_windows(1, (4, 5), 2, True, generator))
        matches = [index for index, window in enumerate(windows) if torch.equal(window, crop)]
        assert matches
        seen.add(matches[0])
    assert len(seen) == 50, "every offset and both orientations occur"


def test_without_flip_and_padding_the_image_stays() -> None:
    images = torch.randint(256, (4, 6, 6, 3), dtype=torch.uint8)
    windows = batches.draw_windows(4, (6, 6), 0, False, torch.Generator())
    assert torch.equal(batches.cut(images, 0, windows), images)


def test_epochs_are_reproducible_and_differ() -> None:
    split = Split(torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 3), torch.arange(40))

    def labels(**options: int) -> list[int]:
        return torch.cat([y for _, y in batches.training_batches(split, 16, padding=0, **options)]).tolist()

    assert sorted(labels(seed=0, epoch=0)) == list(range(40))
    assert labels(seed=0, epoch=0) == labels(seed=0, epoch=0)
    assert labels(seed=0, epoch=0) != labels(seed=0, epoch=1)
    assert labels(seed=0, epoch=0) != labels(seed=1, epoch=0)


def test_batches_keep_images_and_labels_together() -> None:
    values = torch.arange(40, dtype=torch.uint8)
    split = Split(values.view(-1, 1, 1, 1).expand(-1, 2, 2, 3), values.long())
    for images, labels in batches.training_batches(split, 16, seed=0, epoch=0, padding=0):
        assert images.shape[1:] == (3, 2, 2)
        assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), labels)
    for images, labels in batches.evaluation_batches(split, 16):
        assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), labels)


class Pageable:
    """A tensor that notes how it travels."""

    def __init__(self) -> None:
        self.way: list[object] = []

    def pin_memory(self) -> "Pageable":
        self.way.append("pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool) -> "Pageable":
        self.way += [device.type, non_blocking]
        return self


@pytest.mark.parametrize(("device", "way"), [("cuda", ["pinned", "cuda", True]), ("cpu", ["cpu", True])])
def test_what_goes_to_cuda_comes_from_pinned_memory(device: str, way: list[object]) -> None:
    tensor = Pageable()
    batches.sent(tensor, torch.device(device))  # type: ignore[arg-type]
    assert tensor.way == way


def test_a_last_batch_of_one_image_is_dropped() -> None:
    split = Split(torch.zeros(17, 2, 2, 3, dtype=torch.uint8), torch.zeros(17, dtype=torch.long))
    assert [len(y) for _, y in batches.training_batches(split, 16, seed=0, epoch=0)] == [16]


def test_every_other_image_gets_the_noise() -> None:
    noise = batches.draw_noise((400, 3, 8, 8), 0.1, torch.Generator().manual_seed(0))
    touched = noise.flatten(1).any(1)
    assert 150 < touched.sum() < 250
    assert noise[touched].std().item() == pytest.approx(0.1, rel=0.02)
    assert noise[touched].mean().item() == pytest.approx(0, abs=0.002)
    split = Split(torch.full((40, 8, 8, 3), 128, dtype=torch.uint8), torch.arange(40))
    ((wild, _),) = batches.training_batches(split, 40, seed=0, epoch=0, noise=5.0)
    assert (wild.min(), wild.max()) == (0, 1)


def test_noise_is_part_of_the_training_batches_and_of_their_seed() -> None:
    split = datasets.load("digits").test
    (plain,), (noisy,), (again,) = (
        [x for x, _ in batches.training_batches(split, 500, seed=1, epoch=2, noise=noise)] for noise in (0.0, 0.1, 0.1)
    )
    assert torch.equal(noisy, again)
    changed = (plain != noisy).flatten(1).any(1).float().mean()
    assert 0.4 < changed < 0.6
