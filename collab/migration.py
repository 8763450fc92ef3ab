"""From one store into another, of whatever kind: rows with their numbers, checkpoints, snapshots.

It knows nothing but what every store promises. Rows that were forgotten leave their numbers: the other store is given
as many empty ones, and told to forget them, so that what a snapshot covers and what a moment is called stays true.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import Conflict, DamagedRoom
from .store import Entry, RoomInfo, SnapshotInfo, Store
from .wire import vet

ROWS = 5_000
"""Moved at once."""
PAGE = 1_000

Told = Callable[[int], None]
"""Called with how many rows were moved."""


async def move(source: Store, target: Store, info: RoomInfo, told: Told = lambda rows: None) -> tuple[int, int]:
    """Copy a room, and compare what arrived; returns how many rows and snapshots. Nobody else has the stores.

    Raises:
        Conflict: The other store has a room of this name.
        DamagedRoom, DamagedSnapshot: It cannot be read, or is another when it is read back.
    """
    room = info.name
    if (await target.reach(room)).seq:
        raise Conflict(f"the other store has a room {room!r} already; nothing of it was changed")
    snapshots = await _snapshots(source, room)
    try:
        await _rows(source, target, info, told)
        for one in snapshots:
            _, state = await source.snapshot(room, one.id)
            await target.add_snapshot(
                room,
                state,
                covers=one.covers,
                time=one.time,
                reason=one.reason,
                label=one.label,
                note=one.note,
                author=one.author,
                pinned=one.pinned,
            )
        stored = await source.load(room)
        if stored.checkpoint is not None:
            await target.compact(room, stored.checkpoint, covers=stored.covers, basis=0)
        if info.forgotten:
            await target.forget(room, info.forgotten)
        await _compare(source, target, info, snapshots)
    except BaseException:
        await target.erase(room)  # so that it can be tried again
        raise
    return info.seq - info.forgotten, len(snapshots)


async def _snapshots(store: Store, room: str) -> list[SnapshotInfo]:
    """All of them, the oldest first."""
    found: list[SnapshotInfo] = []
    while page := await store.snapshots(room, before=found[-1].id if found else None, limit=PAGE):
        found += page
    return found[::-1]


async def _rows(source: Store, target: Store, info: RoomInfo, told: Told) -> None:
    for done in range(0, info.forgotten, ROWS):
        await target.append([Entry(info.name, vet.EMPTY, 0.0)] * min(ROWS, info.forgotten - done))
    for after in range(info.forgotten, info.seq, ROWS):
        rows = await source.history(info.name, after, min(after + ROWS, info.seq))
        numbers = await target.append([Entry(info.name, row.update, row.time, row.author, row.kind) for row in rows])
        if numbers != [row.seq for row in rows]:
            raise DamagedRoom(info.name, f"rows are missing after {after}")
        told(len(rows))


async def _compare(source: Store, target: Store, info: RoomInfo, snapshots: list[SnapshotInfo]) -> None:
    room = info.name
    for after in range(info.forgotten, info.seq, ROWS):
        until = min(after + ROWS, info.seq)
        if await source.history(room, after, until) != await target.history(room, after, until):
            raise DamagedRoom(room, f"rows after {after} are others when they are read back")
    ours, theirs = await source.load(room), await target.load(room)
    if (ours.checkpoint, ours.covers, ours.rows) != (theirs.checkpoint, theirs.covers, theirs.rows):
        raise DamagedRoom(room, "its checkpoint is another when it is read back")
    arrived = await _snapshots(target, room)
    if [(one.covers, one.checksum) for one in arrived] != [(one.covers, one.checksum) for one in snapshots]:
        raise DamagedRoom(room, "its snapshots are others when they are read back")
    for one in arrived:
        await target.snapshot(room, one.id)
