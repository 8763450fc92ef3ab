"""Debian's Chromium, driven by Playwright, and the server's own pages in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from collab.web.pages import BUILT
from tests.support.figures import figure, pytest_terminal_summary
from tests.support.node import missing
from tests.support.server import REPO, Server

__all__ = ["figure", "pytest_terminal_summary"]

# Connections that the tests cut themselves, and tokens that are wrong.
EXPECTED = ("WebSocket connection to", "net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "status of 401")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for each module, and none afterwards: Playwright's loop must not outlive the tests that use it."""
    binary = shutil.which("chromium")
    if binary is None:
        missing("Chromium is not installed (Debian: apt-get install chromium)")
    if not all((BUILT / page).is_file() for page in ("demo.html", "console.html")):
        missing("the pages are not built: run 'npm ci' and 'npm run build' in collab/console")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=binary,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with room for everybody."""
    with Server(env={"COLLAB_AUTH__MODE": "open"}) as running:
        yield running


@pytest.fixture
def room() -> str:
    """A room that nobody has been in."""
    return f"room {uuid4().hex[:8]} / ü"


Opener = Callable[..., Page]


@pytest.fixture
def window(browser: Browser) -> Iterator[Opener]:
    """Opens windows, each with a profile of its own. What one writes to its console as an error fails the test."""
    complaints: list[str] = []
    contexts = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(text in message.text for text in EXPECTED):
            complaints.append(message.text)

    def open_window(url: str, name: str = "", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        if name:
            context.add_init_script(
                f"localStorage.getItem('collab-user') ?? localStorage.setItem('collab-user', "
                f'JSON.stringify({{name: "{name}", color: "#0a6391"}}))'
            )
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_window
    for context in contexts:
        with suppress(PlaywrightError):
            context.close()
    assert complaints == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go."""
    return tmp_path


@pytest.fixture
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Where a screenshot goes that the documentation shows: there with `--screenshots`, else where nobody looks."""
    folder = REPO / "docs" / "images" if request.config.getoption("--screenshots") else tmp_path
    return lambda name: folder / f"{name}.png"
