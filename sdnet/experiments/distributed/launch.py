"""Carry out a plan: start its ranks on this machine, or hand it to Slurm; follow the log; return the ledger's row."""

import os
import shlex
import subprocess
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from sdnet.experiments.distributed.plan import Plan
from sdnet.names import unknown_name
from sdnet.parameters import Natural, Range, read
from sdnet.results import ledger
from sdnet.results.ledger import Record
from sdnet.training.distributed import PREEMPTED, Preempted
from sdnet.training.stopping import PARENT

LAUNCHERS = ("local", "slurm")
GRACE = 120
"""Seconds before the end of its time, or of its stay on a node, at which Slurm tells a job to save."""

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={ranks}
#SBATCH --cpus-per-task={cores}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@{grace}
#SBATCH --requeue
{options}
# One agent per node; they meet at the first node. Slurm signals this script, which passes the signal on: the ranks
# save, everything ends with code {preempted}, and the job goes back to the queue to resume later.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=0 --cpus-per-task={cores} bash -c 'exec {python} -m sdnet launch \\
    --nodes {nodes} --node "$SLURM_NODEID" --ranks-per-node {ranks} --endpoint "$0:{port}" --wait {wait} \\
    --max-restarts {restarts} {train}' "$head" &
agents=$!
trap 'kill -TERM $agents' TERM
wait $agents
code=$?
while kill -0 $agents 2> /dev/null; do
    wait $agents
    code=$?
