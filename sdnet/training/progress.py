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
    """A step-by-step bar if standard error is a terminal; in a notebook or a log, a line with a bar per epoch.

    Starts at ``first_epoch`` and ``first_step`` of it; ``quiet``, for all ranks but one, shows nothing.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, first_epoch: int = 0, first_step: int = 0, *, quiet: bool = False
    ) -> None:
        self.epochs, self.start, self.quiet = epochs, time.monotonic(), quiet
        self.first = first_epoch + first_step / steps_per_epoch
        self.live = sys.stderr.isatty() and not quiet
        initial = first_epoch * steps_per_epoch + first_step
        self.bar = tqdm(total=epochs * steps_per_epoch, initial=initial, unit="step", disable=not self.live)

    def step(self) -> None:
        """One optimizer step was made."""
        self.bar.update()

    def epoch(self, epoch: int, **numbers: float) -> None:
        """An epoch (counted from 1) has ended with these numbers."""
        values = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self.quiet:
            return
        if self.live:
            self.bar.set_description(f"epoch {epoch}/{self.epochs}  {values}")
            return
        left = (time.monotonic() - self.start) / max(epoch - self.first, 1e-9) * (self.epochs - epoch)
        filled = round(20 * epoch / self.epochs)
        bar = "█" * filled + "░" * (20 - filled)
        print(f"{bar} epoch {epoch:>3}/{self.epochs}  {values}  {duration(left)} left", flush=True)

    def close(self) -> None:
        self.bar.close()
