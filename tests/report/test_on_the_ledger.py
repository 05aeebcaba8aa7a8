"""Every report on the repository's ledger says which of its runs it was made from, and how to make them again."""

from collections.abc import Callable

import pandas as pd
import pytest

from sdnet.experiments.ablations import table5
from sdnet.experiments.accuracy import curves, scorecard, table1, tables
from sdnet.experiments.attacks import adversarial
from sdnet.experiments.claims import verdicts
from sdnet.experiments.corruptions import robust_figures, robust_tables, robustness
from sdnet.experiments.distributed import ranks
from sdnet.experiments.performance import targets
from sdnet.experiments.visualisation import figures
from sdnet.report import plots
from sdnet.report.shown import Shown
from sdnet.results import ledger
from sdnet.results.cells import to_frame

RECORDS = ledger.read()
EVERY = to_frame(RECORDS)
CELLS = robustness.one_scale(EVERY)
ATTACKS = adversarial.one_scale(EVERY)
ABLATIONS = table5.one_scale(EVERY)
VISUAL = figures.one_scale(EVERY)
KNOB = robustness.Row("SDNet-18", "sdnet18", knob="lam")
SHOWN: dict[str, Callable[[], Shown]] = {
    "verdicts": lambda: verdicts.show_verdicts(verdicts.judge(EVERY), ("C9",)),
    "scale": lambda: robust_tables.show_scale(CELLS),
    "scorecard": lambda: tables.show_scorecard(scorecard.table1(EVERY)),
    "comparison": lambda: tables.show_comparison(EVERY, "sdnet18", "resnet18"),
    "runs": lambda: tables.show_runs(curves.longest(RECORDS)),
    "learning curves": lambda: curves.learning_curves(curves.longest(RECORDS)),
    "table 1": lambda: table1.show_in_full(EVERY, "cifar10"),
    "precision": lambda: tables.show_precision(EVERY),
    "ranks": lambda: ranks.show_ranks(EVERY),
    "figure 2": lambda: robust_figures.figure2(CELLS, KNOB),
    "figure 3": lambda: robust_figures.figure3(CELLS),
    "best strength": lambda: robust_figures.optimal_strength(CELLS, {"λ": KNOB}),
    "optimal": lambda: robust_tables.show_optimal(CELLS, {"λ": KNOB}),
    "fits": lambda: robust_tables.show_fits(CELLS),
    "cross": lambda: robust_tables.show_cross_type(CELLS),
    "clean": lambda: robust_tables.show_clean(CELLS),
    "table 2": lambda: robust_tables.show_table2(CELLS),
    "table 3": lambda: robust_tables.show_table3(CELLS),
    "table 4": lambda: adversarial.show_table4(ATTACKS),
    "adversaries": lambda: adversarial.show_others(ATTACKS),
    "attacked": lambda: adversarial.against_strength(ATTACKS, adversarial.SDNET),
    "steps": lambda: adversarial.over_steps(ATTACKS, adversarial.SDNET),
    "sanity": lambda: adversarial.show_sanity(ATTACKS),
    "table 5": lambda: table5.show_table5(ABLATIONS),
    "group": lambda: table5.show_group(ABLATIONS, "design"),
    "steps at test time": lambda: table5.at_test_time(CELLS),
    "λ of training": lambda: table5.against_lam(ABLATIONS),
    "targets": lambda: targets.show_targets(EVERY),
    "choices": lambda: targets.show_choices(EVERY),
    "scaling": lambda: targets.scaling(EVERY),
    "depth": lambda: figures.against_depth(VISUAL),
    "depths": lambda: figures.show_depths(VISUAL),
    "controls": lambda: figures.show_controls(VISUAL),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_report_names_its_runs_and_their_commands(name: str) -> None:
    plots.style("06_corruptions")
    shown = SHOWN[name]()
    assert "of the ledger (" in shown.origin.text
    assert "commit" in shown.origin.text
    assert [line for line in shown.origin.commands if not line.startswith("#")]
    assert shown.caption
    assert isinstance(shown.values, pd.DataFrame)
    assert not shown.values.empty
    assert "title=" not in shown.content
    if shown.axes:
        assert 'alt="Chart with' in shown.content
