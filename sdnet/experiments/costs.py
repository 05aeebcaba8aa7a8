"""What it takes to fill an ImageNet cell that nobody has run yet: the command, and the time by the paper's own speed.

Nobody has measured that speed here. It is Table 1's "Speed", images per second of training on the paper's machine, so
the hours are those of that machine. A forward pass costs less than a training step: times of tests are upper bounds.
"""

import html
from dataclasses import dataclass

import pandas as pd

from sdnet import models
from sdnet.data.photographs import IMAGES
from sdnet.experiments.corruptions.robustness import Row
from sdnet.experiments.corruptions.sweep import LAMS
from sdnet.results.evaluation import DECODED
from sdnet.results.select import select
from sdnet.training.progress import duration
from sdnet.training.recipes import PRESETS

STEPS = 12
"""Training steps that ``bench networks`` makes of each network."""


@dataclass(frozen=True)
class Cost:
    """A command and how long it takes, in words; without a command, why there is none."""

    command: str
    estimate: str


def of_training(arch: str, metric: str, speed: float) -> Cost:
    """For a cell of Table 1's ImageNet block; ``speed`` in images/s."""
    if "imagenet" not in models.stems(arch):
        return Cost("", "this package has that network for small images only")
    if metric == "parameters":
        return Cost("python -m sdnet sizes", "counted, not trained: seconds")
    recipe = PRESETS["paper_imagenet"]
    if metric == "top1":
        images = recipe.epochs * IMAGES["imagenet"][0]
        time = (
            f"{recipe.epochs} epochs × {IMAGES['imagenet'][0]:,} images at {speed:,.0f}/s: {duration(images / speed)}"
        )
        return Cost(f"papermill book/05_imagenet_ddp.ipynb out.ipynb -p arch {arch}", time)
    images = STEPS * recipe.batch_size
    command = f"python -m sdnet bench networks --stem imagenet --batch {recipe.batch_size} {_compared(arch)}"
    return Cost(command, f"{STEPS} steps of {recipe.batch_size} images at {speed:,.0f}/s: {duration(images / speed)}")


def _compared(arch: str) -> str:
    """A network beside ResNet-18, whose speed its own is a ratio to."""
    return " ".join(f"--arch {name}" for name in dict.fromkeys(("resnet18", arch)))


def of_imagenet_c(row: Row, speed: float) -> Cost:
    """For a cell of Table 3's ImageNet-C block: one noise, five severities."""
    if row.arch not in models.names() or "imagenet" not in models.stems(row.arch):
        return Cost("", "this package does not have that network at this size")
    network = "outputs/RUN/network.safetensors --official ~/ImageNet-C"
    calibration, tested = DECODED
    images = 6 * tested
    if row.policy is None:
        command = f'python -m sdnet sweep {network} --preset paper --knob "{row.knob}" --strength {row.strength:g}'
        what = f"6 × {tested:,} images"
    else:
        command = f"python -m sdnet policies {network} --preset paper --policy {row.policy}"
        # At five levels every λ on every calibration image at most; then the residual, the fixed λ, and the policy's.
        images = 5 * len(LAMS) * calibration + 3 * images
        what = f"5 × {len(LAMS)} × {calibration:,} + 3 × 6 × {tested:,} images"
    return Cost(command, f"after training; at most {what} at {speed:,.0f}/s: {duration(images / speed)}")


def speeds(table1: pd.DataFrame) -> dict[str, float]:
    """Architecture → images per second of training on ImageNet, as the paper prints them."""
    chosen = select(table1, dataset="imagenet", metric="train_images_per_second")
    return dict(zip(chosen["arch"], chosen["value"].astype(float), strict=True))


def show(cost: Cost) -> str:
    """A cost as HTML below a cell's status; opens to the command."""
    small = "font-size:0.82em;opacity:0.85"
    estimate = html.escape(cost.estimate)
    if not cost.command:
        return f'<br><span style="{small}">{estimate}</span>'
    time = html.escape(cost.estimate.rsplit(": ", 1)[-1])
    command = f'<code style="white-space:normal">{html.escape(cost.command)}</code>'
    style = f"{small};max-width:16em;white-space:normal"
    return f'<details style="{style}"><summary>{time}</summary>{estimate}<br>{command}</details>'
