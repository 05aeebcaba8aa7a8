"""What is measured of a trained network under noise, end to end: sweeps, policies, guarantee, and all in one study."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from toys import TINY

from sdnet import csc_layers
from sdnet.cli import main
from sdnet.csc.theory import mutual_coherence
from sdnet.data import content, corruption_benchmarks
from sdnet.data.datasets import Dataset, Split, load
from sdnet.experiments.accuracy import train
from sdnet.experiments.claims.codes import guarantee_applies
from sdnet.experiments.claims.estimates import decide
from sdnet.experiments.corruptions import policies, study, sweep
from sdnet.experiments.layer import guarantee
from sdnet.experiments.what_is_lambda import figures
from sdnet.results import ledger, networks
from sdnet.results.cells import name_of, to_frame
from sdnet.robust.policies import RobustClassifier, load_policy
from sdnet.training.declaration import training
from sdnet.training.loop import accuracy


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SDNet, trained for one epoch on the digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDNET_LEDGER", str(tmp_path_factory.mktemp("ledger")))
        return train.run(
            training("sdnet18", "digits", "smoke", **TINY), output=tmp_path_factory.mktemp("out")
        ).network_file


@pytest.fixture
def trained(folders: Path, once: Path) -> Path:
    """The network, and folders of the test's own for what is measured of it."""
    return once


def test_a_sweep_writes_every_cell(trained: Path, folders: Path) -> None:
    record, path = sweep.run(trained, preset="smoke", corruptions=("gaussian_noise", "impulse_noise"))
    assert ledger.read(folders / "ledger")[-1] == record
    assert path.parent == folders / "ledger"
    cells = to_frame([record])
    top1 = cells[cells["metric"] == "top1"]
    assert len(top1) == (1 + 2 * 5) * 15
    assert set(top1["n"]) == {40}
    assert top1["value"].between(0, 1).all()
    means = cells[cells["metric"] == "top1_over_severities"]
    assert len(means) == 2 * 15
    assert (means["low"] <= means["value"]).all()
    assert (means["value"] <= means["high"]).all()
    noisy = top1[(top1["corruption"] == "impulse_noise") & (top1["strength"] == 0.1)]["value"].mean()
    assert noisy == pytest.approx(
        means[(means["corruption"] == "impulse_noise") & (means["strength"] == 0.1)]["value"].item()
    )
    clean = top1[(top1["corruption"] == "clean") & (top1["strength"] == 0.1)]["value"].item()
    split = sweep.subset(load("digits").test, 40)
    assert clean == pytest.approx(accuracy(networks.load(trained).model, split))


def test_a_sweep_may_be_at_some_strengths_only(trained: Path, folders: Path) -> None:
    options = ["--images", "5", "--strength", "0.1", "--strength", "0.7", "--corruption", "shot_noise"]
    done = CliRunner().invoke(main, ["sweep", str(trained), *options])
    assert done.exit_code == 0, done.output
    assert set(to_frame([ledger.read(folders / "ledger")[-1]])["strength"]) == {0.1, 0.7}


