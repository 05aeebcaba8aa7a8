"""A process whose parent was killed saves and ends, where it was started to be waited for; others go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdnet.training.stopping import PARENT

STOPPING = Path(__file__).parents[2] / "sdnet" / "training" / "stopping.py"
CHILD = f"""
import importlib.util, sys, time, types
distributed = types.ModuleType("sdnet.training.distributed")  # torch, which it loads, takes seconds
distributed.Preempted, distributed.launched = RuntimeError, lambda: True
for package in ("sdnet", "sdnet.training"):
    sys.modules[package] = types.ModuleType(package)
sys.modules["sdnet.training.distributed"] = distributed
spec = importlib.util.spec_from_file_location("stopping", {str(STOPPING)!r})
stopping = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stopping)
with stopping.preemption() as told_to_stop:
    stopping.follow_parent(every=0.01)
    print("follows", flush=True)
    end = time.monotonic() + float(sys.argv[1])
    while not told_to_stop() and time.monotonic() < end:
        time.sleep(0.01)
print("saved" if told_to_stop() else "goes on", flush=True)
"""
PARENT_OF_IT = f"""
import os, subprocess, sys
if sys.argv[2] == "named":
    os.environ[{PARENT!r}] = str(os.getpid())
process = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[3]])
process.wait()
"""


@pytest.mark.parametrize(
    ("told", "variables", "seconds", "end"),
    [
        ("named", {}, 20, "saved"),
        ("not named", {"TORCHELASTIC_RUN_ID": "torchrun's"}, 20, "saved"),
        ("not named", {}, 0.3, "goes on"),  # nohup: nobody said that it must not
    ],
    ids=["launch", "torchrun", "nohup"],
)
def test_when_the_parent_is_killed(told: str, variables: dict[str, str], seconds: float, end: str) -> None:
    alone = {name: value for name, value in os.environ.items() if name not in (PARENT, "TORCHELASTIC_RUN_ID")}
    command = [sys.executable, "-c", PARENT_OF_IT, CHILD, told, str(seconds)]
    with subprocess.Popen(
        command, env={**alone, **variables}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "follows\n"
        time.sleep(0.1)  # alive, it tells nobody to stop
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert parent.stdout.read() == f"{end}\n"  # when the child has ended, too
