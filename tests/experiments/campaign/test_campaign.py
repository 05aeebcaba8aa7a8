"""A campaign does each run once, whatever is killed in between, and says what it does."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from toys import TINY

from sdnet.cli import main
from sdnet.cli.campaign import seconds_of
from sdnet.experiments.campaign import execute
from sdnet.experiments.campaign.declared import SCALES, trained
from sdnet.experiments.campaign.execute import Campaign
from sdnet.experiments.campaign.runs import Run, swept
from sdnet.experiments.campaign.status import standings
from sdnet.experiments.corruptions.sweep import SEVERITIES
from sdnet.results import ledger
from sdnet.results.ledger import Record, rows_here
from sdnet.training.declaration import Training
from sdnet.training.distributed import Preempted

CPU = torch.device("cpu")
NOISE = ("gaussian_noise",)
# Stands for ``python -m sdnet``: does what its plan says of the arguments, and notes that it was started.
FAKE = """
import json, os, shutil, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
words = sys.argv[1:-2]
which = words[1] if words[0] == "sweep" else words[words.index("--seed") + 1]
plan = json.load(open(os.environ["PLAN"]))[words[0] + " " + which]
print(words, flush=True)
open(os.environ["PLAN"] + ".started", "a").write(" ".join(words[:1]) + plan["seed"] + "\\n")
time.sleep(plan["sleep"])
if plan["fail"]:
    sys.exit("Error: it cannot be done.")
