"""Upgrade from the version before the last migration, and the way back, with the code of both versions."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.node import Node
from tests.support.server import REPO, Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.drill, pytest.mark.timeout(300)]

BEFORE = "fe8b0e44c8f72d62c6a8f244372ebe312e3d4566^"
"""The last commit before migration 002_history_snapshots."""


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The code of the earlier version."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    packed = subprocess.run(["git", "archive", BEFORE, "collab"], cwd=REPO, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip("the earlier version is not here: this is no clone with its whole history")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


async def test_upgrade_and_the_way_back(tmp_path: Path, earlier: Path, figure):
    """docs/howto/upgrade.md, step by step. An editor stays open all the time; another one closes between."""
    file, kept = tmp_path / "rooms.sqlite3", tmp_path / "before-upgrade.db"
    with Server(folder=tmp_path, env={"PYTHONPATH": str(earlier)}) as server:
        async with Node() as node:
            ana = await node.client(server.url, "plan")
            await ana.synced(20)
            await ana.insert("text", 0, "written before; ")
            await (await node.client(server.url, "plan")).text_is("written before; ")

            server.terminate()
            server.wait()
            shutil.copy(file, kept)  # the earlier version had no `collab backup`: a copy of a store that is closed
            server.env = {}
            told = time.monotonic()
            server.start()
            upgraded = time.monotonic() - told
            await ana.insert("text", 0, "open meanwhile; ")
            ben = await node.client(server.url, "other")
            await ben.synced(20)
            await ben.insert("text", 0, "closed since; ")
            await (await node.client(server.url, "other")).text_is("closed since; ")
            await (await node.client(server.url, "plan")).text_is("open meanwhile; written before; ", within=20)
            await ben.destroy()
            server.terminate()
            server.wait()

            was = digest(file)
            server.env = {"PYTHONPATH": str(earlier)}
            server.start(wait=False)
            assert server.wait().code == 2
            assert "newer version" in server.tail() and digest(file) == was

            newer = tmp_path / "collab-new.db"
            file.rename(newer)
            shutil.copy(kept, file)
            told = time.monotonic()
            server.start()
            back = time.monotonic() - told
            reader = await node.client(server.url, "plan")
            await reader.text_is("open meanwhile; written before; ", within=40)  # the open editor brought it along
            server.env = {}
            saved = server.try_call(
                "export", "other", "--format", "yjs", "--store", f"sqlite:///{newer}", "-o", "other.yjs"
            )
            assert saved.returncode == 0, saved.stderr
            await ana.destroy()
            await reader.destroy()
            server.terminate()
            server.wait()
            server.env = {"PYTHONPATH": str(earlier)}
            done = server.try_call("import", "other", "other.yjs", "--append", "--store", server.store)
            assert done.returncode == 0, done.stderr
            server.start()
            await (await node.client(server.url, "other")).text_is("closed since; ", within=20)
            await until(lambda: server.metrics().get("collab_journal_lag_updates") == 0, "all is committed")
    figure(f"upgrade: {upgraded:.1f} s to a server that answers; back: {back:.1f} s; nothing lost on either way")
