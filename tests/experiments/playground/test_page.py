"""The playground in a browser, opened from disk: it computes what PyTorch computes, and a reader can use it."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from browser import WINDOWS, Browser, Page, Visit
from PIL import Image
from playground_pages import WAIT, as_images, assert_readable
from torch import nn

from sdnet.csc.lam import set_lam
from sdnet.csc.layers import csc_layers
from sdnet.data.corruptions import NOISES, SEVERITIES, add_noise
from sdnet.experiments.playground import export, lines
from sdnet.results import networks
from sdnet.robust.policies import at_lam, residuals

LAMS = (0.1, 0.5, 1.5)

OPEN = """() => {
    const engine = createEngine(), weights = engine.decode(PLAYGROUND.weights, PLAYGROUND.dtype);
    const pictures = PLAYGROUND.pictures.map(({ pixels }) => engine.bytesOf(pixels));
    const { sdnet, resnet } = PLAYGROUND.networks;
    window.lab = {
        engine, pictures, noises: createNoise(),
        sdnet: engine.open(sdnet, weights), resnet: engine.open(resnet, weights),
    };
}"""
SCORES = """([picture, noise, severity, lams, steps]) => {
    const { engine, pictures, noises, sdnet, resnet } = lab;
    const level = noise === "none" ? 0 : PLAYGROUND.severities[noise][severity - 1];
    const pixels = noises.addNoise(pictures[picture], noise, level, 7);
    return {
        pixels: [...pixels],
        sdnet: lams.map((lam) => engine.classify(sdnet, pixels, lam, steps)),
        resnet: engine.classify(resnet, pixels),
        residual: engine.residualNorm(sdnet, pixels, sdnet.stem.lam),
    };
}"""


@pytest.fixture(scope="module")
def lab(chromium: Browser, written: Path) -> Iterator[Page]:
    visit = Visit(chromium, written)
    visit.page.evaluate(OPEN)
    yield visit.page
    visit.close()


@cache
def network(name: str) -> nn.Module:
    return networks.load(name).model


@torch.no_grad()
def largest_difference(page: Page, picture: int, noise: str, severity: int, steps: int = 2) -> float:
    """Of all class scores of both networks from PyTorch's; the answers have to be the same."""
    found = page.evaluate(SCORES, [picture, noise, severity, LAMS, steps])
    images = as_images(found["pixels"])
    sdnet, resnet = network(export.SDNET), network(export.RESNET)
    csc_layers(sdnet)[0][1].iterations = steps
    expected = [at_lam(sdnet, torch.tensor(lam), images)[0] for lam in LAMS] + [resnet(images)[0]]
    seen = torch.tensor([*found["sdnet"], found["resnet"]])
    assert seen.argmax(1).tolist() == [scores.argmax().item() for scores in expected]
    if steps == 2:
        assert found["residual"] == pytest.approx(residuals(sdnet, images, 0.1).item(), rel=1e-3)
    return (seen - torch.stack(expected)).abs().max().item()


@pytest.mark.parametrize("noise", ["none", *NOISES])
def test_scores_are_those_of_pytorch_for_every_picture_noise_and_lam(lab: Page, noise: str) -> None:
    count = len(export.pictures())
    worst = max(largest_difference(lab, picture, noise, severity=1 + picture % 5) for picture in range(count))
    assert worst < 1e-2


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_scores_are_those_of_pytorch_for_other_numbers_of_steps(lab: Page, steps: int) -> None:
    assert largest_difference(lab, 0, "gaussian_noise", 5, steps) < 1e-2


def test_with_weights_of_32_bits_scores_are_exact(chromium: Browser, tmp_path: Path) -> None:
    visit = Visit(chromium, export.write(tmp_path, "float32"))
    visit.page.evaluate(OPEN)
    cases = [(picture, steps) for picture in (1, 7) for steps in (2, 8)]
    worst = max(largest_difference(visit.page, picture, "gaussian_noise", 5, steps) for picture, steps in cases)
    assert worst < 1e-3
    visit.close()


@pytest.mark.parametrize("noise", NOISES)
def test_noise_is_that_of_the_benchmark(lab: Page, noise: str) -> None:
    """Mean and spread at three brightnesses, over 10,000 values each; the same seed gives the same noise."""
    script = """([noise, level, grey, seed]) =>
        [...lab.noises.addNoise(new Uint8Array(10000).fill(grey), noise, level, seed)]"""
    for level in (SEVERITIES["cifar"][noise][0], SEVERITIES["cifar"][noise][4]):
        for grey in (20, 128, 250):
            seen = torch.tensor(lab.evaluate(script, [noise, level, grey, 1])).double()
            images = torch.full((1, 500, 400, 1), grey, dtype=torch.uint8)
            expected = add_noise(images, noise, level).flatten().double()
            assert abs(seen.mean() - expected.mean()) < 5 * expected.std() / 10000**0.5
            assert seen.std() == pytest.approx(expected.std().item(), rel=0.08)
    assert seen.tolist() == lab.evaluate(script, [noise, level, grey, 1])
    assert seen.tolist() != lab.evaluate(script, [noise, level, grey, 2])


def filled(visit: Visit) -> Page:
    """The page when there is something everywhere, though not all draws have been answered."""
    visit.page.wait_for_selector("#same-foot tr", timeout=WAIT)
    visit.page.wait_for_selector("#advice b", timeout=WAIT)
    return visit.page


@pytest.fixture(scope="module")
def answered(chromium: Browser, written: Path) -> Iterator[Visit]:
    """The page once all draws have been answered."""
    visit = Visit(chromium, written)
    filled(visit).wait_for_selector("#chart[aria-busy=false]", timeout=WAIT)
    yield visit
    assert visit.faults == []
    visit.close()


