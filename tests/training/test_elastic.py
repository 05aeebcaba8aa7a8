"""Whole trainings under PyTorch's elastic agent: killed, preempted, over two nodes, and started wrongly."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ranks import fake, free_port
from safetensors.torch import load_file

from sdnet.experiments.distributed import launch
from sdnet.experiments.distributed.plan import plan
from sdnet.results import ledger
from sdnet.training.checkpoint import locked

pytestmark = pytest.mark.slow
TRAIN = ("--dataset", "digits", "--preset", "smoke", "--epochs", "2", "--save-every", "4")


def environment(folder: Path) -> dict[str, str]:
    # Equal bits need equal threads: they decide in which order a kernel adds up.
    folders = {"SDNET_OUTPUT": str(folder / "outputs"), "SDNET_LEDGER": str(folder / "ledger")}
    return {**os.environ, "OMP_NUM_THREADS": "1", **folders}


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sdnet", "launch", *options]
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen[str], code: int = 0, within: float = 240) -> str:
    try:
        said, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.terminate()  # the agent ends its ranks
        said = f"hangs: {process.communicate()[0]}"
    assert process.returncode == code, said
    return said


def stopped_by(number: int, folder: Path) -> str:
    """What a run on two ranks says that got a signal and has saved."""
    process = started(folder, "--ranks-per-node", "2", *TRAIN)
    wait_for_checkpoint(folder)
    process.send_signal(number)
    said = finished(process, code=75)
    assert "Stopped: told to stop; saved after step" in said
    return said


def trained(folder: Path, *options: str) -> dict[str, torch.Tensor]:
    """The weights that a run of its own leaves, which nothing disturbed."""
    finished(started(folder, *options, *TRAIN))
    return weights(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("outputs/*/network.safetensors")
    return load_file(path)


def one_row(folder: Path) -> ledger.Record:
    (record,) = ledger.read(folder / "ledger")
    return record


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def wait_for_checkpoint(folder: Path, within: float = 120) -> None:
    end = time.monotonic() + within
    while not list(folder.glob("outputs/*/checkpoint.pt")):
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.02)


def process_of_rank(rank: int, agent: int) -> int:
    """The process below ``agent`` that is this rank."""
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError(f"no rank {rank}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return trained(tmp_path_factory.mktemp("undisturbed"), "--ranks-per-node", "2")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_started_again_and_changes_no_bit(
    tmp_path: Path, undisturbed: dict[str, torch.Tensor], rank: int
) -> None:
    process = started(tmp_path, "--ranks-per-node", "2", "--max-restarts", "2", *TRAIN)
    wait_for_checkpoint(tmp_path)
    time.sleep(random.uniform(0, 1))  # whatever step that is
    os.kill(process_of_rank(rank, process.pid), signal.SIGKILL)
    said = finished(process)
    assert "Resuming after epoch" in said
    assert_equal(weights(tmp_path), undisturbed)
    assert one_row(tmp_path).config["ranks"] == 2


def test_a_run_that_is_killed_for_good_says_so(tmp_path: Path) -> None:
    process = started(tmp_path, "--ranks-per-node", "2", "--max-restarts", "0", *TRAIN)
    wait_for_checkpoint(tmp_path)
    os.kill(process_of_rank(1, process.pid), signal.SIGKILL)
    said = finished(process, code=1)
    assert "Error: rank 1 was killed by SIGKILL and the run has failed, after 0 restarts" in said
    assert "lost another rank" in said


def test_sigterm_saves_ends_with_75_and_the_run_goes_on_on_one_rank(tmp_path: Path) -> None:
    stopped_by(signal.SIGTERM, tmp_path)
    assert not list(tmp_path.glob("ledger/*.json"))
    said = finished(started(tmp_path, "--ranks-per-node", "1", *TRAIN, "--accumulate", "2"))
    assert "Resuming after epoch" in said
    assert one_row(tmp_path).config["ranks"] == 1


def test_two_nodes_train_together(tmp_path: Path, undisturbed: dict[str, torch.Tensor]) -> None:
    """Two agents, each with a rank of its own, which meet at a port of the loopback."""
    nodes = ("--nodes", "2", "--endpoint", f"127.0.0.1:{free_port()}")
    second = started(tmp_path, *nodes, "--node", "1", *TRAIN)
    first = started(tmp_path, *nodes, "--node", "0", *TRAIN)
    assert "Test accuracy" in finished(first) + finished(second)
    assert one_row(tmp_path).config["ranks"] == 2
    assert_equal(weights(tmp_path), undisturbed)


def test_a_rank_killed_on_one_node_is_started_again_on_both(
    tmp_path: Path, undisturbed: dict[str, torch.Tensor]
) -> None:
    nodes = ("--nodes", "2", "--endpoint", f"127.0.0.1:{free_port()}")
    first, second = (started(tmp_path, *nodes, "--node", node, *TRAIN) for node in ("0", "1"))
    wait_for_checkpoint(tmp_path)
    (victim,) = Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split()
    os.kill(int(victim), signal.SIGKILL)
    assert "Resuming after epoch" in finished(first) + finished(second)
    assert_equal(weights(tmp_path), undisturbed)


def test_the_batch_script_runs_two_nodes_and_is_requeued_when_preempted(tmp_path: Path) -> None:
    """With a Slurm of shell scripts: srun starts the command per node and passes on signals, as the real one does."""
    slurm = tmp_path / "slurm"
    fake(slurm, "scontrol", f'[ "$1" = requeue ] && echo "$2" > {tmp_path}/requeued || echo 127.0.0.1')
    fake(
        slurm,
        "srun",
        "shift 2\ntrap 'kill -TERM \"${tasks[@]}\"' TERM\n"
        'for node in 0 1; do SLURM_NODEID=$node "$@" & tasks+=($!); done\n'
        'worst=0\nfor task in "${tasks[@]}"; do wait $task; code=$?\n'
        "    while kill -0 $task 2> /dev/null; do wait $task; code=$?; done\n"
        "    [ $code -gt $worst ] && worst=$code\ndone\nexit $worst",
    )
    planned = plan("sdnet18", "digits", "smoke", epochs=2, nodes=2, ranks_per_node=1, execution={"save_every": 4})
    script = launch.slurm_script(planned, python=sys.executable, port=free_port())
    variables = {**environment(tmp_path), "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a[1-2]"}
    variables["PATH"] = f"{slurm}:{os.environ['PATH']}"

    def job() -> subprocess.Popen[str]:
        return subprocess.Popen(["bash", "-c", script], env=variables, stdout=subprocess.PIPE, text=True)

    first = job()
    wait_for_checkpoint(tmp_path)
    first.send_signal(signal.SIGTERM)
    finished(first, code=75)
    assert (tmp_path / "requeued").read_text() == "7\n"
    said = finished(job())
    assert "Resuming after epoch" in said
    assert one_row(tmp_path).config["ranks"] == 2


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("0", "Error: fewer than 2 nodes came to 127.0.0.1:"),
        ("1", "Error: node 1 of 2 cannot meet the others at 127.0.0.1:"),
    ],
)
def test_a_missing_node_ends_in_time(tmp_path: Path, node: str, message: str) -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    process = started(tmp_path, "--nodes", "2", "--node", node, "--endpoint", endpoint, "--wait", "3", *TRAIN)
    assert message in finished(process, code=1, within=90)


def test_a_busy_port_ends_at_once(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"127.0.0.1:{other.getsockname()[1]}"
        process = started(tmp_path, "--nodes", "2", "--endpoint", endpoint, *TRAIN)
        said = finished(process, code=1, within=90)
    assert f"cannot meet the others at {endpoint}: its port is busy; choose another" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hold-out", "0.1"), "ranks disagree about the data: rank 0 has {'images': 1"),
        (("--accumulate", "2"), "ranks disagree about how to train: rank 0 has {'accumulate': 1"),
        (("--save-every", "3"), "ranks disagree about how to train: rank 0 has {'accumulate': 1"),
    ],
)
def test_nodes_with_unequal_options_all_end_at_once(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    """What is no accident is not started again, although it might be."""
    nodes = ("--nodes", "2", "--endpoint", f"127.0.0.1:{free_port()}", "--max-restarts", "2")
    train = ("--dataset", "digits", "--preset", "smoke", "--epochs", "1")
    first = started(tmp_path, *nodes, "--node", "0", *train)
    second = started(tmp_path, *nodes, "--node", "1", *train, *options)
    for process in (first, second):
        said = finished(process, code=1)
        assert said.count(message) == 1
        assert "a rank refused to run, and all have ended" in said


def test_ctrl_c_saves_on_all_ranks(tmp_path: Path) -> None:
    assert "Stopped: got SIGINT and passed it on" in stopped_by(signal.SIGINT, tmp_path)


def test_a_run_that_is_under_way_is_not_started_again(tmp_path: Path) -> None:
    first = started(tmp_path, "--ranks-per-node", "2", *TRAIN)
    wait_for_checkpoint(tmp_path)
    (checkpoint,) = tmp_path.glob("outputs/*/checkpoint.pt")
    first.send_signal(signal.SIGTERM)
    finished(first, code=75)
    with locked(checkpoint.with_name("lock"), "this training"):
        said = finished(started(tmp_path, "--ranks-per-node", "2", *TRAIN), code=1)
    assert said.count("this training is running already, in process") == 1
    assert "a rank refused to run" in said
    finished(started(tmp_path, "--ranks-per-node", "2", *TRAIN))
    assert one_row(tmp_path).config["ranks"] == 2


def test_ranks_of_a_killed_agent_save_and_the_run_goes_on(tmp_path: Path, undisturbed: dict[str, torch.Tensor]) -> None:
    process = started(tmp_path, "--ranks-per-node", "2", *TRAIN)
    wait_for_checkpoint(tmp_path)
    process.kill()
    said, _ = process.communicate(timeout=60)  # ends when all who hold the pipe have
    assert "Stopped: told to stop; saved after step" in said
    assert not list(tmp_path.glob("ledger/*.json"))
    assert "Resuming after epoch" in finished(started(tmp_path, "--ranks-per-node", "2", *TRAIN))
    assert_equal(weights(tmp_path), undisturbed)


def test_a_launch_whose_notebook_is_killed_saves(tmp_path: Path) -> None:
    cell = (
        "from sdnet.experiments.distributed import launch, plan\n"
        "import sys, shlex\n"
        "planned = plan.plan('sdnet18', 'digits', 'smoke', epochs=2, ranks_per_node=2, execution={'save_every': 4})\n"
        "launch.start(planned, python=shlex.quote(sys.executable))"
    )
    notebook = subprocess.Popen([sys.executable, "-c", cell], env=environment(tmp_path), stdout=subprocess.DEVNULL)
    wait_for_checkpoint(tmp_path)
    (started_by_it,) = Path(f"/proc/{notebook.pid}/task/{notebook.pid}/children").read_text().split()
    notebook.kill()
    notebook.wait()
    end = time.monotonic() + 60
    while Path(f"/proc/{started_by_it}").exists():
        assert time.monotonic() < end, "launch goes on"
        time.sleep(0.1)
    (log,) = tmp_path.glob("outputs/*/log.txt")
    assert "Stopped: told to stop; saved after step" in log.read_text()
    assert "Stopped: got SIGTERM and passed it on" in log.read_text()
    assert not list(tmp_path.glob("ledger/*.json"))
