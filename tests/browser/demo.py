"""What tests do with a window of the demo editor."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page, expect
from pycrdt import Doc

from collab.wire.vet import parse_state_vector
from tests.support.server import REPO, Server

CLOCK = """() => {
  const { doc } = window.collabDemo
  const last = doc.store.clients.get(doc.clientID)?.at(-1)
  return last === undefined ? 0 : last.id.clock + last.length
}"""
SAMPLER = f"""() => {{
  window.samples = []
  const clock = {CLOCK}
  const words = document.getElementById('indicator-text')
  setInterval(() => window.samples.push([words.textContent, clock()]), 4)
}}"""
"""Notes what the indicator says, and how many clocks this window has used up, at the same moment."""


def demo_url(server: Server, room: str, protocol: str = "hocuspocus") -> str:
    return f"{server.http_url}/demo?{urlencode({'room': room, 'protocol': protocol})}"


def saved(page: Page, within: float = 15.0) -> None:
    """The indicator gets to say so."""
    expect(page.locator("#indicator")).to_have_text("Saved", timeout=within * 1000)


def text(page: Page) -> str:
    return str(page.evaluate("collabDemo.editor.getText({blockSeparator: '\\n'})"))


def content(page: Page) -> Any:
    return page.evaluate("collabDemo.editor.getJSON()")


def client_id(page: Page) -> int:
    return int(page.evaluate("collabDemo.doc.clientID"))


def clock(page: Page) -> int:
    """How many clocks this window has used up."""
    return int(page.evaluate(CLOCK))


def words(page: Page, writer: str) -> list[int]:
    """The numbers that `writer` typed (`a0 a1 ...`), in the order in which they stand."""
    return [int(number) for number in re.findall(rf"{writer}(\d+)", text(page))]


def export(server: Server, room: str, form: str) -> bytes:
    """`collab export`; the server must not be running."""
    command = [sys.executable, "-m", "collab", "export", room, "--format", form, "--store", server.store]
    return subprocess.run(command, cwd=REPO, capture_output=True, check=True, timeout=60).stdout


def stored_clocks(server: Server, room: str) -> dict[int, int]:
    """Of each client, how many clocks are on the disk."""
    doc: Doc[Any] = Doc()
    doc.apply_update(export(server, room, "yjs"))
    return parse_state_vector(doc.get_state())
