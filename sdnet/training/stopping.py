"""SIGTERM and Ctrl-C: saved work, and an exit code that says so, instead of a dead process."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sdnet.training.distributed import Preempted, launched

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def preemption() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and Ctrl-C into a question: has one arrived? Until it is asked, the work goes on.

    A second Ctrl-C interrupts at once, unless an agent, which sends several, has started this process.
    """
    arrived: list[int] = []

    def note(number: int) -> None:
        if number == signal.SIGINT and arrived and not launched():
            raise KeyboardInterrupt
        arrived.append(number)

    with handled_by(note):
        yield lambda: bool(arrived)


@contextmanager
def stoppable(done: str = "told to stop before anything was measured") -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C end what is computed, as a run that can be started again to go on. Also a decorator.

    Raises:
        Preempted: when a signal arrives; ``done`` is what its message says.
    """

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt  # which no ``except RuntimeError`` takes for an error of the computation

    try:
        with handled_by(interrupt):
            yield
    except KeyboardInterrupt:
        raise Preempted(f"{done}. Start it again to go on.") from None


@contextmanager
def signals_wait() -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C wait for the end: what is done here is done wholly or not at all."""
    arrived: list[int] = []
    with handled_by(arrived.append):
        yield
    if arrived:
        raise KeyboardInterrupt


@contextmanager
def handled_by(handler: Callable[[int], None]) -> Iterator[None]:
    """Signals go to the handler (in a thread that is not the main one they are left alone)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def handle(number: int, _: FrameType | None) -> None:
        if os.getpid() == process:
            handler(number)
        elif number == signal.SIGTERM:  # Ctrl-C reaches the parent too, which ends its readers of files itself
            os._exit(128 + number)

    before = [(number, signal.signal(number, handle)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, earlier in before:
            signal.signal(number, earlier)
