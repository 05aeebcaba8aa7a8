"""The command line: ``python -m sdnet``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from sdnet import models, notebook
from sdnet.data.corruptions import NOISES
from sdnet.experiments import scaling, speed, sweep_speed
from sdnet.experiments import train as experiment
from sdnet.experiments.benchmark import STEMS, benchmark_layer, format_ratios
from sdnet.experiments.policies import run as run_policies
from sdnet.experiments.precision import record_precision
from sdnet.experiments.sizes import record_sizes
from sdnet.experiments.speed import SIZES
from sdnet.experiments.sweep import IMAGES, KNOBS
from sdnet.experiments.sweep import run as run_sweep
from sdnet.training.loop import Diverged, best_device
from sdnet.training.recipes import PRESETS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train and measure networks of convolutional sparse coding layers."""


@main.command()
@click.option("--arch", default="sdnet18", show_default=True, help=f"One of {', '.join(models.names())}.")
@click.option("--dataset", default="cifar10", show_default=True, help="digits, cifar10, cifar100, or an image folder.")
@click.option("--preset", default="paper", show_default=True, help=f"One of {', '.join(PRESETS)}.")
@click.option("--seed", default=0, show_default=True)
@click.option("--epochs", type=int, help="Instead of the preset's.")
@click.option("--batch-size", type=int, help="Instead of the preset's.")
@click.option("--lr", type=float, help="Instead of the preset's.")
@click.option("--width", type=int, help="Channels of the first stage; 64 in the paper.")
@click.option("--lam", type=float, help="λ of the CSC layers; 0.1 in the paper.")
@click.option("--iterations", type=int, help="FISTA steps of the CSC layers; 2 in the paper.")
@click.option("--noise", type=float, help="Standard deviation of Gaussian noise on every other training image.")
@click.option("--shortcut/--no-shortcut", default=None, help="Residual connections.")
@click.option("--hold-out", type=float, help="Fraction of the training images kept for validation.")
@click.option("--precision", help="fp32, bf16, or auto.")
@click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")
@click.option("--output", help="Where the network goes; default $SDNET_OUTPUT, else outputs.")
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def train(
    arch: str,
    dataset: str,
    preset: str,
    seed: int,
    data_root: str | None,
    output: str | None,
    device: str | None,
    **changes: Any,
) -> None:
    """Train one network and record the run; the same as notebook 04, without Jupyter.

    Interrupted, it goes on from the last finished epoch when started again with the same options.
    """

    def job() -> None:
        run = experiment.training(arch, dataset, preset, seed=seed, **changes)
        experiment.run(run, data_root=data_root, output=output, device=device)

    _in_one_sentence(job)


@main.command()
def sizes() -> None:
    """Count the parameters of the paper's networks and record them."""
    click.echo(f"Ledger row: {record_sizes()}")


@main.command()
@click.argument("network", type=click.Path())
@click.option("--knob", default="lam", show_default=True, help=f"One of {', '.join(KNOBS)}.")
@click.option("--preset", default="paper", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=int, help="Instead of the preset's.")
@click.option("--corruption", "corruptions", multiple=True, default=tuple(NOISES), show_default=True)
@click.option("--official", type=click.Path(path_type=Path), help="Folder with the published CIFAR-10-C.")
@click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def sweep(network: str, **settings: Any) -> None:
    """Accuracy of a trained NETWORK on corrupted test images at every strength of a knob (Figure 2)."""
    _in_one_sentence(lambda: click.echo(f"Ledger row: {run_sweep(network, **settings)[1]}"))


@main.command()
@click.argument("network", type=click.Path())
@click.option("--preset", default="paper", show_default=True, help=f"One of {', '.join(IMAGES)}.")
@click.option("--images", type=int, help="Test images, instead of the preset's.")
@click.option("--official", type=click.Path(path_type=Path), help="Folder with the published CIFAR-10-C.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to save the fitted policies in.")
@click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def policies(network: str, **settings: Any) -> None:
    """Algorithm 1 and its relatives for a trained NETWORK: fit λ to the residual, then ask on corrupted images."""
    _in_one_sentence(lambda: click.echo(f"Ledger row: {run_policies(network, **settings)[1]}"))


@main.command()
@click.argument("network", type=click.Path())
@click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def precision(network: str, data_root: str | None, device: str | None) -> None:
    """Compare bfloat16 with float32 inside a trained NETWORK (a file that `train` left) and record it."""
    _in_one_sentence(lambda: click.echo(f"Ledger row: {record_precision(network, data_root, device)}"))


