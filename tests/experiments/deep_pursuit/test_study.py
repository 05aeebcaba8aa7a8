"""Training, attacking and measuring members of the family at their smallest, and the figures of what was measured."""

import re
from pathlib import Path

import pandas as pd
import pursuit_cells
import pytest
import torch
from IPython.display import HTML
from toys import untrained

from sdnet.data.datasets import Split
from sdnet.experiments.ablations.grid import Variant, trainings
from sdnet.experiments.deep_pursuit import cost, figures, measure, planted, study
from sdnet.models import build
from sdnet.report.origin import concat
from sdnet.report.shown import Shown
from sdnet.report.tables import NOT_RUN
from sdnet.results import ledger, networks
from sdnet.results.cells import to_frame
from sdnet.training.declaration import training

TINY = {"epochs": 1, "width": 2, "precision": "fp32", "batch_size": 256}


def run(folder: Path, *variants: Variant, attacked: bool = True) -> pd.DataFrame:
    plan = trainings(variants, "digits", "smoke", (0,), **TINY)
    return to_frame(study.run(plan, images=6, attacked=attacked))


def test_a_plan_is_trained_measured_and_not_repeated(folders: Path) -> None:
    plain = Variant("L-TP", "ltp", {"depth": 1})
    deep = Variant("DP-res", "dp_res", {"depth": 1, "iterations": 2})
    cells = run(folders, plain, deep)
    assert len(list((folders / "ledger").glob("pursuit-*"))) == 2
    again = run(folders, plain, deep)
    assert len(list((folders / "ledger").glob("pursuit-*"))) == 2
    assert again["value"].tolist() == cells["value"].tolist()
    ours = cells[cells["arch"] == "dp_res"]
    assert set(ours["iterations"]) == {2}
    assert set(ours["blocks"]) == {1}
    robust = ours[ours["metric"] == "robust_top1"]
    assert set(zip(robust["attack"], robust["protocol"], strict=True)) == {
        (attack, protocol) for attack in ("fgsm", "pgd") for protocol in ("white_box", "transfer")
    }
    assert set(cells.loc[(cells["arch"] == "ltp") & (cells["metric"] == "robust_top1"), "protocol"]) == {"white_box"}
    errors = ours[ours["metric"] == "reconstruction_error"]
    assert sorted(zip(errors["layer"], errors["iteration"], strict=True)) == [
        (j, t) for j in range(1, 8) for t in (1, 2)
    ]
    measures = ours.set_index("metric")["value"]
    assert 0 <= measures["welch_bound"] <= measures["coherence"] <= 1
    shown = [figures.figure5(cells), figures.figure6(cells), figures.figure8(cells), figures.show_scale(cells)]
    stable = figures.show_stability(cells)
    never = cells[cells["arch"] == "ltp"]  # which the lines of the iterated networks begin with
    assert figures.figure6(never) is figures.coherence_figure(never, "coherence") is NOT_RUN
    for each in (*shown, figures.coherence_figure(cells, "coherence"), stable):
        assert isinstance(each, Shown)
        assert "of the ledger (" in each.origin.text
        assert any("-m sdnet pursuit " in line for line in each.origin.commands)
    assert isinstance(stable, Shown)
    assert stable.content.count("vacuous") + stable.content.count("holds") == 7


def test_a_source_of_other_data_is_refused(tmp_path: Path, folders: Path) -> None:
    path = untrained(tmp_path / "ltp.safetensors", "ltp", depth=1, width=4)
    with pytest.raises(ValueError, match="was trained on cifar10, this network on digits; choose a source of the same"):
        measure.run(path, preset="smoke", images=2, source="sdnet18-w16-cifar10-s0", device="cpu")


def test_the_curve_attacks_after_every_epoch(folders: Path) -> None:
    declared = training("ltp", "digits", "smoke", depth=1, **{**TINY, "epochs": 2})
    cells = to_frame([study.follow(declared, images=5)])
    assert sorted(zip(cells["epoch"], cells["attack"], strict=True)) == [(e, a) for e in (1, 2) for a in ("", "fgsm")]
    shown = figures.figure7(cells)
    assert isinstance(shown, Shown)
    assert any("-m sdnet follow --arch ltp" in line for line in shown.origin.commands)


def test_an_empty_ledger_says_not_run() -> None:
    empty = to_frame([])
    shown = [figures.figure5(empty), figures.figure6(empty), figures.figure7(empty), figures.figure8(empty)]
    shown += [figures.coherence_figure(empty, "coherence"), figures.show_scale(empty)]
    assert all(isinstance(each, HTML) and "not run" in str(each.data) for each in shown)


