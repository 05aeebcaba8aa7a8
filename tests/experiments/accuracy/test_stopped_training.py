"""A training that is stopped, taken up again, started twice, or taken up with other data."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from ranks import CONTEXT
from toys import TINY

from sdnet.cli import main
from sdnet.experiments.accuracy import train
from sdnet.results import ledger
from sdnet.training import loop
from sdnet.training.checkpoint import load_checkpoint, locked
from sdnet.training.declaration import Training, training
from sdnet.training.distributed import Execution, Preempted
from sdnet.training.run import saved

COMMAND = "train --arch resnet18 --dataset digits --preset smoke --epochs 1 --width 2 --device cpu"


def declared(dataset: str = "digits", **changes: object) -> Training:
    return training("resnet18", dataset, "smoke", **{**TINY, "epochs": 2, **changes})


def image_folder(folder: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    for split in ("train", "test"):
        for name in ("ant", "cat"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(6):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def send(monkeypatch: pytest.MonkeyPatch, where: str, number: int, at: int = 1) -> None:
    """Send this process a signal at the beginning of the ``at``-th call of a function of the loop."""
    function, calls = getattr(loop, where), []

    def told(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), number)
        return function(*arguments, **options)

    monkeypatch.setattr(loop, where, told)


@pytest.fixture
def stopped(folders: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Training, int], Path]:
    """Runs a training until it gets a signal in a step; its checkpoint."""

    def stop(run: Training, number: int = signal.SIGTERM) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "estimated_seconds", lambda *_, **__: 1.0)  # which makes steps of its own
            send(patch, "training_step", number, at=2 if run.dataset == "digits" else 1)
            with pytest.raises(Preempted, match="told to stop; saved after step"):
                train.run(run, device="cpu")
        (checkpoint,) = folders.glob("outputs/*/checkpoint.pt")
        return checkpoint

    return stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_ctrl_c_save_and_the_run_goes_on(
    stopped: Callable[..., Path], capsys: pytest.CaptureFixture[str], number: int
) -> None:
    checkpoint = stopped(declared(), number)
    assert load_checkpoint(checkpoint)["step"] == 2
    train.run(declared(), device="cpu")
    assert "Resuming after epoch 0, step 2" in capsys.readouterr().out
    assert not checkpoint.exists()


def test_a_second_ctrl_c_interrupts_at_once(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "estimated_seconds", lambda *_, **__: 1.0)
    for at in (1, 1):
        send(monkeypatch, "training_step", signal.SIGINT, at)
    with pytest.raises(Preempted, match="told to stop outside of the training steps; what they had saved stays"):
        train.run(declared(), device="cpu")


def test_going_on_with_other_images_is_refused_naming_both(
    stopped: Callable[..., Path], folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = image_folder(folders / "data" / "pictures", seed=1)
    checkpoint = stopped(declared(str(folder)))
    old = load_checkpoint(checkpoint)["key"]["data"]
    image_folder(folder, seed=2)
    with pytest.raises(
        ValueError, match=rf"checkpoint\.pt belongs to another run: its data is {old}, this run's is"
    ) as e:
        train.run(declared(str(folder)), device="cpu")
    assert old not in str(e.value).split("this run's is")[1]
    assert checkpoint.exists()
    assert not list(folders.glob("ledger/*.json"))


def test_a_checkpoint_of_another_configuration_is_refused_naming_both(stopped: Callable[..., Path]) -> None:
    checkpoint, other = stopped(declared()), declared(seed=5)
    place = checkpoint.parent.with_name(other.name)
    checkpoint.parent.rename(place)
    with pytest.raises(ValueError, match="its seed is 0, this run's is 5; delete it to start over"):
        train.run(other, device="cpu")


def test_a_checkpoint_whose_numbers_no_training_computes_with_is_refused(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A λ of −1 or NaN, weights NaN, L = 0, the momentum: as a copy that was edited, or saved by another program."""
    monkeypatch.setattr(loop, "estimated_seconds", lambda *_, **__: 1.0)
    run = training("sdnet18", "digits", "smoke", **{**TINY, "epochs": 2})
    with monkeypatch.context() as patch:
        send(patch, "training_step", signal.SIGTERM)
        with pytest.raises(Preempted):
            train.run(run, device="cpu")
    (checkpoint,) = folders.glob("outputs/*/checkpoint.pt")
    whole = checkpoint.read_bytes()
    for part, end, number, said in (
        ("model", ".lam", -1.0, "must be >= 0; got -1"),
        ("model", ".lam", math.nan, "holds numbers that are not finite"),
        ("model", ".weight", math.nan, "holds numbers that are not finite"),
        ("model", ".lipschitz", 0.0, "must be > 0; got 0"),
        ("optimizer", "0", math.inf, "holds numbers that are not finite"),
    ):
        state = load_checkpoint(checkpoint)
        tensors = state[part] if part == "model" else state["optimizer"]["state"][0]
        name = next(name for name in tensors if name.endswith(end) or part == "optimizer")
        tensors[name] = torch.full_like(tensors[name], number)
        torch.save(state, checkpoint)
        with pytest.raises(
            ValueError, match=rf"checkpoint\.pt: '{part}\.[\w.]*{name}' {said}; delete it to start over"
        ):
            train.run(run, device="cpu")
        checkpoint.write_bytes(whole)


