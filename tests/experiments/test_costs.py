"""The ImageNet blocks of Tables 1 and 3: what nobody has run stands there with its command and its cost."""

import pandas as pd
import pytest

from sdnet.experiments import costs
from sdnet.experiments.accuracy import scorecard, tables
from sdnet.experiments.corruptions import robust_tables
from sdnet.experiments.corruptions.robustness import ROWS
from sdnet.results.cells import CELL_COLUMNS


def cells(*rows: dict[str, object]) -> pd.DataFrame:
    base = {"arch": "sdnet18", "seed": 0, "variant": "", "started": "2026", "n": 10_000, "paper_scale": False}
    return pd.DataFrame([{**base, **row} for row in rows], columns=list(CELL_COLUMNS))


def test_a_training_costs_what_the_papers_speed_says() -> None:
    speeds = costs.speeds(scorecard.paper_table(1))
    assert speeds == {"resnet18": 2100, "resnet34": 1400, "scn": 51, "sdnet18": 1800, "sdnet34": 1200}
    cost = costs.of_training("sdnet18", "top1", 1800)
    assert cost.command == "papermill book/05_imagenet_ddp.ipynb out.ipynb -p arch sdnet18"
    assert cost.estimate == "100 epochs × 1,281,167 images at 1,800/s: 19.8 h"
    assert costs.of_training("scn", "top1", 51) == costs.Cost("", "this package has that network for small images only")
    memory = costs.of_training("resnet34", "train_memory", 1400)
    assert (
        memory.command == "python -m sdnet bench networks --stem imagenet --batch 512 --arch resnet18 --arch resnet34"
    )
    assert memory.estimate.endswith(": 4 s")


def test_the_cost_of_imagenet_c() -> None:
    fixed, adaptive = (row for row in ROWS if row.paper in [("sdnet18", "fixed"), ("sdnet18", "residual_fit")])
    cost = costs.of_imagenet_c(fixed, 1800)
    assert '--knob "lam" --strength 0.1' in cost.command
    assert cost.estimate == "after training; at most 6 × 10,000 images at 1,800/s: 33 s"
    cost = costs.of_imagenet_c(adaptive, 1000)
    assert "policies" in cost.command
    assert cost.estimate.endswith("5 × 15 × 5,000 + 3 × 6 × 10,000 images at 1,000/s: 9 min")


def test_the_scorecard_says_how_to_fill_what_imagenet_lacks() -> None:
    empty = tables.show_scorecard(scorecard.table1(cells())).content
    # Of the block's five networks SCN is for small images only.
    assert empty.count("papermill book/05_imagenet_ddp.ipynb") == 4
    assert empty.count("bench networks --stem imagenet") == 2 * 4
    assert empty.count("python -m sdnet sizes") == 4
    run = {"experiment": "train", "dataset": "imagenet", "metric": "top1", "split": "test", "value": 0.69}
    trained = tables.show_scorecard(scorecard.table1(cells({**run, "width": 64, "epochs": 100}))).content
    assert trained.count("papermill book/05_imagenet_ddp.ipynb") == 3


def test_a_benchmark_with_imagenets_stem_answers_speed_and_memory_on_another_machine() -> None:
    row = {"experiment": "benchmark", "metric": "train_memory", "stem": "imagenet", "width": 64, "value": 21.5}
    row |= {"device": "a GPU", "device_type": "cuda", "batch": 512, "precision": "bf16", "compiled": False}
    run = [row, {**row, "metric": "train_images_per_second", "value": 900.0}]
    assert scorecard.find(cells(*run), "imagenet", "sdnet18", "train_memory") is None  # alone: a ratio to nothing
    run += [{**cell, "arch": "resnet18"} for cell in run]
    measured = scorecard.find(cells(*run), "imagenet", "sdnet18", "train_memory")
    assert measured == scorecard.Measured(21.5, 1, "width 64, batches of 512, bf16, on a GPU", False)
    assert scorecard.status("train_memory", 37.6, measured) == "scaled down"
    cifar = [{**cell, "stem": "cifar"} for cell in run]
    assert scorecard.find(cells(*cifar), "imagenet", "sdnet18", "train_memory") is None


def test_table_3_of_imagenet_c() -> None:
    empty = robust_tables.show_table3_imagenet(cells()).content
    assert empty.count("<details") == 3 * 3
    assert "paper 29.16" in empty
    assert "Algorithm 1" in empty
    noise = {"experiment": "sweep", "knob": "lam", "strength": 0.1, "corruption": "shot_noise", "metric": "top1"}
    rows = [{**noise, "dataset": "imagenet", "severity": severity, "value": 0.2} for severity in range(1, 6)]
    assert robust_tables.show_table3_imagenet(cells(*rows)).content.count("<details") == 8
    elsewhere = cells(*({**row, "dataset": "cifar10"} for row in rows))
    assert robust_tables.show_table3_imagenet(elsewhere).content.count("<details") == 9


def test_what_a_cost_shows_is_escaped() -> None:
    shown = costs.show(costs.Cost('a --knob "b"', "x: 3 s"))
    assert "&quot;b&quot;" in shown
    assert "<summary>3 s</summary>" in shown
    assert costs.show(costs.Cost("", "a < b")).endswith("a &lt; b</span>")


@pytest.mark.parametrize("metric", ["top1", "train_memory", "train_images_per_second", "parameters"])
def test_every_command_is_one_that_exists(metric: str) -> None:
    from click.testing import CliRunner

    from sdnet.cli import main

    command = costs.of_training("sdnet18", metric, 1800).command.split()
    if command[0] == "python":
        options = [index for index, part in enumerate(command) if part.startswith("--")]
        done = CliRunner().invoke(main, [*command[3 : min([*options, len(command)])], "--help"])
        assert done.exit_code == 0
        assert all(command[index] in done.output for index in options)
