"""Backup, loss and recovery with the clock running: a store of 1 GB in the long form."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from pycrdt import Doc, Text

from collab.store import Entry, open_store
from tests.support.node import Node
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.drill, pytest.mark.timeout(1_800)]

PIECE = 100_000
"""Characters of each row."""
ROWS = 10
"""Rows of each room."""


async def filled(url: str, size: int) -> int:
    """Fill a store with `size` bytes of text in rooms of 1 MB; returns how many rooms."""
    count = size // (PIECE * ROWS)
    async with open_store(url) as store:
        for number in range(count):
            doc: Doc = Doc()
            doc["text"] = text = Text()
            rows = []
            for _ in range(ROWS):
                before = doc.get_state()
                text += random.randbytes(PIECE // 2).hex()
                rows.append(Entry(f"room-{number}", doc.get_update(before), time.time()))
            await store.append(rows)
    return count


def lose(folder: Path) -> None:
    """The store and what SQLite keeps beside it are gone."""
    for part in folder.glob("rooms.sqlite3*"):
        if part.is_file():
            part.unlink()


async def test_backup_loss_recovery(tmp_path: Path, full, figure):
    with Server(folder=tmp_path) as server:
        server.terminate()
        server.wait()
        rooms = await filled(server.store, 1_000_000_000 if full else 20_000_000)
        file = tmp_path / "rooms.sqlite3"
        size = file.stat().st_size
        server.start()
        async with Node() as node:
            editor = await node.client(server.url, "minutes")
            await editor.synced(20)
            await editor.insert("text", 0, "before the backup")
            reader = await node.client(server.url, "minutes")
            await reader.text_is("before the backup")
            await editor.destroy()
            await reader.destroy()
            began = time.monotonic()
            done = server.try_call("backup", str(tmp_path / "copy.db"), "--yes", "--server", server.http_url)
            assert done.returncode == 0, done.stderr
            backed_up = time.monotonic() - began
            late = await node.client(server.url, "late")
            await late.synced(20)
            await late.insert("text", 0, "after the backup")
            await (await node.client(server.url, "late")).text_is("after the backup")
        server.kill()
        lost = time.monotonic()
        lose(tmp_path)
        done = server.try_call("restore-backup", str(tmp_path / "copy.db"), "--store", server.store, "--yes")
        assert done.returncode == 0, done.stderr
        server.start()
        async with Node() as node:
            reader = await node.client(server.url, "minutes")
            await reader.text_is("before the backup", within=20)
            recovered = time.monotonic() - lost
            newer = await node.client(server.url, "late")
            await newer.synced(20)
            assert await newer.text() == "", "what came after the backup is not in it"
        assert (
            server.try_call("rooms", "--json", "--store", f"sqlite:///{tmp_path}/copy.db").stdout.count('"room-')
            == rooms
        )
        figure(
            f"recovery of {size / 1e6:.0f} MB: RTO {recovered:.1f} s (loss to the first editor who reads), "
            f"RPO the time since the last backup began, which took {backed_up:.1f} s"
        )
