"""Whatever a measurement of a network was asked is in its configuration: another question has another hash."""

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from toys import TINY, untrained

from sdnet.cli import COMMANDS, evaluate, family, knob, main
from sdnet.experiments.layer import guarantee
from sdnet.experiments.visualisation import reconstruction
from sdnet.names import config_hash
from sdnet.results.evaluation import Evaluation
from sdnet.robust.policies import Policy

ELSEWHERE = ("data_root", "device", "output")
"""Parameters that no configuration holds: the row has the data's hash and the device, and output changes no result."""
QUESTIONS: dict[str, tuple[str, str]] = {
    "network": ("toy.safetensors", "other.safetensors"),
    "preset": ("--preset smoke", "--preset quick"),
    "images": ("--images 6", "--images 7"),
    "knob": ("--knob lam", "--knob quantisation"),
    "corruptions": ("--corruption shot_noise", "--corruption gaussian_noise"),
    "strengths": ("--strength 0.2", "--strength 0.3"),
    "official": ("--corruption gaussian_noise", "--corruption gaussian_noise --official CIFAR-10-C"),
    "only": ("--policy per_image", "--policy type_free"),
    "norms": ("--norm linf", "--norm l2"),
    "attacks": ("--attack pgd", "--attack fgsm"),
    "protocols": ("--protocol oblivious", "--protocol adaptive"),
    "crafted": ("--crafted 0.2", "--crafted 0.3"),
    "epsilon": ("--norm linf", "--norm linf --epsilon 0.01"),
    "units": ("--units pixels", "--units normalised"),
    "restarts": ("--restarts 1", "--restarts 2"),
    "source": ("--source toy.safetensors", "--source other.safetensors"),
    "policy": ("--policy policy.json", "--policy other.json"),
    "sanity": ("--sanity", "--no-sanity"),
    "precision": ("--precision fp32", "--precision bf16"),
    "methods": ("--method inversion", "--method decode"),
    "depths": ("--depth stem", "--depth stage1.block1.conv1"),
    "steps": ("--steps 2", "--steps 3"),
    "seed": ("--seed 0", "--seed 1"),
    "sigma": ("--sigma 0.2", "--sigma 0.3"),
    "samples": ("--samples 110", "--samples 111"),
    "attacked": ("--attacked", "--no-attacked"),
}
"""Parameter → two ways to ask."""


def measurements() -> dict[str, click.Command]:
    """The commands that measure a network and can be told how, by name."""
    found = {name: main.get_command(click.Context(main), name) for name in COMMANDS}
    return {name: made for name, made in found.items() if made and {"network"} < set(asked(made))}


def asked(command: click.Command) -> list[str]:
    """The parameters that a configuration has to hold."""
    return [str(param.name) for param in command.params if param.name not in ELSEWHERE]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks that can be decoded, two policies, and a folder of published noise."""
    folder = tmp_path_factory.mktemp("asked")
    for name in ("toy", "other"):
        untrained(folder / f"{name}.safetensors", "sdnet18_all", shortcut=False, **TINY)
    Policy("policy", 1, 0, 0.1, 0.5).save(folder / "policy.json")
    Policy("policy", 2, 0, 0.1, 0.5).save(folder / "other.json")
    (folder / "CIFAR-10-C").mkdir()
    (folder / "CIFAR-10-C" / "gaussian_noise.npy").touch()
    return folder


class Said(Exception):
    """What ends a run as soon as it has said what it is asked."""


@pytest.mark.parametrize("command", list(measurements()))
def test_another_question_has_another_hash(
    command: str, files: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes: list[str] = []
    about = Evaluation._about

    def noted(self: Evaluation, experiment: str, config: dict[str, Any]) -> dict[str, Any]:
        hashes.append(config_hash(about(self, experiment, config)["config"]))
        raise Said

    monkeypatch.setattr(Evaluation, "_about", noted)
    monkeypatch.setattr(Evaluation, "published", lambda *_: None)  # the folder's content does not matter here
    for module in (evaluate, family, knob):
        monkeypatch.setattr(module, "announce", lambda *_, **__: None)
    monkeypatch.setattr(reconstruction, "measure", lambda *_, **__: [])
    monkeypatch.setattr(reconstruction, "random_twin", lambda model, *_: model)
    monkeypatch.setattr(guarantee, "TOLERANCE", 1.0)
    monkeypatch.chdir(files)
    made = measurements()[command]
    for name in asked(made):
        for words in QUESTIONS[name]:
            told = {"network": "toy.safetensors", "preset": "--preset smoke", name: words}
            given = [*shlex.split(" ".join(told[name] for name in asked(made) if name in told)), "--device", "cpu"]
            assert isinstance(CliRunner().invoke(made, given).exception, Said), given
        first, second = hashes[-2:]
        assert first != second, name
