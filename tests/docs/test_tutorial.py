"""The tutorial is followed, step by step, with the very code that stands in it; so is the example of the README."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import DOCS, at, block
from tests.support.node import INTEROP, missing, node_binary
from tests.support.server import REPO, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

TUTORIAL = DOCS / "tutorial" / "first-server.md"
README = REPO / "README.md"

PACKAGES = {"yjs": "yjs", "y-websocket": "y-websocket-3.1", "ws": "ws"}
"""What a page imports, and where the tests' own npm packages have it."""


def site(folder: Path, script: str) -> Path:
    """A folder in which Node can run `script`, as `npm install` would leave it."""
    (folder / "node_modules").mkdir(parents=True)
    for name, home in PACKAGES.items():
        (folder / "node_modules" / name).symlink_to(INTEROP / "node_modules" / home)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "main.js").write_text(script)
    return folder


class Page:
    """One window with the tutorial's page in it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, *command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()
        return dict(json.loads(await self._process.stdout.readline()))

    async def until(self, wanted: Callable[[dict[str, Any]], bool], within: float = 10.0) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within):
                while True:
                    seen = await self.do("look")
                    if wanted(seen):
                        return seen
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"after {within:g} s the page shows {seen}") from None

    async def shows(self, text: str) -> None:
        await self.until(lambda seen: seen["text"] == text)

    async def says(self, status: str) -> None:
        await self.until(lambda seen: seen["status"] == status)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Page]:
    script = Path(__file__).parent / "page.mjs"
    process = await asyncio.create_subprocess_exec(
        node_binary(), str(script), str(folder), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Page(process)
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture(scope="module")
def server():
    with Server(store="memory:") as running:
        yield running


@pytest.fixture
def folder(tmp_path, server):
    """The page, in a room of its own."""
    script = block(TUTORIAL, "js").replace("'first-room'", f"'{tmp_path.name}'")
    return site(tmp_path / "site", at(script, server.port))


def collab(server: Server, *args: str) -> str:
    command = [sys.executable, "-m", "collab", *args, "--store", server.store]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_the_page_has_what_its_script_asks_for():
    page, script = block(TUTORIAL, "html"), block(TUTORIAL, "js")
    (asked,) = re.findall(r"\[([^]]*)]\.map\(\(id\)", script)
    assert set(re.findall(r"'(\w+)'", asked)) == set(re.findall(r'id="(\w+)"', page))
    assert 'src="main.js"' in page


async def test_from_beginning_to_end(tmp_path):
    with Server() as server:
        await follow(server, tmp_path)


async def follow(server: Server, tmp_path: Path) -> None:
    assert server.health()[1]["status"] == "ok"
    folder = site(tmp_path / "site", at(block(TUTORIAL, "js"), server.port))
    script = tmp_path / "visit.py"
    script.write_text(at(block(TUTORIAL, "python"), server.port))
    kept: dict[str, str] = json.loads(block(TUTORIAL, "json"))
    final = kept["text"]
    typed, _, visited = final.partition("\n")
    greeting, question = typed.split("! ")

    async with opened(folder) as one, opened(folder) as two:
        await one.says("connected")
        await two.says("connected")
        await one.do("type", 0, 0, greeting)
        await two.shows(greeting)
        await two.do("name", "Ana")
        await one.until(lambda seen: "Ana" in seen["people"].split(", ") and "Guest" in seen["people"])

        server.kill()
        await one.says("connecting")
        await one.do("type", len(greeting), len(greeting), "! ")
        await two.do("type", 0, 0, "(offline) ")
        server.restart()
        for page in (one, two):
            await page.says("connected")
            await page.shows(f"(offline) {greeting}! ")
        await two.do("type", 0, len("(offline) "), "")
        await one.do("type", len(greeting) + 12, len(greeting) + 12, question)
        await two.shows(typed)
    server.kill()
    server.restart()
    async with opened(folder) as alone:
        await alone.shows(typed)
        run = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
        assert (await run.communicate())[0].decode() == typed + "\n"
        await alone.shows(f"{typed}\n{visited}")

    server.terminate()
    assert (await server.exited()).code == 0
    assert "first-room" in collab(server, "rooms")
    assert json.loads(collab(server, "export", "first-room")) == kept
    assert collab(server, "export", "first-room") == block(TUTORIAL, "json")


EDITS: list[tuple[str, list[tuple[int, int, str]]]] = [
    ("", [(0, 0, "a"), (1, 1, "b"), (0, 1, ""), (0, 0, "x\ny")]),
    ("aaaa", [(1, 2, ""), (0, 0, "a"), (2, 3, "aa")]),
    ("🙂🙃", [(2, 4, "😀"), (0, 2, "🙃"), (0, 0, "🙃")]),
    ("one two three", [(4, 7, "2"), (0, 11, ""), (0, 0, "Ünïcödé 👩‍👧 ")]),
]
"""A text, and what is typed into it: from, to (as JavaScript counts), and what takes the place."""


async def test_every_edit_of_the_textarea_arrives(folder):
    async with opened(folder) as one, opened(folder) as two:
        for text, edits in EDITS:
            await one.do("type", 0, 10_000, text)
            for start, end, typed in edits:
                units = text.encode("utf-16-le")
                text = (units[: 2 * start] + typed.encode("utf-16-le") + units[2 * end :]).decode("utf-16-le")
                await one.do("type", start, end, typed)
                await two.shows(text)


CURSORS = [
    ([3, 3], (0, 0, "xy"), [5, 5]),
    ([3, 3], (5, 5, "xy"), [3, 3]),
    ([3, 3], (3, 3, "xy"), [3, 3]),
    ([3, 3], (0, 2, ""), [1, 1]),
    ([3, 3], (2, 5, ""), [2, 2]),
    ([1, 5], (2, 4, "longer"), [1, 9]),
]
"""What is selected, what another types, and what is selected then."""


async def test_the_cursor_stays_where_it_was(folder):
    async with opened(folder) as one, opened(folder) as two:
        for cursor, edit, then in CURSORS:
            await one.do("type", 0, 10_000, "abcdefg")
            await two.shows("abcdefg")
            await two.do("select", *cursor)
            changed = await one.do("type", *edit)
            await two.shows(changed["text"])
            assert (await two.do("look"))["cursor"] == then, edit


async def test_the_example_of_the_readme(server, tmp_path):
    script = at(block(README, "js"), server.port)
    folder = site(tmp_path / "site", script)
    (folder / "run.js").write_text(
        "import WebSocket from 'ws'; globalThis.WebSocket ??= WebSocket; await import('./main.js')"
    )
    process = await asyncio.create_subprocess_exec(node_binary(), "run.js", cwd=folder, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(10):
            lines = [(await process.stdout.readline()).decode().strip() for _ in range(2)]
    finally:
        process.kill()
        await process.communicate()
    assert lines == ["connected", "Hello!"]


def test_the_packages_are_those_that_the_tutorial_installs():
    """A later generation is another page."""
    (asked,) = re.findall(r"npm install (.*)", TUTORIAL.read_text("utf-8"))
    for spec in asked.split():
        name, _, major = spec.partition("@")
        manifest = INTEROP / "node_modules" / PACKAGES.get(name, name) / "package.json"
        if name not in PACKAGES:
            continue  # the bundler
        if not manifest.exists():
            missing("the real clients are not installed: run 'npm ci' in tests/interop")
        assert json.loads(manifest.read_text())["version"].startswith(f"{major}.")
