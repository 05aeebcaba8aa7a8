"""A network is evaluated on the classes it knows, matched by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import TINY

from sdnet.experiments.attacks import robust_accuracy
from sdnet.results import networks
from sdnet.results.evaluation import prepare
from sdnet.training.checkpoint import save_network
from sdnet.training.declaration import training

COLOURS = {"ant": (200, 0, 0), "cat": (0, 200, 0), "dog": (0, 0, 200)}


def folder_of(root: Path, *classes: str) -> None:
    """A data set ``pets`` whose images have the colour of their class."""
    for split in ("train", "test"):
        for name in classes:
            place = root / "pets" / split / name
            place.mkdir(parents=True)
            for number in range(3):
                pixels = np.full((8, 8, 3), COLOURS[name], dtype=np.uint8) + np.uint8(number)
                Image.fromarray(pixels).save(place / f"{number}.png")


def network_of(folder: Path, *classes: str, dataset: str = "pets") -> Path:
    declared = training("sdnet18", dataset, "smoke", **TINY)
    path = folder / "network.safetensors"
    save_network(path, declared.build(len(classes)), {"training": declared.config, "classes": classes})
    return path


def test_a_class_that_the_network_does_not_know_is_refused(tmp_path: Path) -> None:
    """It was evaluated against labels shifted by one."""
    folder_of(tmp_path, "ant", "cat", "dog")
    evaluation = prepare(network_of(tmp_path, "cat", "dog"), data_root=tmp_path, device="cpu")
    with pytest.raises(ValueError, match="pets has ant, which the network does not know; it knows cat, dog: give it"):
        _ = evaluation.data


@pytest.mark.parametrize("known", [("dog", "cat"), ("ant", "cat", "dog"), ("cat", "bird", "dog")], ids=str)
def test_labels_are_matched_by_name(tmp_path: Path, known: tuple[str, ...]) -> None:
    folder_of(tmp_path, "cat", "dog")
    data = prepare(network_of(tmp_path, *known), data_root=tmp_path, device="cpu").data
    assert data.classes == known
    for split in (data.train, data.test):
        assert len(split) == 6
        for image, label in zip(split.images, split.labels, strict=True):
            colour = torch.tensor(COLOURS[known[label]])
            assert (image.long() - colour).abs().max() <= 3


def test_the_classes_of_its_own_data_set_stay(tmp_path: Path) -> None:
    path = network_of(tmp_path, *"0123456789", dataset="digits")
    data = prepare(path, device="cpu").data
    assert torch.equal(data.test.labels, data.for_classes(tuple("0123456789")).test.labels)
    assert data.classes == networks.load(path).classes


def test_a_source_of_other_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    own, other = network_of(tmp_path, "cat", "dog"), network_of(tmp_path / "other", "ant", "dog")
    with pytest.raises(ValueError, match="knows other classes than this network"):
        robust_accuracy._source(str(other), networks.load(own), torch.device("cpu"), "fp32")
