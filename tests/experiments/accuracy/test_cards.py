"""Networks that people can load: each has a card that agrees with the ledger, and a file that is the card's."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from toys import TINY

import sdnet
from sdnet.cli import main
from sdnet.experiments.accuracy import cards as making
from sdnet.experiments.accuracy import train
from sdnet.experiments.corruptions import sweep
from sdnet.results import cards, ledger, networks
from sdnet.training.checkpoint import read_network, save_network
from sdnet.training.declaration import Training, training


def test_every_network_of_the_repository_has_a_card_that_agrees_with_the_ledger() -> None:
    stored = sorted(cards.folder().glob("*.safetensors"))
    assert [path.stem for path in stored] == networks.names()
    assert making.made() == cards.read(), "renew the cards: python -m sdnet publish"
    assert sum(path.stat().st_size for path in stored) < 60e6


@pytest.mark.parametrize("name", networks.names())
def test_the_command_of_a_card_declares_its_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card = cards.read()[name]
    assert declared_by(shlex.split(card.command)[3:], monkeypatch).config == card.training


def declared_by(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Training:
    """The training that a command line would run."""
    seen: list[Training] = []
    monkeypatch.setattr(train, "run", lambda run, **_: seen.append(run))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return seen[0]


def test_options_without_a_flag_of_their_own_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"atoms": 16, "method": "ista", "nonnegative": False, "shortcut": False, "batch_size": 64, "width": 8}
    run = training("sdnet18_all", "digits", "smoke", seed=3, hold_out=0.1, precision="fp32", **changes)
    assert declared_by(["train", *run.arguments], monkeypatch) == run
    result = CliRunner().invoke(main, ["train", "--set", "atoms"])
    assert "Error: --set takes NAME=VALUE, for instance --set nonnegative=false; got 'atoms'." in result.output


def test_a_network_is_loaded_with_its_preprocessing(tmp_path: Path) -> None:
    from PIL import Image

    name = networks.names()[0]
    network = sdnet.load(name)
    assert not network.model.training
    assert network.card == cards.read()[name]
    Image.new("RGB", (60, 40), (255, 0, 0)).save(tmp_path / "red.png")
    pixels = network.preprocess(tmp_path / "red.png", tmp_path / "red.png")
    assert torch.equal(pixels[:, :, 5, 5], torch.tensor([[1.0, 0, 0]]).expand(2, 3))
    assert network.model(pixels).shape == (2, len(network.classes))
    with pytest.raises(ValueError, match="preprocess needs the path of an image file"):
        network.preprocess()


def test_an_unknown_name_is_refused_in_one_sentence_with_those_near_it() -> None:
    name = networks.names()[-1]
    with pytest.raises(ValueError, match="does not exist; there is") as error:
        sdnet.load(f"{name}x")
    said = str(error.value)
    assert name in said
    assert said.count(". ") == 0
    assert sum(other in said for other in networks.names()) <= 3


def test_importing_the_package_stays_light() -> None:
    heavy = ("sdnet.experiments", "sdnet.results", "sdnet.models", "pandas", "sklearn", "matplotlib", "IPython")
    code = f"import sdnet, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of the test's own, without networks."""
    for module in (cards, ledger):
        monkeypatch.setattr(module, "repository_data", lambda: tmp_path)
    monkeypatch.setenv("SDNET_LEDGER", str(tmp_path / "runs"))
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "cards.json").write_text("{}")
    return tmp_path


def test_a_trained_network_is_published_and_its_card_learns_of_a_sweep(repository: Path) -> None:
    trained = train.run(training("sdnet18", "digits", "smoke", **TINY), output=repository / "out", device="cpu")
    result = CliRunner().invoke(main, ["publish", str(trained.network_file)])
    assert result.exit_code == 0, result.output
    (name,) = networks.names()
    assert name == "sdnet18-atoms-4-e1-w2-digits-s0"
    card = cards.read()[name]
    assert card.top1 == trained.record.results[0]["value"]
    assert card.noise == {}
    assert "CC BY 4.0" in card.licence
    record, _ = sweep.run(name, preset="smoke", strengths=(0.1, 0.5), corruptions=("gaussian_noise",), device="cpu")
    making.renew()
    at_training = [cell["value"] for cell in record.results if cell.get("severity", 0) and cell["strength"] == 0.1]
    expected = {"top1": pytest.approx(sum(at_training) / 5, abs=1e-5), "images": 40}
    assert cards.read()[name].noise == {"gaussian_noise": expected}


def test_a_file_that_is_not_the_cards_is_refused(repository: Path) -> None:
    trained = train.run(training("resnet18", "digits", "smoke", **TINY), output=repository / "out", device="cpu")
    (name,) = making.publish([trained.network_file])
    path = cards.folder() / f"{name}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + b"\0\0\0\1")
    for act in (lambda: sdnet.load(name), making.renew):
        with pytest.raises(ValueError, match=r"is not the file that its card in cards[.]json describes"):
            act()
    path.unlink()
    with pytest.raises(ValueError, match=r"the file .* is gone, though cards.json has its card"):
        sdnet.load(name)
    (cards.folder() / "cards.json").write_text("[]")
    with pytest.raises(ValueError, match="does not hold the cards of the networks"):
        sdnet.load(name)


def test_without_its_row_a_network_is_not_published(repository: Path) -> None:
    declared = training("sdnet18", "digits", "smoke", **TINY)
    described = {"training": declared.config, "classes": list("0123456789")}
    save_network(repository / "lone.safetensors", declared.build(10), described)
    with pytest.raises(ValueError, match="the ledger has no training of sdnet18-atoms-4-e1-w2-digits-s0"):
        making.publish([repository / "lone.safetensors"])
    assert not list(cards.folder().glob("*.safetensors"))


def test_half_precision_keeps_dictionaries_and_answers(tmp_path: Path) -> None:
    declared = training("sdnet18_all", "digits", "smoke", width=8, atoms=8)
    model = declared.build(10).eval()
    save_network(tmp_path / "whole.safetensors", model, {"training": declared.config, "classes": list("0123456789")})
    state, description = read_network(tmp_path / "whole.safetensors")
    smaller = making.halved(state)
    half = {name for name, tensor in smaller.items() if tensor.dtype == torch.float16}
    assert half == {name for name in state if ".shortcut.0." in name and name.endswith("weight")}
    making.save_state(tmp_path / "half.safetensors", smaller, description)
    loaded = networks.load(tmp_path / "half.safetensors").model
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(loaded(images), model(images), atol=2e-3, rtol=2e-3)
    assert not torch.equal(loaded(images), model(images))
