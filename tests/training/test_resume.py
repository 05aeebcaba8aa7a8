"""A checkpoint whose parts are missing, of other types or shapes, or out of range is named in one sentence."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdnet import CSCConv2d
from sdnet.training.checkpoint import load_checkpoint, save_checkpoint
from sdnet.training.distributed import ALONE
from sdnet.training.run import BestEpoch, Run

EPOCHS, STEPS = 3, 4


def begun(path: Path) -> Run:
    """A run that was never saved: a layer and a classifier, momentum, and a judge of epochs."""
    model = nn.Sequential(CSCConv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 2))
    return Run(model, torch.optim.SGD(model.parameters(), 0.1, 0.9), ALONE, path, "a", best=BestEpoch(lambda _: 0.5))


def stepped(run: Run) -> None:
    run.model(torch.rand(2, 1, 4, 4)).sum().backward()
    run.optimizer.step()
    run.totals += torch.tensor([1.0, 1.0, 2.0])
    run.advance(0.1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """After an epoch and a step."""
    run = begun(tmp_path / "checkpoint.pt")
    stepped(run)
    run.finish_epoch(0.1)
    stepped(run)
    run.save()
    return tmp_path / "checkpoint.pt"


Change = Callable[[dict[str, Any]], Any]
ROW = {"epoch": 1, "loss": 0.5, "train_accuracy": 0.5, "lr": 0.1, "seconds": 0.1}
PARTS = ("key", "step", "seconds", "totals", "random", "history", "model", "optimizer", "best")
GONE: dict[str, Change] = {f"no {name}": lambda state, name=name: state.pop(name) for name in PARTS}
CHANGES: dict[str, Change] = {
    **GONE,
    "history=3": lambda state: state.update(history=3),
    "a row is text": lambda state: state.update(history=["x"]),
    "a row lacks its loss": lambda state: state.update(history=[{"epoch": 1}]),
    "a row's loss is text": lambda state: state.update(history=[{**ROW, "loss": "x"}]),
    "a row of another epoch": lambda state: state.update(history=[{**ROW, "epoch": 7}]),
    "more epochs than there are": lambda state: state.update(history=[{**ROW, "epoch": n} for n in range(1, 9)]),
    "step='x'": lambda state: state.update(step="x"),
    "step=-5": lambda state: state.update(step=-5),
    "step=1e6": lambda state: state.update(step=10**6),
    "step=True": lambda state: state.update(step=True),
    "wall='x'": lambda state: state.update(wall="x"),
    "wall=-1.0": lambda state: state.update(wall=-1.0),
    "totals of 7": lambda state: state.update(totals=torch.zeros(7)),
    "totals as a list": lambda state: state.update(totals=[0.0, 0.0, 0.0]),
    "random is text": lambda state: state.update(random="x"),
    "random is short": lambda state: state.update(random=[[torch.zeros(7, dtype=torch.uint8)]]),
    "random is of floats": lambda state: state.update(random=[[torch.zeros(5056)]]),
    "random is empty": lambda state: state.update(random=[[]]),
    "a tensor is gone": lambda state: state["model"].pop("0.weight"),
    "a tensor too many": lambda state: state["model"].update(more=torch.ones(1)),
    "a tensor is a number": lambda state: state["model"].update({"2.bias": 3}),
    "another shape": lambda state: state["model"].update({"2.bias": torch.ones(5)}),
    "a λ of another shape": lambda state: state["model"].update({"0.lam": torch.ones(5)}),
    "momentum of another shape": lambda state: state["optimizer"]["state"][0].update(momentum_buffer=torch.ones(5)),
    "no momentum": lambda state: state["optimizer"].update(state={}),
    "no groups": lambda state: state["optimizer"].pop("param_groups"),
    "more groups": lambda state: state["optimizer"]["param_groups"].append({"params": [9]}),
    "an accuracy is gone": lambda state: state["best"].update(accuracies=[]),
    "best weights of another shape": lambda state: state["best"]["weights"].update({"2.bias": torch.ones(5)}),
}


@pytest.mark.parametrize("change", list(CHANGES.values()), ids=list(CHANGES))
def test_a_checkpoint_with_a_fault_is_refused(checkpoint: Path, change: Change) -> None:
    state = load_checkpoint(checkpoint)
    change(state)
    save_checkpoint(checkpoint, state)
    with pytest.raises(ValueError, match=r"checkpoint\.pt .*; delete it to start over") as found:
        begun(checkpoint).resume(EPOCHS, STEPS)
    assert "\n" not in str(found.value)


def test_the_numbers_of_the_optimizer_are_the_recipes(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    state["optimizer"]["param_groups"][0].update(weight_decay=math.pi)
    state["optimizer"]["param_groups"][0].pop("momentum")
    save_checkpoint(checkpoint, state)
    run = begun(checkpoint)
    run.resume(EPOCHS, STEPS)
    assert (len(run.history), run.step, run.totals.tolist()) == (1, 1, [1, 1, 2])
    assert run.optimizer.param_groups[0]["weight_decay"] == 0
    assert run.optimizer.param_groups[0]["momentum"] == 0.9
    torch.testing.assert_close(run.optimizer.state_dict()["state"], state["optimizer"]["state"])
