"""The claims at one glance: what a strip draws and says, and that every claim leads to its page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sdnet.experiments.claims import overview, verdicts
from sdnet.experiments.claims.outcome import HOLDS, UNDECIDED, Effect, Verdict
from sdnet.results.cells import to_frame

BOOK = Path(__file__).resolve().parents[3] / "book"
OURS = Effect("", 1.0, 0.5, 1.5, 0.0)
FOUND = Verdict(HOLDS, seeds=3, effects=(OURS,), printed=(Effect("", 2.0, 2.0, 2.0, 0.0),))


def test_a_strip_runs_from_the_bound_to_the_paper_s_effect() -> None:
    """0 lies at the left edge, 2 at the right one; the dot is in the middle and the bar is half as long."""
    drawn = overview.strip(FOUND)
    assert 'aria-label="+1.00 [+0.50, +1.50] points; claim: &gt; 0"' in drawn
    middle, half = overview.WIDTH / 2, (overview.WIDTH - 2 * overview.EDGE) / 2
    assert f'<circle cx="{middle:.1f}"' in drawn
    assert f'<rect x="{middle - half / 2:.1f}" y="4.0" width="{half:.1f}" height="3"' in drawn
    assert f'd="M{overview.WIDTH - overview.EDGE - 4:.1f} ' in drawn
    assert f'<rect x="{overview.EDGE:.1f}" y="0" width="{overview.WIDTH - overview.EDGE:.1f}"' in drawn


def test_fewer_than_three_seeds_have_no_bar_and_no_interval() -> None:
    few = replace(FOUND, verdict=UNDECIDED, seeds=2, effects=(replace(OURS, low=-90.0, high=90.0),))
    drawn = overview.strip(few)
    assert 'aria-label="+1.00 points; claim: &gt; 0"' in drawn
    assert 'fill="none"' in drawn
    assert 'height="3"' not in drawn
    assert f'<circle cx="{overview.WIDTH / 2:.1f}"' in drawn  # an interval that is not drawn does not set the scale


def test_what_is_asked_to_be_small_is_shaded_on_the_left() -> None:
    small = Effect("memory", 1.0, 1.0, 1.0, 1.1, "of ResNet-18's", below=True)
    drawn = overview.strip(Verdict(HOLDS, effects=(small,)))
    assert f'<rect x="0.0" y="0" width="{overview.WIDTH - overview.EDGE:.1f}"' in drawn
    assert "memory 1.00 of ResNet-18&#x27;s; claim: &lt; 1.1" in drawn


def test_conditions_of_different_units_have_scales_of_their_own() -> None:
    other = Effect("cost", 0.0, 0.0, 0.0, 1000.0)
    drawn = overview.strip(replace(FOUND, effects=(replace(OURS, unit=""), other), printed=()))
    assert f'<rect x="{overview.EDGE - 0.6:.1f}" y="0" width="1.2"' in drawn
    assert f'<rect x="{overview.WIDTH - overview.EDGE - 0.6:.1f}" y="11" width="1.2"' in drawn


def test_of_many_conditions_the_nearest_to_falling_is_drawn() -> None:
    many = tuple(Effect(f"level {index}", index, index - 1, index + 1, 0.0) for index in range(9))
    drawn = overview.strip(replace(FOUND, effects=many, printed=()))
    assert drawn.count("<circle") == 1
    assert drawn.count("level") == 9  # in words all of them


@pytest.mark.parametrize("effects", [(), (OURS,)])
def test_without_numbers_of_its_own_a_strip_shows_the_paper_s(effects: tuple[Effect, ...]) -> None:
    drawn = overview.strip(replace(FOUND, effects=effects))
    assert drawn.count("<path") == 1
    assert drawn.count("<circle") == len(effects)
    assert overview.strip(Verdict(HOLDS)) == ""


def test_controls_stand_below_what_they_are_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "controls" not in overview.show_overview(verdicts.judge(to_frame([])), "C").content
    found = replace(FOUND, controls="one step: -0.08 (undecided)")
    monkeypatch.setitem(verdicts.RULES, "C5", lambda cells: (found,))
    shown = overview.show_overview(verdicts.judge(to_frame([])), "C").content
    assert re.search(
        r"\+1\.00 \[\+0\.50, \+1\.50\] points[^<]*</span><br>[^<]*<span[^>]*>controls: one step: -0\.08 \(undec", shown
    )


def test_every_claim_has_a_line_that_leads_to_its_page() -> None:
    shown = overview.show_overview(verdicts.judge(to_frame([])), "CDML").content
    pages = re.findall(r'<a href="(\w+)\.html">(\w+)</a>', shown)
    assert [name for _, name in pages] == list(verdicts.claims()["id"])
    assert all((BOOK / f"{page}.ipynb").exists() for page, _ in pages)
    assert shown.count(">not run</b>") == len(pages)
    assert "the paper: +0.49 points; claim: &gt; 0" in shown
