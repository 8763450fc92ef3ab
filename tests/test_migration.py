"""Rooms moved from store to store, of one kind and of another: all is as it was, numbers included."""

from __future__ import annotations

import pytest
from pycrdt import Doc, Text

from collab import migration
from collab.errors import Conflict, DamagedRoom
from collab.store import Entry, Kind, Reason, Row, Store
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory to SQLite", "SQLite to memory"])
async def stores(request, tmp_path):
    memory, sqlite = MemoryStore(), SQLiteStore(tmp_path / "rooms.db")
    async with memory, sqlite:
        yield (memory, sqlite) if request.param.startswith("memory") else (sqlite, memory)


async def fill(store: Store, forgotten: int) -> None:
    doc: Doc = Doc()
    text = doc.get("t", type=Text)
    for nth in range(1, 31):
        before = doc.get_state()
        text += f"{nth} "
        kind = Kind.MERGED if nth == 7 else Kind.RAW
        await store.append([Entry("room", doc.get_update(before), 50.25 + nth, [None, "ana"][nth % 2], kind)])
        if nth in (8, 12):
            await store.add_snapshot(
                "room",
                doc.get_update(),
                covers=nth,
                time=1.5,
                reason=Reason.SCHEDULED,
                note="n",
                author="a",
                pinned=True,
            )
        if nth == 20:
            await store.compact("room", doc.get_update(), covers=20, basis=0)
    if forgotten:
        await store.forget("room", forgotten)


@pytest.mark.parametrize("forgotten", [0, 10, 20])
async def test_all_is_as_it_was(stores, forgotten, monkeypatch):
    monkeypatch.setattr(migration, "ROWS", 7)
    monkeypatch.setattr(migration, "PAGE", 1)
    source, target = stores
    await fill(source, forgotten)
    (info,) = [info async for info in source.rooms()]
    told: list[int] = []
    assert await migration.move(source, target, info, told.append) == (30 - forgotten, 2)
    assert sum(told) == 30 - forgotten and len(told) > 1
    assert await target.reach("room") == await source.reach("room")
    assert await target.history("room") == await source.history("room")
    for seq in range({0: 8, 10: 12, 20: 20}[forgotten], 31):
        assert await target.state_at("room", seq) == await source.state_at("room", seq)
    ours, theirs = [[await store.snapshot("room", one.id) for one in await store.snapshots("room")] for store in stores]
    for (one, state), (other, copy) in zip(ours, theirs, strict=True):
        assert state == copy
        assert (one.covers, one.time, one.note, one.author, one.reason, one.pinned) == (
            (other.covers, other.time, other.note, other.author, other.reason, other.pinned)
        )
    with pytest.raises(Conflict):
        await migration.move(source, target, info)
    assert await target.history("room") == await source.history("room")


async def test_what_arrives_otherwise_is_taken_back(stores):
    """A store that keeps something else than it was given is found out, and is as empty as it was."""

    class Forgetful(MemoryStore):
        async def history(self, room: str, after: int = 0, until: int | None = None) -> list[Row]:
            return [
                Row(row.seq, row.update, row.time, None, row.kind) for row in await super().history(room, after, until)
            ]

    source, _ = stores
    await fill(source, 0)
    (info,) = [info async for info in source.rooms()]
    async with Forgetful() as target:
        with pytest.raises(DamagedRoom, match="others when they are read back"):
            await migration.move(source, target, info)
        assert (await target.reach("room")).seq == 0
