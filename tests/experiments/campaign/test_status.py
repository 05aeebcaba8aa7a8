"""What is declared can be run, its states follow the ledger, and they agree with what the book shows."""

import subprocess
from dataclasses import replace
from pathlib import Path

import click
import pandas as pd
import pytest
import torch

from sdnet.cli import main
from sdnet.experiments.campaign import runs as runs_module
from sdnet.experiments.campaign.cost import Costs
from sdnet.experiments.campaign.declared import campaign
from sdnet.experiments.campaign.runs import DONE, NOT_RUN, SCALED_DOWN, Run
from sdnet.experiments.campaign.stale import changed, changed_since
from sdnet.experiments.campaign.status import serving, show, standings
from sdnet.experiments.claims.rules import RULES
from sdnet.results import ledger
from sdnet.results.cells import to_frame
from sdnet.results.ledger import Record

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def declared() -> list[Run]:
    return campaign("quick")


@pytest.fixture(scope="module")
def rows() -> list[Record]:
    return ledger.read()


@pytest.fixture(scope="module")
def cells(rows: list[Record]) -> pd.DataFrame:
    return to_frame(rows)


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_every_declared_run_is_a_command_line(scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "network_file", lambda training: Path(f"{training.name}.safetensors"))
    seen, runs = set(), campaign(scale)
    for run in runs:
        words = run.argv("cpu")
        seen.add(tuple(words))
        command: click.Command | None = main
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None
        command.make_context("run", words)  # raises for what is no option or value of it
    assert len(seen) == len(runs)


def test_a_network_is_trained_before_it_is_measured(declared: list[Run]) -> None:
    made: set[str] = set()
    for run in declared:
        assert {training.name for training in run.needs} <= made
        made |= {run.makes}


def test_every_claim_is_served(declared: list[Run]) -> None:
    assert set(RULES) <= {name for run in declared for name in run.serves}
    with pytest.raises(ValueError, match="claim 'C99' does not exist"):
        serving(declared, "C99")


@pytest.mark.parametrize("claim", RULES)
def test_status_agrees_with_the_landing_page(
    claim: str, declared: list[Run], rows: list[Record], cells: pd.DataFrame
) -> None:
    """A claim is judged there by rows that answer its runs here, and by no others; and where all are, it is judged."""
    own = serving(declared, claim)
    answers = {
        row.file_name.removesuffix(".json") for row in rows if any(run.state([row])[0] != NOT_RUN for run in own)
    }
    assert RULES[claim](cells[~cells["run"].isin(answers)])[0].verdict == "not run"
    if RULES[claim](cells)[0].verdict == "not run":
        assert any(run.state(rows)[0] != DONE for run in own)


def row_of(run: Run, images: int = 10_000, **changes: object) -> Record:
    """A row that answers a sweep, of so many images, its configuration changed."""
    assert run.training is not None
    from itertools import product

    combinations = [dict(zip(run.cells, values, strict=True)) for values in product(*run.cells.values())]
    cells = [{**cell, "value": 0.5, "n": images} for cell in combinations]
    config = {**run.training.config, **run.settings, **changes}
    device = ledger.describe_device(CPU)
    return ledger.start().record(experiment="sweep", config=config, data_hash=None, device=device, results=cells)


def test_the_states_of_a_run(declared: list[Run]) -> None:
    run = next(run for run in declared if run.command == "sweep")
    assert run.training is not None
    full = row_of(run)
    recipe = {**run.training.config["recipe"], "epochs": 3}
    assert run.state([]) == (NOT_RUN, None)
    assert run.state([full]) == (DONE, full)
    for smaller in (row_of(run, 1000), row_of(run, recipe=recipe), row_of(run, dataset="cifar10-jpeg")):
        assert run.state([smaller]) == (SCALED_DOWN, smaller)
        assert run.state([full, smaller]) == (DONE, full)
    half = replace(full, results=full.results[::2])
    assert run.state([half]) == (SCALED_DOWN, half)
    for other in (row_of(run, seed=9), row_of(run, knob="median"), row_of(run, dataset="digits")):
        assert run.state([other]) == (NOT_RUN, None)


def test_a_run_costs_in_proportion_to_similar_ones_on_this_device(declared: list[Run]) -> None:
    run = next(run for run in declared if run.command == "sweep")
    measured = replace(row_of(run, 1000), seconds=10.0)
    found = Costs([measured], CPU).of(run)
    assert found.seconds == pytest.approx(10.0 * run.images / 1000 * measured.device["threads"])
    assert found.basis == "1 row of the same network"
    elsewhere = replace(measured, device={**measured.device, "name": "another"})
    assert str(Costs([elsewhere], CPU).of(run)) == "unknown"


def test_the_table_counts_every_run(declared: list[Run], rows: list[Record]) -> None:
    chosen = serving(declared, "C13")
    said = show(standings(chosen, rows, CPU))
    assert said.splitlines()[-1].endswith(f"{len(chosen)} runs")
    assert "guarantee sdnet18 on cifar10" in said


def test_code_is_stale_if_it_does_something_else(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        told = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(told, check=True, capture_output=True, text=True).stdout.strip()

    for name in ("said.py", "done.py", "same.py"):
        (tmp_path / name).write_text('"""Says."""\n\n\ndef f():\n    """Gives one."""\n    return 1\n')
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "said.py").write_text('def f():\n    """Gives 1."""\n    return (1)  # one\n')
    (tmp_path / "done.py").write_text("def f():\n    return 2\n")
    modules = ("said.py", "done.py", "same.py")
    assert changed_since(commit, modules, tmp_path) == ["done.py"]
    (tmp_path / "done.py").unlink()
    assert changed_since(commit, (*modules, "never.py"), tmp_path) == ["done.py"]
    assert changed_since("0" * 40, modules, tmp_path) is None


def test_without_git_nothing_is_said_about_code(monkeypatch: pytest.MonkeyPatch, rows: list[Record]) -> None:
    changed_since.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert changed(rows[0]) is None
    changed_since.cache_clear()
