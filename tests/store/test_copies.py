"""Copies of a store that is in use: whole, of one moment, and never at the cost of the store itself."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from collab.errors import SettingsError, Unavailable
from collab.store import Entry
from collab.store.copies import PAGES, count_snapshots, discard, examine, put, set_aside
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

LARGE = os.urandom(3 << 20)


class Steps:
    """Stops the copy at a step until it is let go on."""

    def __init__(self) -> None:
        self.here, self.go, self.count = threading.Event(), threading.Event(), 0

    def __call__(self, step: str) -> None:
        if step == "copy.step":
            self.count += 1
            self.here.set()
            assert self.go.wait(30)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.here.wait, 30)


async def updates(path: Path, room: str = "room") -> list[bytes]:
    async with SQLiteStore(path) as store:
        return [row.update for row in await store.history(room)]


async def test_others_commit_meanwhile(tmp_path):
    """What was saved before is in the copy; so is what is saved while it is made, on pages that were copied already."""
    steps = Steps()
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=steps) as store:
        await store.append([Entry("room", b"before", 1.0), Entry("large", LARGE, 1.0)])
        told: list[tuple[int, int]] = []
        copying = asyncio.create_task(store.copy_to(tmp_path / "copy.db", lambda *at: told.append(at)))
        await steps.reached()
        meanwhile = [asyncio.create_task(store.append([Entry("room", b"%d" % i, 2.0)])) for i in range(50)]
        await asyncio.sleep(0)
        steps.go.set()
        await asyncio.wait(meanwhile, return_when=asyncio.FIRST_COMPLETED)
        assert not copying.done(), "nobody waits for the end of a copy"
        await asyncio.gather(*meanwhile, copying)
        assert told[-1][0] == told[-1][1] > 2 * PAGES and steps.count > 2
        assert len(await store.history("room")) == 51
    examine(tmp_path / "copy.db")
    assert sorted(os.listdir(tmp_path)) == ["copy.db", "rooms.db"]
    assert await updates(tmp_path / "copy.db") == [b"before", *(b"%d" % i for i in range(50))]
    assert await updates(tmp_path / "copy.db", "large") == [LARGE]


async def test_a_room_that_is_erased_meanwhile(tmp_path):
    """The file is rewritten under the copy, which stays one of a single moment."""
    steps = Steps()
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=steps) as store:
        await store.append([Entry("gone", LARGE, 1.0), Entry("room", b"kept", 1.0), Entry("large", LARGE, 1.0)])
        copying = asyncio.create_task(store.copy_to(tmp_path / "copy.db"))
        await steps.reached()
        erasing = asyncio.create_task(store.erase("gone"))
        await asyncio.sleep(0)
        steps.go.set()
        await asyncio.gather(copying, erasing)
    examine(tmp_path / "copy.db")
    assert await updates(tmp_path / "copy.db") == [b"kept"]
    assert await updates(tmp_path / "copy.db", "large") == [LARGE]


async def test_nothing_is_overwritten(tmp_path):
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await store.append([Entry("room", b"x", 1.0)])
        (tmp_path / "other").write_bytes(b"precious")
        for place in ("other", "rooms.db", "nowhere/copy.db"):
            with pytest.raises(SettingsError):
                await store.copy_to(tmp_path / place)
        assert (tmp_path / "other").read_bytes() == b"precious"
        assert await store.append([Entry("room", b"y", 1.0)]) == [2]


async def test_a_full_disk_is_not_the_stores(tmp_path):
    """The copy fails and goes; the store's connection stays."""
    opened = []
    full = tmp_path / "full"

    def fail(step: str) -> None:
        if step == "copy.step":
            raise error

    error: Exception = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[attr-defined]
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=fail) as store:
        await store.append([Entry("room", b"x", 1.0)])
        opened.append(store._writer._tables)
        with pytest.raises(Unavailable, match="full"):
            await store.copy_to(full)
        error = OSError(errno.EIO, "input/output error")
        with pytest.raises(Unavailable, match="input/output"):
            await store.copy_to(full)
        assert await store.append([Entry("room", b"y", 1.0)]) == [2]
        assert store._writer._tables is opened[0]
    assert os.listdir(tmp_path) == ["rooms.db"]


async def test_who_does_not_wait_any_more_stops_it(tmp_path):
    steps = Steps()
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=steps) as store:
        await store.append([Entry("large", LARGE, 1.0)])
        copying = asyncio.create_task(store.copy_to(tmp_path / "copy.db"))
        await steps.reached()
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        steps.go.set()
        assert await store.append([Entry("room", b"x", 1.0)]) == [1]
    assert os.listdir(tmp_path) == ["rooms.db"]


async def test_a_store_that_closes_does_not_wait_for_it(tmp_path):
    steps = Steps()
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=steps) as store:
        await store.append([Entry("large", LARGE, 1.0)])
        copying = asyncio.create_task(store.copy_to(tmp_path / "copy.db"))
        await steps.reached()
        asyncio.get_running_loop().call_later(0.05, steps.go.set)
    with pytest.raises(Unavailable, match="closes"):
        await copying
    assert steps.count < 3 and os.listdir(tmp_path) == ["rooms.db"]


def test_examine(tmp_path):
    for name, body in (("empty", b""), ("text", b"text"), ("zeros", bytes(8192))):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(SettingsError):
            examine(tmp_path / name)
    with pytest.raises(SettingsError):
        examine(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


async def test_counting_snapshots(tmp_path):
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await store.append([Entry("room", b"x", 1.0)])
    assert count_snapshots(tmp_path / "rooms.db") == 0


def test_putting_and_setting_aside(tmp_path):
    for name in ("store", "store-wal", "draft"):
        (tmp_path / name).write_text(name)
    aside = set_aside(tmp_path / "store", "aside")
    assert (aside.read_text(), (tmp_path / "aside-wal").read_text()) == ("store", "store-wal")
    put(tmp_path / "draft", tmp_path / "store")
    assert sorted(os.listdir(tmp_path)) == ["aside", "aside-wal", "store"]
    discard(aside)
    discard(aside)
    assert os.listdir(tmp_path) == ["store"] and (tmp_path / "store").read_text() == "draft"
