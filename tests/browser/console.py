"""What tests do with a window of the console."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
from playwright.sync_api import Page, expect

from tests.support.raw import Peer
from tests.support.server import FOREIGN, REPO, Server

TOKEN = "a token that opens the admin interface"
KEYS = {"JWT_SECRET": "a secret of the tests, and long enough for them"}
AXE = REPO / "collab" / "console" / "node_modules" / "axe-core" / "axe.min.js"


def editor_token(subject: str) -> str:
    """What `collab token` prints for somebody who may write everywhere."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    command = [sys.executable, "-m", "collab", "token", "--sub", subject, "--room", "**=write"]
    done = subprocess.run(command, cwd=REPO, env=env | KEYS, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def api(server: Server) -> httpx.Client:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=f"{server.http_url}/api/v1", headers=headers, timeout=30)


def path_of(room: str) -> str:
    return f"/rooms/{quote(room, safe='')}"


def sign_in(page: Page) -> None:
    page.get_by_label("Admin token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("h1:visible")).not_to_have_text("Sign in")


def enter(window: Any, server: Server, view: str = "", **options: Any) -> Page:
    """A window of the console, signed in, at a view such as `rooms`."""
    page: Page = window(f"{server.http_url}/console#/{view}", **options)
    sign_in(page)
    return page


def shown(page: Page) -> str:
    """Which moment the room's paper shows: `read seq:12`, or `compare snapshot:3`."""
    return page.locator("#paper").get_attribute("data-shown") or ""


def faults(page: Page) -> list[str]:
    """What axe finds serious or critical in the page as it is. Its window must have been opened with `bypass_csp`."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10, "axe has looked at nothing"
    return [
        f"{one['impact']}: {one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


@contextmanager
def crowd(server: Server, rooms: list[str], target: str | None = None) -> Iterator[None]:
    """One connection to each of the rooms, held by a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    peers: list[Peer] = []

    async def come() -> None:
        for room in rooms:
            peers.append(await Peer.open(server.url, room, target=target))
        await asyncio.gather(*(peer.synced.wait() for peer in peers))

    async def go() -> None:
        await asyncio.gather(*(peer.leave() for peer in peers))

    try:
        asyncio.run_coroutine_threadsafe(come(), loop).result(60)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(go(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