done
[ $code -eq {preempted} ] && scontrol requeue "$SLURM_JOB_ID"
exit $code
"""


def command(plan: Plan, *, python: str = "python", max_restarts: int = 3) -> str:
    """The shell command that runs the plan on this machine."""
    ranks = f"--ranks-per-node {plan.ranks_per_node} --max-restarts {max_restarts}"
    return f"{python} -m sdnet launch {ranks} {shlex.join(plan.options)}"


def slurm_script(
    plan: Plan,
    *,
    python: str = "python",
    max_restarts: int = 3,
    port: int = 29500,
    wait: int = 600,
    sbatch_options: str = "",
) -> str:
    """The batch script that runs the plan under Slurm, on one node or on several.

    Args:
        python: how Python is called on the nodes.
        port: of the first node, where the agents meet.
        wait: seconds for which the nodes wait for each other.
        sbatch_options: further options of ``sbatch``, for instance ``"--time=24:00:00 --partition=gpu"``.
    """
    options = "".join(f"#SBATCH {option}\n" for option in shlex.split(sbatch_options))
    return SCRIPT.format(
        name=plan.training.name,
        nodes=plan.nodes,
        ranks=plan.ranks_per_node,
        cores=plan.ranks_per_node * (plan.execution.workers + 1),
        log=plan.log,
        grace=GRACE,
        options=options,
        preempted=PREEMPTED,
        python=python,
        port=port,
        restarts=max_restarts,
        wait=wait,
        train=shlex.join(plan.options).replace("'", "'\\''"),
    )


def carry_out(
    plan: Plan,
    launcher: str,
    *,
    dry_run: bool = False,
    python: str | None = None,
    max_restarts: int = 3,
    port: int = 29500,
    sbatch_options: str = "",
) -> list[Record]:
    """Run the plan with a launcher, ``"local"`` or ``"slurm"``, and return its row. A ``dry_run`` only prints how.

    Args:
        python: how Python is called where the ranks run; None: as here.
        port, sbatch_options: as for :func:`slurm_script`.

    Raises:
        ValueError: for a launcher that does not exist or cannot carry out the plan, or if the run failed.
        Preempted: if the ranks were told to stop.
    """
    check_launcher(launcher, plan)
    dry_run, port = read("dry_run", dry_run, bool), read("port", port, Annotated[int, Range(1, 65535)])
    max_restarts = read("max_restarts", max_restarts, Natural)
    if launcher == "local" and sbatch_options:
        raise ValueError(f"sbatch_options {sbatch_options!r} have no effect with launcher 'local'; use 'slurm'.")
    where = {"python": python or shlex.quote(sys.executable), "max_restarts": max_restarts}
    if launcher == "local":
        if dry_run:
            print(command(plan, **where))  # type: ignore[arg-type]
            return []
        return [start(plan, **where)]  # type: ignore[arg-type]
    script = slurm_script(plan, **where, port=port, sbatch_options=sbatch_options)  # type: ignore[arg-type]
    if dry_run:
        print(script)
        return []
    return [submit(plan, script)]


def check_launcher(launcher: str, plan: Plan) -> None:
    """Refuse a launcher that does not exist or cannot carry out the plan.

    Raises:
        ValueError: naming the launchers, or saying why not.
    """
    if launcher not in LAUNCHERS:
        raise ValueError(unknown_name("launcher", launcher, LAUNCHERS))
    if launcher == "local" and plan.nodes > 1:
        raise ValueError(f"launcher 'local' starts ranks on this machine only; got nodes={plan.nodes}. Use 'slurm'.")


def start(plan: Plan, *, python: str = "python", max_restarts: int = 3) -> Record:
    """Run the plan on this machine, print what the ranks say while they say it, and return the ledger's row.

    Interrupted, it tells the ranks to save before it ends, and if this process is killed they do so by themselves;
    started again, they resume. What they say goes to the log, which is followed: it has no reader to lose.

    Raises:
        Preempted: if the ranks were told to stop.
        ValueError: if the run failed, with the place of the log.
    """
    check_launcher("local", plan)
    line = command(plan, python=python, max_restarts=max_restarts)
    plan.log.parent.mkdir(parents=True, exist_ok=True)
    before = _length(plan.log)
    with (
        open(plan.log, "a") as log,
        subprocess.Popen(
            shlex.split(line), stdout=log, stderr=subprocess.STDOUT, env={**os.environ, PARENT: str(os.getpid())}
        ) as process,
    ):
        try:
            output = _followed(plan.log, before, lambda: process.poll() is None, pause=0.2)
        except BaseException:
            process.terminate()
            raise
    code = process.returncode
    if code == PREEMPTED:
        raise Preempted(f"the run was told to stop; its checkpoint is in {plan.log.parent}. Start it again to resume.")
    if code:
        raise ValueError(f"the run ended with code {code}; {plan.log} says why.")
    return record_of(plan, output)


def submit(plan: Plan, script: str, *, pause: float = 10.0) -> Record:
    """Write the batch script beside the log, hand it to Slurm, and print the log while it grows, until the job ends.

    Args:
        pause: seconds between two looks.

    Raises:
        ValueError: if there is no Slurm on this machine (the script is written all the same), or the job failed.
    """
    path = plan.log.with_name("job.sh")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    before = _length(plan.log)
    try:
        done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise ValueError(
            f"there is no sbatch on this machine; on one with Slurm, submit it with: sbatch {path}"
        ) from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"sbatch refused {path}: {error.stderr.strip()}") from error
    job = done.stdout.strip().split(";")[0]
    print(f"Slurm job {job}; its log is {plan.log}", flush=True)

    def alive() -> bool:
        return bool(subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True).stdout.strip())

    return record_of(plan, _followed(plan.log, before, alive, pause))


def _length(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _followed(log: Path, start: int, alive: Callable[[], bool], pause: float) -> str:
    """What a log says from the byte ``start`` on, printed while it grows, until nobody is alive to write it.

    Args:
        pause: seconds between two looks.
    """
    output, decoder = "", getincrementaldecoder("utf-8")("replace")
    while True:
        going_on = alive()  # asked first: what was written before the end is read after it
        if log.exists():
            with open(log, "rb") as file:
                file.seek(start)
                new = file.read()
            start += len(new)
            text = decoder.decode(new)
            print(text, end="", flush=True)
            output += text
        if not going_on:
            return output
        time.sleep(pause)


def record_of(plan: Plan, output: str) -> Record:
    """The ledger's row that a run announced in what it said.

    Raises:
        ValueError: if it announced none.
    """
    rows = [line.removeprefix("Ledger row:").strip() for line in output.splitlines() if line.startswith("Ledger row:")]
    if not rows:
        raise ValueError(f"the run left no row in the ledger; {plan.log} says why.")
    path = Path(rows[-1])
    (record,) = [record for record in ledger.read(path.parent) if record.file_name == path.name]
    return record
