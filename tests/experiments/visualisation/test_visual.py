"""The experiment that compares decoding and inversion at every depth, its controls, and its report."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from toys import all_csc

from sdnet.cli import main
from sdnet.decoding.decode import layers
from sdnet.experiments.visualisation import figures as report
from sdnet.experiments.visualisation import reconstruction
from sdnet.report.plots import About
from sdnet.results import ledger
from sdnet.results.cells import to_frame
from sdnet.training.checkpoint import save_network
from sdnet.training.declaration import training

ABOUT = About(caption="c", identity="pictures", made_from="n = 1")


def test_random_weights_know_the_statistics_but_nothing_else() -> None:
    model, pixels = all_csc(), torch.rand(100, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    twin = reconstruction.random_twin(model, pixels, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not twin.training
    assert [norm.momentum for norm in twin.modules() if isinstance(norm, nn.BatchNorm2d)] == [0.1] * 17
    assert torch.equal(twin.normalize.mean, model.normalize.mean)
    assert (twin.stem[0].weight - model.stem[0].weight).abs().max() > 0.1
    torch.testing.assert_close(twin.stem[0].weight.flatten(1).norm(dim=1), torch.ones(8))
    deepest = layers(twin)[-1].to_output(pixels)
    assert 0.5 < deepest.std() < 2
    again = reconstruction.random_twin(model, pixels, seed=3)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in twin.state_dict().items())


def stored(folder: Path, arch: str, **options: object) -> Path:
    """A tiny untrained network as a training run on digits would have left it."""
    run = training(arch, "digits", "smoke", width=2, atoms=4, **options)
    model = reconstruction.random_twin(run.build(10), torch.rand(32, 3, 32, 32))
    (folder / arch).mkdir()
    save_network(folder / arch / "network.safetensors", model, {"training": run.config, "classes": list("0123456789")})
    return folder / arch / "network.safetensors"


def test_the_experiment_end_to_end(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdnet.experiments.corruptions.sweep.RESAMPLES", 20)
    files = [stored(folders, "sdnet18_all", shortcut=False), stored(folders, "resnet18")]
    record, path = reconstruction.run(files[0], preset="smoke", images=2, steps=1, device="cpu")
    assert json.loads(path.read_text())["experiment"] == "visual"
    assert record.config["images"] == 2
    assert record.config["inversion_steps"] == 1
    kinds = {(cell["method"], cell["weights_are"], cell["metric"]) for cell in record.results}
    likeness = ("psnr", "ssim", "psnr_affine", "ssim_affine", "contrast")
    expected = {(method, w, m) for method in reconstruction.METHODS for w in ("trained", "random") for m in likeness}
    layerwise = ("density", "residual", "lam")
    expected |= {("", weights_are, metric) for weights_are in ("trained", "random") for metric in layerwise}
    expected |= {("inversion", weights_are, "mismatch") for weights_are in ("trained", "random")}
    assert kinds == expected | {("one colour", "none", metric) for metric in likeness}
    decoded = [cell for cell in record.results if cell["method"] == "decode" and cell["metric"] == "psnr"]
    assert [cell["layer"] for cell in decoded] == [*range(1, 18)] * 2
    assert decoded[0]["depth"] == "stem"
    assert all(cell["n"] == (1 if cell["metric"] == "lam" else 2) for cell in record.results)
    assert all(np.isfinite(cell["value"]) for cell in record.results)

    arguments = ["visual", str(files[1]), "--preset", "smoke", "--images", "2", "--steps", "1", "--device", "cpu"]
    refused = CliRunner().invoke(main, [*arguments, "--method", "decode"])
    assert refused.exit_code == 1
    assert "Error: this network has shortcuts" in refused.output
    done = CliRunner().invoke(main, [*arguments, "--depth", "stem", "--depth", "stage4.block2.conv2"])
    assert "Ledger row:" in done.output, done.output
    records = ledger.read(folders / "ledger")
    assert records[-1].config["methods"] == ["inversion"]

    cells = report.one_scale(to_frame(records))
    found = report.lines(cells, "psnr_affine")
    name, resnet = "SDNet-18-All", "ResNet-18, inverted"
    labels = [*(f"{name}, {how}" for how in ("decoded", "decoded and centred", "inverted")), resnet]
    assert [line.label for line in found] == [text for label in labels for text in (label, f"{label}, random weights")]
    assert len(report.against_depth(cells, ("psnr", "ssim_affine", "contrast")).axes) == 3
    table = report.show_depths(cells).data
    assert "3.1.2" in table
    assert "best image of one colour" in table
    controls = report.show_controls(cells).data
    assert all(label in controls for label in labels[1:])


DECODABLE = "sdnet18_all-no-shortcut-w16-cifar10-jpeg-s0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "tiny"}, "preset 'tiny' does not exist"),
        ({"images": 1}, "images must be at least 2, since an interval needs two; got 1"),
        ({"methods": ["decod"]}, "method 'decod' does not exist. Did you mean 'decode'"),
        ({"steps": 0}, "steps must be a positive integer"),
        ({"methods": ["decode"], "steps": 7, "network": DECODABLE}, "steps 7 have no effect on decode; leave them out"),
        ({"depths": ["stage9"]}, "depth 'stage9' does not exist"),
    ],
)
def test_the_experiment_refuses_what_does_not_exist(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruction.run(**{"network": "resnet18-w16-cifar10-s0", "preset": "smoke", **options}, device="cpu")


def test_a_report_of_nothing_says_so() -> None:
    cells = report.one_scale(to_frame([]))
    assert "not run" in report.show_depths(cells).data
    assert "not run" in report.show_controls(cells).data
    figure = report.against_depth(cells)
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["not run"] * 2


def test_controls_are_counted_by_their_intervals() -> None:
    base = {"experiment": "visual", "metric": "psnr_affine", "arch": "sdnet18_all", "variant": "", "dataset": "d",
            "width": 4, "epochs": 1, "seed": 0, "n": 9, "started": "2026"}  # fmt: skip
    values = {("decode", "trained"): (20, 15, 10), ("decode", "random"): (15, 15.5, 15)}
    cells = [
        {**base, "method": method, "weights_are": weights_are, "layer": layer, "depth": str(layer),
         "value": value, "low": value - 1, "high": value + 1}
        for (method, weights_are), row in values.items()
        for layer, value in enumerate(row, start=1)
    ]  # fmt: skip
    html = report.show_controls(pd.DataFrame(cells).assign(run=None)).data
    row = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert row == ["SDNet-18-All, decoded", "SDNet-18-All, decoded, random weights", "3", "1", "1", "1"]


def test_pictures_beside_their_decodings() -> None:
    image = torch.rand(1, 3, 8, 8)
    shown = {"decoded": {"stem": image, "stage1.block1.conv2": image}, "inverted": {"stem": image}}
    figure = report.pictures(image, shown, ["stem", "stage1.block1.conv2"], **ABOUT)
    assert len(figure.axes) == 6
    assert [ax.get_title(loc="center") for ax in figure.axes[:3]] == ["image", "stem", "1.1.2"]
