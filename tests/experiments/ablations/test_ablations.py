"""The ablation grid: its options, its runner, and its tables."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from toys import TINY, images, network

from sdnet import models
from sdnet.cli import main
from sdnet.csc.layers import CSCConv2d, csc_layers
from sdnet.csc.projection import project_
from sdnet.experiments.ablations import grid
from sdnet.experiments.ablations import table5 as report
from sdnet.experiments.ablations.grid import GRID, Variant, trainings, variants
from sdnet.results import ledger
from sdnet.results.cells import CELL_COLUMNS, to_frame
from sdnet.robust.knobs import Iterations
from sdnet.robust.sweep import sweep


def test_atoms_that_are_not_projected_keep_their_length_and_get_a_valid_step() -> None:
    layer = CSCConv2d(3, 8, 3, padding=1, projected=False)
    norms = layer.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(8))
    before = layer.lipschitz.clone()
    with torch.no_grad():
        layer.weight.mul_(3)
    project_(layer)
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), 3 * norms)
    torch.testing.assert_close(layer.lipschitz, 9 * before)


@pytest.mark.parametrize("kernel", [1, 5, 7])
def test_a_stem_may_have_other_filters(kernel: int) -> None:
    model = models.build("sdnet18", width=4, atoms=8, kernel=kernel)
    assert model.stem[0].weight.shape == (8, 3, kernel, kernel)
    assert model(torch.rand(2, 3, 12, 12)).shape == (2, 10)
    with pytest.raises(ValueError, match="kernel must be a positive odd integer"):
        models.build("sdnet18", kernel=4)


def test_shortcuts_may_be_csc_layers_too() -> None:
    usual, more = (models.build("sdnet18_all", width=4, atoms=8, csc_shortcut=given) for given in (False, True))
    # 17 of 3 × 3, as in the authors' code; with the three shortcuts of a stage's first block, and the one where the
    # atoms' 8 channels meet the trunk's 4, there are four more.
    assert (len(csc_layers(usual)), len(csc_layers(more))) == (17, 21)
    assert models.parameter_count(usual) == models.parameter_count(more)
    assert more(torch.rand(2, 3, 12, 12)).isfinite().all()
    with pytest.raises(ValueError, match="csc_shortcut needs shortcuts"):
        models.build("sdnet18_all", shortcut=False, csc_shortcut=True)
    with pytest.raises(ValueError, match="sdnet18 has no option 'csc_shortcut'"):
        models.build("sdnet18", csc_shortcut=True)


@pytest.mark.parametrize("method", ["fista", "ista", "heavy_ball"])
def test_iterations_at_test_time_are_those_of_a_network_built_with_them(method: str) -> None:
    model, split = network(iterations=3), images(20)
    knob = Iterations(model, method)
    found = knob.scores(pixels := torch.rand(6, 3, 16, 16), torch.tensor([1.0, 5.0]))
    for count, scores in zip((1, 5), found, strict=True):
        other = models.build("sdnet18", 10, width=4, atoms=8, iterations=count, method=method).eval()
        other.load_state_dict(model.state_dict())
        torch.testing.assert_close(scores, other(pixels))
    assert (model.stem[0].iterations, model.stem[0].method) == (3, "fista")
    assert sweep(knob, split, torch.tensor([2.0, 4.0])).shape == (2, 20)
    with pytest.raises(ValueError, match=r"must be an integer >= 1; got 1\.5"):
        knob.scores(pixels, torch.tensor([1.5]))
    assert (model.stem[0].iterations, model.stem[0].method) == (3, "fista")
    with pytest.raises(ValueError, match="no CSC layer"):
        Iterations(network("resnet18"), method)


def test_the_grid_can_be_built_and_names_every_variant_once() -> None:
    chosen = variants(tuple(GRID))
    assert len({(variant.arch, variant.name) for variant in chosen}) == len(chosen)
    plan = trainings(chosen, "cifar10", "quick", (0, 1), epochs=3)
    assert len({training.name for training in plan}) == len(plan) == 2 * len(chosen)
    assert [training.seed for training in plan[: len(chosen)]] == [0] * len(chosen)
    with pytest.raises(ValueError, match=r"group 'iteration' does not exist\. Did you mean 'iterations'"):
        variants(("iteration",))


def test_the_runner_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("SDNET_OUTPUT", str(tmp_path / "outputs"))
    tiny = {name: TINY[name] for name in ("epochs", "width", "precision")}
    some = (Variant("one step", network={"iterations": 1, "atoms": 4}), Variant("ResNet", "resnet18", {"atoms": 4}))
    plan = trainings(some, "digits", "smoke", (0,), **tiny)
    grid.run(plan[:1], images=20)
    before = ledger.read(tmp_path / "ledger")
    # What begins in the same second has no order.
    row, trained = sorted(before, key=lambda row: row.experiment)
    assert (row.experiment, trained.experiment) == ("sweep", "train")
    capsys.readouterr()
    grid.run(plan, images=20)
    assert "2 networks, 1 of them done" in capsys.readouterr().out
    after = ledger.read(tmp_path / "ledger")
    assert [one for one in after if one in before] == before
    new = [(one.experiment, one.config["arch"]) for one in after if one not in before]
    assert sorted(new) == [("sweep", "resnet18"), ("train", "resnet18")]
    assert grid.answers(row, plan[0])
    fog = replace(row, results=[{**cell, "corruption": "fog"} for cell in row.results])
    assert not grid.answers(fog, plan[0])
    with pytest.raises(ValueError, match="images must be an integer >= 1, at most 1,000,000; got 0"):
        grid.run(plan, images=0)
    asked = to_frame([row])
    assert set(asked.loc[asked["metric"] == "top1", "strength"]) == set(grid.LAMS)
    assert set(asked["corruption"]) == {"clean", *grid.NOISES}
    found = report.accuracies(to_frame(after), some[0])
    assert dict(zip(found["corruption"], found["n"], strict=True)) == {"clean": 50} | dict.fromkeys(grid.NOISES, 20)


def test_costs_are_ratios_to_the_first() -> None:
    some = (Variant("ResNet", "resnet18"), Variant("4", network={"iterations": 4}))
    torch_device = torch.device("cpu")
    cells = grid.measure_costs(some, width=2, batch=2, precision="fp32", device=torch_device, repeats=2)
    ratios = [cell["value"] for cell in cells if cell["metric"] == "ablation_speed_ratio"]
    memory = [cell["value"] for cell in cells if cell["metric"] == "ablation_memory"]
    assert ratios[0] == pytest.approx(1)
    assert ratios[1] > 0
    assert memory[1] > memory[0] > 0


def test_the_command_line_refuses_unknown_groups() -> None:
    done = CliRunner().invoke(main, ["ablate", "--group", "depth", "--dataset", "digits", "--preset", "smoke"])
    assert done.exit_code != 0
    assert "group 'depth' does not exist" in done.output


def cells_of(accuracy: dict[str, float], epochs: int = 3, spread: float = 0.001) -> pd.DataFrame:
    """Variants of SDNet-18 with the given natural accuracy; under noise half of it, at λ = 0.5 a tenth more."""
    rows: list[dict[str, object]] = []
    for name, value in accuracy.items():
        arch, _, variant = name.partition(" ")
        common = {"arch": arch, "variant": variant, "dataset": "d", "width": 16, "epochs": epochs, "started": "2026"}
        for seed in (0, 1):
            natural = value + spread * seed
            base = {**common, "seed": seed, "metric": "top1", "n": 100}
            rows.append({**base, "experiment": "train", "split": "test", "value": natural})
            asked = {**base, "experiment": "sweep", "knob": "lam"}
            for noise in grid.NOISES:
                for severity in range(1, 6):
                    here = {**asked, "corruption": noise, "severity": severity}
                    rows.append({**here, "strength": 0.1, "value": natural / 2})
                    rows.append({**here, "strength": 0.5, "value": natural / 2 + 0.1})
    cells = pd.DataFrame(rows)
    return cells.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *cells.columns])))


def test_accuracies_are_those_at_the_own_and_at_the_best_lam() -> None:
    cells = cells_of({"sdnet18 ": 0.8, "sdnet18 lam=0.5": 0.7})
    own = report.accuracies(cells, Variant(""))
    assert own[own["corruption"] == "clean"]["value"].tolist() == pytest.approx([0.8, 0.801])
    assert own[own["corruption"] == "shot_noise"]["value"].tolist() == pytest.approx([0.4, 0.4005])
    best = report.accuracies(cells, Variant(""), best=True)
    assert best[best["corruption"] == "shot_noise"]["value"].tolist() == pytest.approx([0.5, 0.5005])
    other = report.accuracies(cells, Variant("", network={"lam": 0.5}))
    assert other[other["corruption"] == "shot_noise"]["value"].tolist() == pytest.approx([0.45, 0.4505])


def test_the_scale_with_most_of_the_grid_is_shown() -> None:
    many = cells_of({"sdnet18 ": 0.8, "sdnet18 iterations=4": 0.8})
    few = cells_of({"sdnet18 ": 0.9}, epochs=15)
    assert set(report.one_scale(pd.concat([few, many]))["epochs"]) == {3}
    whole = cells_of({"sdnet18 ": 0.7}).assign(n=10_000, started="2027")
    same = report.one_scale(pd.concat([many, whole[whole["experiment"] == "sweep"]]))
    assert set(same.loc[same["experiment"] == "sweep", "n"]) == {100}  # of which there are two variants
    assert report.one_scale(to_frame([])).empty


def test_table5_has_the_paper_and_ours() -> None:
    table = report.show_table5(cells_of({"sdnet18 ": 0.8, "sdnet18 iterations=4": 0.9})).data
    assert "paper 69.79" in table
    assert "<b>80.0</b>" in table or "<b>80.1</b>" in table
    assert "<b>90.0</b>" in table or "<b>90.1</b>" in table
    assert "not run" in table
    assert "not run" in report.show_group(to_frame([]), "design").data
    assert report.against_lam(to_frame([])).axes
    assert len(report.at_test_time(to_frame([])).axes) == 2
