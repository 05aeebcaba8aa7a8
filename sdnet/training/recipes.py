"""Training recipes: numbers only. ``paper`` is Sec. 4 of the paper, the others are the same thing smaller."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from sdnet.names import unknown_name
from sdnet.parameters import Amount, Batch, Count, Fraction, Natural, Rate, check_fields

SCHEDULES = ("cosine", "steps")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with momentum on the cross-entropy.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step.
        lr: peak learning rate.
        momentum, nesterov, weight_decay: of SGD. Weight decay acts on every parameter but a λ that is learned, on the
            dictionary too, as in the authors' code; the projection undoes its effect on the atoms' lengths.
        schedule: ``"cosine"`` from the peak to zero, step by step, or ``"steps"``: ÷10 at each milestone.
        milestones: epochs, for ``"steps"``, which needs them; no other schedule has any.
        warmup: fraction of the training over which the learning rate rises linearly to its peak.
        padding: zero padding of the random crops, in pixels; photographs are cropped without.
        noise: standard deviation of the Gaussian noise that every other training image gets, in units of pixels
            in [0, 1]; 0, as in the paper, for none; photographs get none. 0.1 is Kireev et al.'s (2021) baseline
            against corruptions.
        width: channels of the network's first stage.

    Raises:
        ValueError: for a value of another type, or out of the range that its annotation names.
    """

    epochs: Count
    batch_size: Batch = 128
    lr: Rate = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = True
    weight_decay: Amount = 5e-4
    schedule: str = "cosine"
    milestones: tuple[Natural, ...] = ()
    warmup: Fraction = 0.0
    padding: Natural = 4
    noise: Amount = 0.0
    width: Count = 64

    def __post_init__(self) -> None:
        check_fields(self)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum > 0; got momentum 0. Choose nesterov=False without momentum.")
        if self.schedule not in SCHEDULES:
            raise ValueError(unknown_name("schedule", self.schedule, SCHEDULES))
        if self.schedule != "steps" and self.milestones:
            raise ValueError(
                f"milestones {list(self.milestones)} have no effect with schedule {self.schedule!r}; choose schedule "
                "'steps', or no milestones, []."
            )
        if self.schedule == "steps" and not self.milestones:
            raise ValueError(
                "schedule 'steps' needs milestones, the epochs of its steps; got none. Give some, as 30,60."
            )

    @property
    def recorded(self) -> dict[str, Any]:
        """The numbers as they stand in a record of the ledger: a milestone's tuple is a list there."""
        numbers: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return numbers

    def lr_factor(self, progress: float) -> float:
        """The learning rate as a fraction of its peak, after a fraction ``progress`` in [0, 1) of the training."""
        if progress < self.warmup:
            return (progress + 1e-3) / (self.warmup + 1e-3)
        if self.schedule == "steps":
            return 0.1 ** sum(progress * self.epochs >= milestone for milestone in self.milestones)
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


PRESETS = {
    "paper": Recipe(epochs=220),
    "paper_imagenet": Recipe(epochs=100, batch_size=512, weight_decay=1e-4, schedule="steps", milestones=(30, 60, 90)),
    "quick": Recipe(epochs=15, warmup=0.2, width=16),
    "smoke": Recipe(epochs=2, batch_size=32, warmup=0.2, padding=2, width=16),
}
"""``paper``: CIFAR, on a GPU. ``quick``: minutes to an hour on two CPU cores. ``smoke``: seconds."""


def recipe(preset: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: naming the presets that exist.
    """
    if preset not in PRESETS:
        raise ValueError(unknown_name("preset", preset, PRESETS))
    return PRESETS[preset]
