"""What every measurement of a trained network begins and ends with: network, device, data, and the ledger row."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sdnet.data import content, corruption_benchmarks, datasets, photographs
from sdnet.data.corruption_benchmarks import Published
from sdnet.data.datasets import Dataset
from sdnet.data.photographs import PhotographSet
from sdnet.models.classifier import Classifier
from sdnet.results import ledger, networks
from sdnet.results.ledger import Record, Start
from sdnet.results.networks import Network
from sdnet.results.unfinished import Unfinished
from sdnet.robust.policies import fingerprint
from sdnet.runtime import device_of, keep_freed_memory
from sdnet.training import loop
from sdnet.training.stopping import signals_wait

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
    def model(self) -> Classifier:
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
        data = (
            self._files.decoded(*DECODED) if training.photographs else datasets.load(training.dataset, self.data_root)
        )
        if training.dataset == data.name in content.DIGESTS:
            return data  # known by its content, labels included, whatever its folders are called
        return data.for_classes(self.trained.classes)

    @cached_property
    def _files(self) -> PhotographSet:
        """The photographs that the network was trained on, all of them."""
        files = photographs.load(self.trained.training.dataset, self.data_root)
        datasets.check_known(files.name, files.classes, self.trained.classes)
        return files

    def published(self, root: str | os.PathLike[str] | None) -> Published | None:
        """The corrupted test images of an unpacked benchmark, labelled as the network's classes; None for no folder.

        Raises:
            ValueError: if it is not about the images and the classes of the network's data set.
        """
        if root is None:
            return None
        if self.trained.training.photographs:
            return corruption_benchmarks.of_photographs(Path(root), self._files, self.trained.classes, DECODED[1])
        by_content = self.trained.training.dataset == self.data.name in content.DIGESTS
        return corruption_benchmarks.of_cifar(Path(root), self.data, self.data.name if by_content else None)

    def record(self, experiment: str, results: list[dict[str, Any]], **config: Any) -> tuple[Record, Path]:
        """Write the ledger row: the training's configuration, what is in ``config``, and the results."""
        return self._written(self.start, self._about(experiment, config), results)

    def measurement(self, experiment: str, inputs: Mapping[str, Any] | None = None, **config: Any) -> "Measurement":
        """Begin what may be stopped and taken up again: the row that :meth:`record` would write of it, with its parts.

        Args:
            inputs: what the results depend on beside the configuration, the network's weights and the data, such as the
                content of other files; as JSON can hold it.
        """
        about = self._about(experiment, config)
        weights = fingerprint(self.model, with_lam=True)
        key = {**about, "weights": weights, "code": self.start.code, "versions": self.start.versions, "inputs": inputs}
        folder = ledger.output_folder() / "unfinished"
        return Measurement(self, about, Unfinished(folder, f"{experiment}-{self.name}", key, self.start))

    def _about(self, experiment: str, config: dict[str, Any]) -> dict[str, Any]:
        """The fields of the row that say what is measured."""
        config = {**self.trained.training.config, "precision": self.precision, "weights": self.name, **config}
        config = json.loads(json.dumps(config))  # as it will be read from the file: lists, not tuples
        device = ledger.describe_device(self.device)
        return {"experiment": experiment, "config": config, "data_hash": self.data.data_hash, "device": device}

    def _written(self, start: Start, about: dict[str, Any], results: list[dict[str, Any]]) -> tuple[Record, Path]:
        record = start.record(**about, results=results)
        return record, ledger.write(record, ledger.ledger_folder())


@dataclass(frozen=True)
class Measurement:
    """One ledger row in the making. Make it with :meth:`Evaluation.measurement`.

    Attributes:
        about: what the row says beside its results.
        keep: gives the parts, each computed once however often the run is stopped; for a ``with`` statement.
    """

    evaluation: Evaluation
    about: dict[str, Any]
    keep: Unfinished

    def finish(self, results: list[dict[str, Any]]) -> tuple[Record, Path]:
        """Write the row, and delete what was kept."""
        with signals_wait():
            written = self.evaluation._written(self.keep.start, self.about, results)
            self.keep.remove()
        return written


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
        ValueError: if there is no such network or device, or no row could be written to the ledger.
    """
    keep_freed_memory()
    ledger.check_writable(ledger.ledger_folder())
    trained = networks.load(network)
    torch_device = device_of(device)
    trained.model.to(torch_device).to(memory_format=torch.channels_last)
    return Evaluation(
        networks.label(network), trained, torch_device, precision or loop.best_precision(torch_device), data_root
    )