@pytest.mark.parametrize("window", WINDOWS)
def test_the_page_is_readable_in_every_window(answered: Visit, window: str) -> None:
    assert_readable(answered, window)


@torch.no_grad()
def test_what_the_page_says_is_what_pytorch_finds(answered: Visit) -> None:
    page = answered.page
    page.evaluate(OPEN)
    script = """() => Array.from({ length: 24 }, (_, i) => [...lab.noises.addNoise(
        lab.pictures[0], "gaussian_noise", PLAYGROUND.severities.gaussian_noise[4], i + 1)])"""
    images = torch.cat([as_images(pixels) for pixels in page.evaluate(script)])
    trained = networks.load(export.SDNET)
    truth = trained.classes.index("automobile")
    scores = [networks.load(export.RESNET).model(images)]
    scores += [at_lam(trained.model, torch.tensor(lam), images) for lam in export.LAMS]
    expected = [f"{100 * (score.argmax(1) == truth).float().mean():.0f} %" for score in scores]
    assert page.locator("#chart .share").all_inner_texts() == expected
    norms = residuals(trained.model, images, 0.1)
    policies = lines.read_lines(export.SDNET)
    advice = page.inner_text("#advice")
    for name in ("gaussian_noise", "all"):
        assert f"{policies[name].lam(norms).item():.2f}" in advice
    page.click("#follow")
    assert float(page.inner_text("#lam-now")) == pytest.approx(policies["gaussian_noise"].lam(norms).item(), abs=0.026)
    set_lam(trained.model, 0.1)
    code = trained.model.stem[0](trained.model.normalize(images[:1]))
    page.fill("#lam", "0.1")
    zeros = f"{100 * (code == 0).float().mean().item():.1f} %"
    page.wait_for_function("text => document.getElementById('zeros').textContent === text", arg=zeros, timeout=WAIT)


def test_every_control_works_from_the_keyboard(chromium: Browser, written: Path) -> None:
    visit = Visit(chromium, written)
    page = filled(visit)
    reached = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className || 'picture'"))
    for name in ("picture", "file", "noise", "severity", "draw", "steps", "lam", "follow", "column"):
        assert name in reached
    before = page.inner_text("#zeros")
    page.focus("#lam")
    page.keyboard.press("End")
    assert page.inner_text("#lam-now") == "1.50"
    page.wait_for_function(
        "before => document.getElementById('zeros').textContent !== before", arg=before, timeout=WAIT
    )
    page.focus("#chart button:nth-of-type(3)")
    page.keyboard.press("Enter")
    assert page.inner_text("#lam-now") == "0.50"
    assert page.get_attribute("#chart button:nth-of-type(3)", "aria-pressed") == "true"
    page.focus("#pictures input")
    page.keyboard.press("ArrowRight")
    assert "airplane" in page.inner_text("#credit")
    assert visit.faults == []
    visit.close()


def test_without_noise_every_draw_is_the_same(chromium: Browser, written: Path) -> None:
    visit = Visit(chromium, written)
    visit.page.select_option("#noise", "none")
    visit.page.wait_for_function(
        "/all draws are alike/.test(document.getElementById('progress').textContent)", timeout=WAIT
    )
    assert visit.page.locator("#severity").is_disabled()
    assert set(visit.page.locator("#chart .share").all_inner_texts()) <= {"0 %", "100 %"}
    visit.close()


def test_a_readers_own_picture_stays_in_the_page(chromium: Browser, written: Path, tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), (200, 30, 40)).save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    visit = Visit(chromium, written)
    page = visit.page
    page.set_input_files("#file", tmp_path / "red.png")
    page.wait_for_function("/red.png/.test(document.getElementById('credit').textContent)", timeout=WAIT)
    page.select_option("#noise", "none")
    page.select_option("#truth", label="truck")
    page.wait_for_selector(".truth th:text('truck')", timeout=WAIT)
    page.set_input_files("#file", tmp_path / "broken.png")
    page.wait_for_selector("#problem:not(:empty)", timeout=WAIT)
    assert re.search(r"broken\.png is no picture .* choose a PNG or JPEG", page.inner_text("#problem"))
    assert visit.faults == []
    # The page forbids itself to talk to anybody.
    refused = page.evaluate("fetch('data:,').then(() => false, () => true)")
    assert refused
    # Last, since to read from a canvas again and again is what Chromium warns of.
    seen = "JSON.stringify([...document.getElementById('seen').getContext('2d').getImageData(9, 9, 1, 1).data])"
    page.wait_for_function(f"{seen} === '[200,30,40,255]'", timeout=WAIT)
    visit.close()


def test_in_the_book_the_frame_is_as_high_and_as_dark_as_it_should_be(chromium: Browser, written: Path) -> None:
    around = written.parent / "around.html"
    around.write_text(
        '<!doctype html><html data-theme="dark"><body><iframe class="playground" src="index.html" title="it"></iframe>'
        '<script src="embed.js"></script></body></html>'
    )
    visit = Visit(chromium, around)
    frame = visit.page.frames[1]
    frame.wait_for_selector("#same-foot tr", timeout=WAIT)
    scheme = "() => document.documentElement.style.colorScheme"
    assert frame.evaluate(scheme) == "dark"
    assert frame.locator("#alone").is_hidden()
    visit.page.evaluate("document.documentElement.dataset.theme = 'light'")
    frame.wait_for_function(f"({scheme})() === 'light'")
    high = "document.querySelector('iframe').style.height"
    content = frame.evaluate("Math.ceil(document.body.getBoundingClientRect().height)")
    visit.page.wait_for_function(f"{high} === '{content}px'")
    assert visit.faults == []
    visit.close()
