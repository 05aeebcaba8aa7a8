"""The command that stands beside a number is one that the command line takes, and makes what its row declares."""

import shlex
from dataclasses import replace
from typing import Any

import click
import pytest

from sdnet.cli import main
from sdnet.cli.options import with_others
from sdnet.cli.train import train
from sdnet.experiments.attacks.robust_accuracy import AttackSettings
from sdnet.experiments.corruptions.policies import CALIBRATION
from sdnet.results import ledger, networks
from sdnet.results.commands import CALIBRATED, WRITTEN, commands
from sdnet.training.declaration import training
from sdnet.training.distributed import Execution

ROWS = ledger.read()


def parsed(line: str) -> tuple[click.Command, dict[str, Any]]:
    """The subcommand that a line calls, and its parameters; options that do not exist raise."""
    words = shlex.split(line)
    words = words[words.index("sdnet") + 1 :]
    command: click.Command | None = main
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    if command.name == "launch":
        launched = command.make_context("launch", words).params
        command, words = train, list(launched["options"])
    return command, dict(command.make_context(str(command.name), words).params)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file_name)
def test_every_row_of_the_ledger_has_commands_that_the_command_line_takes(row: ledger.Record) -> None:
    lines = commands(row)
    assert lines
    for line in lines:
        parsed(line)
    known = {*networks.names(), None}
    assert len(lines) == 1 or row.config.get("weights") not in known


TRAINED = [row for row in ROWS if row.experiment == "train"]


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.file_name)
def test_a_training_command_declares_the_training_of_its_row(row: ledger.Record) -> None:
    command, given = parsed(commands(row)[-1])
    assert command is train
    execution = set(Execution.__dataclass_fields__) | {"data_root", "output", "device", "others"}
    changes = {name: value for name, value in given.items() if name not in execution}
    declared = training(**with_others(changes, given["others"])).config
    # What a recipe did not have yet when the row was written, it did not do.
    said = {**row.config, "recipe": {**declared["recipe"], **row.config["recipe"]}}
    assert {name: said[name] for name in declared} == declared


@pytest.mark.parametrize("row", [row for row in ROWS if row.experiment == "attack"], ids=lambda row: row.file_name)
def test_an_attack_command_asks_for_the_choices_of_its_row(row: ledger.Record) -> None:
    _, given = parsed(commands(row)[-1])
    asked = {name: list(given[name]) if isinstance(given[name], tuple) else given[name] for name in given}
    said = {name: value for name, value in row.config["choices"].items() if name in asked and name != "crafted"}
    assert {name: asked[name] for name in said} == said
    assert asked["crafted"] == (row.config["choices"]["crafted"] or [])
    assert {*said, "crafted", "seed"} == set(AttackSettings.__dataclass_fields__)


@pytest.mark.parametrize("row", [row for row in ROWS if row.experiment == "sweep"], ids=lambda row: row.file_name)
def test_a_sweep_command_asks_what_the_cells_of_its_row_answer(row: ledger.Record) -> None:
    _, given = parsed(commands(row)[-1])
    cells = [cell for cell in row.results if cell["metric"] == "top1"]
    assert set(given["strengths"]) == {cell["strength"] for cell in cells}
    assert {*given["corruptions"], "clean"} == {cell["corruption"] for cell in cells}
    assert {given["images"]} == {cell["n"] for cell in cells}


def test_the_size_of_a_calibration_is_known_by_its_images() -> None:
    assert {images: preset for preset, images in CALIBRATION.items()} == CALIBRATED


def test_an_unknown_experiment_has_no_command_and_an_incomplete_row_does_not_fail() -> None:
    assert commands(replace(ROWS[0], experiment="telepathy")) == ()
    assert "train" in WRITTEN
    bare = replace(ROWS[0], experiment="train", config={"arch": "sdnet18", "seed": 0}, results=[])
    assert commands(bare) == ("python -m sdnet train --arch sdnet18 --seed 0",)
