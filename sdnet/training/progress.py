"""What a person sees while a network trains: a bar in a terminal, one line per epoch elsewhere."""

import sys
import time

from tqdm import tqdm


def duration(seconds: float) -> str:
    """A duration for people: ``"42 s"``, ``"18 min"``, ``"3.2 h"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Progress:
    """A step-by-step bar if standard error is a terminal; in a notebook or a log, a line with a bar per epoch."""

    def __init__(self, epochs: int, steps_per_epoch: int, first_epoch: int = 0) -> None:
        self.epochs, self.first_epoch, self.start = epochs, first_epoch, time.monotonic()
        self.live = sys.stderr.isatty()
        self.bar = tqdm(
            total=epochs * steps_per_epoch, initial=first_epoch * steps_per_epoch, unit="step", disable=not self.live
        )

    def step(self) -> None:
        """One optimizer step was made."""
        self.bar.update()

    def epoch(self, epoch: int, **numbers: float) -> None:
        """An epoch (counted from 1) has ended with these numbers."""
        values = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self.live:
            self.bar.set_description(f"epoch {epoch}/{self.epochs}  {values}")
            return
        left = (time.monotonic() - self.start) / (epoch - self.first_epoch) * (self.epochs - epoch)
        filled = round(20 * epoch / self.epochs)
        bar = "█" * filled + "░" * (20 - filled)
        print(f"{bar} epoch {epoch:>3}/{self.epochs}  {values}  {duration(left)} left", flush=True)

    def close(self) -> None:
        self.bar.close()
