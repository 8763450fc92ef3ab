"""The contract suite finds stores that break the promise."""

from __future__ import annotations

from pathlib import Path

from tests.support.broken import broken_stores_are_found

BROKEN = """
import asyncio
import pytest
from dataclasses import replace
from collab.store import Row, Stored
from collab.store.contract import Opener, StoreContract
from collab.store.memory import MemoryStore


class Forgetful(MemoryStore):
    async def __aexit__(self, *exc):
        self._rooms.clear()
        await super().__aexit__(*exc)


class FoldsNames(MemoryStore):
    async def append(self, entries):
        return await super().append([entry._replace(room=entry.room.lower().strip()) for entry in entries])

    async def load(self, room):
        return await super().load(room.lower().strip())


class OrdersByTime(MemoryStore):
    async def load(self, room):
        stored = await super().load(room)
        rows = sorted(stored.rows, key=lambda row: row.time)
        return replace(stored, rows=tuple(replace(row, seq=i) for i, row in enumerate(rows, stored.covers + 1)))


class KeepsHalf(MemoryStore):
    async def append(self, entries):
        return [number for entry in entries for number in await super(KeepsHalf, self).append([entry])]


class LosesTheAuthor(MemoryStore):
    async def load(self, room):
        stored = await super().load(room)
        return replace(stored, rows=tuple(replace(row, author=row.author or None) for row in stored.rows))


class ForgetsWhereItWas(MemoryStore):
    async def compact(self, room, state, *, covers, basis):
        done = await super().compact(room, state, covers=covers, basis=basis)
        if done and not self._rooms[room].rows:
            self._rooms[room].seq = 0
        return done


class IgnoresTheBasis(MemoryStore):
    async def compact(self, room, state, *, covers, basis):
        kept = self._rooms.get(room)
        return await super().compact(room, state, covers=covers, basis=kept.covers if kept else basis)


class TearsLoads(MemoryStore):
    async def load(self, room):
        before = await super().load(room)
        await asyncio.sleep(0)
        after = await super().load(room)
        return Stored(1, before.checkpoint, before.covers, after.rows)


class NumbersLate(MemoryStore):
    async def append(self, entries):
        first = {entry.room: len((await self.load(entry.room)).rows) for entry in entries}
        await asyncio.sleep(0)
        await super().append(entries)
        numbers = []
        for entry in entries:
            first[entry.room] += 1
            numbers.append(first[entry.room])
        return numbers


def opener(kind):
    @pytest.fixture
    def open_store(self):
        store = kind()
        return lambda: store

    return type(f"Test{kind.__name__}", (StoreContract,), {"open_store": open_store})


for kind in (Forgetful, FoldsNames, OrdersByTime, KeepsHalf, LosesTheAuthor, ForgetsWhereItWas, IgnoresTheBasis,
             TearsLoads, NumbersLate, MemoryStore):
    globals()[f"Test{kind.__name__}"] = opener(kind)
"""


def test_every_broken_store_is_found(tmp_path: Path) -> None:
    broken_stores_are_found(BROKEN, tmp_path)
