"""The contract's part about authors finds stores that break the promise."""

from __future__ import annotations

from pathlib import Path

from tests.support.broken import broken_stores_are_found

BROKEN = """
import pytest
from dataclasses import replace
from collab.store import Unsigned
from collab.store.contract import StoreContract
from collab.store.memory import MemoryStore


class ForgetsEverybody(MemoryStore):
    async def unsign(self, author, room=None):
        for other in ("ben", "Ana"):
            await super().unsign(other, room)
        return await super().unsign(author, room)


class ForgetsInAllRooms(MemoryStore):
    async def unsign(self, author, room=None):
        return await super().unsign(author)


class KeepsSnapshotsSigned(MemoryStore):
    async def unsign(self, author, room=None):
        kept = {name: dict(one.snapshots) for name, one in self._rooms.items()}
        done = await super().unsign(author, room)
        for name, snapshots in kept.items():
            self._rooms[name].snapshots = snapshots
        return done


class LosesTheRows(MemoryStore):
    async def unsign(self, author, room=None):
        for name, kept in self._rooms.items():
            kept.rows = [replace(row, update=b"") if row.author == author else row for row in kept.rows]
        return await super().unsign(author, room)


class FindsAnyRoom(MemoryStore):
    async def room(self, room):
        for info in [info async for info in self.rooms()]:
            if info.name.startswith(room):
                return info


def opener(kind):
    @pytest.fixture
    def open_store(self):
        store = kind()
        return lambda: store

    return type(f"Test{kind.__name__}", (StoreContract,), {"open_store": open_store})


for kind in (ForgetsEverybody, ForgetsInAllRooms, KeepsSnapshotsSigned, LosesTheRows, FindsAnyRoom, MemoryStore):
    globals()[f"Test{kind.__name__}"] = opener(kind)
"""


def test_every_store_that_names_authors_wrongly_is_found(tmp_path: Path) -> None:
    broken_stores_are_found(BROKEN, tmp_path, "-k", "author or line")
