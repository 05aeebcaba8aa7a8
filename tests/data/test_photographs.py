"""Photographs read from files: ImageNet's layout, crops, and images that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import on_ranks
from torchvision import transforms

from sdnet import models
from sdnet.data import photographs
from sdnet.data.batches import evaluation_batches, training_batches
from sdnet.experiments.accuracy import train
from sdnet.experiments.corruptions import policies, sweep
from sdnet.training import loop
from sdnet.training.declaration import training
from sdnet.training.distributed import Execution, Ranks
from sdnet.training.recipes import Recipe


def make_photographs(root: Path, classes: tuple[str, ...] = ("n01", "n02"), count: int = 6) -> Path:
    """JPEG files of different sizes, the classes of different colours."""
    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(0, 100, (40 + index, 60 - index, 3), dtype=np.uint8)
                pixels[..., label] += 100
                Image.fromarray(pixels).save(root / part / name / f"{index}.JPEG")
    return root


def spoil(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:100])
    return str(path)


def test_a_data_set_is_listed_and_hashed_by_names_and_sizes(tmp_path: Path) -> None:
    data = photographs.load(str(make_photographs(tmp_path / "pets")))
    assert (data.name, data.classes) == ("pets", ("n01", "n02"))
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 0, 12)
    held = data.hold_out(0.25, seed=1)
    assert (len(held.train), len(held.validation)) == (9, 3)
    assert set(held.train.files) | set(held.validation.files) == set(data.train.files)
    assert photographs.load("pets", tmp_path).data_hash == data.data_hash
    last = tmp_path / "pets" / "val" / "n01" / "5.JPEG"
    kept = last.read_bytes()
    Image.new("RGB", (7, 9)).save(last)
    assert photographs.load("pets", tmp_path).data_hash != data.data_hash
    last.write_bytes(kept)
    assert photographs.load("pets", tmp_path).data_hash == data.data_hash
    last.unlink()
    assert photographs.load("pets", tmp_path).data_hash != data.data_hash


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("imagenet", None, "has 2 classes; imagenet has 1000"),
        ("pets", "val/n02", "different classes in its two splits, for instance n02"),
        ("pets", "val", "No folder .*pets with train and val"),
    ],
)
def test_what_is_incomplete_is_refused(tmp_path: Path, name: str, harm: str | None, message: str) -> None:
    root = make_photographs(tmp_path / name)
    if harm:
        (root / harm).rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=message):
        photographs.load(name, tmp_path)


def test_test_images_are_the_middle_as_torchvision_cuts_it(tmp_path: Path) -> None:
    data = photographs.load(str(make_photographs(tmp_path / "pets")), workers=0)
    pixels, labels = next(evaluation_batches(data.test, 5))
    assert pixels.shape == (5, 3, 224, 224)
    assert labels.tolist() == [0] * 5
    reference = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    with Image.open(data.test.files[3][0]) as image:
        torch.testing.assert_close(pixels[3], reference(image))


def test_crops_depend_on_seed_epoch_and_place_but_not_on_ranks_or_workers(tmp_path: Path) -> None:
    data = photographs.load(str(make_photographs(tmp_path / "pets")), workers=0)

    def batches(workers: int = 0, epoch: int = 0, **options: object) -> list[torch.Tensor]:
        split = photographs.Photographs(data.train.files, size=16, workers=workers)
        return [x for x, _ in training_batches(split, 5, seed=1, epoch=epoch, **options)]  # type: ignore[arg-type]

    whole = batches()
    assert [len(x) for x in whole] == [5, 5, 2]
    assert all(torch.equal(a, b) for a, b in zip(whole, batches(workers=1), strict=True))
    first, second = (batches(start=1, shard=Ranks(rank, 2).shard) for rank in range(2))
    assert all(torch.equal(torch.cat(parts), x) for x, *parts in zip(whole[1:], first, second, strict=True))
    assert not torch.equal(whole[0], batches(epoch=1)[0])
    state = torch.get_rng_state()
    batches()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_next_photograph_takes_the_place_of_one_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_photographs(tmp_path / "pets")
    bad = spoil(root / "train" / "n01" / "2.JPEG"), spoil(root / "val" / "n02" / "0.JPEG")
    data = photographs.load(str(root), workers=0)
    batches = list(training_batches(data.train, 4, seed=0, epoch=0))
    assert sum(len(y) for _, y in batches) == 12
    assert data.train.corrupt == {bad[0]}
    assert sum(len(y) for _, y in evaluation_batches(data.test, 4)) == 11
    assert data.test.corrupt == {bad[1]}
    assert f"cannot be read: {bad[0]}" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"1 images cannot be read, the first is .*0.JPEG"):
        data.test.decoded(100)


def test_no_batch_waits_for_its_device(tmp_path: Path) -> None:
    """Of a tensor on the meta device nothing can be read, so whoever looks at one there would fail."""
    root = make_photographs(tmp_path / "pets")
    spoil(root / "val" / "n02" / "0.JPEG")
    data = photographs.load(str(root), workers=0)
    trained = list(training_batches(data.train.to("meta"), 4, seed=0, epoch=0))
    tested = list(evaluation_batches(data.test.to("meta"), 4))
    assert [len(pixels) for pixels, _ in trained] == [4, 4, 4]
    assert sum(len(labels) for _, labels in tested) == 11
    assert {tensor.device.type for batch in (*trained, *tested) for tensor in batch} == {"meta"}


def train_on(ranks: Ranks, root: Path, max_corrupt: int) -> list[float]:
    data = photographs.load(str(root), workers=0)
    small = photographs.Photographs(data.train.files, size=32)
    model = models.build("sdnet18", 2, width=2, atoms=4, stem="imagenet")
    recipe = Recipe(epochs=1, batch_size=4, lr=0.01)
    history = loop.train(model, small, recipe, ranks=ranks, execution=Execution(max_corrupt=max_corrupt))
    return [row.loss for row in history]


def test_too_many_unreadable_photographs_stop_all_ranks_with_one_sentence(tmp_path: Path) -> None:
    root = make_photographs(tmp_path / "pets")
    for index in (1, 3):
        spoil(root / "train" / "n01" / f"{index}.JPEG")
    said = on_ranks(2, train_on, root, 1)
    assert said[0] == said[1]
    assert said[0].startswith("ValueError: 2 images cannot be read, the first is")
    assert "max_corrupt allows 1" in said[0]
    allowed = on_ranks(2, train_on, root, 2)
    assert allowed[0] == allowed[1]
    assert allowed[0][0] > 0


def test_when_nothing_can_be_read_it_is_said(tmp_path: Path) -> None:
    root = make_photographs(tmp_path / "pets", count=1)
    for path in (root / "train").rglob("*.JPEG"):
        spoil(path)
    with pytest.raises(ValueError, match=r"none of the 2 training images can be read"):
        train_on(Ranks(), root, 9)


def test_photographs_in_memory_are_the_test_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    data = photographs.load(str(make_photographs(tmp_path / "pets")), workers=0)
    split = data.test.decoded(7, seed=3)
    assert split.images.shape == (7, 224, 224, 3)
    assert split.labels.tolist() == sorted(split.labels.tolist())
    whole = torch.cat([x for x, _ in evaluation_batches(data.test)])
    matches = [(whole == image.permute(2, 0, 1) / 255).flatten(1).all(1).nonzero().item() for image in split.images]
    assert matches == sorted(matches)


@pytest.mark.slow
def test_a_network_trained_on_photographs_is_swept_on_imagenet_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From training to Table 3's rows, on two classes."""
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path / "ledger"))
    root = make_photographs(tmp_path / "pets", count=8)
    tiny = {"epochs": 1, "batch_size": 8, "width": 2, "atoms": 4}
    run = training("sdnet18", "pets", "paper_imagenet", precision="fp32", **tiny)
    spoil(root / "val" / "n02" / "0.JPEG")
    execution = Execution(workers=1, max_corrupt=1)
    trained = train.run(run, data_root=tmp_path, output=tmp_path, device="cpu", execution=execution)
    assert trained.record.results[0]["n"] == 15
    make_photographs(tmp_path / "again", count=8)
    (tmp_path / "again" / "val" / "n02" / "0.JPEG").rename(root / "val" / "n02" / "0.JPEG")
    for severity in range(1, 6):
        for name in ("n01", "n02"):
            folder = tmp_path / "c" / "shot_noise" / str(severity) / name
            folder.mkdir(parents=True)
            for index in range(8):
                Image.new("RGB", (224, 224), (severity * 40, index * 30, 0)).save(folder / f"{index}.JPEG", quality=100)
    options = {"images": 6, "corruptions": ("shot_noise",), "data_root": tmp_path, "device": "cpu"}
    record, _ = sweep.run(trained.network_file, strengths=(0.1,), official=tmp_path / "c", **options)
    assert {cell["n"] for cell in record.results} == {6}
    (tmp_path / "c" / "shot_noise" / "3" / "n02" / "7.JPEG").unlink()
    with pytest.raises(ValueError, match=r"shot_noise/3 has 15 images and pets 16 test images, which must be as many;"):
        sweep.run(trained.network_file, strengths=(0.1,), official=tmp_path / "c", **options)
    policies.CALIBRATION["smoke"], before = 6, policies.CALIBRATION["smoke"]
    try:
        record, _ = policies.run(trained.network_file, preset="smoke", only=("residual_fit",), **options)
    finally:
        policies.CALIBRATION["smoke"] = before
    levels = {cell["level"] for cell in record.results if cell["metric"] == "best_lam"}
    assert levels == {60.0, 25.0, 12.0, 5.0, 3.0}
