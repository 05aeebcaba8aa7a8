"""Figures of training runs: what the curves draw, and which runs are shown."""

import pytest

from sdnet.experiments.accuracy.curves import learning_curves, longest
from sdnet.results import ledger


def test_learning_curves_draw_the_ledger() -> None:
    record = ledger.start().record(
        experiment="train", config={"arch": "sdnet18", "dataset": "digits", "seed": 0}, data_hash="", device={},
        results=[],
        history=[{"epoch": e, "loss": 1 / e, "train_accuracy": 1 - 0.1 / e} for e in (1, 2, 3)],
    )  # fmt: skip
    figure = learning_curves([record])
    (line,) = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    assert line.get_ydata() == pytest.approx([1, 1 / 2, 1 / 3])


def test_the_longest_runs_of_each_data_set_are_shown() -> None:
    from sdnet.training.declaration import training

    def record(experiment: str = "train", **declared: object) -> ledger.Record:
        config = training("sdnet18", str(declared.pop("dataset", "cifar10")), "quick", **declared).config
        return ledger.start().record(experiment=experiment, config=config, data_hash="", device={}, results=[])

    short, long, wide = record(epochs=2), record(epochs=15), record(epochs=1, width=32)
    other = record(dataset="digits", epochs=1)
    assert longest([short, long, other, record("sweep", epochs=99)]) == [long, other]
    assert longest([short, long, wide]) == [wide]
    assert longest([]) == []
