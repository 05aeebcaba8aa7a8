"""Kills at random moments, full disks and folders that cannot be written: the work goes on, with the same result."""

import errno
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from faults import SENTENCE, SILENT, SURVIVED, TRACEBACK, Tally, is_sentence
from ranks import CONTEXT
from toys import TINY, untrained

from sdnet.cli import main
from sdnet.data import datasets
from sdnet.experiments.accuracy import train
from sdnet.experiments.attacks import robust_accuracy
from sdnet.experiments.attacks.settings import AttackSettings
from sdnet.experiments.corruptions import policies, sweep
from sdnet.results import ledger
from sdnet.training.checkpoint import read_network
from sdnet.training.declaration import training

ROUNDS = {"train": 3, "sweep": 6, "policies": 3, "attack": 4, "ledger": 6}
"""Kind of run → how often the long form kills it three times on its way. Some come when it has ended: they do not
count."""
NOISES = ("shot_noise",)
MEASURED = ("train_images_per_second",)
"""What is another number in every run."""


def trained(network: Path) -> None:
    train.run(training("sdnet18", "digits", "smoke", **TINY), device="cpu")


def swept(network: Path) -> None:
    sweep.run(network, preset="smoke", images=6, corruptions=NOISES, strengths=(0.1, 0.5), device="cpu")


def adapted(network: Path) -> None:
    only = ("residual_fit",)
    policies.run(network, preset="smoke", images=6, corruptions=NOISES, only=only, device="cpu")


def attacked(network: Path) -> None:
    budget: dict[str, Any] = {"images": 4, "norms": ("linf",), "crafted": (0.1, 0.6), "attacks": ("fgsm",)}
    robust_accuracy.run(network, AttackSettings("smoke", sanity=False, **budget), device="cpu")


def wrote(network: Path) -> None:
    results = [{"metric": "top1", "value": 0.5, "n": 10}] * 1000
    row = ledger.Record("train", {"seed": 0}, "00", {}, 1.0, results, started="2026-01-01T00:00:00+00:00")
    for _ in range(5):
        ledger.write(row, ledger.ledger_folder())


RUNS = {"train": trained, "sweep": swept, "policies": adapted, "attack": attacked, "ledger": wrote}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("net") / "toy.safetensors", **TINY)


def begun(kind: str, network: Path) -> Any:
    """A process of its own that does a job; it ends with 75 if it was told to stop and has saved."""
    process = CONTEXT.Process(target=does, args=(kind, network, dict(os.environ)))
    process.start()
    return process