os.makedirs(os.path.dirname(plan["network"]), exist_ok=True)
open(plan["network"], "w").close()
shutil.copy(plan["row"], os.environ["SDNET_LEDGER"])
"""


@dataclass
class World:
    """Two trainings and their sweeps, and what the fake command does about each."""

    runs: list[Run]
    folder: Path
    plan: dict[str, dict[str, object]]

    def tell(self, key: str, **changes: object) -> None:
        """Change what happens to ``"train 0"``, ``"sweep 1"``, ..."""
        command, seed = key.split()
        for entry in self.plan.values():
            if entry["seed"] == seed and entry["command"] == command:
                entry.update(changes)
        (self.folder / "plan.json").write_text(json.dumps(self.plan))

    @property
    def started(self) -> list[str]:
        path = self.folder / "plan.json.started"
        return path.read_text().split() if path.exists() else []


def row_of(run: Run) -> Record:
    """The row that a run leaves."""
    assert run.training is not None
    cells: list[dict[str, object]] = [{"metric": "top1", "split": "test", "value": 0.5, "n": 360}]
    if run.command == "sweep":
        where = [(noise, severity, lam) for noise in NOISE for severity in SEVERITIES for lam in (0.1, 0.5)]
        keys = ("corruption", "severity", "strength")
        cells = [{"metric": "top1", "value": 0.5, "n": 40, **dict(zip(keys, one, strict=True))} for one in where]
    return ledger.start().record(
        experiment=run.command,
        config={**run.training.config, "precision": "fp32", **run.settings},
        data_hash=None,
        device=ledger.describe_device(CPU),
        results=cells,
    )


@pytest.fixture
def world(folders: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    # The smoke preset's images are 40 in a sweep.
    size = replace(SCALES["quick"], preset="smoke")
    trainings = trained(size, "sdnet18", range(2), "C1", "digits", **TINY)
    sweeps = [swept(run.training, 40, "C5", "lam", (0.1, 0.5), NOISE) for run in trainings if run.training]
    world = World([*trainings, *sweeps], folders, {})
    for run in world.runs:
        network = network_of(run.training)
        seed = str(run.training.seed) if run.training else ""
        path = folders / f"{run.name}.json"
        record = replace(row_of(run), seconds=0.1)
        ledger.write(record, folders / "made").rename(path)
        key = f"sweep {network}" if run.command == "sweep" else f"train {seed}"
        entry = {"command": run.command, "seed": seed, "row": str(path), "network": str(network)}
        world.plan[key] = {**entry, "sleep": 0, "fail": False}
    (folders / "plan.json").write_text(json.dumps(world.plan))
    (folders / "fake.py").write_text(FAKE)
    (folders / "ledger").mkdir()
    monkeypatch.setenv("PLAN", str(folders / "plan.json"))
    monkeypatch.setattr(execute, "COMMAND", (sys.executable, "-S", str(folders / "fake.py")))
    monkeypatch.setattr(execute, "POLL", 0.1)
    return world


def network_of(training: Training | None) -> Path:
    assert training is not None
    return Path(os.environ["SDNET_OUTPUT"]) / training.name / "network.safetensors"


def test_every_run_is_done_once_and_in_its_order(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    Campaign(world.runs, CPU, budget=60, workers=2).run()
    said = capsys.readouterr().out
    assert sorted(world.started) == ["sweep0", "sweep1", "train0", "train1"]
    assert world.started.index("train0") < world.started.index("sweep0")
    assert "4 of 4 unfinished runs, about unknown of one core, within 60 s by 2 at a time on cpu:" in said
    assert re.search(r"train sdnet18 \(atoms=4\) on digits, width 2, 1 epochs, seed 0: done in \d+ s\.", said)
    assert len(ledger.read(world.folder / "ledger")) == 4
    Campaign(world.runs, CPU, budget=60).run()
    assert capsys.readouterr().out == "All 4 runs are done.\n"
    assert len(world.started) == 4


def test_what_was_stopped_is_taken_up_and_nothing_is_done_twice(world: World) -> None:
    world.tell("sweep 0", sleep=60)
    threading.Thread(target=stop_once_started, args=(world, "sweep0"), daemon=True).start()
    with pytest.raises(Preempted, match="the same command resumes"):
        Campaign(world.runs, CPU, budget=600, workers=2).run()
    world.tell("sweep 0", sleep=0)
    Campaign(world.runs, CPU, budget=60, workers=2).run()
    rows = ledger.read(world.folder / "ledger")
    assert len(rows) == len({(row.experiment, row.config["seed"]) for row in rows}) == 4
    assert world.started.count("sweep0") == 2
    assert {"train0", "train1", "sweep1"} == {name for name in world.started if world.started.count(name) == 1}


def stop_once_started(world: World, name: str) -> None:
    """Send SIGTERM to this process when a run has begun."""
    while name not in world.started:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_of_another_campaign_is_left_to_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    locks = world.folder / "ledger" / ".locks"
    locks.mkdir()
    with open(locks / f"{world.runs[0].name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Campaign(world.runs, CPU, budget=60).run()
    assert "seed 0: left to another campaign, which is doing it now." in capsys.readouterr().out
    assert sorted(world.started) == ["sweep1", "train1"]


def test_what_another_campaign_did_meanwhile_is_not_done_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(world.runs[:1], CPU, budget=60)
    ledger.write(row_of(world.runs[0]), world.folder / "ledger")
    campaign.run()
    assert "seed 0: another campaign has done it meanwhile." in capsys.readouterr().out
    assert world.started == []


def test_a_command_that_fails_is_named_and_the_others_go_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.tell("train 0", fail=True)
    Campaign(world.runs, CPU, budget=60).run()
    said = capsys.readouterr().out
    assert re.search(r"seed 0: failed after \d+ s \(Error: it cannot be done\.\); log .*\.log\.", said)
    assert sorted(world.started) == ["sweep1", "train0", "train1"]


def test_what_leaves_no_fitting_row_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.tell("sweep 1", row=world.plan["train 0"]["row"])
    Campaign(world.runs, CPU, budget=60).run()
    assert "ended after 0 s without a row that has all it was declared for" in capsys.readouterr().out


def test_the_budget_is_kept(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.write(replace(row_of(world.runs[0]), seconds=500.0), world.folder / "ledger")
    Campaign(world.runs[1:2], CPU, budget=60).run()
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert re.fullmatch(r"No unfinished run fits into 60 s: the shortest, .*seed 1, takes about 8 min\.\n", said)
    assert world.started == []


def test_a_run_of_unknown_cost_is_stopped_when_time_is_up(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.tell("train 0", sleep=60)
    Campaign(world.runs[:1], CPU, budget=0.5).run()
    said = capsys.readouterr().out
    assert "The budget is spent: 1 runs are told to save." in said
    assert "the next campaign resumes it." in said


def test_a_lost_network_is_said_and_trained_again_if_it_is_needed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    Campaign(world.runs[:2], CPU, budget=60).run()
    network_of(world.runs[0].training).unlink()
    found = standings(world.runs, rows_here(), CPU)
    assert [one.state for one in found] == ["network gone", "done", "not run", "not run"]
    Campaign(world.runs, CPU, budget=60).run()
    assert world.started.count("train0") == 2
    assert world.started.count("train1") == 1


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("90 m", 5400), ("1.5min", 90), ("3d", 259_200)])
def test_budgets(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "0h", "-1h", "2 weeks", "nan h"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    result = CliRunner().invoke(main, ["campaign", "--budget", text])
    assert result.exit_code == 1
    assert "Error: the budget must be a number above 0 and a unit" in result.output


SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_campaign import real_runs
from sdnet.cli.errors import in_one_sentence
from sdnet.experiments.campaign.execute import Campaign
in_one_sentence(Campaign(real_runs(), torch.device("cpu"), 600, 2).run)
"""


def real_runs() -> list[Run]:
    """A training and its sweep as they are, on digits."""
    size = replace(SCALES["quick"], preset="smoke")
    (run,) = trained(size, "sdnet18", range(1), "C1", "digits", **{**TINY, "epochs": 12})
    assert run.training is not None
    return [run, swept(run.training, 40, "C5", "lam", (0.1, 0.5), NOISE)]


@pytest.mark.slow
def test_a_campaign_that_is_killed_goes_on(folders: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
    paths = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parents[2] / "helpers")])
    environment = {**os.environ, "PYTHONPATH": paths}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    checkpoint = network_of(real_runs()[0].training).with_name("checkpoint.pt")
    while not checkpoint.exists() and first.poll() is None:
        time.sleep(0.05)
    first.terminate()
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 75, said
    assert "stopped after" in said
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    log = next((folders / "outputs" / "campaign").glob("train-*.log")).read_text()
    assert "Resuming after epoch" in log
    assert [row.experiment for row in ledger.read(folders / "ledger")] == ["train", "sweep"], done.stdout
    assert ledger.read(folders / "ledger")[0].config["seed"] == 0
