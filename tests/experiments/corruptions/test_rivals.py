"""The networks that Table 1 sets beside SDNet are swept, given policies and attacked like it, from the command line."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sdnet import set_lam
from sdnet.cli import main
from sdnet.csc.lam import coding_layers
from sdnet.data.datasets import load
from sdnet.experiments.corruptions import policies, study, sweep
from sdnet.experiments.corruptions.robustness import ROWS, top1
from sdnet.experiments.visualisation import reconstruction
from sdnet.results import ledger, networks
from sdnet.results.cells import to_frame
from sdnet.training.checkpoint import save_network
from sdnet.training.declaration import training
from sdnet.training.loop import accuracy

USUAL = {"scn18": "lam", "scn": "lam_shift", "mdeq": "gaussian_filter"}
TRAIN = (
    "train --arch scn18 --dataset digits --preset smoke --epochs 1 --width 2 --precision fp32 --device cpu "
    "--set iterations=2 --set atoms=4"
)
ATTACK = ["--images", "4", "--steps", "1", "--norm", "linf", "--no-sanity", "--device", "cpu"]


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny rivals as a training leaves them: SCN-18 trained on the digits, the others, which are slow, not."""
    folder, small = tmp_path_factory.mktemp("rivals"), {"width": 2, "iterations": 2, "precision": "fp32"}
    files = {arch: folder / f"{arch}.safetensors" for arch in ("scn", "mdeq")}
    for arch, path in files.items():
        declared = training(arch, "digits", "smoke", **small)
        model = declared.build(10)
        for index, (_, layer) in enumerate(coding_layers(model)):
            set_lam(layer, 1e-4 * index)  # each its own, as a training would leave them
        save_network(path, model, {"training": declared.config, "classes": list("0123456789")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDNET_LEDGER", str(folder / "ledger"))
        patch.setenv("SDNET_OUTPUT", str(folder / "outputs"))
        done = CliRunner().invoke(main, TRAIN.split())
    assert done.exit_code == 0, done.output
    (trained,) = (folder / "outputs").glob("scn18-*/network.safetensors")
    return files | {"scn18": trained}


def invoke(folders: Path, *words: str) -> ledger.Record:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    rows = [row for row in ledger.read(folders / "ledger") if row.experiment == words[0]]
    return rows[-1]


@pytest.mark.parametrize("arch", list(USUAL))
def test_rivals_are_swept_and_attacked(rivals: dict[str, Path], folders: Path, arch: str) -> None:
    swept = invoke(folders, "sweep", str(rivals[arch]), "--images", "8", "--corruption", "shot_noise")
    assert (swept.config["arch"], swept.config["knob"]) == (arch, USUAL[arch])
    cells = to_frame([swept])
    start = sweep.knob_of(networks.load(rivals[arch]).model, USUAL[arch]).start
    expected = {*sweep.KNOBS[USUAL[arch]], start}
    assert set(cells.loc[cells["metric"] == "top1", "strength"]) == expected
    crafted = ("--crafted", str(start), "--crafted", "0.7")
    attacked = invoke(folders, "attack", str(rivals[arch]), *ATTACK, *crafted, "--protocol", "adaptive")
    robust = to_frame([attacked])
    assert set(robust.loc[robust["metric"] == "robust_top1", "crafted_at"]) == {start, 0.7}


def test_scn_as_it_was_trained_fills_its_row_of_tables_2_and_3(rivals: dict[str, Path], folders: Path) -> None:
    (row,) = (row for row in ROWS if row.arch == "scn")
    assert row.paper == ("scn", "")
    assert top1(to_frame([]), row).empty
    record, _ = sweep.run(rivals["scn"], images=8, strengths=(0.0, 0.5), corruptions=("shot_noise",))
    cells = top1(to_frame([record]).assign(variant=""), row)
    assert list(cells["severity"]) == [0, 1, 2, 3, 4, 5]
    clean = accuracy(networks.load(rivals["scn"]).model, sweep.subset(load("digits").test, 8))
    assert cells.loc[cells["corruption"] == "clean", "value"].item() == pytest.approx(clean)


def test_policies_choose_the_lam_of_scn18(rivals: dict[str, Path], folders: Path) -> None:
    some = ("--corruption", "shot_noise", "--policy", "per_image", "--policy", "residual_fit")
    options = ("--preset", "smoke", "--images", "8", *some)
    cells = to_frame([invoke(folders, "policies", str(rivals["scn18"]), *options)])
    top1 = cells[cells["metric"] == "top1"]
    assert set(top1["policy"]) == {"fixed", "residual_fit", "per_image"}
    own = sweep.knob_of(networks.load(rivals["scn18"]).model, "lam").start
    assert top1.loc[top1["policy"] == "fixed", "lam"].to_numpy() == pytest.approx(own)
    guarded = invoke(folders, "attack", str(rivals["scn18"]), *ATTACK, "--preset", "smoke", "--protocol", "policy")
    assert {"policy_top1", "robust_top1"} <= {cell["metric"] for cell in guarded.results}


def test_what_a_rival_does_not_have_is_said_in_one_sentence(rivals: dict[str, Path], folders: Path) -> None:
    with pytest.raises(ValueError, match=r"its 14 layers have 14 from .*; shift them all with the knob 'lam_shift'"):
        policies.run(rivals["scn"], preset="smoke")
    with pytest.raises(ValueError, match="no CSC layer whose λ a policy could choose"):
        policies.run(rivals["mdeq"], preset="smoke")
    for arch in ("scn", "mdeq"):
        with pytest.raises(ValueError, match="has no ReLU whose threshold could be shifted, as a resnet has"):
            sweep.run(rivals[arch], "stem_threshold", preset="smoke")
        with pytest.raises(ValueError, match="features are read back from the depths of a residual network; this is"):
            reconstruction.run(rivals[arch], preset="smoke")


def test_the_study_turns_what_each_rival_has(rivals: dict[str, Path]) -> None:
    assert study.knobs_of(rivals["scn18"]) == ["lam"]
    assert study.knobs_of(rivals["scn"]) == ["lam_shift"]
    assert study.knobs_of(rivals["mdeq"]) == list(sweep.ANYWHERE)
