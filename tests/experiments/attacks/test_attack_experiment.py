"""The robustness experiment end to end on tiny networks."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from toys import TINY

from sdnet.cli import main
from sdnet.data.datasets import load
from sdnet.experiments.accuracy import train
from sdnet.experiments.attacks import robust_accuracy
from sdnet.experiments.attacks.sanity import STEPS
from sdnet.experiments.attacks.settings import AttackSettings
from sdnet.experiments.corruptions import sweep
from sdnet.results import ledger, networks
from sdnet.results.cells import to_frame
from sdnet.robust.policies import fixed
from sdnet.training.declaration import training
from sdnet.training.loop import accuracy

QUICK = {"preset": "smoke", "images": 12, "steps": 2}


def tiny(arch: str, folder: Path) -> Path:
    """A small network, trained for one epoch on the digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDNET_LEDGER", str(folder / "ledger"))
        return train.run(training(arch, "digits", "smoke", **TINY), output=folder).network_file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("sdnet18", tmp_path_factory.mktemp("sdnet"))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("resnet18", tmp_path_factory.mktemp("resnet"))


def cells_of(path: Path, **choices: object) -> pd.DataFrame:
    record, written = robust_accuracy.run(path, AttackSettings(**{**QUICK, **choices}), device="cpu")
    assert record in ledger.read(written.parent)
    assert record.experiment == "attack"
    assert set(record.config["libraries"]) == {"torchattack", "pyautoattack"}
    return to_frame([record])


def test_checks_are_in_pixels_whatever_the_units_of_the_attack(trained: Path, folders: Path) -> None:
    """A ball in normalised units with ε = 1 does not hold every image, and its numbers would join those of pixels."""
    cells = cells_of(trained, norms=("linf",), units="normalised", protocols=("oblivious",))
    assert set(cells[cells["metric"] == "robust_top1"]["units"]) == {"normalised"}
    assert set(cells[cells["protocol"] == "sanity"]["units"]) == {"pixels"}


def test_every_protocol_writes_its_cells(trained: Path, folders: Path) -> None:
    cells = cells_of(trained, norms=("linf",), crafted=(0.1, 0.7))
    clean = cells[cells["metric"] == "top1"]
    assert tuple(clean["strength"]) == sweep.LAMS
    usual = accuracy(networks.load(trained).model, sweep.subset(load("digits").test, 12))
    assert clean[clean["strength"] == 0.1]["value"].item() == pytest.approx(usual)
    robust = cells[cells["metric"] == "robust_top1"]
    counts = {"oblivious": 15, "adaptive": 2, "worst_case": 2, "simultaneous": 15, "policy": 2}
    assert robust["protocol"].value_counts().to_dict() == counts
    assert len(cells[cells["metric"] == "perturbed_top1"]) == len(robust)
    assert set(robust["attack"]) == {"pgd"}
    assert set(robust["norm"]) == {"linf"}
    assert set(robust["steps"]) == {2}
    assert set(robust["n"]) == {12}
    assert set(robust["epsilon"]) == {8 / 255}
    adaptive = robust[robust["protocol"] == "adaptive"]
    assert list(adaptive["crafted_at"]) == list(adaptive["strength"]) == [0.1, 0.7]
    policy = robust[robust["protocol"] == "policy"]
    assert policy["lam"].between(0.1 - 1e-6, 1.5 + 1e-6).all()
    assert policy["crafted_at"].isna().tolist() == [True, False]
    sane = cells[cells["protocol"] == "sanity"]
    assert sane[sane["metric"] == "steps_top1"]["steps"].tolist() == list(STEPS)
    assert len(cells[cells["metric"] == "zero_gradient"]) == 2
    assert len(cells[cells["metric"].isin(["large_epsilon_top1", "white_box_top1", "black_box_top1"])]) == 3


def test_black_boxes_and_flags(trained: Path, resnet: Path, folders: Path) -> None:
    transfer = cells_of(trained, protocols=("transfer",), source=str(resnet), norms=("l2",), sanity=False)
    scored = transfer[transfer["metric"] == "robust_top1"]
    assert set(scored["source"]) == {networks.label(resnet)}  # and no path of this machine
    assert tuple(scored["strength"]) == sweep.LAMS
    back = cells_of(resnet, protocols=("transfer",), source=str(trained), norms=("l2",), sanity=False)
    expected = sorted({*sweep.THRESHOLDS, *robust_accuracy.GRIDS["stem_threshold"]})
    assert back[back["metric"] == "robust_top1"]["strength"].tolist() == expected
    told = {
        "protocols": ("adaptive",),
        "crafted": (0.0,),
        "norms": ("linf",),
        "sanity": False,
        "steps": 20,
        "images": 4,
    }
    strong = cells_of(resnet, attacks=("autoattack", "square"), **told)
    assert strong[strong["metric"] == "robust_top1"]["attack"].tolist() == ["autoattack", "square"]
    assert strong[strong["metric"] == "robust_top1"]["steps"].tolist() == [100, 50]
    assert "flags" in strong
    assert len(strong[strong["metric"] == "autoattack_flags"]) == 1


