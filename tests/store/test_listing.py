"""The list of rooms in SQLite: one room without a walk over all, also where an index is damaged."""

from __future__ import annotations

import time

import pytest

from collab.store import Entry
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


async def test_one_room_of_many(tmp_path, figure):
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await store.append([Entry(f"room {n:05}", b"x", 1.0) for n in range(10_000)])
        began = time.perf_counter()
        walked = [info async for info in store.rooms() if info.name == "room 09999"]
        walk, began = time.perf_counter() - began, time.perf_counter()
        found = await store.room("room 09999")
        alone = time.perf_counter() - began
        assert [found] == walked
        assert await store.room("room") is None
    figure(f"one room of 10,000: {1000 * alone:.2f} ms; by a walk over all: {1000 * walk:.0f} ms")
    assert alone < walk / 5
