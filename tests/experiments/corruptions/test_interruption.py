"""Sweeps, policies and attacks that are stopped or killed resume, and end with the row of an undisturbed run."""

import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from toys import TINY, untrained

from sdnet.cli import main
from sdnet.experiments.attacks import robust_accuracy
from sdnet.experiments.attacks.settings import AttackSettings
from sdnet.experiments.corruptions import policies, sweep
from sdnet.experiments.deep_pursuit.study import follow
from sdnet.results import ledger, networks, unfinished
from sdnet.results.ledger import Record
from sdnet.results.unfinished import Unfinished
from sdnet.robust import algorithm1
from sdnet.training import loop
from sdnet.training.checkpoint import read_network, save_network
from sdnet.training.declaration import training
from sdnet.training.distributed import Preempted
from sdnet.training.stopping import signals_wait, stoppable

NOISES = ("gaussian_noise", "shot_noise")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """An untrained network, in a file as a training leaves it."""
    return untrained(tmp_path / "toy.safetensors", **TINY)


def swept(path: Path) -> Record:
    return sweep.run(path, preset="smoke", images=6, corruptions=NOISES, strengths=(0.1, 0.5), device="cpu")[0]


def chosen(path: Path) -> Record:
    return policies.run(path, preset="smoke", images=6, corruptions=NOISES[1:], device="cpu")[0]


def attacked(path: Path) -> Record:
    budget = {"images": 4, "steps": 1, "norms": ("linf",), "crafted": (0.1, 0.6), "attacks": ("fgsm", "square")}
    return robust_accuracy.run(path, AttackSettings("smoke", **budget), device="cpu")[0]


RUNS = {"sweep": swept, "policies": chosen, "attack": attacked}


def stop_in(monkeypatch: pytest.MonkeyPatch, parts: int, stop: Callable[[], object]) -> None:
    """Stop the next run in the middle of computing a part, after so many were kept by it."""
    done = 0
    call = Unfinished.__call__

    def keep(self: Unfinished, name: str, compute: Callable[[], Any]) -> Any:
        nonlocal done
        known = name in self.parts

        def stopped() -> Any:
            if done == parts:
                stop()
            return compute()

        value = call(self, name, stopped)
        done += not known
        return value

    monkeypatch.setattr(Unfinished, "__call__", keep)


