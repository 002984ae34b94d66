"""A headless Chromium that opens a file without a network and says what it saw."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Seen:
    """An open page, what it wrote on the console or failed with, and what it asked the network for."""

    page: Page
    complaints: list[str]
    requests: list[str]

    def wait_until(self, script: str) -> None:
        """Until a script is true. Playwright's own wait has the page evaluate it, which the pages' policy forbids."""
        for _ in range(200):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"never true: {script}")


def chromium() -> str:
    """The browser of SNN2HW_CHROMIUM, or the first on the PATH."""
    program = os.environ.get("SNN2HW_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert program, (
        "there is no Chromium: install it (Debian, Ubuntu: apt-get install chromium), or name it by SNN2HW_CHROMIUM"
    )
    return program


@contextmanager
def opened(file: Path, *, width: int = 1400, scheme: str = "light") -> Iterator[Seen]:
    """Open a file at a width, in a colour scheme, and wait until its figures are drawn."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            offline=True,
        )
        page = context.new_page()
        seen = Seen(page, [], [])
        page.on("console", lambda message: seen.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: seen.complaints.append(f"error: {error}"))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.goto(file.resolve().as_uri())
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
        yield seen
        browser.close()