@main.command()
@click.argument("notebooks", nargs=-1, type=click.Path(exists=True, path_type=Path))
def renew(notebooks: tuple[Path, ...]) -> None:
    """Execute NOTEBOOKS and store their outputs in them, as they are committed."""
    for path in notebooks:
        click.echo(f"Executing {path}")
        notebook.renew(path)


@main.group()
def bench() -> None:
    """Measure speed as ratios, side by side in one process."""


@bench.command()
@click.option("--stem", type=click.Choice(list(STEMS)), multiple=True, default=list(STEMS), show_default=True)
@click.option("--compiled/--eager", default=False, show_default=True)
@click.option("--repeats", default=20, show_default=True)
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def csc(stem: tuple[str, ...], compiled: bool, repeats: int, device: str | None) -> None:
    """The CSC layer against nn.Conv2d, per number of FISTA iterations."""
    place = torch.device(device) if device else best_device()
    for name in stem:
        kernel, stride, batch, size = STEMS[name]
        how = "compiled" if compiled else "eager"
        what = f"{name} stem, 3 → 64, {kernel}×{kernel}, stride {stride}, {batch} images of {size}×{size}, {how}"
        for mode, timings in benchmark_layer(name, place, compiled=compiled, repeats=repeats).items():
            click.echo(f"{what}, {mode}\n{format_ratios(timings)}")


@bench.command()
@click.option("--width", default=64, show_default=True, help="Channels of the first stage.")
@click.option("--batch", default=128, show_default=True, help="Images per step.")
@click.option("--stem", type=click.Choice(list(SIZES)), default="cifar", show_default=True)
@click.option("--arch", "archs", multiple=True, default=("resnet18", "sdnet18"), show_default=True)
@click.option("--compiled/--eager", default=False, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Default: bf16 where the hardware has it.")
@click.option("--reference", type=click.Path(path_type=Path), help="Folder with the authors' source, to time beside.")
@click.option("--repeats", default=10, show_default=True)
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def networks(device: str | None, **settings: Any) -> None:
    """Training, inference and data pipeline of whole networks against ResNet-18; writes a ledger row."""

    def job() -> None:
        path, cells = speed.record(torch.device(device) if device else best_device(), **settings)
        for cell in cells:
            spread = f"({cell['low']:.3g} – {cell['high']:.3g})" if "low" in cell else ""
            click.echo(f"{cell['metric']:<26} {cell['arch']:<15} {cell['value']:8.3g} {spread}")
        click.echo(f"Ledger row: {path}")

    _in_one_sentence(job)


@bench.command("scaling")
@click.option("--width", type=int, help="Channels of the first stage; default 16 on a CPU, 64 elsewhere.")
@click.option("--repeats", default=7, show_default=True)
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def bench_scaling(width: int | None, repeats: int, device: str | None) -> None:
    """Cost as batch, image, iterations and atoms grow, and memory per gradient; writes a ledger row."""
    place = torch.device(device) if device else best_device()
    path, cells = scaling.record(width=width, repeats=repeats, device=place)
    for cell in cells:
        click.echo(f"{cell['metric']:<18} {cell['case']:<13} {cell['axis']} {cell['at']:<5} {cell['value']:.4g}")
    click.echo(f"Ledger row: {path}")


@bench.command("sweep")
@click.argument("network", type=click.Path())
@click.option("--images", default=1000, show_default=True, help="Training images to sweep over.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--data-root", help="Where data sets lie; default $SDNET_DATA, else ~/.cache/sdnet/data.")
@click.option("--device", help="cuda, cpu, ...; default the accelerator if there is one.")
def bench_sweep(network: str, device: str | None, **settings: Any) -> None:
    """The sweep engine and the race against a plain loop over λ; writes a ledger row."""

    def job() -> None:
        path, cells = sweep_speed.record(network, device=torch.device(device) if device else best_device(), **settings)
        for cell in cells:
            spread = f"({cell['low']:.3g} – {cell['high']:.3g})" if "low" in cell else ""
            click.echo(f"{cell['metric']:<15} {cell['case']:<13} {cell['value']:6.3g} {spread}")
        click.echo(f"Ledger row: {path}")

    _in_one_sentence(job)


def _in_one_sentence(job: Callable[[], object]) -> None:
    """Show what went wrong with the input as one sentence, not as a traceback."""
    try:
        job()
    except (ValueError, Diverged) as error:
        raise click.ClickException(str(error)) from error
