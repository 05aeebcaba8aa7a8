"""Doing the campaign: runs in their order, each in a process of its own, as many as fit into a budget.

Nothing is remembered but the ledger, networks and checkpoints: after a kill, the same command resumes. A lock per run,
held by the process that does it, keeps two campaigns from doing the same thing twice.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sdnet.experiments.campaign.cost import total
from sdnet.experiments.campaign.plan import fits, plan
from sdnet.experiments.campaign.runs import DONE, Run, network_file
from sdnet.experiments.campaign.status import Standing, standings, unfinished
from sdnet.results import ledger
from sdnet.results.ledger import rows_here
from sdnet.training.distributed import PREEMPTED, Preempted
from sdnet.training.progress import duration
from sdnet.training.stopping import handled_by

COMMAND = (sys.executable, "-m", "sdnet")
POLL = 0.2
"""Seconds between two looks at the processes."""
GRACE = 300
"""Seconds that a run gets to save once it is told to stop."""


@dataclass(frozen=True, eq=False)
class Job:
    """A run that is being done."""

    run: Run
    process: "subprocess.Popen[bytes]"
    log: Path
    began: float

    def outcome(self, device_type: str) -> str:
        """What became of it, as a sentence; it has ended."""
        code, took = self.process.returncode, duration(time.monotonic() - self.began)
        if code in (PREEMPTED, -signal.SIGTERM):
            return f"{self.run.title}: stopped after {took}; the next campaign resumes it."
        if code:
            lines = self.log.read_text(errors="replace").splitlines()
            return f"{self.run.title}: failed after {took} ({(lines or ['no output'])[-1].strip()}); log {self.log}."
        if self.run.state(rows_here(), device_type)[0] != DONE:
            return (
                f"{self.run.title}: ended after {took} without a row that has all it was declared for; log {self.log}."
            )
        return f"{self.run.title}: done in {took}."


class Campaign:
    """A campaign in progress.

    Args:
        runs: in their order, the most valuable first.
        device: where they run.
        budget: wall time in seconds.
        workers: processes at a time, of one thread each.
        again: whether to do anew what was done by code that has changed since.
    """

    def __init__(
        self, runs: Sequence[Run], device: torch.device, budget: float, workers: int = 1, again: bool = False
    ) -> None:
        self.runs, self.device, self.budget, self.workers, self.again = runs, device, budget, workers, again
        self.started = time.monotonic()
        self.jobs: list[Job] = []
        self.messages: list[str] = []
        # What measures speed wants a machine of its own, and is short: it comes first.
        found = unfinished(standings(runs, rows_here(), device), again)
        self.waiting = sorted(found, key=lambda one: not one.run.alone)

    @property
    def time_left(self) -> float:
        """Seconds of the budget."""
        return self.budget - (time.monotonic() - self.started)

    def run(self) -> None:
        """Do what fits. Say beforehand what that is, and at the end what was done.

        Raises:
            Preempted: after SIGTERM or Ctrl-C, once the runs have saved and ended.
        """
        print(self.announcement(), flush=True)
        if not plan(self.waiting, self.budget, self.workers):
            return
        self.started = time.monotonic()
        arrived: list[int] = []
        with handled_by(arrived.append):
            while not arrived and (self._start_next() or self.jobs):
                time.sleep(POLL)
                self._collect()
                if self.jobs and self.time_left <= 0:
                    self._stop("the budget is spent")
            if arrived:
                self._stop("told to stop")
        outcome = ["What became of the runs:", *self.messages] if self.messages else ["Nothing was run."]
        print("\n".join(outcome), flush=True)
        if arrived:
            raise Preempted("told to stop; the same command resumes.")

    def announcement(self) -> str:
        """What is about to happen and about how long it takes; or why nothing is."""
        chosen = plan(self.waiting, self.budget, self.workers)
        if not self.waiting:
            return f"All {len(self.runs)} runs are done."
        if not chosen:
            known = [one for one in self.waiting if one.left.seconds is not None]
            shortest = min(known, key=lambda one: one.left.seconds or 0)
            return (
                f"No unfinished run fits into {duration(self.budget)}: the shortest, {shortest.run.title}, takes about "
                f"{shortest.left}."
            )
        cores = total(one.left for one in chosen)
        what = f"{len(chosen)} of {len(self.waiting)} unfinished runs, about {cores} of one core"
        head = f"{what}, within {duration(self.budget)} by {self.workers} at a time on {self.device.type}:"
        return "\n".join([head, *(f"  about {one.left!s:>8}  {one.run.title}" for one in chosen)])

    def _start_next(self) -> bool:
        """Start what may start now; whether anything was."""
        before = len(self.jobs)
        for one in list(self.waiting):
            busy = len(self.jobs) >= self.workers or any(job.run.alone for job in self.jobs)
            if busy or self.time_left <= 0:
                break
            ready = all(network_file(training) is not None for training in one.run.needs)
            if ready and fits(one, self.time_left) and not (one.run.alone and self.jobs):
                self.waiting.remove(one)
                self._start(one)
        return len(self.jobs) > before

    def _start(self, one: Standing) -> None:
        """Start a run, unless another campaign has it or has just done it."""
        run = one.run
        locks = ledger.ledger_folder() / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with open(locks / f"{run.name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say(f"{run.title}: left to another campaign, which is doing it now.")
                return
            state, row = run.state(rows_here(), self.device.type)
            if state == DONE and (one.row is None or row is None or row.started != one.row.started):
                self._say(f"{run.title}: another campaign has done it meanwhile.")
                return
            self._spawn(run, lock.fileno())

    def _spawn(self, run: Run, lock: int) -> None:
        log = ledger.output_folder() / "campaign" / f"{run.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        threads = {} if run.alone else {"OMP_NUM_THREADS": "1"}
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*COMMAND, *run.argv(str(self.device))],
                env={**os.environ, **threads}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                pass_fds=(lock,),  # the lock is the run's as long as it lives, whatever becomes of the campaign
                start_new_session=True,  # Ctrl-C reaches it through the campaign only
            )  # fmt: skip
        self.jobs.append(Job(run, process, log, time.monotonic()))
        print(f"Started {run.title}.", flush=True)

    def _collect(self) -> None:
        """Say what became of the runs that have ended."""
        for job in [job for job in self.jobs if job.process.poll() is not None]:
            self.jobs.remove(job)
            self._say(job.outcome(self.device.type))

    def _stop(self, reason: str) -> None:
        """Tell the runs to save and end, and wait for them."""
        if self.jobs:
            print(f"{reason.capitalize()}: {len(self.jobs)} runs are told to save.", flush=True)
        for job in self.jobs:
            job.process.terminate()
        for job in self.jobs:
            try:
                job.process.wait(GRACE)
            except subprocess.TimeoutExpired:
                job.process.kill()
                job.process.wait()
        self._collect()

    def _say(self, sentence: str) -> None:
        print(sentence, flush=True)
        self.messages.append(sentence)
