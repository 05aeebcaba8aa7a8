"""What stands around every figure and table: number, caption, text, origin, data."""

import base64
import re
from pathlib import Path
from urllib.parse import unquote

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sdnet.report import drawn, plots, tables
from sdnet.report.origin import Origin, of_cells
from sdnet.report.shown import Shown, begin, plain
from sdnet.results.cells import to_frame
from sdnet.results.ledger import Record

ROOT = Path(__file__).resolve().parents[2]


def record(seed: int, **code: object) -> Record:
    config = {"arch": "sdnet18", "dataset": "digits", "preset": "smoke", "seed": seed}
    return Record(
        "train", config, "00", {"type": "cpu", "name": "a CPU"}, 1.0,
        [{"metric": "top1", "split": "test", "value": 0.5 + seed / 10, "n": 360}],
        started=f"2026-01-0{seed + 1}T00:00:00+00:00", code={"commit": "0123456789ab", "dirty": False, **code},
    )  # fmt: skip


CELLS = to_frame([record(0), record(1, dirty=True)])


def csv_of(shown: Shown) -> str:
    (link,) = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', shown.data)
    return unquote(link)


@pytest.fixture(autouse=True)
def _page() -> None:
    plots.style("06_corruptions")


def small(caption: str = "A caption.", identity: str = "t") -> Shown:
    return tables.page(pd.DataFrame({"a": ["<b>1</b>"]}), caption, identity, made_from="seed 0, n = 1")


def test_numbers_carry_the_page_and_a_cell_that_runs_again_keeps_its_own() -> None:
    first, second, again = small(), small("Another."), small()
    assert [one.name for one in (first, second, again)] == ["Table 6.1", "Table 6.2", "Table 6.1"]
    assert [re.findall(r'<figure class="[^"]*" id="([^"]*)"', one.data) for one in (first, second, again)] == [
        ["t"], ["t-2"], ["t"],
    ]  # fmt: skip
    figure = plots.thresholds(np.arange(3.0), {}, 1.0, caption="c", identity="t", made_from="n = 1")
    assert figure.name == "Figure 6.1"
    begin("index")
    assert small().name == "Table 0.1"
    assert repr(small("A <i>b</i> &lt; c.")) == "Table 0.2. A b < c."


def test_the_origin_names_runs_commits_device_seeds_and_n_and_opens_to_the_commands() -> None:
    origin = of_cells(CELLS)
    assert origin.text == (
        "2 runs of the ledger (2 train); commits 0123456, 0123456*; device a CPU; seeds 0, 1; n = 360."
    )
    assert "python -m sdnet train --arch sdnet18 --dataset digits --preset smoke --seed 1" in origin.commands
    assert "<details><summary>Made from: 2 runs" in origin.to_html()
    assert of_cells(to_frame([])).text == "nothing yet: not run."
    many = of_cells(to_frame([record(0, commit=f"{number}00000000") for number in range(6)]))
    assert "and 2 more" not in many.text  # six rows of one configuration and second have one name: one run
    assert "&lt;" in Origin("a < b").to_html()


def test_a_page_that_computes_its_numbers_says_so_and_how_to_run_it() -> None:
    shown = small()
    assert "executed when the book was built" in shown.origin.text
    assert shown.origin.commands == ("papermill book/06_corruptions.ipynb out.ipynb",)


def test_a_tables_data_are_what_it_prints_and_the_cells_behind_its_numbers() -> None:
    assert csv_of(small()) == "a\n1\n"
    number = tables.Number("<b>0.50</b><br>small", CELLS[CELLS["seed"] == 0][["run", "seed", "value", "n"]])
    table = pd.DataFrame({"network": ["A", "B"], "x": [number, "not run"]})
    shown = tables.page(table, "", "t", made_from=CELLS)
    run = CELLS["run"].iloc[0]
    assert csv_of(shown).splitlines() == [
        "network,column,printed,run,seed,value,n",
        f"A,x,0.50 | small,{run},0,0.5,360",
        "B,x,not run,,,,",
    ]
    assert shown.origin.text.startswith("1 run of the ledger")  # the other one is behind no number
    assert "small" in shown.content


def test_a_charts_text_and_data_are_read_off_its_lines() -> None:
    fig, (ax, right) = plt.subplots(1, 2)
    ax.plot([0, 1, 2], [5.0, 9.0, 7.0], label="$z_*$")
    ax.plot([0, 1, 2], [1.0, np.nan, 2.0], ls="--", color="C0")
    ax.axvline(1)
    ax.errorbar([0, 1], [3.0, 4.0], yerr=[[1, 1], [2, 2]], label="bars")
    ax.set(title="left", xlabel="steps", ylabel="accuracy (%)")
    right.scatter([1.0], [2.0], color="C0", label="spots")
    right.set(title="right", xlabel="steps")
    shown = plots.finished(fig, "c", "f", made_from=CELLS)
    assert csv_of(shown).splitlines() == [
        "panel,series,steps,accuracy (%),low,high",
        "left,z*,0,5,,", "left,z*,1,9,,", "left,z*,2,7,,",
        'left,"z*, dashed",0,1,,', 'left,"z*, dashed",2,2,,',
        "left,bars,0,3,2,5", "left,bars,1,4,3,6",
        "right,spots,1,2,,",
    ]  # fmt: skip
    text = drawn.text_of(fig)
    assert text.startswith("Chart with 4 lines in 2 panels. left: accuracy (%) against steps. z*: 5 at 0, 7 at 2")
    assert "highest 9 at 1" in text
    assert f'alt="{text}"' in shown.content
    assert drawn.text_of(plt.figure()) == "Nothing is drawn: not run."
    plt.close("all")


def test_line_art_is_svg_the_same_each_time_and_its_letters_are_never_below_nine_pixels() -> None:
    def content() -> str:
        fig, ax = plt.subplots(figsize=(5, 2))
        ax.plot([0, 1], [0, 1], label="a")
        ax.set_xlabel("tiny", fontsize=6)
        return plots.finished(fig, "c", "f", made_from="n = 1").content

    first, second = content(), content()
    assert first == second
    (source,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', first)
    assert b"<svg" in base64.b64decode(source)
    # 6 points are 8 pixels as drawn: 480 pixels wide would be too small already.
    assert "min-width:480px" in first


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], parts))

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_colours_of_verdicts_are_read_on_light_and_dark_pages() -> None:
    sheet = (ROOT / "book" / "_vendor" / "book.css").read_text()
    blocks = re.findall(r"--sdnet-(\w+): (#\w{6});", sheet)
    light, dark = dict(blocks[:4]), dict(blocks[4:])
    assert light == tables.TONES
    for tone in tables.TONES:
        assert contrast(light[tone], "#ffffff") >= 4.5
        for background in ("#14181e", "#222832"):
            assert contrast(dark[tone], background) >= 4.5
    assert "var(--sdnet-good, #00704f)" in tables.chip("reproduced")
    assert "var(--sdnet-bad" in tables.coloured("refuted", "bad")


def test_plain_text_of_html() -> None:
    assert plain("<b>1</b><br>n &lt; 2 <details><summary>x</summary>y</details>") == "1 | n < 2 | xy"
