"""Each command says beforehand about how long it takes: by the ledger, or by a batch timed here."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from toys import TINY, untrained

from sdnet.cli import main
from sdnet.results import ledger
from sdnet.training.declaration import Training


@pytest.fixture
def network(folders: Path) -> str:
    folder = folders / "sdnet18-digits-smoke"
    folder.mkdir()
    return str(untrained(folder / "network.safetensors", **TINY))


@pytest.mark.parametrize(
    "options",
    [
        "sweep --corruption gaussian_noise --strength 0.1",
        "policies --policy residual_fit --images 20",
        "attack --images 2 --protocol oblivious --no-sanity --steps 1",
        "visual --images 2 --method inversion --depth stem --steps 1",
    ],
)
def test_a_measurement_says_how_long_it_takes(
    network: str, options: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ledger, "repository_data", lambda: tmp_path)  # nothing similar is known at first
    command, *rest = options.split()
    arguments = [command, network, "--preset", "smoke", "--device", "cpu", *rest]
    first = CliRunner().invoke(main, arguments)
    assert first.exit_code == 0, first.output
    said, row = [line for line in first.output.splitlines() if line.startswith((command, "Ledger row"))]
    assert said.startswith(f"{command} of sdnet18-digits-smoke")
    assert said.endswith(" on cpu (by a batch timed here)")
    assert row.startswith("Ledger row: ")
    assert "on cpu (by 1 row of the same network)" in CliRunner().invoke(main, arguments).output


def test_the_ablations_say_how_long_all_of_them_take(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdnet.experiments.ablations import grid

    monkeypatch.setattr(grid, "run", lambda *_, **__: None)
    monkeypatch.setattr(Training, "load", lambda *_, **__: None)  # the data need not be there
    arguments = [
        "ablate",
        "--group",
        "iterations",
        "--preset",
        "quick",
        "--dataset",
        "cifar10",
        "--seed",
        "99",  # which nobody has trained
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "8 networks to train and sweep: about " in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("sweep --knob nope", "knob 'nope' does not exist"),
        ("pursuit --preset nope", "preset 'nope' does not exist"),
        ("attack --knob nope", "knob that gradients pass through 'nope' does not exist"),
        ("visual --preset nope", "preset 'nope' does not exist"),
    ],
)
def test_what_is_wrong_is_said_as_before(network: str, options: str, message: str) -> None:
    command, *rest = options.split()
    result = CliRunner().invoke(main, [command, network, *rest])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
