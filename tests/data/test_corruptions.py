"""Noise against its formulas and against scikit-image; the official benchmarks' formats."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from skimage.util import random_noise
from torch import Tensor

from sdnet.data import corruption_benchmarks
from sdnet.data.corruptions import NOISES, SEVERITIES, add_noise, level_of


def grey(value: int, count: int = 40) -> Tensor:
    return torch.full((count, 32, 32, 3), value, dtype=torch.uint8)


def pixels(images: Tensor) -> Tensor:
    """Brightness in [0, 1]; half a step up undoes the mean effect of cutting fractions off."""
    return (images.double() + 0.5) / 255


@pytest.mark.parametrize("severity", [1, 5])
def test_gaussian_noise_has_its_mean_and_deviation(severity: int) -> None:
    level = level_of("gaussian_noise", severity)
    noisy = pixels(add_noise(grey(128), "gaussian_noise", level))
    assert noisy.mean().item() == pytest.approx(128 / 255, abs=1e-3)
    assert noisy.std().item() == pytest.approx(level, rel=0.01)


@pytest.mark.parametrize("value", [60, 128])
def test_speckle_noise_grows_with_brightness(value: int) -> None:
    noisy = pixels(add_noise(grey(value), "speckle_noise", 0.2))
    assert noisy.mean().item() == pytest.approx(value / 255, abs=2e-3)
    assert noisy.std().item() == pytest.approx(0.2 * value / 255, rel=0.01)


@pytest.mark.parametrize("value", [60, 128])
def test_shot_noise_has_the_variance_of_counted_photons(value: int) -> None:
    noisy = pixels(add_noise(grey(value), "shot_noise", 100.0))
    assert noisy.mean().item() == pytest.approx(value / 255, abs=3e-3)
    assert noisy.var().item() == pytest.approx(value / 255 / 100, rel=0.02)


@pytest.mark.parametrize("level", [0.01, 0.07, 0.27])
def test_impulse_noise_destroys_its_share_half_black_half_white(level: float) -> None:
    noisy = add_noise(grey(128, 400), "impulse_noise", level)
    assert set(noisy.unique().tolist()) == {0, 128, 255}
    black, white = ((noisy == value).double().mean().item() for value in (0, 255))
    four_sigma = 4 * (level / 2 / noisy.numel()) ** 0.5
    assert black == pytest.approx(level / 2, abs=four_sigma)
    assert white == pytest.approx(level / 2, abs=four_sigma)
    channels_differ = (noisy[..., 0] != noisy[..., 1]).double().mean().item()
    assert channels_differ == pytest.approx(2 * level * (1 - level) + level**2 / 2, rel=0.1)


@pytest.mark.parametrize(
    ("noise", "mode", "options"),
    [
        ("gaussian_noise", "gaussian", {"var": 0.08**2}),
        ("speckle_noise", "speckle", {"var": 0.08**2}),
        ("impulse_noise", "s&p", {"amount": 0.08}),
    ],
)
def test_agrees_with_scikit_image(noise: str, mode: str, options: dict[str, float]) -> None:
    image = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    images = image.repeat(60, 1, 1, 1)
    ours = add_noise(images, noise, 0.08).numpy()
    theirs = np.uint8(random_noise(images.numpy() / 255, mode=mode, rng=1, **options) * 255)
    for value in (0, 40, 128, 200, 255):
        chosen = images.numpy() == value
        assert ks_2samp(ours[chosen], theirs[chosen]).pvalue > 1e-3, f"brightness {value}"


@pytest.mark.parametrize("noise", NOISES)
def test_noise_is_seeded_and_keeps_shape_and_type(noise: str) -> None:
    images = torch.randint(256, (5, 8, 8, 3), dtype=torch.uint8)
    first = add_noise(images, noise, level_of(noise, 3), seed=1)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, add_noise(images, noise, level_of(noise, 3), seed=1))
    assert not torch.equal(first, add_noise(images, noise, level_of(noise, 3), seed=2))


@pytest.mark.parametrize("noise", NOISES)
def test_severities_get_worse(noise: str) -> None:
    images = torch.randint(256, (20, 32, 32, 3), dtype=torch.uint8)
    for benchmark in SEVERITIES:
        errors = [
            (add_noise(images, noise, level_of(noise, severity, benchmark)).double() - images).square().mean().item()
            for severity in range(1, 6)
        ]
        assert errors == sorted(errors)
        assert errors[0] > 0


def test_vanishing_noise_leaves_the_image() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(add_noise(images, "impulse_noise", 1e-12), images)
    assert (add_noise(images, "gaussian_noise", 1e-9).int() - images.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("noise", "level", "message"),
    [
        ("gausian_noise", 0.1, "Did you mean 'gaussian_noise'"),
        (["gaussian_noise"], 0.1, r"noise \['gaussian_noise'\] does not exist"),
        ("gaussian_noise", 0.0, "must be finite and > 0, at most 1,000,000; got 0.0"),
        ("shot_noise", float("inf"), "the level of shot_noise must be finite and > 0, at most 1,000,000; got inf"),
        ("impulse_noise", 1.5, "must be finite and > 0, at most 1; got 1.5"),
        ("gaussian_noise", True, "the level of gaussian_noise must be finite and > 0, at most 1,000,000; got True"),
        ("gaussian_noise", "0.1", "the level of gaussian_noise must be finite and > 0, at most 1,000,000; got '0.1'"),
        ("gaussian_noise", None, "the level of gaussian_noise must be finite and > 0, at most 1,000,000; got None"),
    ],
)
def test_bad_levels(noise: Any, level: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_noise(grey(0, 1), noise, level)


def test_normalised_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be a tensor of uint8.*got torch.float32.*before normalisation"):
        add_noise(torch.rand(1, 4, 4, 3), "gaussian_noise", 0.1)


def test_other_images_and_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be a tensor of uint8, 0 to 255; got ndarray\."):
        add_noise(grey(0, 1).numpy(), "gaussian_noise", 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"images must be a batch \(N, H, W, 3\); got shape \(.*\)\."):
        add_noise(grey(0, 1)[0], "gaussian_noise", 0.1)
    assert add_noise(grey(0, 1)[:0], "gaussian_noise", 0.1).shape == grey(0, 1)[:0].shape
    for seed in (-1, 1.5, None, 2**70):
        with pytest.raises(ValueError, match=r"seed must be an integer >= 0, at most 4,294,967,295; got "):
            add_noise(grey(0, 1), "gaussian_noise", 0.1, seed=seed)  # type: ignore[arg-type]


def test_unknown_severity_or_benchmark() -> None:
    for severity in (0, 6, 2.0, 2.5, True, "3"):
        with pytest.raises(ValueError, match=f"severity must be an integer >= 1, at most 5; got {severity!r}"):
            level_of("shot_noise", severity)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"noise \[\] does not exist"):
        level_of([], 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="benchmark 'svhn' does not exist"):
        level_of("shot_noise", 1, "svhn")


@pytest.fixture
def cifar_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in exactly the benchmark's form, with four images instead of ten thousand."""
    monkeypatch.setattr(corruption_benchmarks, "IMAGES", 4)
    noise = np.random.default_rng(0)
    np.save(tmp_path / "gaussian_noise.npy", noise.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.tile(np.array([3, 9, 9, 0], dtype=np.uint8), 5))
    return tmp_path


