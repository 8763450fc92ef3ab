"""The guides for clients: their programs run, in a browser or in Python, against a server, as they stand there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.docs.blocks import DOCS, at, block
from tests.support.node import INTEROP, missing, node_binary
from tests.support.server import Server

PAGES = DOCS / "howto" / "clients"
ALIAS = {"y-websocket": "y-websocket-3.1", "@hocuspocus/provider": "hocuspocus-4.8"}
"""What a guide imports, and where the tests' own npm packages have it."""
EDITORS = {"codemirror": ".cm-content", "prosemirror": ".ProseMirror", "tiptap": ".ProseMirror"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
        assert not running.complaints()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = shutil.which("chromium")
    if binary is None:
        missing("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


def bundle(guide: str, port: int) -> str:
    """The one program of a guide, with all that it imports, for a browser."""
    done = subprocess.run(
        [
            *(node_binary(), "node_modules/esbuild-wasm/bin/esbuild", "--bundle", "--format=iife", "--log-level=error"),
            *(f"--alias:{name}={home}" for name, home in ALIAS.items()),
        ],
        input=at(block(PAGES / f"{guide}.md", "js"), port),
        cwd=INTEROP,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def opened(browser: Browser, script: str, errors: list[str]) -> Page:
    """A window of somebody else, with the program in it."""
    page = browser.new_context().new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content("<!doctype html><title></title><body></body>")
    page.add_script_tag(content=script)
    return page


@pytest.mark.parametrize("guide", EDITORS)
def test_two_windows_of_an_editor(guide, browser, server):
    script, errors = bundle(guide, server.port), list[str]()
    first, second = opened(browser, script, errors), opened(browser, script, errors)
    place = EDITORS[guide]
    second.wait_for_selector(place)
    first.click(place)
    first.keyboard.type("typed by one")
    second.wait_for_function(f"document.querySelector('{place}').innerText.includes('typed by one')")
    second.wait_for_function("document.body.innerText.includes('Ana')", timeout=10_000)  # the other one's cursor
    if guide == "tiptap":
        first.wait_for_function("document.title === 'saved'")
    assert not errors
    first.context.close()
    second.context.close()


def test_plain_yjs(browser, server):
    script, errors = bundle("yjs", server.port), list[str]()
    first = opened(browser, script, errors)
    first.wait_for_function("document.body.textContent === 'Hello'")
    second = opened(browser, script, errors)
    second.wait_for_function("document.body.textContent === 'Hello'")
    assert not errors
    first.context.close()
    second.context.close()


def test_python(server, tmp_path):
    (tmp_path / "main.py").write_text(at(block(PAGES / "python.md", "python"), server.port))
    for times in (1, 2):
        done = subprocess.run(
            [sys.executable, "main.py", "python-guide"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "Hello from Python. " * times + "\n"


def test_there_is_a_test_for_each_guide():
    assert {page.stem for page in PAGES.glob("*.md")} == {*EDITORS, "yjs", "python"}