def test_the_other_knobs_are_swept_too(folders: Path) -> None:
    resnet = train.run(training("resnet18", "digits", "smoke", epochs=1, width=2, atoms=4)).network_file
    for knob in sweep.CONTROLS:
        record, _ = sweep.run(resnet, knob, images=20, corruptions=("shot_noise",))
        cells = to_frame([record])
        top1 = cells[(cells["metric"] == "top1") & (cells["corruption"] == "clean")]
        assert tuple(top1["strength"]) == sweep.KNOBS[knob]
    rows = ledger.read(folders / "ledger")
    assert [row.experiment for row in rows].count("train") == 1
    assert {row.config["knob"] for row in rows if row.experiment != "train"} == set(sweep.CONTROLS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"knob": "lambda"}, "knob 'lambda' does not exist. Did you mean 'lam'"),
        ({"knob": "stem_threshold"}, "no ReLU whose threshold"),
        ({"preset": "large"}, "preset 'large' does not exist"),
        ({"images": 0}, "images must be an integer >= 1"),
        ({"corruptions": ("fogg",)}, "corruption 'fogg' does not exist. Did you mean 'fog'"),
    ],
)
def test_what_cannot_be_swept_is_refused(trained: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep.run(trained, **{"images": 10, **given})


def data_of(classes: tuple[str, ...], split: Split) -> Dataset:
    """A data set ``mine`` with these test images."""
    return Dataset("mine", classes, split, split, split, flip=True, data_hash="")


def published(root: Path, name: str, per_class: int = 1) -> Path:
    """A benchmark in CIFAR-10-C's or CIFAR-100-C's form, with so many images of each class."""
    labels = np.tile(np.arange(len(content.CLASSES[name])), 5 * per_class)
    np.save(root / "gaussian_noise.npy", np.zeros((len(labels), 32, 32, 3), dtype=np.uint8))
    np.save(root / "labels.npy", labels)
    return root


@pytest.mark.parametrize("run", [sweep.run, policies.run])
def test_a_benchmark_of_other_classes_is_refused_for_a_network(
    run: Callable[..., object], trained: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of digits was asked which digit a cat is, and a row was written."""
    monkeypatch.setattr(corruption_benchmarks, "IMAGES", 10)
    root, written = published(folders, "cifar10"), len(ledger.read(folders / "ledger"))
    said = r"the network's data set digits has not the classes of CIFAR-10 or CIFAR-100; choose a network"
    with pytest.raises(ValueError, match=said):
        run(trained, preset="smoke", corruptions=("gaussian_noise",), official=root)
    assert len(ledger.read(folders / "ledger")) == written


@pytest.mark.parametrize(("own", "other"), [("cifar10", "cifar100"), ("cifar100", "cifar10")])
def test_cifar_10_c_is_not_taken_for_cifar_100_c(
    own: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption_benchmarks, "IMAGES", 100)
    split, classes = Split(torch.zeros(100, 32, 32, 3, dtype=torch.uint8), torch.arange(100)), content.CLASSES[own]
    root = published(tmp_path, other, 100 // len(content.CLASSES[other]))
    for data, name in ((data_of(classes, split), None), (data_of(tuple(map(str, range(len(classes)))), split), own)):
        with pytest.raises(
            ValueError, match=rf"those of CIFAR-{len(classes)}-C are from 0 to {len(classes) - 1}: unpack"
        ):
            corruption_benchmarks.of_cifar(root, data, name)
        read = corruption_benchmarks.of_cifar(published(tmp_path, own, 100 // len(classes)), data, name)
        assert read("gaussian_noise", 5).labels.max() == len(classes) - 1
        published(tmp_path, other, 100 // len(content.CLASSES[other]))


@pytest.mark.parametrize("shape", [(20, 32, 32, 3), (10, 8, 8, 3)], ids=str)
def test_a_benchmark_of_other_images_is_refused(
    shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption_benchmarks, "IMAGES", 10)
    split = Split(torch.zeros(shape, dtype=torch.uint8), torch.arange(shape[0]) % 10)
    said = rf"mine has {shape[0]} test images of {shape[1]}×{shape[2]} pixels, the benchmark at .* 10 of 32×32; choose"
    with pytest.raises(ValueError, match=said):
        corruption_benchmarks.of_cifar(published(tmp_path, "cifar10"), data_of(content.CLASSES["cifar10"], split))


def test_official_corruptions_are_read_in_the_order_of_the_subset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of a subset of the test split stand at the same places of every official array."""
    monkeypatch.setattr(corruption_benchmarks, "IMAGES", 1000)
    labels = np.arange(1000) % 10
    arrays = np.repeat(np.arange(5 * 1000) % 251, 32 * 32 * 3).astype(np.uint8).reshape(-1, 32, 32, 3)
    np.save(tmp_path / "gaussian_noise.npy", arrays)
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    split = Split(torch.from_numpy(arrays[:1000]), torch.from_numpy(labels))
    read = corruption_benchmarks.of_cifar(tmp_path, data_of(content.CLASSES["cifar10"], split))
    _, *noisy = sweep.conditions(sweep.subset(split, 30), ("gaussian_noise",), read)
    assert [condition.severity for condition in noisy] == [1, 2, 3, 4, 5]
    for condition in noisy:
        assert torch.equal(condition.split.labels, sweep.subset(split, 30).labels)
    assert torch.equal(noisy[0].split.images, sweep.subset(split, 30).images)
    assert not torch.equal(noisy[1].split.images, noisy[0].split.images)


def test_policies_are_fitted_asked_and_saved(trained: Path, folders: Path) -> None:
    record, _ = policies.run(
        trained, preset="smoke", corruptions=("gaussian_noise", "speckle_noise"), output=folders / "policies"
    )
    cells = to_frame([record])
    assert len(cells[cells["metric"] == "best_lam"]) == 6 + 10 + 6 + 6
    assert set(cells[cells["metric"] == "r_squared"]["power"]) == {1, 2}
    top1 = cells[cells["metric"] == "top1"]
    # Fixed, two type-free ones, its own residual_fit, per_image and authors_script, and the other residual_fit.
    assert len(top1[(top1["corruption"] == "speckle_noise") & (top1["severity"] == 3)]) == 7
    assert top1["lam"].between(0.1 - 1e-6, 1.5 + 1e-6).all()
    assert len(cells[cells["metric"] == "gain_over_fixed"]) == 2 * 6
    assert len(cells[cells["metric"] == "clean_top1"]) == 2 * 2 * 5
    saved = load_policy(folders / "policies" / "residual_fit-speckle_noise.json")
    RobustClassifier(networks.load(trained).model, saved)
    fixed = top1[(top1["policy"] == "fixed") & (top1["corruption"] == "clean")]["value"].item()
    assert fixed == pytest.approx(accuracy(networks.load(trained).model, sweep.subset(load("digits").test, 40)))


def test_what_one_deviation_of_the_released_script_is_worth(trained: Path) -> None:
    """A policy that differs from Algorithm 1 in one thing is asked beside it, on the same images."""
    asked = ("residual_fit", "fit_on_test", "squared_residual")
    record, _ = policies.run(trained, preset="smoke", corruptions=("speckle_noise",), images=20, only=asked)
    cells = to_frame([record])
    assert set(cells[cells["metric"] == "top1"]["policy"]) == {"fixed", *asked}
    over = cells[cells["metric"] == "top1_over_severities"].set_index("policy")["value"]
    gains = cells[cells["metric"] == "gain_over_residual_fit"].set_index("policy")
    assert set(gains.index) == set(asked[1:])
    for policy, row in gains.iterrows():
        assert row["value"] == pytest.approx(over[policy] - over["residual_fit"], abs=1e-12)
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == 20
    points = cells[cells["metric"] == "best_lam"].groupby("policy")
    usual, test, squared = (points.get_group(name) for name in asked)
    assert list(usual["value"]) == list(squared["value"])
    assert set(test["n"]) == {40}


def test_some_policies_may_be_asked_alone(trained: Path, folders: Path) -> None:
    options = ["--preset", "smoke", "--images", "10", "--policy", "residual_fit", "--policy", "per_image_type_free"]
    done = CliRunner().invoke(main, ["policies", str(trained), *options])
    assert done.exit_code == 0, done.output
    cells = to_frame([ledger.read(folders / "ledger")[-1]])
    top1 = cells[(cells["metric"] == "top1") & (cells["corruption"] != "clean")]
    assert set(top1["policy"]) == {"fixed", "residual_fit", "per_image_type_free"}
    assert (top1["fitted_on"].isin(["", "all"]) | (top1["fitted_on"] == top1["corruption"])).all()
    assert cells[cells["metric"] == "clean_top1"].empty
    with pytest.raises(ValueError, match=r"policy 'residual_fitt' does not exist. Did you mean 'residual_fit'"):
        policies.run(trained, preset="smoke", only=("residual_fitt",))


def test_policies_need_a_csc_layer(folders: Path) -> None:
    resnet = train.run(training("resnet18", "digits", "smoke", epochs=1, width=2, atoms=4)).network_file
    with pytest.raises(ValueError, match="no CSC layer whose λ a policy could choose"):
        policies.run(resnet, preset="smoke")


def test_the_guarantee_is_checked_on_codes_and_minimisers(trained: Path, folders: Path) -> None:
    done = CliRunner().invoke(main, ["guarantee", str(trained), "--images", "3"])
    assert done.exit_code == 0, done.output
    cells = to_frame([ledger.read(folders / "ledger")[-1]])
    layer = csc_layers(networks.load(trained).model)[0][1]
    (mu,) = cells.loc[cells["metric"] == "coherence", "value"]
    assert mu == pytest.approx(mutual_coherence(layer.dictionary))
    assert cells.loc[cells["metric"] == "sparsity_limit", "value"].item() == pytest.approx((1 + 1 / mu) / 3)
    by = cells[cells["metric"] == "fewest"].set_index("case")["value"]
    assert by["layer"] >= by["minimiser"] >= 1
    share = cells[cells["metric"] == "may_be_active"].pivot(index="strength", columns="epsilon", values="value")
    assert share.index.to_list() == list(guarantee.STRENGTHS)
    assert (share.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert share.loc[0.8, 0.0] < share.loc[0.1, 0.0] < share.loc[0.1, 0.5]
    other = cells.assign(variant="iterations=1", value=0.123, started="9")  # another network's rows are not mixed in
    table = re.sub(r"\s", "", figures.show_encoder_gap(pd.concat([cells.assign(variant=""), other])).data)
    for lam, shares in share.iterrows():
        assert f">{lam:g}</td>" in table
        assert all(f">{100 * value:.1f}</td>" in table for value in shares)
    assert decide(guarantee_applies(cells.assign(variant=""))) == "does not hold"
    counts = cells["metric"].isin(["fewest", "most"])
    few = cells.assign(variant="", value=cells["value"].where(~counts, 0))
    assert decide(guarantee_applies(few)) == "holds"
    assert decide(guarantee_applies(few[few["metric"] != "most"])) == "undecided"
    one = few.assign(value=few["value"].where(few["metric"] != "most", 9))
    assert decide(guarantee_applies(one)) == "does not hold"
    assert guarantee_applies(to_frame([])) == []
    with pytest.raises(ValueError, match="no CSC layer to which a guarantee"):
        guarantee.run("resnet18-w16-cifar10-s0", images=2)


def test_the_study_runs_what_each_network_has(trained: Path, folders: Path) -> None:
    tiny = {"epochs": 1, "width": 2, "atoms": 4}
    plain, noisy = (
        train.run(training("resnet18", "digits", "smoke", noise=noise, **tiny)).network_file for noise in (0, 0.1)
    )
    assert study.knobs_of(trained) == ["lam"]
    assert study.knobs_of(plain) == list(sweep.CONTROLS)
    assert study.knobs_of(noisy) == ["stem_threshold"]
    with pytest.raises(ValueError, match="network 'sdnet' does not exist"):
        study.run([trained, "sdnet"], preset="smoke")
    records = study.run([trained, noisy], preset="smoke", images=10)
    assert [(r.experiment, r.config.get("knob")) for r in records] == [
        ("sweep", "lam"), ("policies", None), ("sweep", "stem_threshold"),
    ]  # fmt: skip
    assert name_of(records[2].config) == "resnet18 (atoms=4, noise=0.1)"