def kill_after(parts: int, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep a network and be killed when so many parts are done."""
    with monkeypatch.context() as patch:
        stop_in(patch, parts, killed)
        with pytest.raises(Killed):
            swept(network)


def sent(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


class Killed(BaseException):
    """What no ``except`` of a program catches stands for kill -9: nothing more is done."""


def killed() -> None:
    raise Killed


STOPS = [(sent(signal.SIGTERM), Preempted), (sent(signal.SIGINT), Preempted), (killed, Killed)]


@pytest.mark.parametrize("kind", list(RUNS))
def test_stopped_again_and_again_a_run_ends_with_the_row_of_an_undisturbed_one(
    kind: str, network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for levels in (algorithm1.LEVELS, algorithm1.RELEASED_LEVELS):  # fewer, which is faster
        monkeypatch.setitem(levels, "shot_noise", levels["shot_noise"][:2])
    before = signal.getsignal(signal.SIGTERM)
    expected = RUNS[kind](network)
    assert not (folders / "outputs" / "unfinished").exists()
    dice, stops = random.Random(kind), 0
    while True:
        stop, error = STOPS[stops % 3]
        with monkeypatch.context() as patch:
            stop_in(patch, dice.choice((0, 1, 2, 5)), stop)
            try:
                record = RUNS[kind](network)
            except error:
                stops += 1
                continue
        break
    assert stops >= 3
    same = {"started": "", "seconds": 0.0}
    assert replace(record, **same) == replace(expected, **same)
    assert record.config_hash == expected.config_hash
    assert len(ledger.read(folders / "ledger")) == 2
    assert not (folders / "outputs" / "unfinished").exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("kind", list(RUNS))
def test_of_two_at_the_same_measurement_the_second_is_told(
    kind: str, network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def again() -> None:
        with pytest.raises(ValueError, match=rf"^this measurement is running already, in process {os.getpid()} on "):
            RUNS[kind](network)
        refused.append(kind)

    stop_in(monkeypatch, 1, again)
    RUNS[kind](network)
    assert refused == [kind]
    assert len(ledger.read(folders / "ledger")) == 1
    assert not (folders / "outputs" / "unfinished").exists()


def test_the_command_line_ends_with_75_and_one_sentence(
    network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sweep", str(network), "--images", "5", "--strength", "0.1", "--corruption", "shot_noise"]
    for number, said in ((signal.SIGTERM, "2 parts"), (signal.SIGINT, "4 parts")):
        with monkeypatch.context() as patch:
            stop_in(patch, 2, sent(number))
            done = CliRunner().invoke(main, words)
        assert done.exit_code == 75, done.output
        assert f"Stopped: told to stop; {said} are done and kept in {folders}" in done.output
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0
    assert "Resuming: 4 parts of this run are done" in done.output
    (record,) = ledger.read(folders / "ledger")
    assert record.config["corruptions"] == ["shot_noise"]
    assert record.config["strengths"] == [0.1]


def test_a_row_counts_the_time_of_all_its_processes(
    network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(1, network, monkeypatch)
    (path,) = (folders / "outputs" / "unfinished").glob("*.pt")
    state = torch.load(path)
    torch.save({**state, "seconds": 1000.0, "started": "2026-01-02T03:04:05+00:00"}, path)
    record = swept(network)
    assert record.seconds >= 1000
    assert record.started == "2026-01-02T03:04:05+00:00"


def test_another_network_or_question_does_not_go_on_with_what_was_kept(
    network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_after(3, network, monkeypatch)
    state, description = read_network(network)
    model = networks.load(network).model
    model.load_state_dict({**state, "stem.0.lam": torch.tensor(0.3)})
    save_network(network, model, description)
    swept(network)
    sweep.run(network, preset="smoke", images=6, corruptions=NOISES, strengths=(0.1, 0.4), device="cpu")
    assert "Resuming" not in capsys.readouterr().out
    assert len(list((folders / "outputs" / "unfinished").glob("*.pt"))) == 1


@pytest.mark.parametrize("damage", ["cut", "nonsense", "empty"])
def test_a_damaged_file_costs_a_sentence(
    damage: str, network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_after(3, network, monkeypatch)
    (path,) = (folders / "outputs" / "unfinished").glob("*.pt")
    if damage == "nonsense":
        torch.save([1, 2], path)
    else:
        path.write_bytes(path.read_bytes()[: 200 if damage == "cut" else 0])
    swept(network)
    assert f"Starting over: {path}" in capsys.readouterr().out


def test_a_disk_that_is_full_costs_a_sentence(
    network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, state: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(unfinished, "save_checkpoint", full)
        swept(network)
    assert capsys.readouterr().out.count("No space left on device): if it is stopped, this run starts over.") == 1
    monkeypatch.setenv("SDNET_OUTPUT", str(folders / "file"))
    (folders / "file").write_text("not a folder")
    swept(network)
    stop_in(monkeypatch, 2, sent(signal.SIGTERM))
    with pytest.raises(Preempted, match="told to stop; nothing is kept"):
        swept(network)


@pytest.mark.parametrize("kind", list(RUNS))
def test_a_ledger_that_cannot_be_written_is_named_before_anything_is_computed(
    kind: str, network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "ledger").write_text("not a folder")
    monkeypatch.setattr(Unfinished, "__call__", lambda *_: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match=r"cannot write to .*ledger"):
        RUNS[kind](network)


def test_a_folder_for_policies_that_cannot_be_written_is_named_before_anything_is_computed(
    network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "policies").write_text("not a folder")
    monkeypatch.setattr(Unfinished, "__call__", lambda *_: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match=r"cannot write to .*policies"):
        policies.run(network, preset="smoke", images=6, output=folders / "policies", device="cpu")


def test_a_training_that_is_followed_looks_for_its_ledger_first(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "ledger").write_text("not a folder")
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match=r"cannot write to .*ledger"):
        follow(training("ltp", "digits", "smoke", depth=1, epochs=1, width=4), device="cpu")


def test_what_a_row_asked_is_in_its_hash(network: Path, folders: Path) -> None:
    ask = {"preset": "smoke", "images": 4, "strengths": (0.1,), "corruptions": ("shot_noise",), "device": "cpu"}
    rows = [
        sweep.run(network, **{**ask, **changed})[0]
        for changed in ({}, {"corruptions": ("gaussian_noise",)}, {"strengths": (0.2,)})
    ]
    assert len({row.config_hash for row in rows}) == 3


def test_signals_wait_for_what_must_be_whole() -> None:
    done = []

    @stoppable()
    def run() -> None:
        with signals_wait():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("whole")
        done.append("never")

    with pytest.raises(Preempted, match="before anything was measured"):
        run()
    assert done == ["whole"]
