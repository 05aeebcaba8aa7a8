"""A training run in progress: how far it has come, and how it is saved and taken up again."""

import math
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdnet.csc.lam import coding_layers
from sdnet.csc.lasso import NotFinite
from sdnet.training.checkpoint import (
    check_numbers,
    check_shapes,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)
from sdnet.training.distributed import Ranks, fingerprint
from sdnet.training.recipes import Recipe


class Diverged(RuntimeError):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean loss and accuracy on the augmented training images, learning rate, wall time."""

    epoch: int
    loss: float
    train_accuracy: float
    lr: float
    seconds: float


@dataclass
class BestEpoch:
    """The epoch after which the network was most accurate, the first of several; see ``keep`` of a training.

    Attributes:
        judge: the accuracy of a network, in [0, 1]. It must leave the network as it is.
        accuracies: one per finished epoch.
        weights: the network's state dict after the best of them.
    """

    judge: Callable[[nn.Module], float]
    accuracies: list[float] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def look(self, model: nn.Module) -> None:
        """An epoch has ended: judge the network, and keep its weights if it was never better."""
        accuracy = self.judge(model)
        if accuracy > max(self.accuracies, default=-math.inf):
            self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.accuracies.append(accuracy)

    @property
    def epoch(self) -> int:
        """Number of the best epoch, from 1."""
        return 1 + self.accuracies.index(max(self.accuracies))


class Run:
    """Network, optimizer, and position: finished epochs, and of the current one the steps made, totals and seconds.

    Args:
        path: the checkpoint; None for a run that is not saved.
        key: identifies the run, configuration and data: a name, or a dictionary of names and values. A checkpoint with
            another key is refused.
        clock: ``time.monotonic()`` at the run's begin, earlier processes of it included; None: now.
        best: if the best epoch is to be kept.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ranks: Ranks,
        path: Path | None,
        key: Any,
        clock: float | None = None,
        best: BestEpoch | None = None,
    ) -> None:
        self.best = best
        self.model, self.optimizer, self.ranks, self.path, self.key = model, optimizer, ranks, path, key
        self.clock = time.monotonic() if clock is None else clock
        self.device = next(model.parameters()).device
        self.history: list[Epoch] = []
        self.step, self.seconds = 0, 0.0
        self.totals = torch.zeros(3, device=self.device)  # loss, correct, count over this rank's images

    def advance(self, seconds: float) -> None:
        """One more step was made; ``seconds`` is the wall time of the epoch so far."""
        self.step, self.seconds = self.step + 1, seconds

    def check_finite(self, recipe: Recipe) -> None:
        """Look at the loss of all ranks.

        Raises:
            Diverged: on all ranks, if it is not finite.
        """
        if not math.isfinite(self.ranks.all_reduce(self.totals)[0].item()):
            raise self._diverged(recipe)

    @contextmanager
    def kept_finite(self, recipe: Recipe) -> Iterator[None]:
        """Within, NaN or infinity that a layer is given, as its signal or its λ, counts as a loss that is not finite.

        Raises:
            Diverged: on this rank.
        """
        try:
            yield
        except NotFinite:
            raise self._diverged(recipe) from None

    def _diverged(self, recipe: Recipe) -> Diverged:
        return Diverged(
            f"the loss is no longer finite in epoch {len(self.history) + 1}; lr={recipe.lr} is too large for this "
            "network and batch size. Lower it (the paper's is 0.1 at batch size 128)."
        )

    def finish_epoch(self, lr: float) -> Epoch:
        """Close the epoch: its row, from all ranks' images."""
        loss, correct, count = self.ranks.all_reduce(self.totals).tolist()
        row = Epoch(len(self.history) + 1, loss / count, correct / count, lr, self.seconds)
        self.history.append(row)
        self.step, self.seconds = 0, 0.0
        self.totals = torch.zeros_like(self.totals)
        if self.best is not None:
            self.best.look(self.model)
        return row

    def save(self) -> None:
        """Write the checkpoint, at once or not at all; every rank calls this at the same step.

        Raises:
            ValueError: on all ranks, if their weights are no longer equal bit by bit.
        """
        if self.path is None:
            return
        if self.ranks.size > 1:
            self.ranks.assert_same("the weights", fingerprint(self.model))
        random = self.ranks.all_gather(random_state(self.device))
        totals = self.ranks.all_reduce(self.totals)
        # From here on the main process carries the sums for all, as a run resumed from this checkpoint does.
        self.totals = totals if self.ranks.is_main else torch.zeros_like(totals)
        if self.ranks.is_main:
            position = {"step": self.step, "seconds": self.seconds, "totals": totals.cpu(), "random": random}
            history = [asdict(row) for row in self.history]
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "history": history}
            if self.best is not None:
                state["best"] = {"accuracies": self.best.accuracies, "weights": self.best.weights}
            wall = time.monotonic() - self.clock
            save_checkpoint(self.path, {"key": self.key, "wall": wall, **state, **position})
        self.ranks.all_gather(None)  # no rank goes on, or ends, before the file is there

    def resume(self, epochs: int, steps: int) -> None:
        """Resume from the checkpoint if there is one: the main process reads it for all ranks.

        Args:
            epochs: of the whole training.
            steps: of each epoch.

        Raises:
            ValueError: if it belongs to another run, cannot be read, or does not fit network, optimizer and training.
        """
        state: dict[str, Any] | None = self.ranks.from_main(self._read)
        if state is None:
            return
        if len(state["history"]) > epochs or state["step"] > steps:
            raise ValueError(
                f"{self.path} is at step {state['step']} after epoch {len(state['history'])}, where this training has "
                f"{epochs} epochs of {steps} steps; delete it to start over."
            )
        try:
            self._take(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            why = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
            raise ValueError(f"{self.path} does not fit this training ({why}); delete it to start over.") from error

    def _take(self, state: dict[str, Any]) -> None:
        check_shapes("model", self.model.state_dict(), state["model"])
        self.model.load_state_dict(state["model"])
        saved = state["optimizer"]
        # Its numbers are the recipe's, which the key vouches for; what is taken is the momentum.
        pairs = zip(self.optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
        groups = [{**own, "params": its["params"]} for own, its in pairs]
        self.optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
        begun = state["history"] or state["step"]
        if begun and self.optimizer.defaults.get("momentum") and not self.optimizer.state:
            raise ValueError("its optimizer holds no momentum")
        for parameter, kept in self.optimizer.state.items():
            for name, tensor in kept.items():
                if tensor is not None and tensor.shape != parameter.shape:
                    wanted = tuple(parameter.shape)
                    raise ValueError(f"its {name} is of shape {tuple(tensor.shape)}, its parameter of {wanted}")
        self.history = [Epoch(**row) for row in state["history"]]
        self.step, self.seconds = state["step"], state["seconds"]
        if self.best is not None:
            accuracies, weights = state["best"]["accuracies"], state["best"]["weights"]
            if len(accuracies) != len(self.history):
                raise ValueError(f"it judges {len(accuracies)} of {len(self.history)} epochs")
            check_shapes("best.weights", self.model.state_dict() if accuracies else {}, weights)
            self.best.accuracies, self.best.weights = accuracies, weights
        if self.ranks.is_main:
            self.totals = state["totals"].to(self.device)
        if self.ranks.rank < len(state["random"]):
            set_random_state(state["random"][self.ranks.rank], self.device)

    def _read(self) -> dict[str, Any] | None:
        state = None if self.path is None else saved(self.path)
        if state is None:
            return None
        if state["key"] != self.key:
            raise ValueError(
                f"{self.path} belongs to another run: {_difference(state['key'], self.key)}; delete it to start over, "
                "or choose another output folder."
            )
        step = f", step {state['step']}" if state["step"] else ""
        print(f"Resuming after epoch {len(state['history'])}{step} of {self.path}.", flush=True)
        return state


def saved(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds, or None if there is none: among others the run's ``key``, ``history`` and ``wall``, the
    seconds that its processes took until they saved.

    Raises:
        ValueError: if the file is no checkpoint, one of an older version, one whose parts are not those that
            :meth:`Run.save` writes, or one with numbers to resume from that no training computes with
            (:func:`sdnet.training.checkpoint.check_numbers`).
    """
    if not path.exists():
        return None
    state = load_checkpoint(path)
    if not isinstance(state, dict) or "wall" not in state:
        raise ValueError(f"{path} was written by an older version; delete it to start over.")
    check_numbers(path, state, "delete it to start over")
    if fault := _fault(state):
        raise ValueError(f"{path} is no whole checkpoint: {fault}; delete it to start over.")
    return state


PARTS: Mapping[str, type] = {
    "wall": float, "step": int, "seconds": float, "totals": torch.Tensor, "random": list, "history": list,
    "model": dict, "optimizer": dict,
}  # fmt: skip
"""Of a checkpoint beside the key, which may be anything."""


def _fault(state: dict[str, Any]) -> str | None:
    """What is wrong with the parts of a checkpoint, as a clause; what they hold for a network is not looked at."""
    for name in ("key", *PARTS):
        if name not in state:
            return f"it has no {name}"
        part = state[name]
        kind: Any = PARTS.get(name, object)  # which mypy would narrow the part to
        if not isinstance(part, kind) or (kind in (int, float) and (isinstance(part, bool) or part < 0)):
            wanted = f"{kind.__name__}{' >= 0' if kind in (int, float) else ''}"
            return f"its {name} must be of type {wanted}; got {textwrap.shorten(repr(part), 60, placeholder=' ...')}"
    if state["totals"].shape != (3,):
        return f"its totals must be 3 numbers; got {state['totals'].numel()}"
    for number, row in enumerate(state["history"], start=1):
        kinds = {name: type(value) for name, value in row.items()} if isinstance(row, dict) else None
        if kinds != {of.name: of.type for of in fields(Epoch)} or row["epoch"] != number:
            return f"row {number} of its history is not that of an epoch"
    return None


def _difference(saved: Any, own: Any) -> str:
    """Two keys that differ, in words."""
    if isinstance(saved, Mapping) and isinstance(own, Mapping):
        for name in {**saved, **own}:
            if saved.get(name) != own.get(name):
                return f"its {name} is {saved.get(name)}, this run's is {own.get(name)}"
    return f"it is {saved}, this is {own}"


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD on all parameters; those that are a λ do not decay, since λ has a unit, and 0 is a choice like any other."""
    lams = {id(layer.lam) for _, layer in coding_layers(model) if isinstance(layer.lam, nn.Parameter)}
    groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) not in lams]}]
    if lams:
        groups.append({"params": [p for p in model.parameters() if id(p) in lams], "weight_decay": 0.0})
    return torch.optim.SGD(
        groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
    )
