"""Question 9: every solver reaches the same minimum of the same problem, and its rule says who was nearer."""

from pathlib import Path

import pytest
import torch
from claim_cells import BASE, Cells, frame
from click.testing import CliRunner
from IPython.display import HTML

from sdnet.cli import main
from sdnet.experiments.claims.outcome import FAILS, HOLDS, NOT_RUN, UNDECIDED
from sdnet.experiments.claims.rules import RULES
from sdnet.experiments.what_is_lambda import figures, solvers
from sdnet.report.shown import Shown
from sdnet.results import ledger
from sdnet.results.cells import to_frame

HERE = "sdnet18-w16-cifar10-s0"
NEEDS = {name: name.partition(",")[0].lower() for name in solvers.OTHERS if name.startswith("SPORCO")}


@pytest.mark.parametrize("name", [name for name in solvers.SOLVERS if name != "ista"])
def test_a_solver_gets_to_the_minimum_of_the_same_problem(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    lasso = solvers.problem(HERE, solvers.pieces(2, 8), 0.5)
    code = solvers.SOLVERS[name](lasso, 400)
    assert code.shape == lasso.code_shape
    assert (code >= 0).all()
    assert (lasso.relative_gap(code) < 0.01).all()


def test_pieces_are_the_same_each_time_and_no_two_alike() -> None:
    first = solvers.pieces(4, 8)
    assert torch.equal(first, solvers.pieces(4, 8))
    assert len(first.flatten(1).unique(dim=0)) == 4
    assert 0 <= first.min() < first.max() <= 1


def test_what_is_not_installed_has_no_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(lasso: object, iterations: int) -> torch.Tensor:
        raise ImportError("sporco")

    monkeypatch.setitem(solvers.SOLVERS, "SPORCO, ADMM", missing)
    cells = solvers.measure([HERE], ["fista", "SPORCO, ADMM"], (1, 4), count=1)
    assert {cell["method"] for cell in cells} == {"fista"}
    gaps = [cell["value"] for cell in cells if cell["strength"] == 0.1]
    assert len(gaps) == 2
    assert gaps[1] < gaps[0]


def test_the_command_writes_a_row_that_the_page_shows(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers.record, "__kwdefaults__", {**(solvers.record.__kwdefaults__ or {}), "names": [HERE]})
    monkeypatch.setattr(solvers.measure, "__defaults__", ((1, 4), 1))
    words = ["bench", "solvers", "--device", "cpu", "--solver", "fista"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    cells = to_frame(ledger.read(folders / "ledger"))
    assert cells["commands"].iloc[0][-1].startswith("python -m sdnet bench solvers")
    shown = figures.gaps(cells)
    assert isinstance(shown, Shown)
    assert "Not run, for want of the library: ista, fista, restarts, SPORCO, ADMM" in str(shown.caption)
    assert isinstance(figures.gaps(to_frame([])), HTML)
    wrong = CliRunner().invoke(main, [*words, "--solver", "fist"])
    assert wrong.exit_code == 1
    assert "solver 'fist' does not exist. Did you mean 'fista'" in wrong.output


def gaps(others: float, ista: float, seeds: int) -> Cells:
    """FISTA leaves a gap of 10⁻⁴; the others so many decades more."""
    base = {**BASE, "experiment": "solvers", "dataset": solvers.DATA, "metric": "relative_gap", "strength": 0.1}
    base |= {"iteration": 64, "n": 8, "images": 8}
    behind = {"fista, restarts": 0.0, "ista": ista, **dict.fromkeys(solvers.OTHERS, others)}
    return [
        {**base, "seed": seed, "method": name, "value": 10 ** (-4 + more * (1 + 0.01 * seed))}
        for seed in range(seeds)
        for name, more in behind.items()
    ]


def test_the_rule_says_who_was_nearer_after_64_iterations() -> None:
    judge = RULES["L9"]
    assert judge(frame(gaps(1.0, 2.0, 3)))[0].verdict == HOLDS
    assert judge(frame(gaps(1.0, 2.0, 3)))[0].controls.endswith("(do not match)")
    assert judge(frame(gaps(1.0, 0.5, 3)))[0].controls.endswith("(match)")
    assert judge(frame(gaps(-1.0, 2.0, 3)))[0].verdict == FAILS
    assert judge(frame(gaps(1.0, 2.0, 2)))[0].verdict == UNDECIDED
    without = [row for row in gaps(1.0, 2.0, 3) if row["method"] != "SPORCO, PGM"]
    assert judge(frame(without))[0].verdict == NOT_RUN
