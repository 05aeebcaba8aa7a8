"""Measurements that take long keep what is done, so that a run that was stopped or killed resumes where it was."""

import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from sdnet.names import sha256_of
from sdnet.results.ledger import Start
from sdnet.training.checkpoint import load_checkpoint, locked, save_checkpoint
from sdnet.training.distributed import Preempted
from sdnet.training.stopping import signals_wait

T = TypeVar("T")


class Keep(Protocol):
    """Gives a part of a measurement by name: computed, or as it was kept by a run that was stopped."""

    def __call__(self, name: str, compute: Callable[[], T], /) -> T: ...


def computed(name: str, compute: Callable[[], T]) -> T:
    """Computes every part and keeps none."""
    return compute()


class Unfinished:
    """The parts of one measurement that are done, in a file that is there until the measurement is finished.

    A part is what :func:`torch.save` writes of plain values, lists, dictionaries and tensors; it must depend on nothing
    but what the key names. A ``with`` statement resumes it, turns Ctrl-C into :class:`Preempted`, and raises a
    :class:`ValueError` where another process is at the same measurement.

    Args:
        folder: for the file. What cannot be written costs a sentence, and the run goes on without it.
        name: of the file, before the key.
        key: everything that the parts depend on, as JSON can hold it; another key is another file.
        start: when this run began; :attr:`start` is moved back by the time that earlier runs took.
    """

    def __init__(self, folder: Path, name: str, key: dict[str, Any], start: Start) -> None:
        self.key = sha256_of(key)
        self.path, self.start, self.kept = folder / f"{name}-{self.key[:16]}.pt", start, True
        self.parts: dict[str, Any] = {}
        self._stack = ExitStack()

    def __call__(self, name: str, compute: Callable[[], T], /) -> T:
        if name not in self.parts:
            value = compute()
            with signals_wait():
                self.parts[name] = value
                self._write()
        part: T = self.parts[name]
        return part

    def __enter__(self) -> "Unfinished":
        lock = locked(self._lock, "this measurement", f"{escape(self.path.stem)}.*.part")
        with suppress(OSError):  # where it cannot be written, nothing is kept either
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(lock)
        self._read()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()
        if isinstance(error, KeyboardInterrupt):
            done = f"{len(self.parts)} parts are done and kept in {self.path}" if self.kept else "nothing is kept"
            raise Preempted(f"told to stop; {done}. Start it again to resume.") from None

    def remove(self) -> None:
        """Delete the file, and its lock."""
        with suppress(OSError):  # as where it could not be written
            self.path.unlink(missing_ok=True)
            self._lock.unlink(missing_ok=True)
            self.path.parent.rmdir()  # which fails while others are unfinished

    @property
    def _lock(self) -> Path:
        return self.path.with_suffix(".lock")

    def _read(self) -> None:
        if not self.path.is_file():
            return
        try:
            state = load_checkpoint(self.path)
            if state["key"] != self.key:
                raise ValueError("it belongs to another")
            self.parts, seconds = dict(state["parts"]), float(state["seconds"])
            self.start = replace(self.start, started=str(state["started"]), clock=self.start.clock - seconds)
        except (KeyError, TypeError, ValueError) as error:
            why = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
            print(f"Starting over: {self.path} does not hold what is done of this run ({why}).", flush=True)
            return
        print(f"Resuming: {len(self.parts)} parts of this run are done ({self.path}).", flush=True)

    def _write(self) -> None:
        seconds = time.monotonic() - self.start.clock
        state = {"key": self.key, "started": self.start.started, "seconds": seconds, "parts": self.parts}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(self.path, state)
        except (OSError, RuntimeError) as error:
            if self.kept:
                print(f"Cannot keep what is done in {self.path} ({error}): if it is stopped, this run starts over.")
            self.kept = False
        else:
            self.kept = True
