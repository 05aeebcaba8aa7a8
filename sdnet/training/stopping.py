"""SIGTERM, Ctrl-C and a parent that is gone: saved work, and an exit code that says so, instead of a dead process."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from sdnet.training.distributed import Preempted, launched

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PARENT = "SDNET_PARENT"
"""Variable by which a process is told the number of the one that waits for it, and without which it shall not go on."""


def follow_parent(every: float = 0.5) -> None:
    """Send this process SIGTERM when nobody waits for it any longer: when the process that :data:`PARENT` names is
    gone, or, for a rank that an elastic agent started (``torchrun`` too), that agent. Others are left alone.

    Args:
        every: seconds between two looks.
    """
    named = os.environ.get(PARENT, "")
    if not named.isdecimal() and "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    own = os.getppid()

    def watch() -> None:
        while os.getppid() == own and (not named.isdecimal() or _exists(int(named))):
            time.sleep(every)
        with suppress(OSError):  # what the parent would have read
            print("The process that started this one is gone.", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="follow_parent", daemon=True).start()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


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
    """Within, SIGTERM and Ctrl-C end what is computed, as a run that can be started again to resume. Also a decorator.

    Raises:
        Preempted: when a signal arrives; ``done`` is what its message says.
    """

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt  # which no ``except RuntimeError`` takes for an error of the computation

    try:
        with handled_by(interrupt):
            yield
    except KeyboardInterrupt:
        raise Preempted(f"{done}. Start it again to resume.") from None


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
