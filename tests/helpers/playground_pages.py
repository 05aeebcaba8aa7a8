"""What the tests of the playground's page ask of it, whatever the reader has chosen."""

import torch
from browser import Visit
from torch import Tensor

WAIT = 240_000
"""Milliseconds: on a loaded machine all draws take a while."""
CONTRAST = """() => {
    // The browser resolves any colour to red, green and blue when it paints it.
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data];
    };
    const light = (colour) => rgba(colour).slice(0, 3).map((value) => value / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (node) => {
        while (node && rgba(getComputedStyle(node).backgroundColor)[3] < 255) node = node.parentElement;
        return getComputedStyle(node || document.body).backgroundColor;
    };
    const texts = [...document.querySelectorAll("main *")].filter((node) => !node.closest("[hidden], :disabled") &&
        [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()));
    return texts.map((node) => {
        const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent.trim().slice(0, 40)];
    }).filter(([ratio]) => ratio < 4.5);
}"""
UNNAMED = """() => [...document.querySelectorAll("input, select, button, fieldset, [role=img]")].filter(
    (node) => !node.closest("[hidden]") && !node.getAttribute("aria-label")
        && !(node.labels && node.labels.length) && !node.textContent.trim()
).map((node) => node.outerHTML)"""


def as_images(pixels: list[int]) -> Tensor:
    """8-bit pixels of one picture in the page's order, as a batch for PyTorch."""
    return torch.tensor(pixels).view(1, 32, 32, 3).permute(0, 3, 1, 2) / 255


def assert_readable(visit: Visit, window: str) -> None:
    """In such a window nothing is cut off, every text has contrast, and every control and picture has a name."""
    page = visit.page
    visit.resize(window)
    assert not visit.overflows()
    assert page.evaluate("[...document.querySelectorAll('.wide')].every((box) => box.scrollWidth <= box.clientWidth)")
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(UNNAMED) == []
