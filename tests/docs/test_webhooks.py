"""The guide to webhooks: its receiver runs, believes this server and nobody else; what it says of settings is so."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys

import anyio
import httpx
import pytest

from collab.settings.hooks import EVENTS, HookSettings
from tests.docs.blocks import DOCS, block
from tests.support.raw import Peer
from tests.support.server import Server, free_port
from tests.support.waiting import until

PAGE = DOCS / "howto" / "webhooks.md"
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.anyio
async def test_the_receiver(tmp_path):
    port = free_port()
    program, log = tmp_path / "receiver.py", tmp_path / "log"
    program.write_text(block(PAGE, "python").replace("8000", str(port)))
    url = f"http://127.0.0.1:{port}/hooks"
    env = os.environ | {"COLLAB_HOOKS__SECRET": SECRET}
    with log.open("w") as said:
        command = [sys.executable, str(program)]
        receiver = await anyio.open_process(command, stdout=said, stderr=subprocess.DEVNULL, env=env)
    try:
        hooks = {"COLLAB_HOOKS__URLS": url, "COLLAB_HOOKS__SECRET": SECRET, "COLLAB_HOOKS__DEBOUNCE_SECONDS": "0"}
        with Server(env=hooks) as server:
            async with await Peer.open(server.url, "minutes") as peer:
                await peer.synced.wait()
                await peer.write("hello")
                await until(lambda: "document.changed minutes" in log.read_text(), log.read_text, within=15)
            await until(lambda: "client.left minutes" in log.read_text(), log.read_text, within=15)
        assert set(log.read_text().split("\n")) >= {"room.created minutes", "client.joined minutes"}
        forged = await asyncio.to_thread(httpx.post, url, json={"id": "x", "event": "room.deleted", "room": "minutes"})
        assert forged.status_code == 401 and "room.deleted" not in log.read_text()
    finally:
        receiver.kill()
        await receiver.wait()


def test_what_it_says():
    text = PAGE.read_text("utf-8")
    told = re.findall(r"^\| ((?:`[a-z.]+`(?:, )?)+) \|", text, re.MULTILINE)
    assert {name for line in told for name in re.findall(r"`([a-z.]+)`", line)} == {*EVENTS, "test"}
    assert json.loads(block(PAGE, "json"))["event"] in EVENTS
    defaults = HookSettings()
    for name, value in re.findall(r"`COLLAB_HOOKS__([A-Z_]+)`\s+\((\d+)\)", text):
        assert getattr(defaults, name.lower()) == float(value), name
