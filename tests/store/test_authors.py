"""Forgetting authors in SQLite: in pieces, in no file, and never at the price of a seal; the rest is the contract's."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from collab.errors import DamagedRoom, DamagedSnapshot
from collab.store import Entry, Reason, Unsigned, authors
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

NAME = "ana whom nobody may find again"


async def fill(store: SQLiteStore, room: str, rows: int) -> None:
    await store.append([Entry(room, b"%d" % n, 1000.0 + n, NAME if n % 3 else "ben") for n in range(1, rows + 1)])
    await store.add_snapshot(room, b"state", covers=rows, time=5.0, reason=Reason.MANUAL, author=NAME)


async def test_in_pieces_and_in_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(authors, "LOOKED_AT", 7)
    path = tmp_path / "rooms.db"
    async with SQLiteStore(path) as store:
        for room in ("one", "two"):
            await fill(store, room, 60)
        await store.compact("one", b"state", covers=30, basis=0)
        assert NAME.encode() in b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert await store.unsign(NAME) == Unsigned(80, 2)
        files = [file for file in tmp_path.iterdir() if NAME.encode() in file.read_bytes()]
        assert files == [], "while it is open, too"
        assert [row.seq for row in await store.history("one")] == list(range(1, 61))
    assert not [file for file in tmp_path.iterdir() if NAME.encode() in file.read_bytes()]


async def test_a_process_that_dies_in_the_middle_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(authors, "LOOKED_AT", 10)
    path, pieces = tmp_path / "rooms.db", 0

    class Died(Exception):
        pass

    def at(step: str) -> None:
        nonlocal pieces
        if step == "unsign.before_commit":
            pieces += 1
            if pieces == 3:
                raise Died

    async with SQLiteStore(path, failpoint=at) as store:
        await fill(store, "one", 60)
        with pytest.raises(Died):
            await store.unsign(NAME)
    async with SQLiteStore(path) as store:
        left = [row.author for row in await store.history("one")].count(NAME)
        assert 0 < left < 40
        assert await store.unsign(NAME) == Unsigned(left, 0)
    assert NAME.encode() not in path.read_bytes()


async def test_what_was_damaged_stays_so(tmp_path):
    path = tmp_path / "rooms.db"
    async with SQLiteStore(path) as store:
        await fill(store, "one", 5)
        await fill(store, "two", 5)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute("UPDATE log SET \"update\" = x'00' WHERE room_id = 1 AND seq = 2").rowcount
        assert db.execute("UPDATE snapshots SET label = 'other' WHERE id = 1").rowcount
    async with SQLiteStore(path) as store:
        assert await store.unsign(NAME) == Unsigned(8, 2)
        with pytest.raises(DamagedRoom):
            await store.history("one")
        with pytest.raises(DamagedSnapshot):
            await store.snapshot("one", 1)
        assert [row.author for row in await store.history("two")] == [None, None, "ben", None, None]
    assert NAME.encode() not in path.read_bytes()


async def test_how_long_it_takes(tmp_path, figure):
    import time

    path = tmp_path / "rooms.db"
    async with SQLiteStore(path) as store:
        for _ in range(10):
            await store.append([Entry("one", b"x" * 40, 1.0, ("ana", "ben", "eva")[n % 3]) for n in range(10_000)])
        began = time.perf_counter()
        done = await store.unsign("ana")
        figure(f"a user's name out of {done.rows:,} of 100,000 edits: {time.perf_counter() - began:.2f} s")
    assert done.rows == 33_340
