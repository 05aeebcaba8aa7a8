"""The main experiment end to end: a network is trained, kept and recorded, and what is wrong is said before."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from toys import TINY

from sdnet import csc_layers
from sdnet.cli import main
from sdnet.experiments.accuracy import train
from sdnet.results import ledger, networks
from sdnet.results.cells import variant
from sdnet.training import loop
from sdnet.training.declaration import training


def test_a_test_accuracy_behind_that_of_training_is_explained_where_steps_are_few() -> None:
    said = train.lagging(0.22, 0.93, 46)
    assert said == (
        " In training it was 93.00%: after 46 steps the running statistics of batch normalisation lag behind the "
        "weights; train for more epochs."
    )
    for usual in ((0.5, 0.93, 46), (0.1, 0.19, 23), (0.22, 0.93, 5000)):
        assert train.lagging(*usual) == ""


def test_statistics_that_lag_are_told_of(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two epochs on all digits, in batches of 64, end at width 16: 93 % in training, 22 % in the test."""
    monkeypatch.setattr(loop, "accuracy", lambda *_, **__: 0.2)
    train.run(training("sdnet18", "digits", "smoke", epochs=6, width=4, atoms=8, precision="fp32"), device="cpu")
    (said,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Test accuracy"))
    assert said.startswith("Test accuracy 20.00%. In training it was ")
    assert "after 48 steps the running statistics of batch normalisation lag" in said


def test_a_run_leaves_network_record_and_no_checkpoint(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = train.run(training("sdnet18", "digits", "smoke", lam=0.2, **TINY), device="cpu")
    said = capsys.readouterr().out
    assert "sdnet18 (width 2" in said
    assert "256 training" in said
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
    trained = train.run(training("sdnet18", "digits", "smoke", lam=0.2, **TINY), device="cpu")
    network = networks.load(trained.network_file)
    loaded = network.model
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(loaded(images), trained.model(images))
    assert csc_layers(loaded)[0][1].lam.item() == pytest.approx(0.2)
    assert network.classes == tuple("0123456789")
    assert network.training.config == training("sdnet18", "digits", "smoke", lam=0.2, **TINY).config
    assert loaded.normalize.mean[0].item() == pytest.approx(0.3053, abs=1e-4)


def test_networks_of_the_repository_are_found_by_name() -> None:
    assert networks.names()
    for name in networks.names():
        network = networks.load(name)
        assert network.model(torch.rand(2, 3, 32, 32)).shape == (2, len(network.classes))


def test_a_network_without_a_stem_is_trained_and_loaded(folders: Path) -> None:
    run = training("scn", "digits", "smoke", iterations=3, epochs=1, width=4)
    trained = train.run(run, device="cpu")
    assert trained.record.config["precision"] == "fp32"  # its narrow layers are not for oneDNN
    assert trained.record.config["network"] == {"iterations": 3}
    loaded, pixels = networks.load(trained.network_file).model, torch.rand(2, 3, 8, 8)
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.model.state_dict().items())
    # The atoms lie in another order in memory once loaded, and products are added up in that order.
    torch.testing.assert_close(loaded(pixels), trained.model(pixels))


def test_the_best_epoch_on_test_images_is_kept_and_all_are_reported(folders: Path) -> None:
    size = {**TINY, "epochs": 2}
    usual = train.run(training("sdnet18", "digits", "smoke", **size), device="cpu")
    kept = train.run(training("sdnet18", "digits", "smoke", keep="best_on_test", **size), device="cpu")
    assert [row["loss"] for row in kept.record.history] == [row["loss"] for row in usual.record.history]
    cells = kept.record.results
    by_epoch = [cell["value"] for cell in cells if cell["metric"] == "top1_after_epoch"]
    (epoch,) = [cell["value"] for cell in cells if cell["metric"] == "kept_epoch"]
    assert (len(by_epoch), by_epoch[-1]) == (2, usual.record.results[0]["value"])
    assert cells[0]["value"] == max(by_epoch) == by_epoch[epoch - 1]
    assert [variant(run.record.config) for run in (usual, kept)] == ["atoms=4", "atoms=4, keep=best_on_test"]
    assert networks.load(kept.network_file).training.keep == "best_on_test"
    with pytest.raises(ValueError, match=r"keep 'best' does not exist\. Available: last, best_on_test"):
        training("sdnet18", "digits", "smoke", keep="best")


def test_hold_out_is_reported(folders: Path) -> None:
    trained = train.run(training("resnet18", "digits", "smoke", hold_out=0.5, **TINY), device="cpu")
    held = [result for result in trained.record.results if result.get("split") == "validation"]
    assert held[0]["n"] == 128


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
        train.run(training(*arguments))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "parameter 'epoch' does not exist. Did you mean 'epochs'"),
        ({"lam": -1.0}, "lam must be finite and >= 0"),
        ({"iterations": 0}, "iterations must be an integer >= 1"),
        ({"width": 0}, "width must be an integer >= 1"),
        ({"precision": "fp8"}, "precision 'fp8' does not exist"),
    ],
)
def test_bad_numbers_are_refused_when_declared(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        training("sdnet18", "digits", "smoke", **changes)


@pytest.mark.parametrize("which", ["SDNET_LEDGER", "SDNET_OUTPUT"])
def test_an_unwritable_output_is_refused_before_training(
    folders: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    (folders / "file").touch()
    monkeypatch.setenv(which, str(folders / "file" / "below"))
    monkeypatch.setattr(train.loop, "train", lambda *_, **__: pytest.fail("training started"))
    with pytest.raises(ValueError, match=r"cannot write to .*; choose another output folder"):
        train.run(training("sdnet18", "digits", "smoke", **TINY))


def test_the_command_line_sets_any_parameter_once(folders: Path) -> None:
    command = "train --dataset digits --preset smoke --epochs 1 --width 2 --device cpu --set atoms=4 --set nesterov=no"
    done = CliRunner().invoke(main, [*command.split(), "--set", "nonnegative=false"])
    assert done.exit_code == 0, done.output
    (record,) = ledger.read(folders / "ledger")
    assert record.config["network"] == {"atoms": 4, "nonnegative": False}
    assert record.config["recipe"]["nesterov"] is False
    for wrong, message in (
        ("atoms", "--set takes NAME=VALUE, for instance --set nonnegative=false; got 'atoms'."),
        ("=3", "--set takes NAME=VALUE, for instance --set nonnegative=false; got '=3'."),
        ("width=3", "parameter 'width' is given twice; give it once."),
        ("atoms=0", "atoms must be an integer >= 1, at most 1,000,000; got '0'."),
        ("atom=3", "parameter 'atom' does not exist. Did you mean 'atoms'?"),
    ):
        done = CliRunner().invoke(main, ["train", "--dataset", "digits", "--width", "2", "--set", wrong])
        assert done.exit_code == 1
        assert f"Error: {message}" in done.output


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
        ("--lam -1", "Error: --lam must be finite and >= 0, at most 1,000,000; got '-1'."),
        ("--dataset nowhere", "Error: dataset 'nowhere' does not exist."),
        (
            "--dataset digits --preset smoke --lr 1e30 --width 2 --epochs 1 --set atoms=4",
            "Error: the loss is no longer finite",
        ),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_sentence(
    folders: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    monkeypatch.setenv("SDNET_DATA", str(folders))
    result = CliRunner().invoke(main, ["train", *options.split(), "--device", "cpu"])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
