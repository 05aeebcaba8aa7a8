"""What `launch` refuses before it starts a rank, and how a rank tells its agent not to start it again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from sdnet.cli import launch, main
from sdnet.training.agent import AGENT, refuse

TRAIN = ("--dataset", "digits", "--preset", "smoke")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--dataset", "nowhere"), 1, "Error: dataset 'nowhere' does not exist"),
        ((*TRAIN, "--accumulate", "1000"), 1, "Error: accumulate 1000 on 2 ranks leaves fewer than two images"),
        ((*TRAIN, "--hold-out", "0.9999"), 1, "Error: hold_out 0.9999 leaves 0 of 1437 training images"),
        ((*TRAIN, "--lam", "-1"), 1, "Error: --lam must be finite and >= 0"),
        ((*TRAIN, "--data-root", "nope"), 1, "Error: data_root 'nope' has no effect on dataset 'digits', which comes"),
        ((*TRAIN, "--nothing", "1"), 2, "Error: No such option"),
        (
            ("--max-restarts", "-1", *TRAIN),
            1,
            "Error: --max-restarts must be an integer >= 0, at most 1,000,000; got '-1'",
        ),
        (("--nodes", "0", *TRAIN), 1, "Error: --nodes must be an integer >= 1, at most 1,000,000; got '0'"),
        (("--nodes", "2", *TRAIN), 1, "Error: 2 nodes need an endpoint to meet at"),
    ],
    ids=str,
)
def test_launch_refuses_before_a_rank_starts(
    folders: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.setattr(launch, "start_ranks", lambda *_, **__: pytest.fail("starts"))
    monkeypatch.setenv("SDNET_DATA", str(folders))
    result = CliRunner().invoke(main, ["launch", "--ranks-per-node", "2", *options])
    assert result.exit_code == code, result.output
    assert message in result.output


def test_launch_starts_ranks_with_the_options_of_train(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(launch, "start_ranks", lambda *given, **options: started.append((*given, options)))
    result = CliRunner().invoke(main, ["launch", "--ranks-per-node", "2", *TRAIN, "--epochs", "1"])
    assert result.exit_code == 0, result.output
    ((arguments, options),) = started
    assert arguments == ("train", *TRAIN, "--epochs", "1")
    assert (options["ranks_per_node"], options["max_restarts"]) == (2, 3)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """This process as an agent, and the signals that it got."""
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    monkeypatch.setenv(AGENT, f"{os.getpid()}:{tmp_path / 'refused'}")
    yield got
    signal.signal(signal.SIGTERM, before)


def test_of_several_ranks_that_refuse_one_tells_the_agent(told: list[int], tmp_path: Path) -> None:
    refuse()
    refuse()
    assert told == [signal.SIGTERM]
    assert (tmp_path / "refused").exists()


def test_a_user_s_mistake_is_told_to_the_agent(told: list[int], folders: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--dataset", "nowhere", "--data-root", str(folders)])
    assert result.exit_code == 1
    assert told == [signal.SIGTERM]


def test_without_an_agent_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AGENT, raising=False)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("tells"))
    refuse()