def test_a_figure_is_of_the_scale_that_has_most_of_its_networks() -> None:
    """Depth is compared at one scale, iterations at another, which has more networks but fewer depths."""
    depths, steps = (pursuit_cells.cells(seeds=1, width=width, epochs=epochs) for width, epochs in ((8, 2), (16, 1)))
    feed_forward = list(study.FEED_FORWARD)
    both = concat([depths[depths["arch"].isin(feed_forward)], steps[steps["variant"] != "depth=3"]])
    assert set(figures.measured(both, of=feed_forward)["width"]) == {8}
    assert set(figures.measured(both)["width"]) == {16}
    told = figures.show_scale(both.reset_index(drop=True).assign(weights=both["arch"].to_numpy()))
    assert [line.split()[1] for line in re.findall(r"cifar10\s+\d+", re.sub(r"<[^>]+>", " ", told.data))] == ["8", "16"]


def test_reconstruction_errors_are_those_of_the_codes() -> None:
    model = build("lbp", width=4, iterations=3).eval()
    signal = torch.randn(5, 3, 16, 16)
    cells = pd.DataFrame(measure.reconstruction(model, signal))
    problem, codes = model.problem(), model.codes(signal)  # type: ignore[operator]
    left = problem.residuals(signal, codes)
    last = cells[(cells["metric"] == "reconstruction_error") & (cells["iteration"] == 3)].set_index("layer")["value"]
    assert last.tolist() == pytest.approx([each.square().mean().item() for each in left], rel=1e-4)


@pytest.mark.parametrize("arch", ["ml_csc", "res_csc", "msd_csc"])
def test_networks_without_a_block_dictionary_have_errors_per_layer(arch: str) -> None:
    model = build(arch, width=4, depth=3 if arch == "msd_csc" else 1, iterations=2).eval()
    cells = measure.reconstruction(model, torch.randn(5, 3, 16, 16))
    assert [cell["layer"] for cell in cells if cell["metric"] == "reconstruction_share"] == list(
        range(1, 4 if arch == "msd_csc" else 8)
    )
    shares = [cell["value"] for cell in cells if cell["metric"] == "reconstruction_share"]
    if arch == "ml_csc":  # from zero, every step explains more
        assert max(shares) <= 1 + 1e-6
        assert min(shares) < 1
    assert measure.coherence(model) == []


def test_attacks_pass_through_all_iterations() -> None:
    """A perturbation of the attacked network hurts it more than one of the same network with fewer iterations."""
    model = build("dp", 3, width=4, iterations=3).eval()
    pixels = torch.randint(256, (8, 16, 16, 3), dtype=torch.uint8)
    x = (pixels.permute(0, 3, 1, 2) / 255).requires_grad_()
    split = Split(pixels, model(x).argmax(1).detach())
    cells = pd.DataFrame(measure.attack_cells(model, split, 3, 5))
    assert (cells["value"] <= 1).all()
    assert set(zip(cells["attack"], cells["n"], strict=True)) == {("fgsm", 8), ("pgd", 3)}
    grads = []
    for iterations in (1, 3):
        model.iterations = iterations  # type: ignore[assignment]
        grads.append(torch.autograd.grad(model(x).square().sum(), x)[0])
    assert (grads[0] - grads[1]).abs().max() > 1e-6


def test_a_network_of_any_kind_is_loaded(folders: Path) -> None:
    run(folders, Variant("MSDNet", "msdnet", {"depth": 2}), attacked=False)
    (file,) = (folders / "outputs").rglob("network.safetensors")
    loaded = networks.load(file)
    assert (loaded.training.arch, len(loaded.classes), loaded.model.training) == ("msdnet", 10, False)
    with pytest.raises(ValueError, match="images must be at least 1; got 0"):
        measure.run(file, images=0)
    assert ledger.read(folders / "ledger")


def test_the_cost_of_a_step_is_a_ledger_row(folders: Path) -> None:
    path, cells = cost.record(torch.device("cpu"), width=4, batch=2, repeats=2)
    assert ledger.read(path.parent)[0].config["what"] == "pursuits"
    assert {(cell["arch"], cell["case"]) for cell in cells} == {
        (arch, case) for arch in cost.ARCHS for case in ("inference", "training")
    }
    assert all(cell["value"] > 0 for cell in cells)


def test_planted_codes_are_found_within_their_bounds() -> None:
    table = planted.table((0.002, 0.008))
    assert table["assumptions hold"].all()
    assert table["support contained"].all()
    assert (table["error"] <= table["bound"]).all()
    assert figures.show_planted(table).content.count(">found<") == len(table)