def test_cifar_c_in_its_official_form(cifar_c: Path) -> None:
    stored = np.load(cifar_c / "gaussian_noise.npy")
    for severity in range(1, 6):
        split = corruption_benchmarks.cifar_c(cifar_c, "gaussian_noise", severity, 10)
        assert np.array_equal(split.images.numpy(), stored[4 * severity - 4 : 4 * severity])
        assert split.labels.tolist() == [3, 9, 9, 0]


def test_cifar_c_refuses_other_files(cifar_c: Path) -> None:
    with pytest.raises(ValueError, match=r"corruption 'gaussian' does not exist\. Did you mean 'gaussian_noise'"):
        corruption_benchmarks.cifar_c(cifar_c, "gaussian", 1, 10)
    with pytest.raises(ValueError, match="severity must be"):
        corruption_benchmarks.cifar_c(cifar_c, "gaussian_noise", 6, 10)
    np.save(cifar_c / "snow.npy", np.zeros((19, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"snow.npy has shape \(19, 32, 32, 3\)"):
        corruption_benchmarks.cifar_c(cifar_c, "snow", 1, 10)
    np.save(cifar_c / "frost.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"frost.npy is not a readable .npy array"):
        corruption_benchmarks.cifar_c(cifar_c, "frost", 1, 10)
    np.save(cifar_c / "labels.npy", np.arange(20))
    with pytest.raises(ValueError, match="must hold the same 4 integer labels for each severity"):
        corruption_benchmarks.cifar_c(cifar_c, "gaussian_noise", 1, 10)
    (cifar_c / "labels.npy").unlink()
    with pytest.raises(ValueError, match=r"labels.npy is not a readable"):
        corruption_benchmarks.cifar_c(cifar_c, "gaussian_noise", 1, 10)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([3, 99, -1, 0], 100), ([3, 8, 100, 0], 100), ([3, 8, 9, 0], 100), ([3, 8, 10, 0], 10), ([3, 0, 8, 0], 10)],
)
def test_cifar_c_refuses_labels_of_other_classes(cifar_c: Path, labels: list[int], classes: int) -> None:
    np.save(cifar_c / "labels.npy", np.tile(labels, 5))
    said = rf"labels.npy has labels from {min(labels)} to {max(labels)}; those of CIFAR-{classes}-C are from 0 to "
    with pytest.raises(ValueError, match=said):
        corruption_benchmarks.cifar_c(cifar_c, "gaussian_noise", 1, classes)


def test_cifar_c_takes_every_label_there_is(cifar_c: Path) -> None:
    np.save(cifar_c / "labels.npy", np.tile([0, 99, 10, 50], 5))
    assert corruption_benchmarks.cifar_c(cifar_c, "gaussian_noise", 1, 100).labels.tolist() == [0, 99, 10, 50]


def test_imagenet_c_in_its_official_form(tmp_path: Path) -> None:
    for wnid in ("n01440764", "n01443537"):
        (tmp_path / "shot_noise" / "2" / wnid).mkdir(parents=True)
        Image.new("RGB", (224, 224)).save(tmp_path / "shot_noise" / "2" / wnid / "ILSVRC2012_val_00000293.JPEG")
    known = ("n01443537", "n01484850", "n01440764")
    images = corruption_benchmarks.imagenet_c(tmp_path, "shot_noise", 2, known)
    assert [label for _, label in images] == [2, 0], "not matched by name"
    assert images[1][0] == str(tmp_path / "shot_noise/2/n01443537/ILSVRC2012_val_00000293.JPEG")
    with pytest.raises(ValueError, match="has n01443537, which the network does not know; it knows n01440764, n3"):
        corruption_benchmarks.imagenet_c(tmp_path, "shot_noise", 2, ("n01440764", "n3"))
    with pytest.raises(ValueError, match="is not complete"):
        corruption_benchmarks.imagenet_c(tmp_path, "shot_noise", 3, known)
    with pytest.raises(ValueError, match="corruption 'fog' does not exist"):
        corruption_benchmarks.imagenet_c(tmp_path, "fog", 1, known)
