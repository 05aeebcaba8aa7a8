"""Benchmarks run and report; nothing here looks at how long anything took."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.utils import counters

from sdnet import models
from sdnet.cli import main
from sdnet.data.datasets import load
from sdnet.experiments import benchmark
from sdnet.experiments.accuracy import train
from sdnet.experiments.accuracy.precision import measure
from sdnet.experiments.benchmark import Timing, format_ratios, interleaved
from sdnet.experiments.corruptions import sweep
from sdnet.experiments.performance import scaling, speed, sweep_speed
from sdnet.models import build
from sdnet.results import ledger, networks
from sdnet.results.cells import to_frame
from sdnet.training.declaration import training


def test_cases_take_turns_and_none_is_always_the_first() -> None:
    calls: list[str] = []
    timings = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, torch.device("cpu"), 8)
    turns = [tuple(calls[i : i + 2]) for i in range(0, len(calls), 2)]
    assert len(turns) == 10
    assert set(turns) == {("a", "b"), ("b", "a")}
    assert [timing.name for timing in timings] == ["a", "b"]
    assert all(0 <= timing.low <= timing.median <= timing.high for timing in timings)


def test_ratios_are_to_the_first_case() -> None:
    text = format_ratios([Timing("conv", 0.002, 0.001, 0.003), Timing("csc", 0.004, 0.003, 0.005)])
    first, second = text.splitlines()
    assert "1.00 × (0.50 – 1.50)" in first
    assert "2.00 × (1.50 – 2.50)" in second
    assert "4.00 ms" in second


def test_the_layer_benchmark_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "STEMS", {"tiny": (3, 1, 2, 8)})
    modes = benchmark.benchmark_layer("tiny", torch.device("cpu"), iterations=(1, 2), repeats=2)
    assert list(modes) == ["forward", "forward + backward"]
    assert [timing.name for timing in modes["forward"]] == ["nn.Conv2d", "CSC, n = 1", "CSC, n = 2"]


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``torch.compile`` traces, and runs what it has traced as it is."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **options: compiler(model, backend="eager", **options))
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("quick_compiler")
def test_the_layer_is_compiled_for_one_stem_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "STEMS", {"tiny": (3, 1, 2, 8), "other": (5, 2, 2, 9)})
    for stem in benchmark.STEMS:
        benchmark.benchmark_layer(stem, torch.device("cpu"), compiled="default", repeats=2)
    assert counters["stats"]["unique_graphs"] == 2 * 2 * 5  # stems, with and without gradient, layers


@pytest.mark.usefixtures("quick_compiler")
def test_every_network_that_is_called_compiled_is() -> None:
    """More of them than PyTorch would compile a function for, each in training and in evaluation."""
    cpu, cases = torch.device("cpu"), {}
    for width in (1, 2):
        for mode, by_arch in speed.cases(("resnet18",), width, 2, "cifar", "fp32", cpu, compiled="default").items():
            cases[f"{mode} {width}"] = by_arch["resnet18"]
    with torch._dynamo.config.patch(recompile_limit=2):
        interleaved(cases, cpu, 2)
    assert counters["frames"] == {"total": 4, "ok": 4}


@pytest.mark.usefixtures("quick_compiler")
def test_what_is_not_compiled_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "PROGRAMS", 2)
    layers = [torch.compile(torch.nn.Softshrink(value), dynamic=False) for value in (0.1, 0.2, 0.3)]
    cases = {str(index): partial(layer, torch.rand(3)) for index, layer in enumerate(layers)}
    with pytest.raises(FailOnRecompileLimitHit):
        interleaved(cases, torch.device("cpu"), 2)


@pytest.mark.usefixtures("quick_compiler")
def test_the_layer_is_compiled_in_the_mode_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark.STEMS, "cifar", (3, 1, 2, 8))
    few = ["bench", "csc", "--stem", "cifar", "--repeats", "2", "--device", "cpu", "--compile"]
    result = CliRunner().invoke(main, [*few, "default"])
    assert result.exit_code == 0, result.output
    assert "compiled (default), forward + backward" in result.output
    assert counters["stats"]["unique_graphs"] == 2 * 5
    assert "is not one of 'default', 'reduce-overhead'" in CliRunner().invoke(main, [*few, "fast"]).output


def test_the_command_prints_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark.STEMS, "imagenet", (7, 2, 2, 32))
    result = CliRunner().invoke(main, ["bench", "csc", "--stem", "imagenet", "--repeats", "2", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "imagenet stem, 3 → 64, 7×7, stride 2, 2 images of 32×32, eager, forward + backward" in result.output
    assert result.output.count("nn.Conv2d") == 2


def test_precision_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path))
    run = training("sdnet18", "digits", "smoke", epochs=1, width=2, atoms=4, precision="fp32")
    network = train.run(run, output=tmp_path, device="cpu").network_file
    result = CliRunner().invoke(main, ["precision", str(network), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    (record,) = [record for record in ledger.read(tmp_path) if record.experiment == "precision"]
    cells = {(cell["metric"], cell["lam"], cell["precision"]): cell["value"] for cell in record.results}
    assert len(cells) == 16
    assert cells["residual", 1.0, "fp32"] > cells["residual", 0.1, "fp32"]
    assert cells["residual", 0.1, "bf16"] == pytest.approx(cells["residual", 0.1, "fp32"], rel=0.01)


def test_precision_needs_a_csc_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path))
    run = training("resnet18", "digits", "smoke", epochs=1, width=2, atoms=4, precision="fp32")
    network = train.run(run, output=tmp_path, device="cpu").network_file
    result = CliRunner().invoke(main, ["precision", str(network)])
    assert result.exit_code == 1
    assert "has no CSC layer" in result.output


def test_the_residual_is_that_of_the_normalised_image() -> None:
    from sdnet.data.datasets import Split

    model = build("sdnet18", width=2, atoms=4).eval()
    images = torch.randint(256, (3, 8, 8, 3), dtype=torch.uint8)
    split = Split(images, torch.zeros(3, dtype=torch.long))
    layer = model.stem[0]
    signal = model.normalize(images.permute(0, 3, 1, 2).float() / 255)
    with torch.no_grad():
        expected = layer.lasso(signal).residual(layer(signal)).flatten(1).norm(dim=1).mean().item()
    assert measure(model.eval(), split, "fp32")[0]["residual"] == pytest.approx(expected, rel=1e-5)


def test_the_network_benchmark_measures_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path))
    small = ["--width", "2", "--batch", "4", "--repeats", "2", "--device", "cpu"]
    result = CliRunner().invoke(main, ["bench", "networks", *small])
    assert result.exit_code == 0, result.output
    (record,) = ledger.read(tmp_path)
    cells = {(cell["metric"], cell["arch"]): cell["value"] for cell in record.results}
    assert cells["train_speed_ratio", "resnet18"] == 1
    expected = cells["train_images_per_second", "sdnet18"] / cells["train_images_per_second", "resnet18"]
    assert cells["train_speed_ratio", "sdnet18"] == pytest.approx(expected)
    assert 0.5 < cells["train_memory", "sdnet18"] / cells["train_memory", "resnet18"] < 3
    assert cells["train_images_per_second", "data pipeline"] > 0
    assert cells["infer_images_per_second", "sdnet18"] > 0


def test_memory_on_cuda_is_what_a_step_allocates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the 5 GB of the networks that are there already, and whatever was the peak before."""
    used = {"now": 5e9, "peak": 9e9}

    def step() -> None:
        used["peak"] = max(used["peak"], used["now"] + 2e9)

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: used.update(peak=used["now"]))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: used["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: used["peak"])
    assert speed.peak_memory(step, torch.device("cuda")) == 2


def test_memory_of_a_training_step_is_that_of_any_other() -> None:
    model, images = models.build("resnet18", 10, width=4), torch.rand(2, 3, 8, 8)
    step = speed.training(model, images, torch.zeros(2).long(), "fp32")
    speed.inference(model, images, "fp32")()
    step()
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    first, second = (speed.peak_memory(step, torch.device("cpu")) for _ in range(2))
    assert first == second > 4e-9 * models.parameter_count(model)


def test_rivals_take_turns_with_the_others() -> None:
    archs = ("resnet18", "scn", "scn18")
    cells = speed.measure(archs=archs, width=4, batch=2, precision="fp32", device=torch.device("cpu"), repeats=2)
    values = {(cell["metric"], cell["arch"]): cell["value"] for cell in cells}
    for arch in archs:
        assert values["parameters", arch] == models.parameter_count(models.build(arch, width=4))
        assert values["train_memory", arch] > 0
        for mode in ("train", "infer"):
            rate, base = (values[f"{mode}_images_per_second", name] for name in (arch, "resnet18"))
            assert values[f"{mode}_speed_ratio", arch] == pytest.approx(rate / base)


def test_the_reference_must_be_the_authors_repository(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "networks", "--reference", str(tmp_path), "--repeats", "2"])
    assert result.exit_code == 1
    assert "is not the authors' repository: it has no Lib/models/sdnet.py." in result.output