def does(kind: str, network: Path, environment: dict[str, str]) -> None:
    """The job, in a child of a server: a fork of the tests cannot compute gradients once they did so on threads."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        RUNS[kind](network)
    except train.distributed.Preempted:
        os._exit(75)


def outcome(folder: Path) -> Any:
    """What a run has left: its rows without times, and the weights of its network."""
    rows = []
    for row in ledger.read(folder / "ledger"):
        cells = [cell for cell in row.results if cell["metric"] not in MEASURED]
        history = [{**epoch, "seconds": 0} for epoch in row.history]
        rows.append(replace(row, started="", seconds=0.0, results=cells, history=history))
    networks = [read_network(path)[0] for path in folder.rglob("network.safetensors")]
    weights = [{name: tensor.numpy().tobytes() for name, tensor in state.items()} for state in networks]
    return [row for number, row in enumerate(rows) if row not in rows[:number]], weights


@pytest.fixture
def undisturbed(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Any, float]]:
    """What a run gives that nobody kills, and how many seconds it takes."""

    def run(kind: str) -> tuple[Any, float]:
        into(tmp_path / "undisturbed", monkeypatch)
        start = time.monotonic()
        process = begun(kind, network)
        process.join()
        assert process.exitcode == 0
        return outcome(tmp_path / "undisturbed"), time.monotonic() - start

    return run


def into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(folder / "ledger"))
    monkeypatch.setenv("SDNET_OUTPUT", str(folder / "outputs"))


def kill(kind: str, network: Path, moment: float, number: int) -> bool:
    """Kill a run after so many seconds; whether that ended it, in the way that the signal asks."""
    process = begun(kind, network)
    process.join(moment)
    if process.exitcode is None:
        os.kill(process.pid, number)
    process.join()
    # It may have ended just before, or have been writing its last row, which is done wholly.
    ends = (0, -signal.SIGKILL) if number == signal.SIGKILL else (0, 75, -signal.SIGTERM)
    assert process.exitcode in ends, process.exitcode
    return bool(process.exitcode)


def survives(kind: str, kills: int, network: Path, folder: Path, expected: Any, seconds: float, tally: Tally) -> None:
    """Kill a run so often, let it end, and compare: the rows and weights of the undisturbed one."""
    dice, done = random.Random(f"{kind} {folder.name}"), 0
    for number in range(kills):
        done += kill(kind, network, dice.random() * seconds, (signal.SIGKILL, signal.SIGTERM)[number % 2])
    last = begun(kind, network)
    last.join()
    same = last.exitcode == 0 and outcome(folder) == expected
    for _ in range(done):
        tally.add(f"kills of {kind}", SURVIVED if same else SILENT, f"{folder.name}, ended with {last.exitcode}")


@pytest.mark.parametrize("kind", ["train", "sweep", "ledger"])
def test_killed_once_and_started_again(
    kind: str, network: Path, tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    expected, seconds = undisturbed(kind)
    into(tmp_path / "killed", monkeypatch)
    survives(kind, 1, network, tmp_path / "killed", expected, seconds, tally)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(RUNS))
def test_killed_again_and_again(
    kind: str, network: Path, tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    expected, seconds = undisturbed(kind)
    for number in range(ROUNDS[kind]):
        into(tmp_path / f"{number}", monkeypatch)
        survives(kind, 3, network, tmp_path / f"{number}", expected, seconds, tally)


COMMANDS = {
    "train": "train --dataset digits --preset smoke --epochs 1 --width 2 --set atoms=4 --precision fp32 --device cpu",
    "sweep": "sweep NETWORK --images 5 --strength 0.1 --corruption shot_noise --device cpu",
}


def said(kind: str, network: Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, COMMANDS[kind].replace("NETWORK", str(network)).split())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return -1, f"{type(result.exception).__name__}: {result.exception}"
    line = result.output.rpartition("Error: ")[2].partition("\n")[0]  # what was printed before may stand behind it
    return result.exit_code, line


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Files may not become larger than so many bytes: to write more fails as on a full disk."""
    datasets.load("digits", None)  # whose library looks once whether it can write to the memory that processes share
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(("kind", "most"), [("train", 5000), ("sweep", 0), ("sweep", 900)])
def test_a_full_disk_costs_a_sentence(
    kind: str, most: int, network: Path, folders: Path, small_disk: Callable[[int], None], tally: Tally
) -> None:
    small_disk(most)
    code, message = said(kind, network)
    small_disk(resource.RLIM_INFINITY)
    clear = code == 1 and is_sentence(message, [folders])
    kept = code == 0 and kind == "sweep"  # its row fits, and what was to be kept on the way was announced to be lost
    tally.add("full disks", SENTENCE if clear else SURVIVED if kept else TRACEBACK, f"{kind}, {most}: {code} {message}")
    assert said(kind, network)[0] == 0  # and the next one, with room, is served
    assert not list((folders / "ledger").glob("*.part"))


def test_a_disk_that_fills_while_a_row_is_written_loses_no_training(
    network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folders / "ledger"))

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write", full)
        code, message = said("train", network)
    tally.add("full disks", SENTENCE if code == 1 and is_sentence(message, [folders]) else TRACEBACK, message)
    again = CliRunner().invoke(main, COMMANDS["train"].split())
    assert "trained already; evaluated now" in again.output
    assert len(ledger.read(folders / "ledger")) == 1


@pytest.mark.parametrize("kind", list(COMMANDS))
@pytest.mark.parametrize("name", ["SDNET_LEDGER", "SDNET_OUTPUT"])
def test_a_folder_that_cannot_be_written_is_named(
    kind: str, name: str, network: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.setenv(name, "/proc/here")  # where nobody, root included, makes a folder
    code, message = said(kind, network)
    kept = code == 0 and kind == "sweep" and name == "SDNET_OUTPUT"
    clear = code == 1 and is_sentence(message, ["/proc/here"])
    tally.add("read-only folders", SENTENCE if clear else SURVIVED if kept else TRACEBACK, f"{kind}: {code} {message}")
