"""Devices by name, and what a person sees who names one that is not here."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from sdnet.cli import main
from sdnet.runtime import device_of


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)


@pytest.mark.usefixtures("two_gpus")
def test_the_accelerator_comes_first_and_has_an_index() -> None:
    assert device_of() == torch.device("cuda")
    assert device_of("cuda:1") == device_of(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device 'cuda:2' does not exist"):
        device_of("cuda:2")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    "command",
    [
        ["train", "--dataset", "digits", "--preset", "smoke"],
        ["bench", "csc", "--repeats", "2"],
        ["bench", "networks", "--width", "2", "--batch", "2"],
    ],
)
@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:x"])
def test_a_device_that_is_not_here_is_said_in_one_sentence(command: list[str], device: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*command, "--device", device], env={"SDNET_OUTPUT": str(tmp_path)})
    assert result.exit_code == 1
    assert f"Error: device '{device}' does not exist." in result.output
    assert "cpu" in result.output


def test_one_repeat_has_no_quartiles() -> None:
    result = CliRunner().invoke(main, ["bench", "csc", "--repeats", "1", "--device", "cpu"])
    assert result.exit_code == 1
    assert "Error: repeats must be at least 2, since quartiles need two; got 1." in result.output
