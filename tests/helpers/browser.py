"""A browser for the tests of what a reader clicks on: a Chromium or Chrome that is installed, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WINDOWS: dict[str, tuple[int, int, Literal["light", "dark"]]] = {
    "desktop": (1200, 900, "light"),
    "phone": (360, 800, "light"),
    "dark": (700, 900, "dark"),
}
"""Window → its width and height, and the colours that the reader prefers."""


def executable() -> str:
    """The browser's path. Without one a test is skipped."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser is installed (looked for {', '.join(NAMES)}); apt-get install chromium")


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser; containers, where tests run as root, have no sandbox for it."""
    path = executable()
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


class Visit:
    """A page opened from disk, and all that went wrong on it: errors, console messages, requests to elsewhere."""

    def __init__(self, browser: Browser, path: Path, **options: Any) -> None:
        self.faults: list[str] = []
        self.page: Page = browser.new_context(**options).new_page()
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        self.page.on("request", lambda request: self._requested(request.url))
        self.page.goto(path.as_uri())

    def _requested(self, url: str) -> None:
        if not url.startswith(("file:", "blob:", "data:")):
            self.faults.append(f"request: {url}")

    def resize(self, window: str) -> None:
        """Show the page as in one of :data:`WINDOWS`."""
        width, height, colours = WINDOWS[window]
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme=colours)
        chromium = self.page.context.new_cdp_session(self.page)
        chromium.send("Emulation.setTouchEmulationEnabled", {"enabled": window == "phone"})

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def close(self) -> None:
        self.page.context.close()
