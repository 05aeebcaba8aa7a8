"""The main experiment end to end, and the ledger it writes to."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sdnet import csc_layers
from sdnet.cli import main
from sdnet.data.datasets import Split, load
from sdnet.experiments import guarantee, ledger, networks, policies, study, sweep, train
from sdnet.experiments.sizes import record_sizes
from sdnet.report.rules import guarantee_applies
from sdnet.robust.policies import RobustClassifier, load_policy
from sdnet.theory import mutual_coherence
from sdnet.training.loop import accuracy

TINY = {"epochs": 1, "width": 2, "atoms": 4, "precision": "fp32"}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ledger and outputs below a folder of the test's own."""
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("SDNET_OUTPUT", str(tmp_path / "outputs"))
    return tmp_path


def example(**changes: object) -> ledger.Record:
    fields = {
        "experiment": "train",
        "config": {"arch": "sdnet18", "dataset": "digits", "preset": "smoke", "seed": 0},
        "data_hash": "00",
        "device": {"type": "cpu"},
        "results": [{"metric": "top1", "split": "test", "value": 0.5, "n": 10}],
    }
    return ledger.start().record(**{**fields, **changes})


def test_a_run_leaves_network_record_and_no_checkpoint(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = train.run(train.training("sdnet18", "digits", "smoke", lam=0.2, **TINY), device="cpu")
    said = capsys.readouterr().out
    assert "sdnet18 (width 2" in said
    assert "1,437 training" in said
    assert "about" in said
    assert str(trained.network_file) in said
    assert not list(folders.rglob("checkpoint.pt"))
    (record,) = ledger.read(folders / "ledger")
    assert record == replace(trained.record, history=record.history)
    assert record.config["network"] == {"lam": 0.2, "atoms": 4}
    assert {result["metric"] for result in record.results} == {"top1", "parameters", "train_images_per_second"}
    assert record.history[-1]["epoch"] == 1
    assert set(record.versions) == {"python", "torch", "torchvision", "numpy"}
    assert record.data_hash
    assert record.device["threads"] == torch.get_num_threads()


def test_a_saved_network_is_the_whole_network(folders: Path) -> None:
    trained = train.run(train.training("sdnet18", "digits", "smoke", lam=0.2, **TINY), device="cpu")
    network = networks.load(trained.network_file)
    loaded = network.model
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(loaded(images), trained.model(images))
    assert csc_layers(loaded)[0][1].lam.item() == pytest.approx(0.2)
    assert network.classes == tuple("0123456789")
    assert network.training.config == train.training("sdnet18", "digits", "smoke", lam=0.2, **TINY).config
    assert loaded.normalize.mean[0].item() == pytest.approx(0.3056, abs=1e-4)


def test_networks_of_the_repository_are_found_by_name() -> None:
    assert networks.names()
    for name in networks.names():
        network = networks.load(name)
        assert network.model(torch.rand(2, 3, 32, 32)).shape == (2, len(network.classes))
    with pytest.raises(ValueError, match=r"network 'nobody' does not exist.*Or give the path"):
        networks.load("nobody")


def test_a_network_without_a_stem_is_trained_and_refused_where_a_knob_is_needed(folders: Path) -> None:
    run = train.training("scn", "digits", "smoke", iterations=3, epochs=1, width=4)
    trained = train.run(run, device="cpu")
    assert trained.record.config["precision"] == "fp32"  # its narrow layers are not for oneDNN
    assert trained.record.config["network"] == {"iterations": 3}
    with pytest.raises(ValueError, match="holds scn, which has no stem to turn a knob of"):
        networks.load(trained.network_file)


def test_hold_out_is_reported(folders: Path) -> None:
    trained = train.run(train.training("resnet18", "digits", "smoke", hold_out=0.5, **TINY), device="cpu")
    held = [result for result in trained.record.results if result.get("split") == "validation"]
    assert held[0]["n"] == 718


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sdnet", "digits", "smoke"), "Available: resnet18, resnet34, sdnet18"),
        (("sdnet18", "digits", "tiny"), "preset 'tiny' does not exist"),
        (("sdnet18", "digit", "smoke"), "dataset 'digit' does not exist. Did you mean 'digits'"),
    ],
)
def test_unknown_names(folders: Path, arguments: tuple[str, str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train.run(train.training(*arguments))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "parameter 'epoch' does not exist. Did you mean 'epochs'"),
        ({"lam": -1.0}, "lam must be finite and >= 0"),
        ({"iterations": 0}, "iterations must be an integer >= 1"),
        ({"width": 0}, "width must be a positive integer"),
        ({"width": "None"}, "width must be a positive integer; got 'None'"),
        ({"precision": "fp8"}, "precision 'fp8' does not exist"),
    ],
)
def test_bad_numbers_are_refused_when_declared(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train.training("sdnet18", "digits", "smoke", **changes)


@pytest.mark.parametrize("which", ["SDNET_LEDGER", "SDNET_OUTPUT"])
def test_an_unwritable_output_is_refused_before_training(
    folders: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    (folders / "file").touch()
    monkeypatch.setenv(which, str(folders / "file" / "below"))
    monkeypatch.setattr(train.loop, "train", lambda *_, **__: pytest.fail("training started"))
    with pytest.raises(ValueError, match=r"cannot write to .*; choose another output folder"):
        train.run(train.training("sdnet18", "digits", "smoke", **TINY))


def test_records_round_trip_and_are_never_overwritten(tmp_path: Path) -> None:
    record = example()
    path = ledger.write(record, tmp_path)
    assert path.name.startswith("train-sdnet18-digits-smoke-")
    assert ledger.read(tmp_path) == [record]
    with pytest.raises(ValueError, match="records are never overwritten"):
        ledger.write(record, tmp_path)
    assert os.listdir(tmp_path) == [path.name]


def test_an_edited_or_broken_record_is_named(tmp_path: Path) -> None:
    path = ledger.write(example(), tmp_path)
    fields = json.loads(path.read_text())
    fields["config"]["seed"] = 1
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="was edited"):
        ledger.read(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not a ledger record"):
        ledger.read(tmp_path)


def test_config_hash_ignores_the_order_of_keys() -> None:
    assert ledger.config_hash({"a": 1, "b": 2}) == ledger.config_hash({"b": 2, "a": 1})
    assert ledger.config_hash({"a": 1}) != ledger.config_hash({"a": 2})


def test_cells_keep_every_result() -> None:
    results = [{"metric": "top1", "split": "test", "value": value, "n": 10} for value in (0.1, 0.2)]
    frame = ledger.cells([example(results=results), example()])
    assert frame["value"].tolist() == [0.1, 0.2, 0.5]
    assert set(frame["arch"]) == {"sdnet18"}
    assert list(ledger.cells([]).columns) == list(ledger.CELL_COLUMNS)


def test_the_committed_ledger_is_readable_and_clean() -> None:
    for record in ledger.read():
        assert record.code["commit"]
        assert record.code["dirty"] is False, record.file_name
        assert record.results


def test_sizes_are_recorded(folders: Path) -> None:
    path = record_sizes()
    (record,) = ledger.read(path.parent)
    sizes = {(cell["dataset"], cell["arch"]): cell["value"] for cell in record.results}
    assert sizes["cifar10", "sdnet18"] == 11_173_962
    assert ledger.cells([record])["paper_scale"].all()


def test_the_command_line_trains(folders: Path) -> None:
    command = "train --arch resnet18 --dataset digits --preset smoke --epochs 1 --width 2 --device cpu"
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 0, result.output
    assert "Test accuracy" in result.output
    assert len(ledger.read(folders / "ledger")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--arch sdnet81", "Error: arch 'sdnet81' does not exist."),
        ("--lam -1", "Error: lam must be finite and >= 0; got -1.0."),
        ("--dataset nowhere", "Error: dataset 'nowhere' does not exist."),
        ("--dataset digits --preset smoke --lr 1e30 --width 2", "Error: the loss is no longer finite"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_sentence(folders: Path, options: str, message: str) -> None:
    result = CliRunner().invoke(main, ["train", *options.split(), "--data-root", str(folders), "--device", "cpu"])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def trained(folders: Path) -> Path:
    """A small SDNet, trained for one epoch on the digits."""
    return train.run(train.training("sdnet18", "digits", "smoke", **TINY)).network_file


def test_a_sweep_writes_every_cell(trained: Path, folders: Path) -> None:
    record, path = sweep.run(trained, preset="smoke", corruptions=("gaussian_noise", "impulse_noise"))
    assert ledger.read(folders / "ledger")[-1] == record
    assert path.parent == folders / "ledger"
    cells = ledger.cells([record])
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
    assert set(ledger.cells([ledger.read(folders / "ledger")[-1]])["strength"]) == {0.1, 0.7}


def test_the_other_knobs_are_swept_too(folders: Path) -> None:
    resnet = train.run(train.training("resnet18", "digits", "smoke", epochs=1, width=2, atoms=4)).network_file
    for knob in sweep.CONTROLS:
        record, _ = sweep.run(resnet, knob, images=20, corruptions=("shot_noise",))
        cells = ledger.cells([record])
        top1 = cells[(cells["metric"] == "top1") & (cells["corruption"] == "clean")]
        assert tuple(top1["strength"]) == sweep.KNOBS[knob]
    assert {record.config["knob"] for record in ledger.read(folders / "ledger")[1:]} == set(sweep.CONTROLS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"knob": "lambda"}, "knob 'lambda' does not exist. Did you mean 'lam'"),
        ({"knob": "stem threshold"}, "no ReLU whose threshold"),
        ({"preset": "large"}, "preset 'large' does not exist"),
        ({"images": 0}, "images must be at least 1"),
        ({"corruptions": ("fogg",)}, "corruption 'fogg' does not exist. Did you mean 'fog'"),
    ],
)
def test_what_cannot_be_swept_is_refused(trained: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep.run(trained, **{"images": 10, **given})


def test_official_corruptions_are_read_in_the_order_of_the_subset(tmp_path: Path) -> None:
    """The images of a subset of the test split stand at the same places of every official array."""
    labels = np.arange(10_000) % 10
    arrays = np.repeat(np.arange(5 * 10_000) % 251, 32 * 32 * 3).astype(np.uint8).reshape(-1, 32, 32, 3)
    np.save(tmp_path / "gaussian_noise.npy", arrays)
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    split = Split(torch.from_numpy(arrays[:10_000]), torch.from_numpy(labels))
    _, *noisy = sweep.conditions(sweep.subset(split, 30), ("gaussian_noise",), tmp_path)
    assert [condition.severity for condition in noisy] == [1, 2, 3, 4, 5]
    for condition in noisy:
        assert torch.equal(condition.split.labels, sweep.subset(split, 30).labels)
    assert torch.equal(noisy[0].split.images, sweep.subset(split, 30).images)
    assert not torch.equal(noisy[1].split.images, noisy[0].split.images)


def test_policies_are_fitted_asked_and_saved(trained: Path, folders: Path) -> None:
    record, _ = policies.run(
        trained, preset="smoke", corruptions=("gaussian_noise", "speckle_noise"), output=folders / "policies"
    )
    cells = ledger.cells([record])
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


def test_some_policies_may_be_asked_alone(trained: Path, folders: Path) -> None:
    options = ["--preset", "smoke", "--images", "10", "--policy", "residual_fit", "--policy", "per_image_type_free"]
    done = CliRunner().invoke(main, ["policies", str(trained), *options])
    assert done.exit_code == 0, done.output
    cells = ledger.cells([ledger.read(folders / "ledger")[-1]])
    top1 = cells[(cells["metric"] == "top1") & (cells["corruption"] != "clean")]
    assert set(top1["policy"]) == {"fixed", "residual_fit", "per_image_type_free"}
    assert (top1["fitted_on"].isin(["", "all"]) | (top1["fitted_on"] == top1["corruption"])).all()
    assert cells[cells["metric"] == "clean_top1"].empty
    with pytest.raises(ValueError, match=r"policy 'residual_fitt' does not exist. Did you mean 'residual_fit'"):
        policies.run(trained, preset="smoke", only=("residual_fitt",))


def test_policies_need_a_csc_layer(folders: Path) -> None:
    resnet = train.run(train.training("resnet18", "digits", "smoke", epochs=1, width=2, atoms=4)).network_file
    with pytest.raises(ValueError, match="no CSC layer whose λ a policy could choose"):
        policies.run(resnet, preset="smoke")


def test_the_guarantee_is_checked_on_codes_and_minimisers(trained: Path, folders: Path) -> None:
    done = CliRunner().invoke(main, ["guarantee", str(trained), "--images", "3"])
    assert done.exit_code == 0, done.output
    cells = ledger.cells([ledger.read(folders / "ledger")[-1]])
    layer = csc_layers(networks.load(trained).model)[0][1]
    (mu,) = cells.loc[cells["metric"] == "coherence", "value"]
    assert mu == pytest.approx(mutual_coherence(layer.dictionary))
    assert cells.loc[cells["metric"] == "sparsity_limit", "value"].item() == pytest.approx((1 + 1 / mu) / 3)
    by = cells[cells["metric"] == "fewest"].set_index("case")["value"]
    assert by["layer"] >= by["minimiser"] >= 1
    assert guarantee_applies(cells.assign(variant="")).verdict == "refuted"
    assert guarantee_applies(
        cells.assign(variant="", value=cells["value"].where(cells["metric"] != "fewest", 0))
    ).verdict == ("supported")
    assert guarantee_applies(ledger.cells([])).verdict == "not run"
    with pytest.raises(ValueError, match="no CSC layer to which a guarantee"):
        guarantee.run("resnet18-w16-cifar10-jpeg-s0", images=2)


def test_the_study_runs_what_each_network_has(trained: Path, folders: Path) -> None:
    tiny = {"epochs": 1, "width": 2, "atoms": 4}
    plain, noisy = (
        train.run(train.training("resnet18", "digits", "smoke", noise=noise, **tiny)).network_file for noise in (0, 0.1)
    )
    assert study.knobs_of(trained) == ["lam"]
    assert study.knobs_of(plain) == list(sweep.CONTROLS)
    assert study.knobs_of(noisy) == ["stem threshold"]
    with pytest.raises(ValueError, match="network 'sdnet' does not exist"):
        study.run([trained, "sdnet"], preset="smoke")
    records = study.run([trained, noisy], preset="smoke", images=10)
    assert [(r.experiment, r.config.get("knob")) for r in records] == [
        ("sweep", "lam"), ("policies", None), ("sweep", "stem threshold"),
    ]  # fmt: skip
    assert ledger.name_of(records[2].config) == "resnet18 (atoms=4, noise=0.1)"
