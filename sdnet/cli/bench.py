"""``python -m sdnet bench``: speed as ratios, side by side in one process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import COUNT, on_device, with_data_root
from sdnet.experiments.ablations import grid
from sdnet.experiments.benchmark import STEMS, benchmark_layer, format_ratios
from sdnet.experiments.deep_pursuit import cost
from sdnet.experiments.distributed import rank_speed
from sdnet.experiments.performance import choices, scaling, speed, sweep_speed
from sdnet.experiments.performance.speed import SIZES
from sdnet.experiments.what_is_lambda import solvers
from sdnet.runtime import device_of
from sdnet.training.distributed import COMPILE_MODES

Measured = tuple[Path | None, list[dict[str, Any]]]

compiled_in = click.option(
    "--compile", "compiled", type=click.Choice(COMPILE_MODES), help="A mode of torch.compile; default none."
)


@click.group()
def bench() -> None:
    """Measure speed as ratios, side by side in one process."""


def _run(measure: Callable[[torch.device], Measured], device: str | None, columns: Sequence[str]) -> None:
    """Measure, then print one line per ledger cell: what it is about, its value, its quartiles."""

    def job() -> None:
        path, cells = measure(device_of(device))
        for cell in cells:
            about = " ".join(f"{cell.get(column, '')!s:<15}" for column in columns)
            spread = f"({cell['low']:.3g} – {cell['high']:.3g})" if "low" in cell else ""
            click.echo(f"{cell['metric']:<26} {about} {cell['value']:8.3g} {spread}")
        if path is not None:  # of several ranks one writes
            click.echo(f"Ledger row: {path}")

    in_one_sentence(job)


@bench.command()
@click.option("--stem", type=click.Choice(list(STEMS)), multiple=True, default=list(STEMS), show_default=True)
@compiled_in
@click.option("--repeats", type=COUNT, default=20, show_default=True)
@on_device
def csc(stem: tuple[str, ...], compiled: str | None, repeats: int, device: str | None) -> None:
    """The CSC layer against nn.Conv2d, per number of FISTA iterations."""

    def job() -> None:
        torch_device = device_of(device)
        for name in stem:
            kernel, stride, batch, size = STEMS[name]
            how = f"compiled ({compiled})" if compiled else "eager"
            what = f"{name} stem, 3 → 64, {kernel}×{kernel}, stride {stride}, {batch} images of {size}×{size}, {how}"
            for mode, timings in benchmark_layer(name, torch_device, compiled=compiled, repeats=repeats).items():
                click.echo(f"{what}, {mode}\n{format_ratios(timings)}")

    in_one_sentence(job)


@bench.command()
@click.option("--width", type=COUNT, default=64, show_default=True, help="Channels of the first stage.")
@click.option("--batch", type=COUNT, default=128, show_default=True, help="Images per step.")
@click.option("--stem", type=click.Choice(list(SIZES)), default="cifar", show_default=True)
@click.option("--arch", "archs", multiple=True, default=("resnet18", "sdnet18"), show_default=True)
@compiled_in
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Default: bf16 where the hardware has it.")
@click.option("--reference", type=click.Path(path_type=Path), help="Folder with the authors' source, to time beside.")
@click.option("--repeats", type=COUNT, default=10, show_default=True)
@on_device
def networks(device: str | None, **settings: Any) -> None:
    """Training, inference and data pipeline of whole networks against ResNet-18; writes a ledger row."""
    _run(lambda torch_device: speed.record(torch_device, **settings), device, ["arch"])


@bench.command("scaling")
@click.option("--width", type=COUNT, help="Channels of the first stage; default 16 on a CPU, 64 elsewhere.")
@click.option("--repeats", type=COUNT, default=7, show_default=True)
@on_device
def bench_scaling(device: str | None, **settings: Any) -> None:
    """Cost as batch, image, iterations and atoms grow, and memory per gradient; writes a ledger row."""
    _run(lambda torch_device: scaling.record(device=torch_device, **settings), device, ["case", "axis", "at"])


@bench.command("sweep")
@click.argument("network", type=click.Path())
@click.option("--images", type=COUNT, default=1000, show_default=True, help="Training images to sweep over.")
@click.option("--repeats", type=COUNT, default=3, show_default=True)
@with_data_root
@on_device
def bench_sweep(network: str, device: str | None, **settings: Any) -> None:
    """The sweep engine and successive halving against a plain loop over λ; writes a ledger row."""
    _run(lambda torch_device: sweep_speed.record(network, device=torch_device, **settings), device, ["case"])


@bench.command("attacks")
@click.option("--width", type=COUNT, default=64, show_default=True, help="Channels of the first stage.")
@click.option("--batch", type=COUNT, default=128, show_default=True, help="Images per step.")
@click.option("--arch", "archs", multiple=True, default=("resnet18", "sdnet18"), show_default=True)
@click.option("--repeats", type=COUNT, default=10, show_default=True)
@on_device
def bench_attacks(device: str | None, **settings: Any) -> None:
    """Steps of PGD per second against ResNet-18, in float32; writes a ledger row."""
    _run(lambda torch_device: speed.record_attacks(torch_device, **settings), device, ["arch"])


@bench.command("ablations")
@click.option("--width", type=COUNT, default=16, show_default=True, help="Channels of the first stage.")
@click.option("--batch", type=COUNT, default=128, show_default=True, help="Images per step.")
@click.option("--repeats", type=COUNT, default=7, show_default=True)
@on_device
def bench_ablations(device: str | None, **settings: Any) -> None:
    """A training step of every variant of the ablation grid against ResNet-18; writes a ledger row."""
    _run(lambda torch_device: grid.record_costs(torch_device, **settings), device, ["arch", "variant"])


@bench.command("pursuits")
@click.option("--width", type=COUNT, default=64, show_default=True, help="Channels of the first stage.")
@click.option("--batch", type=COUNT, default=64, show_default=True, help="Images per step.")
@click.option("--repeats", type=COUNT, default=7, show_default=True)
@on_device
def bench_pursuits(device: str | None, **settings: Any) -> None:
    """A step of every pursuit against its two convolutions per layer; writes a ledger row."""
    _run(lambda torch_device: cost.record(torch_device, **settings), device, ["case", "arch"])


@bench.command("choices")
@click.option("--width", type=COUNT, default=64, show_default=True, help="Channels of the first stage.")
@click.option("--batch", type=COUNT, default=128, show_default=True, help="Images per step.")
@click.option("--compiled/--eager", default=True, show_default=True, help="Whether torch.compile is among them.")
@click.option("--repeats", type=COUNT, default=7, show_default=True)
@on_device
def bench_choices(device: str | None, **settings: Any) -> None:
    """What makes SDNet-18's training step fast, taken back one at a time; writes a ledger row."""
    _run(lambda torch_device: choices.record(torch_device, **settings), device, ["case"])


@bench.command("solvers")
@click.option("--solver", "names", multiple=True, default=tuple(solvers.SOLVERS), show_default=True)
@on_device
def bench_solvers(device: str | None, names: tuple[str, ...]) -> None:
    """The duality gap that solvers of Eq. 4, ours and others', leave after n iterations; writes a ledger row."""
    _run(lambda on: solvers.record(on, solvers=names), device, ["method", "seed", "strength", "iteration"])


@bench.command("ranks")
@click.option("--arch", default="sdnet18", show_default=True)
@click.option("--width", type=COUNT, default=64, show_default=True, help="Channels of the first stage.")
@click.option("--batch", type=COUNT, default=128, show_default=True, help="Images per step, of all ranks together.")
@click.option("--stem", type=click.Choice(list(SIZES)), default="cifar", show_default=True)
@click.option("--repeats", type=COUNT, default=10, show_default=True)
@on_device
def bench_ranks(device: str | None, **settings: Any) -> None:
    """Several ranks against one; start it with torchrun. Writes a ledger row."""
    _run(lambda torch_device: rank_speed.record(torch_device, **settings), device, ["case"])