def test_the_sweeps_benchmark_compares_with_the_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path / "ledger"))
    run = training("sdnet18", "digits", "smoke", epochs=1, width=2, atoms=4)
    network = train.run(run, output=tmp_path).network_file
    model, split = networks.load(network).model, sweep.subset(load("digits").train, 50)
    plain, engine = (case(model, split, "fp32") for case in (sweep_speed.plain_loop, sweep_speed.exhaustive))
    assert engine == pytest.approx(plain)
    assert abs(engine[sweep_speed.halved(model, split, "fp32")] - max(engine)) < 0.1
    done = CliRunner().invoke(main, ["bench", "sweep", str(network), "--images", "10", "--repeats", "2"])
    assert done.exit_code == 0, done.output
    cells = to_frame(ledger.read(tmp_path / "ledger"))
    ratios = cells[cells["metric"] == "time_ratio"].set_index("case")["value"]
    assert list(ratios.index) == ["plain loop", "sweep engine", "race"]
    assert ratios["plain loop"] == 1
    assert cells[cells["metric"] == "steps_off"]["n"].item() == 20


def test_scaling_writes_a_cell_per_axis_and_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path))
    small = {"batch": (2, 3), "image side": (8, 16), "iterations": (1, 2), "atoms": (4, 8)}
    monkeypatch.setattr(scaling, "AXES", small)
    monkeypatch.setattr(scaling, "MEMORY_ITERATIONS", (2, 4))
    done = CliRunner().invoke(main, ["bench", "scaling", "--width", "2", "--repeats", "2", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    cells = to_frame(ledger.read(tmp_path))
    rates = cells[cells["metric"] == "images_per_second"]
    assert set(zip(rates["axis"], rates["at"], strict=True)) == {
        (axis, at) for axis, ats in small.items() for at in ats
    }
    assert (rates["value"] > 0).all()
    memory = cells[cells["metric"] == "gradient_memory"].set_index(["case", "at"])["value"]
    assert memory["unrolled", 4] > memory["unrolled", 2]
    assert memory["implicit", 4] == memory["implicit", 2]
