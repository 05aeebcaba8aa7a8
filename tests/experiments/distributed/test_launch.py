"""Plans, their command and batch script, and how they end; with a Slurm of shell scripts."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from ranks import fake

from sdnet.cli import train as cli_train
from sdnet.experiments.accuracy import train
from sdnet.experiments.distributed import launch
from sdnet.experiments.distributed.plan import Plan, plan
from sdnet.results import ledger
from sdnet.training.agent import start_ranks
from sdnet.training.declaration import training
from sdnet.training.distributed import Preempted

IMAGENET = {"nodes": 2, "ranks_per_node": 4, "execution": {"workers": 6, "accumulate": 2}}


def small(**changes: object) -> Plan:
    return plan("sdnet18", "digits", "smoke", epochs=1, width=16, **changes)  # type: ignore[arg-type]


def test_the_plan_of_imagenet_on_two_nodes_needs_no_data() -> None:
    planned = plan("sdnet18", "imagenet", "paper_imagenet", images_per_second=500, **IMAGENET)
    assert (planned.ranks, planned.images_at_a_time, planned.steps) == (8, 32, 2503)
    assert planned.seconds == pytest.approx(100 * 1_281_167 / (8 * 500))
    text = str(planned)
    assert "512 = 8 ranks × 64 in 2 pieces" in text
    assert "100 epochs × 2,503 = 250,300" in text
    assert "about 8.9 h, if every rank does 500 images/s" in text


def test_the_memory_of_a_plan_is_that_of_a_real_step() -> None:
    """Counted on a network that computes nothing; here beside the same step computed."""
    planned = small(ranks_per_node=1)
    model = planned.training.build(10)
    images, labels = torch.rand(planned.images_at_a_time, 3, 32, 32), torch.zeros(planned.images_at_a_time).long()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    from sdnet.runtime import peak_bytes
    from sdnet.training.loop import training_step

    counted = peak_bytes(lambda: training_step(model, optimizer, images, labels, 0.1, "fp32"))
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert planned.memory() == pytest.approx(counted + weights, rel=0.1)


@pytest.mark.parametrize("arch", ["scn", "scn18", "mdeq"])
def test_the_memory_of_every_rival_can_be_planned(arch: str) -> None:
    assert plan(arch, "digits", "smoke", epochs=1, width=4, ranks_per_node=1).memory() > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nodes": 0}, "nodes must be an integer >= 1, at most 1,000,000; got 0"),
        ({"ranks_per_node": 40}, "a batch of 32 leaves fewer than two images for each of 40 parts"),
        ({"execution": {"accumulate": 0}}, "accumulate must be an integer >= 1"),
        ({"lam": -1.0}, "lam must be finite and >= 0"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**given)


def test_the_command_says_what_differs_from_the_defaults() -> None:
    planned = small(ranks_per_node=2, shortcut=False, execution={"save_every": 9, "workers": 4, "timeout": None})
    assert launch.command(planned, max_restarts=1) == (
        "python -m sdnet launch --ranks-per-node 2 --max-restarts 1 --arch sdnet18 --dataset digits --preset smoke "
        "--seed 0 --epochs 1 --set shortcut=false --save-every 9"
    )


def test_numbers_and_switches_are_read_from_the_spelling_of_a_command_line() -> None:
    spelt = {"save_every": "500", "sync_batchnorm": "no", "timeout": "3e2"}
    planned = small(nodes="2", ranks_per_node="1", execution=spelt, shortcut="false", images_per_second="90")
    assert planned == small(
        nodes=2, ranks_per_node=1, execution={"save_every": 500}, shortcut=False, images_per_second=90
    )
    options = cli_train.train.make_context("train", list(planned.options)).params
    where = [options.pop(name) for name in ("data_root", "output", "device")]
    assert where == [None, None, None]
    assert cli_train.declared(**options) == (planned.training, planned.execution)
    for wrong in ({"nodes": "two"}, {"images_per_second": -3}, {"execution": {"timeout": "x"}}, {"ranks_per_node": 0}):
        with pytest.raises(ValueError, match=r"nodes|images_per_second|timeout|ranks_per_node"):
            small(**wrong)


@pytest.mark.parametrize("given", [{"dry_run": "perhaps"}, {"port": "x"}, {"port": 0}, {"max_restarts": -1}])
def test_how_it_is_carried_out_is_read_too(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(given))} must be"):
        launch.carry_out(small(), "local", **given)  # type: ignore[arg-type]


def test_a_dry_run_may_be_refused_in_any_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(launch, "start", lambda plan, **_: started.append(plan))
    launch.carry_out(small(), "local", dry_run="false")  # type: ignore[arg-type]
    assert len(started) == 1


def test_the_batch_script_is_valid_bash_and_has_the_options_of_sbatch(folders: Path) -> None:
    planned = plan("sdnet18", "imagenet", "paper_imagenet", data_root="/data/with space", **IMAGENET)
    script = launch.slurm_script(planned, sbatch_options="--time=24:00:00 --partition=gpu", port=1234)
    lines = script.splitlines()
    for option in ("--nodes=2", "--gpus-per-node=4", "--cpus-per-task=28", "--signal=B:TERM@120", "--requeue"):
        assert f"#SBATCH {option}" in lines
    assert "#SBATCH --partition=gpu" in lines
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_a_job_is_submitted_and_followed_to_its_row(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = ledger.start().record(
        experiment="train", config={"arch": "sdnet18", "seed": 0}, data_hash="0", device={}, results=[]
    )
    row = ledger.write(record, folders / "ledger")
    planned = small()
    planned.log.parent.mkdir(parents=True)
    planned.log.write_text("Ledger row: of an earlier job\n")
    fake(folders / "bin", "sbatch", f'bash "$2" >> {planned.log}; echo "42;cluster"')
    fake(folders / "bin", "squeue", f"[ -e {folders}/seen ] || (touch {folders}/seen; echo 42)")
    monkeypatch.setenv("PATH", f"{folders / 'bin'}:{os.environ['PATH']}")
    assert launch.submit(planned, f"echo epoch 1\necho Ledger row: {row}\n", pause=0) == record
    said = capsys.readouterr().out
    assert said.startswith("Slurm job 42")
    assert "epoch 1" in said
    assert "earlier" not in said
    with pytest.raises(ValueError, match=r"left no row in the ledger; .*log.txt says why"):
        launch.submit(planned, "echo out of memory\n", pause=0)


def test_without_slurm_the_script_is_left_to_be_submitted_elsewhere(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folders))
    with pytest.raises(ValueError, match=r"there is no sbatch on this machine.*submit it with: sbatch .*job.sh"):
        launch.submit(small(), "echo\n")
    assert small().log.with_name("job.sh").read_text() == "echo\n"


def test_a_dry_run_starts_nothing(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.carry_out(small(), "local", dry_run=True, python="python") == []
    assert launch.carry_out(small(nodes=2), "slurm", dry_run=True, python="python", port=7) == []
    said = capsys.readouterr().out
    assert said == launch.command(small()) + "\n" + launch.slurm_script(small(nodes=2), port=7) + "\n"
    assert not list(folders.iterdir())


def test_launchers() -> None:
    with pytest.raises(ValueError, match=r"launcher 'slrum' does not exist. Did you mean 'slurm'"):
        launch.check_launcher("slrum", small())
    with pytest.raises(
        ValueError, match=r"sbatch_options '--time=1' have no effect with launcher 'local'; use 'slurm'"
    ):
        launch.carry_out(small(), "local", sbatch_options="--time=1")
    with pytest.raises(ValueError, match="starts ranks on this machine only; got nodes=2"):
        launch.check_launcher("local", small(nodes=2))


@pytest.mark.parametrize(("code", "error"), [(75, Preempted), (3, ValueError)])
def test_how_a_run_ended_is_said(folders: Path, code: int, error: type[Exception]) -> None:
    fake(folders / "bin", "python", f"echo out of memory\nexit {code}")
    with pytest.raises(error, match=r"told to stop|ended with code 3; .*log.txt says why"):
        launch.carry_out(small(), "local", python=str(folders / "bin" / "python"))
    assert small().log.read_text() == "out of memory\n"


def test_a_log_is_printed_while_it_grows_whole_characters_at_a_time(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, pieces = folders / "log.txt", ["earlier █".encode(), "epoch █".encode()[:-1], "█".encode()[-1:] + b" 1\n"]
    log.write_bytes(pieces.pop(0))
    seen: list[str] = []

    def alive() -> bool:
        seen.append(capsys.readouterr().out)
        with open(log, "ab") as file:
            file.write(pieces.pop(0))
        return bool(pieces)

    assert launch._followed(log, log.stat().st_size, alive, pause=0) == "epoch █ 1\n"
    assert seen == ["", "epoch "]


def test_what_a_run_says_has_no_reader_to_lose(folders: Path) -> None:
    """A notebook that is killed takes its end of a pipe along, and whoever prints to it next would die unsaved."""
    fake(folders / "bin", "python", "readlink /proc/$$/fd/1; echo of $SDNET_PARENT")
    with pytest.raises(ValueError, match="left no row"):
        launch.start(small(), python=str(folders / "bin" / "python"))
    assert small().log.read_text() == f"{small().log.resolve()}\nof {os.getpid()}\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ranks_per_node": 0}, "ranks_per_node must be an integer >= 1, at most 1,000,000; got 0"),
        ({"nodes": 2}, "2 nodes need an endpoint"),
        ({"nodes": 2, "node": 2, "endpoint": "a:1"}, "node must be from 0 to 1"),
    ],
)
def test_ranks_that_cannot_be_started(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        start_ranks(["train"], **given)  # type: ignore[arg-type]


def test_pieces_are_recorded(folders: Path) -> None:
    tiny = training("sdnet18", "digits", "smoke", epochs=1, width=2, atoms=4, hold_out=0.9)
    record = train.run(tiny, device="cpu", execution=train.Execution(accumulate=2)).record
    assert (record.config["ranks"], record.config["accumulate"]) == (1, 2)