def test_a_checkpoint_of_before_the_key_was_a_dictionary_is_refused(folders: Path) -> None:
    folder = folders / "outputs" / declared().name
    folder.mkdir(parents=True)
    torch.save({"key": declared().name, "history": [], "step": 3}, folder / "checkpoint.pt")
    with pytest.raises(ValueError, match="was written by an older version; delete it to start over"):
        train.run(declared(), device="cpu")


def test_a_run_keeps_the_precision_that_it_began_with(
    stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = declared(precision="auto")
    monkeypatch.setattr(loop, "best_precision", lambda *_: "bf16")
    stopped(run)
    monkeypatch.setattr(loop, "best_precision", lambda *_: "fp32")
    assert train.run(run, device="cpu").record.config["precision"] == "bf16"


def test_seconds_are_those_of_all_processes(stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.training_step
    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_step", lambda *given: time.sleep(1) or step(*given))
        wall = saved(stopped(declared()))["wall"]
    assert wall > 2
    begun = time.monotonic()
    seconds = train.run(declared(), device="cpu").record.seconds
    assert seconds == pytest.approx(wall + time.monotonic() - begun, abs=0.5)


@pytest.mark.parametrize(("where", "number"), [("estimated_seconds", signal.SIGTERM), ("accuracy", signal.SIGINT)])
def test_signals_outside_of_the_steps_end_with_75(
    folders: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    with monkeypatch.context() as patch:
        send(patch, where, number)
        result = CliRunner().invoke(main, COMMAND.split())
    assert result.exit_code == 75, result.output
    assert "Stopped: told to stop outside of the training steps; what they had saved stays." in result.output
    assert not list(folders.glob("ledger/*.json"))
    if where == "accuracy":
        monkeypatch.setattr(loop, "training_step", lambda *_: pytest.fail("trains again"))
    result = CliRunner().invoke(main, COMMAND.split())
    assert result.exit_code == 0, result.output
    assert ("trained already; evaluated now" in result.output) == (where == "accuracy")
    (record,) = ledger.read(folders / "ledger")
    assert record.history[-1]["epoch"] == 1


def test_signals_while_the_results_are_written_wait(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = ledger.write
    monkeypatch.setattr(ledger, "write", lambda *given: os.kill(os.getpid(), signal.SIGTERM) or write(*given))
    train.run(declared(epochs=1), device="cpu")
    assert len(ledger.read(folders / "ledger")) == 1
    assert not list(folders.rglob("checkpoint.pt"))


def test_the_same_run_started_twice_is_told_so_before_it_begins(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders / "outputs" / declared().name
    folder.mkdir(parents=True)
    hold = (
        "import sys; from sdnet.training.checkpoint import *\n"
        "with locked(Path(sys.argv[1]) / 'lock', 'this training'): print('held', flush=True), input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with monkeypatch.context() as patch:
            patch.setattr(loop, "estimated_seconds", lambda *_, **__: pytest.fail("begins"))
            with pytest.raises(ValueError, match=f"running already, in process {other.pid} on .*; wait for its end"):
                train.run(declared(), device="cpu")
        other.kill()  # which leaves it no time to unlock
    assert train.run(declared(epochs=1), device="cpu").record_file.exists()
    with locked(folder / "lock", "this training"):
        pass


def _started_at_once(folders: dict[str, str], both: Barrier, answers: "Queue[str]") -> None:
    os.environ |= folders  # a process of this context has the environment of when its server was started
    both.wait()
    try:
        answers.put(train.run(declared(epochs=1), device="cpu").record_file.name)
    except ValueError as error:
        answers.put(str(error))


def test_of_two_starts_at_the_same_moment_one_trains_and_the_other_is_told(folders: Path) -> None:
    both, answers = CONTEXT.Barrier(2), CONTEXT.Queue()
    where = {name: os.environ[name] for name in ("SDNET_LEDGER", "SDNET_OUTPUT")}
    processes = [CONTEXT.Process(target=_started_at_once, args=(where, both, answers), daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    said = sorted(answers.get(timeout=600) for _ in processes)
    for process in processes:
        process.join(30)
    (row,) = (path.name for path in (folders / "ledger").glob("*.json"))
    assert said[1] == row
    assert re.fullmatch(
        r"this training is running already, in (process \d+ on .*|another process); wait for its end, .*\.", said[0]
    )


def test_a_worker_that_outlives_its_parent_does_not_keep_the_folder_locked(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    alone = partial(locked, tmp_path / "lock", "this training")
    with alone():
        worker = os.fork()
        if not worker:
            os.write(tell, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(ready, 1)
    try:
        with (
            locked(tmp_path / "lock", "this training"),
            pytest.raises(ValueError, match="running already"),
            locked(tmp_path / "lock", "this training"),
        ):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_what_dead_processes_left_half_written_is_deleted(folders: Path) -> None:
    folder = folders / "outputs" / declared(epochs=1).name
    folder.mkdir(parents=True)
    for name in ("checkpoint.123.part", "network.77.part"):
        (folder / name).write_bytes(b"half")
    train.run(declared(epochs=1), device="cpu")
    assert {path.name for path in folder.iterdir()} == {"lock", "network.safetensors"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--batch-size 1", "--batch-size must be an integer >= 2, at most 1,000,000; got '1'"),
        ("--accumulate 1000", "accumulate 1000 on 1 ranks leaves fewer than two images of a batch of 32"),
        ("--hold-out 0.9999", "hold_out 0.9999 leaves 0 of 256 training images"),
        ("--hold-out 0.99 --accumulate 2", "accumulate 2 on 1 ranks leaves fewer than two images of a batch of 3"),
    ],
)
def test_batches_too_small_are_refused_before_anything_starts(
    folders: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    monkeypatch.setattr(loop, "estimated_seconds", lambda *_, **__: pytest.fail("begins"))
    result = CliRunner().invoke(main, [*COMMAND.split(), *options.split()])
    assert result.exit_code == 1
    assert f"Error: {message}" in result.output
    assert not list(folders.rglob("checkpoint.pt"))


def test_a_run_checks_its_batch_before_it_reads_data(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "load", lambda *_: pytest.fail("reads"))
    with pytest.raises(ValueError, match="take at most 16 pieces"):
        train.run(declared(), device="cpu", execution=Execution(accumulate=1000))
