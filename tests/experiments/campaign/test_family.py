"""The declared runs of pages 11 and 12 are those that their grids and claims ask for, and they leave what was asked."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from pursuit_cells import cells

from sdnet.cli import main
from sdnet.experiments.campaign.cost import WORK, Costs, _sample_of_row, _sample_of_run
from sdnet.experiments.campaign.declared import SCALES, campaign
from sdnet.experiments.campaign.family import family, pursued
from sdnet.experiments.campaign.runs import DONE, Run, training_of
from sdnet.experiments.claims.outcome import HOLDS
from sdnet.experiments.claims.rules import RULES
from sdnet.experiments.deep_pursuit import study
from sdnet.experiments.mixed_scale import study as mixed_study
from sdnet.results import ledger
from sdnet.results.cells import variant
from sdnet.results.commands import commands
from sdnet.training.declaration import training

RUNS = list(family(SCALES["quick"]))
MEASURED = [run for run in RUNS if run.command == "pursuit"]


def who(run: Run) -> tuple[str, str]:
    of = training_of(run)
    return of.arch, variant(of.config)


def test_every_network_of_the_grids_is_declared_with_three_seeds() -> None:
    grids = [*study.GRID.values(), *mixed_study.GRID.values()]
    declared = [(*who(run), training_of(run).seed) for run in MEASURED]
    assert set(declared) == {(v.arch, v.name, seed) for group in grids for v in group for seed in range(3)}
    assert {run.step for run in campaign("quick") if run.command in ("pursuit", "follow")} == {8}


@pytest.mark.parametrize("claim", [claim for claim in RULES if claim[0] in "DM"])
def test_the_runs_that_serve_a_claim_are_enough_to_judge_it(claim: str) -> None:
    """And all of them are needed: without any one network there is no verdict, or a control is missing."""
    rows = cells(seeds=3)
    serving = {who(run) for run in MEASURED if claim in run.serves}
    chosen = pd.Series(list(zip(rows["arch"], rows["variant"], strict=True)), index=rows.index).isin(serving)
    assert RULES[claim](rows[chosen])[0].verdict == HOLDS
    full = RULES[claim](rows)[0]
    for left_out in serving:
        others = pd.Series(list(zip(rows["arch"], rows["variant"], strict=True)), index=rows.index) != left_out
        less = RULES[claim](rows[others])[0]
        assert (less.verdict, less.controls) != (full.verdict, full.controls)


def test_a_claim_rests_on_runs_of_one_length() -> None:
    for claim in (claim for claim in RULES if claim[0] in "DM"):
        assert len({training_of(run).recipe.epochs for run in MEASURED if claim in run.serves}) == 1


def test_transfers_are_made_on_the_feed_forward_network_of_the_same_seed() -> None:
    for run in MEASURED:
        attacked = "11" in run.serves
        assert run.options.get("attacked", True) == attacked
        if attacked and who(run) != ("ltp", "depth=1"):
            assert run.source is not None
            assert (run.source.arch, run.source.seed) == ("ltp", training_of(run).seed)
        else:
            assert run.source is None


def test_more_iterations_and_blocks_cost_more() -> None:
    def cost(arch: str, **network: int) -> float:
        run = Run("train", training(arch, "cifar10", "quick", **network))  # type: ignore[arg-type]
        return _sample_of_run(run).work

    assert cost("ltp", depth=1) < cost("ltp", depth=3) < 1.2 * cost("resnet18")
    assert 6 < cost("dp", depth=1, iterations=8) / cost("dp", depth=1, iterations=1) == 16
    assert cost("msdnet") < cost("msd_csc", iterations=1) < cost("msd_csc", iterations=4)
    assert cost("sdnet18", iterations=8) == cost("sdnet18")


def test_the_commands_leave_rows_that_answer_their_runs(folders: Path) -> None:
    """On digits at the smallest size, from a training to what is measured; told again, it says how long that takes."""
    words = ["--dataset", "digits", "--preset", "smoke", "--epochs", "1", "--width", "4", "--precision", "fp32"]

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--device", "cpu"])
        assert result.exit_code == 0, result.output
        return result.output

    call("train", "--arch", "ltp", "--depth", "1", *words)
    call("train", "--arch", "dp", "--depth", "1", "--iterations", "2", *words)
    files = {file.parent.name.split("-")[0]: str(file) for file in (folders / "outputs").rglob("network.safetensors")}
    said = call("pursuit", files["dp"], "--preset", "smoke", "--images", "20", "--source", files["ltp"])
    assert "pursuit of dp-digits-smoke" in said
    rows = ledger.read(folders / "ledger")
    (row,) = [row for row in rows if row.experiment == "pursuit"]
    of, source = (training(a, "digits", "smoke", epochs=1, width=4, precision="fp32", depth=1, **more)  # type: ignore[arg-type]
                  for a, more in (("dp", {"iterations": 2}), ("ltp", {})))  # fmt: skip
    run = pursued(of, 20, "D2 11", source)
    assert run.state([row]) == (DONE, row)
    assert pursued(of, 40, "D2 11", source).state([row])[0] != DONE
    assert WORK["pursuit"](_sample_of_row(row)) == WORK["pursuit"](_sample_of_run(run))
    again = call("pursuit", files["dp"], "--preset", "smoke", "--images", "20", "--no-attacked")
    assert "(by 1 row of the same network)" in again


@pytest.mark.parametrize("attacked", [True, False])
def test_the_command_that_is_declared_leaves_the_row_that_is_declared(folders: Path, attacked: bool) -> None:
    """Its settings are those that its command line says: else it would be measured again and again."""
    of = training("dp", "digits", "smoke", epochs=1, width=4, precision="fp32", depth=1, iterations=2)
    run = pursued(of, 20, "D2 11" if attacked else "M1 12", attacked=attacked)
    for command in ("train " + " ".join(of.arguments), None):
        words = run.argv("cpu") if command is None else [*command.split(), "--device", "cpu"]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    state, row = run.state(ledger.read(folders / "ledger"))
    assert state == DONE
    assert row is not None
    assert row.config["images"] == (20 if attacked else 50)


def test_what_a_declared_run_asks_of_its_row_its_command_says() -> None:
    for run in campaign("quick"):
        if "images" in run.settings:
            assert run.options["images"] == run.settings["images"], run.title


def test_what_was_followed_names_the_command(folders: Path) -> None:
    words = "follow --arch ltp --depth 1 --dataset digits --preset smoke --epochs 1 --width 4 --images 5 --device cpu"
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 0, result.output
    (row,) = ledger.read(folders / "ledger")
    assert row.experiment == "pursuit_curve"
    (command,) = commands(row)
    for word in ("-m sdnet follow --arch ltp", "--images 5", "--set depth=1", "--width 4"):
        assert word in command


def test_before_the_first_row_a_similar_experiment_says_what_it_costs() -> None:
    rows = ledger.read()
    like = next(row for row in rows if row.experiment == "attack")
    here = [replace(row, device=ledger.describe_device(torch.device("cpu"))) for row in (like,)]
    costs = Costs(here, torch.device("cpu"))
    few, many = (pursued(training("dp_res", "cifar10", "quick", depth=1, iterations=steps), 2000, "D2 11", None)
                 for steps in (2, 8))  # fmt: skip
    assert costs.of(few).basis.startswith("1 row of another setting")
    assert (costs.of(many).seconds or 0) == pytest.approx(4 * (costs.of(few).seconds or 0))
