"""SIGTERM and Ctrl-C: saved work, and an exit code that says so, instead of a dead process."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sdnet.training.distributed import Preempted, launched

SIGNALS = (signal.SIGTERM, signal.SIGINT)
Handler = Callable[[int, FrameType | None], None]


@contextmanager
def preemption() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and Ctrl-C into a question: has one arrived? Until it is asked, the work goes on.

    A second Ctrl-C interrupts at once, unless an agent, which sends several, has started this process.
    """
    arrived: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and arrived and not launched():
            raise KeyboardInterrupt
        arrived.append(number)

    with _handled_by(note):
        yield lambda: bool(arrived)


@contextmanager
def stoppable() -> Iterator[None]:
    """End what is computed here at once on SIGTERM or Ctrl-C, as a run that can be started again to go on.

    Raises:
        Preempted: when a signal arrives.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise Preempted(
            f"got {signal.Signals(number).name} outside of the training steps; what they had saved stays. Start it "
            "again to go on."
        )

    with _handled_by(stop):
        yield


@contextmanager
def _handled_by(handler: Handler) -> Iterator[None]:
    """Signals go to the handler (in a thread that is not the main one they are left alone)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, handler)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, earlier in before:
            signal.signal(number, earlier)