def test_a_saved_policy_takes_part(trained: Path, folders: Path) -> None:
    fixed(0.4).save(folders / "policy.json")
    cells = cells_of(trained, protocols=("policy",), policy=str(folders / "policy.json"), norms=("l2",), sanity=False)
    assert set(cells["policy"].dropna()) == {"fixed"}
    assert cells["lam"].dropna().to_numpy() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "large"}, "preset 'large' does not exist"),
        ({"images": 0}, "images must be an integer >= 1"),
        ({"norms": ("l1",)}, "norm 'l1' does not exist"),
        ({"attacks": ("cw",)}, "attack 'cw' does not exist"),
        ({"protocols": ("adaptve",)}, "protocol 'adaptve' does not exist. Did you mean 'adaptive'"),
        ({"protocols": ("transfer",)}, "protocol 'transfer' needs a source"),
        ({"protocols": ()}, "a run needs at least one protocol"),
        ({"knob": "median"}, "knob that gradients pass through 'median' does not exist"),
        ({"knob": "stem_threshold"}, "no ReLU whose threshold"),
        ({"epsilon": -1.0, "norms": ("l2",)}, "epsilon must be finite and >= 0"),
        ({"epsilon": 0.5}, "one epsilon for 2 norms is ambiguous"),
        ({"crafted": (-1.0,)}, "crafted must be finite and >= 0"),
        ({"units": "normalised", "attacks": ("square",)}, "square works in pixels"),
        ({"protocols": ("transfer",), "source": "sdnet18-w16-cifar10-s0"}, "choose a source of the same data set"),
        ({"policy": "nowhere.json", "protocols": ("policy",)}, "is not a saved policy"),
        ({"policy": "p.json", "protocols": ("adaptive",)}, "policy 'p.json' has no effect without protocol 'policy'"),
        ({"source": "nope", "protocols": ("adaptive",)}, "source 'nope' has no effect without protocol 'transfer'"),
        ({"steps": 7, "attacks": ("fgsm",), "sanity": False}, "steps 7 has no effect on fgsm; leave it out"),
        ({"restarts": 7, "steps": 20, "attacks": ("square",), "sanity": False}, "restarts 7 has no effect on square"),
    ],
)
def test_what_cannot_be_attacked_is_refused(trained: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        robust_accuracy.run(trained, AttackSettings(**{**QUICK, **given}), device="cpu")


def test_a_policy_needs_a_csc_layer(resnet: Path) -> None:
    with pytest.raises(ValueError, match="protocol 'policy' needs a CSC layer"):
        robust_accuracy.run(resnet, AttackSettings(protocols=("policy",), **QUICK), device="cpu")
    with pytest.raises(ValueError, match=r"policy 'p\.json' has no effect: this network has no one λ to choose"):
        robust_accuracy.run(resnet, AttackSettings(policy="p.json", **QUICK), device="cpu")


def test_the_command_line_attacks(trained: Path, folders: Path) -> None:
    options = "--preset smoke --images 6 --steps 1 --norm linf --norm l2 --protocol oblivious --no-sanity --device cpu"
    result = CliRunner().invoke(main, ["attack", str(trained), *options.split()])
    assert result.exit_code == 0, result.output
    assert "Ledger row:" in result.output
    (record,) = ledger.read(folders / "ledger")
    assert {cell.get("protocol") for cell in record.results} == {None, "oblivious"}
    assert {cell.get("norm") for cell in record.results} == {None, "linf", "l2"}
    result = CliRunner().invoke(main, ["attack", str(trained), "--norm", "l3"])
    assert result.exit_code == 1
    assert "Error: norm 'l3' does not exist." in result.output


def test_attack_steps_are_timed_side_by_side(folders: Path) -> None:
    small = "--width 2 --batch 4 --repeats 2 --device cpu"
    result = CliRunner().invoke(main, ["bench", "attacks", *small.split()])
    assert result.exit_code == 0, result.output
    (record,) = ledger.read(folders / "ledger")
    cells = {(cell["metric"], cell["arch"]): cell["value"] for cell in record.results}
    assert cells["attack_speed_ratio", "resnet18"] == 1
    expected = cells["attack_steps_per_second", "sdnet18"] / cells["attack_steps_per_second", "resnet18"]
    assert cells["attack_speed_ratio", "sdnet18"] == pytest.approx(expected)
