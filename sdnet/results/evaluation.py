"""What every measurement of a trained network begins and ends with: network, device, data, and the ledger row."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sdnet.data import content, datasets, photographs
from sdnet.data.datasets import Dataset
from sdnet.models.resnet import ResNet
from sdnet.results import ledger, networks
from sdnet.results.ledger import Record, Start
from sdnet.results.networks import Network
from sdnet.runtime import device_of, keep_freed_memory
from sdnet.training import loop

DECODED = (5000, 10_000)
"""So many training and test photographs are taken into memory: what a run of the size ``paper`` needs."""


@dataclass
class Evaluation:
    """A trained network on its device, in eval mode. Make it with :func:`prepare`.

    Attributes:
        name: of the network.
        trained: the network as it was stored.
        device, precision: where and in what it runs.
        data_root: where its data set lies.
    """

    name: str
    trained: Network
    device: torch.device
    precision: str
    data_root: str | os.PathLike[str] | None
    start: Start = field(default_factory=ledger.start)

    @property
    def model(self) -> ResNet:
        """The network itself."""
        return self.trained.model

    @cached_property
    def data(self) -> Dataset:
        """The data set that the network was trained on, loaded when first asked for; of photographs :data:`DECODED`.

        Its labels are the network's, matched by the names of the classes.

        Raises:
            ValueError: if it has classes that the network does not know.
        """
        training = self.trained.training
        if training.photographs:
            files = photographs.load(training.dataset, self.data_root)
            datasets.check_known(files.name, files.classes, self.trained.classes)
            data = files.decoded(*DECODED)
        else:
            data = datasets.load(training.dataset, self.data_root)
        if training.dataset == data.name in content.DIGESTS:
            return data  # known by its content, labels included, whatever its folders are called
        return data.for_classes(self.trained.classes)

    def record(self, experiment: str, results: list[dict[str, Any]], **config: Any) -> tuple[Record, Path]:
        """Write the ledger row: the training's configuration, what is in ``config``, and the results."""
        record = self.start.record(
            experiment=experiment,
            config={**self.trained.training.config, "precision": self.precision, "weights": self.name, **config},
            data_hash=self.data.data_hash,
            device=ledger.describe_device(self.device),
            results=results,
        )
        return record, ledger.write(record, ledger.ledger_folder())


def prepare(
    network: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    precision: str | None = None,
) -> Evaluation:
    """Load a trained network onto its device.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        device: by default the accelerator if there is one.
        precision: ``"fp32"`` or ``"bf16"``; by default bf16 where the hardware multiplies it natively.

    Raises:
        ValueError: if there is no such network or device.
    """
    keep_freed_memory()
    trained = networks.load(network)
    place = device_of(device)
    trained.model.to(place).to(memory_format=torch.channels_last)
    return Evaluation(networks.label(network), trained, place, precision or loop.best_precision(place), data_root)
