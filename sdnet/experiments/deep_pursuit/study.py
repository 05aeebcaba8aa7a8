"""The networks of Figs. 5 to 10 as one declared grid, trained and measured alike."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sdnet.data import datasets
from sdnet.experiments.ablations.grid import Groups, Variant
from sdnet.experiments.accuracy import train
from sdnet.experiments.attacks.settings import IMAGES
from sdnet.experiments.corruptions.sweep import subset
from sdnet.experiments.deep_pursuit import measure
from sdnet.results import ledger
from sdnet.results.ledger import Record
from sdnet.runtime import device_of
from sdnet.training import loop
from sdnet.training.declaration import Training
from sdnet.training.run import Epoch

DEPTHS = (1, 2, 3)
ITERATIONS = (2, 4, 8)
FEED_FORWARD = {"ltp": "L-TP", "ltp_res": "L-TP-res"}
ITERATED = {"lbp": "L-BP", "dp": "DP", "dp_res": "DP-res"}
CURVE_EPSILON = 2 / 255
"""At which the curves of Fig. 7 are attacked."""

GRID = Groups(
    {
        "depth": tuple(
            Variant(f"{label}, depth {depth}", arch, {"depth": depth})
            for depth in DEPTHS
            for arch, label in FEED_FORWARD.items()
        ),
        "iterations": tuple(
            Variant(f"{label}, T = {count}", arch, {"depth": 1, "iterations": count})
            for count in ITERATIONS
            for arch, label in ITERATED.items()
        ),
    }
)
"""Fig. 5, and Figs. 6 and 8 to 10; T = 1 is the feed-forward network of the same connections."""


def run(
    plan: Sequence[Training],
    *,
    images: int | None = None,
    attacked: bool = True,
    data_root: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Record]:
    """Train and measure every network of the plan; what the ledger already has is skipped.

    The transfer attack is crafted on the first feed-forward network of the same seed in the plan before the attacked
    one; without any there is none.

    Args:
        plan: from :func:`sdnet.experiments.ablations.grid.trainings`.
        images: test images that are attacked by FGSM, instead of all of them.
        attacked: False to leave attacks out.

    Returns:
        The rows of the plan's networks.
    """
    folder = ledger.ledger_folder()
    rows = [row for row in (ledger.read(folder) if folder.is_dir() else []) if row.experiment == "pursuit"]
    known = {row.config["weights"]: row for row in rows if row.config["attacked"] or not attacked}
    records, sources = [], dict[int, Path]()
    for declared in plan:
        file = Path(output or ledger.output_folder()) / declared.name / "network.safetensors"
        if declared.arch in FEED_FORWARD:
            sources.setdefault(declared.seed, file)
        if declared.name in known:
            records.append(known[declared.name])
            continue
        if not file.is_file():
            train.run(declared, data_root=data_root, output=output, device=device)
        options: dict[str, Any] = {"images": images, "attacked": attacked, "data_root": data_root, "device": device}
        source = sources.get(declared.seed) if attacked else None
        records.append(
            measure.run(file, preset=declared.preset, source=None if source == file else source, **options)[0]
        )
    return records


def follow(
    declared: Training,
    *,
    images: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> Record:
    """Train a network and attack it by FGSM after every epoch (Fig. 7); a ledger row ``"pursuit_curve"``.

    Its cells, per ``epoch``: ``curve_top1`` on test images, clean (``attack`` empty) and attacked.

    Args:
        images: test images that are asked, by default as many as an attack of the preset's size gets.

    Raises:
        ValueError: for a preset of photographs, or if no row could be written to the ledger.
    """
    ledger.check_writable(ledger.ledger_folder())
    start, torch_device = ledger.start(), device_of(device)
    data = declared.load(data_root)
    if not isinstance(data, datasets.Dataset):
        raise ValueError(
            f"the preset {declared.preset} reads photographs, which are not followed; choose quick or smoke."
        )
    few = subset(data.test, images or IMAGES[declared.preset]).to(torch_device)
    model = declared.build(len(data.classes))
    model.normalize.set(*data.channel_statistics())
    model.to(torch_device).to(memory_format=torch.channels_last)
    precision = loop.best_precision(torch_device, model) if declared.precision == "auto" else declared.precision
    cells: list[dict[str, Any]] = []

    def watch(epoch: Epoch) -> None:
        model.eval()
        for attack, value in (
            ("", loop.accuracy(model, few)),
            ("fgsm", measure.fgsm_accuracy(model, few, CURVE_EPSILON)),
        ):
            where = {"epoch": epoch.epoch, "attack": attack, "epsilon": CURVE_EPSILON if attack else 0.0}
            cells.append({"metric": "curve_top1", **where, "value": value, "n": len(few)})
        model.train()

    with loop.safe_kernels(model):
        history = loop.train(
            model, data.train, declared.recipe, seed=declared.seed, flip=data.flip, precision=precision, watch=watch
        )
    record = start.record(
        experiment="pursuit_curve",
        config={**declared.config, "precision": precision, "images": len(few)},
        data_hash=data.data_hash,
        device=ledger.describe_device(torch_device),
        results=cells,
        history=[asdict(row) for row in history],
    )
    ledger.write(record, ledger.ledger_folder())
    return record
