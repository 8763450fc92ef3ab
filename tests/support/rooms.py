"""Stores with rooms of every sort in them, and what stands in a store in full, to be compared."""

from __future__ import annotations

from typing import Any

from pycrdt import Doc, Text

from collab.store import Entry, Kind, Reason, Store


async def fill(store: Store, room: str, rows: int = 30, *, forgotten: int = 0, compacted: int = 20) -> str:
    """A room with rows of two authors and of nobody, two snapshots, a checkpoint, some history forgotten; its text."""
    doc: Doc[Any] = Doc()
    text = doc.get("t", type=Text)
    for nth in range(1, rows + 1):
        before = doc.get_state()
        text += f"{nth} ü😀 "
        kind = Kind.MERGED if nth == 7 else Kind.RAW
        author = (None, "ana", "ben ü")[nth % 3]
        await store.append([Entry(room, doc.get_update(before), 50.123456 + nth, author, kind)])
        if nth in (8, 12):
            await store.add_snapshot(
                room,
                doc.get_update(),
                covers=nth,
                time=1.5,
                reason=Reason.SCHEDULED if nth == 8 else Reason.MANUAL,
                label=f"l {nth}",
                note="n\nü",
                author="ana",
                pinned=nth == 8,
            )
        if nth == compacted:
            await store.compact(room, doc.get_update(), covers=nth, basis=0)
    if forgotten:
        await store.forget(room, forgotten)
    return str(text)


async def content(store: Store) -> dict[str, Any]:
    """All that a store says of its rooms, but for what a copy may number anew."""
    found = {}
    async for info in store.rooms():
        stored = await store.load(info.name)
        snapshots = [await store.snapshot(info.name, one.id) for one in await store.snapshots(info.name, limit=10_000)]
        found[info.name] = (
            (info.seq, info.covers, info.forgotten, stored.checkpoint, stored.rows),
            await store.history(info.name),
            [
                (one.covers, one.time, one.label, one.note, one.author, one.reason, one.pinned, one.checksum, state)
                for one, state in snapshots
            ],
        )
    return found
