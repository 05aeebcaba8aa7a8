"""Measurements of page 13 at their smallest: their cells, their commands, that they resume, and what is shown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from IPython.display import HTML
from toys import TINY

from sdnet.cli import main
from sdnet.experiments.campaign.declared import SCALES
from sdnet.experiments.campaign.questions import questions
from sdnet.experiments.what_is_lambda import certify, confidence, figures, fourier, study
from sdnet.experiments.what_is_lambda.trade_off import LAM, REMEDIES
from sdnet.report.shown import Shown
from sdnet.results import ledger
from sdnet.results.cells import to_frame
from sdnet.results.ledger import Record
from sdnet.results.unfinished import Unfinished
from sdnet.training.checkpoint import save_network
from sdnet.training.declaration import training
from sdnet.training.distributed import Preempted

SMALL: dict[str, Any] = {"preset": "smoke", "images": 5, "strengths": (0.1, 0.5), "device": "cpu"}


@pytest.fixture
def network(tmp_path: Path, folders: Path) -> Path:
    """An untrained network, in a file as a training leaves it."""
    declared = training("sdnet18", "digits", "smoke", **TINY)
    path = tmp_path / "toy.safetensors"
    save_network(path, declared.build(10), {"training": declared.config, "classes": list("0123456789")})
    return path


def waves(path: Path) -> Record:
    return fourier.run(path, **SMALL)[0]


def sure(path: Path) -> Record:
    pytest.importorskip("torchmetrics")
    return confidence.run(path, corruptions=("gaussian_noise",), **SMALL)[0]


def certificates(path: Path) -> Record:
    return certify.run(path, samples=20, **{**SMALL, "images": 12})[0]


RUNS = {"fourier": waves, "confidence": sure, "certify": certificates}
runs = pytest.mark.parametrize("measure", RUNS.values(), ids=RUNS)


@runs
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    measure: Callable[[Path], Record], network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = measure(network)
    call, done = Unfinished.__call__, []

    def stop(self: Unfinished, name: str, compute: Callable[[], Any]) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(name)
        return call(self, name, compute)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "__call__", stop)
        with pytest.raises(Preempted):
            measure(network)
    kept = list((network.parent / "outputs" / "unfinished").glob("*.pt"))
    assert len(kept) == 1
    assert measure(network).results == undisturbed.results
    assert not kept[0].exists()


def test_cells_say_what_was_asked(network: Path) -> None:
    found = to_frame([waves(network), certificates(network)])
    waved = found[found["metric"] == "fourier_top1"]
    expected = {(*one, lam) for one in fourier.frequencies(32, 8) for lam in (0.1, 0.5)}
    assert set(zip(waved["down"], waved["across"], waved["strength"], strict=True)) == expected
    assert set(waved["n"]) == {5}
    sure = found[(found["metric"] == "certified_top1") & (found["strength"] == 0.1)].sort_values("epsilon")
    assert sure["epsilon"].tolist() == list(certify.RADII)
    assert sure["value"].is_monotonic_decreasing
    assert set(sure["sigma"]) == {0.12}
    assert "-m sdnet certify " in found.iloc[-1]["commands"][-1]


@pytest.mark.parametrize("command", ["fourier", "certify", "confidence"])
def test_the_command_line_measures_says_how_long_and_names_what_is_wrong(command: str, network: Path) -> None:
    if command == "confidence":
        pytest.importorskip("torchmetrics")
    words = [command, str(network), "--preset", "smoke", "--images", "3", "--strength", "0.1", "--device", "cpu"]
    words += {"certify": ["--samples", "5"], "confidence": ["--corruption", "shot_noise"]}.get(command, [])
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert f"{command} of toy: about" in done.output
    assert len(ledger.read(network.parent / "ledger")) == 1
    for option, value, message in (
        ("--knob", "lamb", "knob 'lamb' does not exist. Did you mean 'lam'"),
        ("--preset", "smok", "preset 'smok' does not exist. Did you mean 'smoke'"),
        ("--images", "0", "--images must be an integer >= 1, at most 1,000,000; got '0'"),
    ):
        wrong = CliRunner().invoke(main, [*words, option, value])
        assert wrong.exit_code == 1
        assert message in wrong.output


def test_what_was_measured_is_shown_and_what_was_not_is_said(network: Path) -> None:
    pytest.importorskip("torchmetrics")
    cells = to_frame(study.run([network], preset="smoke", device="cpu"))
    row = replace(LAM, variant=str(cells["variant"].iloc[0]))
    shown = [figures.fourier(cells, row), figures.certified(cells, row)]
    shown += [figures.confidence(cells, metric, row) for metric in figures.METRICS]
    for one in shown:
        assert isinstance(one, Shown)
        assert "of the ledger (" in one.origin.text
    for empty in (cells, to_frame([])):
        absent = (figures.equal_cost(empty, REMEDIES[:5], "a"), figures.show_areas(empty), figures.show_smoothed(empty))
        assert all(isinstance(one, HTML) and "not run" in str(one.data) for one in absent)


def test_every_question_has_runs_on_three_seeds() -> None:
    plan = [run for run in questions(SCALES["quick"]) if run.command != "train"]
    served = pd.DataFrame(
        [{"claim": claim, "seed": run.training.seed} for run in plan if run.training for claim in run.serves]
    )
    seeds = served.groupby("claim")["seed"].nunique()
    assert set(seeds.index) == {"13", "L1a", "L1b", "L2", "L3", "L4a", "L4b", "L4c", "L5a", "L5b", "L6", "L7"}
    assert (seeds == 3).all()
