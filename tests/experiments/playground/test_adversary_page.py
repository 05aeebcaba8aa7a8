"""The playground's adversaries in a browser: what the page says of them is what PyTorch and the ledger say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser import WINDOWS, Browser, Page, Visit
from PIL import Image
from playground_pages import WAIT, assert_readable

from sdnet.csc.lam import at_lam
from sdnet.data.batches import to_pixels
from sdnet.experiments.playground import adversaries, export
from sdnet.experiments.playground.drawings import pictures
from sdnet.results import ledger, networks
from sdnet.results.cells import to_frame, variant
from sdnet.results.ledger import Record

TRAINED = 0.1
SCALE = ("dataset", "width", "epochs")
READY = "() => document.getElementById('attacked-summary').textContent !== ''"
ROWS = """body => [...document.querySelectorAll(`#${body} tr`)].map(
    (row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent))"""

SHOWN = """wanted => {
    const seen = [...document.querySelectorAll("#scores .value")].map((one) => parseFloat(one.textContent));
    return seen.length === wanted.length && seen.every((share, i) => Math.abs(share - wanted[i]) < 1);
}"""


@pytest.fixture
def visit(chromium: Browser, written: Path) -> Iterator[Visit]:
    found = Visit(chromium, written)
    yield found
    assert found.faults == []
    found.close()


def choose(page: Page, who: str) -> None:
    page.check(f"#adversary [value={who}]")


@pytest.fixture(scope="module")
def attacked(chromium: Browser, written: Path) -> Iterator[Visit]:
    """The page once it has counted what the adversary who knows λ leaves."""
    found = Visit(chromium, written)
    choose(found.page, "adaptive")
    found.page.wait_for_function(READY, timeout=WAIT)
    yield found
    assert found.faults == []
    found.close()


def test_the_pages_counts_are_those_of_pytorch(attacked: Visit) -> None:
    page = attacked.page
    sdnet, resnet = adversaries.still_right(export.SDNET), adversaries.still_right(export.RESNET)
    expected = [torch.cat([resnet[who], sdnet[who]]).sum(1).tolist() for who in adversaries.ADVERSARIES]
    assert [[int(count) for count in row] for row in page.evaluate(ROWS, "attacked-body")] == expected
    best = max(range(len(adversaries.CRAFTED)), key=lambda index: sdnet["oblivious"].sum(1)[index])
    summary = page.inner_text("#attacked-summary")
    assert f"λ = {adversaries.CRAFTED[best]:g}. There, {sdnet['oblivious'].sum(1)[best]} of 8 pictures" in summary
    assert f"and {sdnet['adaptive'].sum(1)[best]} if it does" in summary


@torch.no_grad()
def shares(who: str, picture: int, lam: float, made_for: float) -> list[float]:
    """The shares that both networks give to class after class, in percent, where each sees its own adversary."""
    pixels = pictures()[picture].pixels
    seen = []
    for network, at in ((export.SDNET, made_for if who == "adaptive" else TRAINED), (export.RESNET, None)):
        level = 0 if at is None else adversaries.CRAFTED.index(at)
        seen.append(to_pixels((pixels + adversaries.perturbations(network)[level, picture])[None].byte()))
    sdnet, resnet = networks.load(export.SDNET).model, networks.load(export.RESNET).model
    scores = torch.cat([at_lam(sdnet, torch.tensor(lam), seen[0]), resnet(seen[1])])
    found: list[float] = (100 * scores.softmax(1).T).flatten().tolist()
    return found


def test_scores_are_those_of_the_changed_pictures(visit: Visit) -> None:
    """For adversaries who know λ the stored change nearest to the λ that is set, and the page says which."""
    page = visit.page
    for who, picture, lam, made_for in (
        ("oblivious", 0, 1.1, TRAINED),
        ("adaptive", 0, 1.1, 1.1),
        ("adaptive", 7, 0.6, 0.5),
        ("oblivious", 3, 0.8, TRAINED),
    ):
        choose(page, who)
        page.locator("#pictures input").nth(picture).check()
        page.fill("#lam", str(lam))
        page.wait_for_function(SHOWN, arg=shares(who, picture, lam, made_for), timeout=WAIT)
        note = page.inner_text("#adversary-note")
        assert f"at λ = {made_for:g}" in note
        assert ("nearest to yours" in note) == (who == "adaptive" and lam != made_for)


def answers(rows: list[Record], arch: str, knob: str, who: str, strength: float) -> dict[int, tuple[int, float]]:
    """Seed → test images and accuracy, looked up row by row of the ledger; that about the most images counts."""
    asked = {"metric": "top1" if who == "none" else "robust_top1", "strength": strength}
    asked |= {} if who == "none" else {"protocol": who, "attack": "pgd", "norm": "linf", "units": "pixels"}
    found: dict[int, tuple[int, int, int, str, float]] = {}
    for record in rows:
        if (record.config["arch"], record.config["knob"]) != (arch, knob):
            continue
        seed = record.config["seed"]
        for cell in record.results:
            if all(cell.get(key) == value for key, value in asked.items()):
                effort = (cell["n"], cell.get("steps", 0), cell.get("restarts", 0), record.started, cell["value"])
                found[seed] = max(effort, found.get(seed, effort))
    return {seed: (effort[0], effort[-1]) for seed, effort in found.items()}


def percent(found: dict[int, tuple[int, float]]) -> str:
    if not found:
        return "not run"
    images, values = zip(*found.values(), strict=True)
    return f"{100 * sum(values) / len(values):.1f} of {min(images):,}"


def test_the_aggregate_is_the_ledgers(visit: Visit) -> None:
    records = ledger.read()
    about = adversaries.aggregate(to_frame(records))["about"]
    rows = [
        record
        for record in records
        if record.experiment == "attack" and not variant(record.config)
        if all({**record.config, **record.config["recipe"]}[key] == about[key] for key in SCALE)
    ]
    expected = []
    for who in adversaries.ADVERSARIES:
        plain = answers(rows, "resnet18", "stem_threshold", "none" if who == "none" else "oblivious", 0.0)
        ours = [answers(rows, "sdnet18", "lam", who, lam) for lam in adversaries.CRAFTED]
        expected.append([percent(found) for found in (plain, *ours)])
    assert visit.page.evaluate(ROWS, "ledger-body") == expected


@pytest.mark.parametrize("window", WINDOWS)
def test_the_adversary_is_readable_in_every_window(attacked: Visit, window: str) -> None:
    assert_readable(attacked, window)


def test_the_adversary_works_from_the_keyboard_and_noise_comes_back(visit: Visit) -> None:
    page = visit.page
    page.focus("#adversary input")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("#adversary [value=oblivious]")
    assert "against SDNet-18 at λ = 0.1" in page.inner_text("#adversary-note")
    assert page.locator("#noise").is_disabled()
    assert page.locator("#noisy").is_hidden()
    page.focus("#attacked-head button:has-text('1.1')")
    page.keyboard.press("Enter")
    assert page.inner_text("#lam-now") == "1.10"
    page.focus("#adversary :checked")
    page.keyboard.press("ArrowRight")
    assert "at λ = 1.1" in page.inner_text("#adversary-note")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("#adversary [value=none]")
    assert page.locator("#attack").is_hidden()
    page.wait_for_selector("#same-foot tr", timeout=WAIT)
    page.wait_for_selector("#advice b", timeout=WAIT)
    assert page.locator("#noise").is_enabled()


def test_no_change_is_stored_for_a_readers_own_picture(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    choose(page, "adaptive")
    Image.new("RGB", (40, 40), (30, 90, 200)).save(tmp_path / "blue.png")
    page.set_input_files("#file", tmp_path / "blue.png")
    page.wait_for_function("/blue.png/.test(document.getElementById('credit').textContent)", timeout=WAIT)
    assert page.locator("#adversary [value=adaptive]").is_disabled()
    assert page.is_checked("#adversary [value=none]")
    assert "not for yours" in page.inner_text("#adversary-note")
    page.locator("#pictures input").first.check()
    assert page.locator("#adversary [value=adaptive]").is_enabled()
