"""A store that lives as long as its object: for tests, for trying things out, and for embedding.

It keeps the whole promise of `collab.store.Store` but one: nothing outlives the process. What it holds survives
closing and opening *the same object* again, so that a test can play a restart.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Self

from anyio.lowlevel import checkpoint as let_others_run

from ..errors import DamagedSnapshot, Forgotten, NoSuchRoom, NoSuchSnapshot, Unavailable
from . import Entry, Erased, Reach, Reason, RoomInfo, Row, SnapshotInfo, State, Stored, Unsigned, draft
from .memory_outbox import MemoryOutbox
from .seal import checksum, row_seal, to_nanoseconds, to_seconds


@dataclass(slots=True)
class _Room:
    epoch: int
    seq: int = 0
    covers: int = 0
    forgotten: int = 0
    state: bytes | None = None
    rows: list[Row] = field(default_factory=list)
    snapshots: dict[int, tuple[SnapshotInfo, bytes]] = field(default_factory=dict)
    changed: float = 0.0

    @property
    def tail(self) -> list[Row]:
        return self.rows[self.covers - self.forgotten :]

    def info(self, name: str) -> RoomInfo:
        return RoomInfo(
            name=name,
            epoch=self.epoch,
            seq=self.seq,
            covers=self.covers,
            checkpoint_bytes=len(self.state or b""),
            log_rows=self.seq - self.covers,
            log_bytes=sum(len(row.update) for row in self.tail),
            changed=self.changed,
            forgotten=self.forgotten,
        )

    def unsign(self, author: str) -> Unsigned:
        rows = [place for place, row in enumerate(self.rows) if row.author == author]
        for place in rows:
            self.rows[place] = self.rows[place]._replace(author=None)
        ids = [id for id, (info, _) in self.snapshots.items() if info.author == author]
        for id in ids:
            info, state = self.snapshots[id]
            self.snapshots[id] = replace(info, author=None), state
        return Unsigned(len(rows), len(ids))

    def forget(self, upto: int) -> int:
        gone = max(0, upto - self.forgotten)
        del self.rows[:gone]
        self.forgotten = max(upto, self.forgotten)
        before = [i for i in self.snapshots.values() if i[0].reason == Reason.BASE and i[0].covers <= upto]
        for info, _ in sorted(before, key=lambda one: (one[0].covers, one[0].id))[:-1]:
            del self.snapshots[info.id]
        return gone


class MemoryStore:
    """See `collab.store.Store`. Every call lets other tasks run once before it acts, as a real backend would."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Room] = {}
        self._first_epoch = 1
        self._last_id = 0
        self._open = False
        self.outbox = MemoryOutbox(self.check, lambda: [(name, r.epoch, r.seq) for name, r in self._rooms.items()])

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """See `Store.append`."""
        entries = tuple(entries)
        for entry in entries:  # so that what no other store would take is refused here too, before anything is kept
            author, time = (entry.author or "").encode(), to_nanoseconds(entry.time)
            row_seal(entry.room.encode(), 0, 1, author, time, int(entry.kind), entry.update)
        await self.check()
        numbers = []
        for entry in entries:
            if (room := self._rooms.get(entry.room)) is None:
                room = self._rooms[entry.room] = _Room(self._first_epoch)
                self.outbox.created(entry.room, room.epoch, entry.time)
            room.seq += 1
            room.changed = entry.time
            room.rows.append(Row(room.seq, entry.update, entry.time, entry.author, entry.kind))
            numbers.append(room.seq)
        return numbers

    async def load(self, room: str) -> Stored:
        """See `Store.load`."""
        await self.check()
        kept = self._found(room)
        return Stored(kept.epoch, kept.state, kept.covers, tuple(kept.tail))

    def _found(self, room: str) -> _Room:
        """The room, or what one is that was never written."""
        return self._rooms.get(room) or _Room(self._first_epoch)

    async def compact(self, room: str, state: bytes, *, covers: int, basis: int, keep: bool = True) -> bool:
        """See `Store.compact`."""
        await self.check()
        kept = self._found(room)
        if kept.covers != basis:
            return False
        if not max(basis, 1) <= covers <= kept.seq:
            raise ValueError(f"a checkpoint at {covers} was asked for; the room's rows go from {basis} to {kept.seq}")
        alone = all(info.covers != basis for info, _ in kept.snapshots.values())
        if keep and 0 < kept.forgotten == basis < covers and alone and kept.state is not None:
            self._keep(kept, draft(room, basis, time.time(), Reason.BASE), kept.state)
        kept.state, kept.covers = state, covers
        if not keep:
            kept.forget(covers)
        return True

    async def reach(self, room: str) -> Reach:
        """See `Store.reach`."""
        await self.check()
        kept = self._found(room)
        return Reach(kept.seq, kept.covers, kept.forgotten)

    async def history(self, room: str, after: int = 0, until: int | None = None) -> list[Row]:
        """See `Store.history`."""
        await self.check()
        return [row for row in self._found(room).rows if after < row.seq and (until is None or row.seq <= until)]

    async def seq_at(self, room: str, time: float) -> int:
        """See `Store.seq_at`."""
        await self.check()
        kept = self._found(room)
        return next((row.seq - 1 for row in kept.rows if row.time > time), kept.seq)

    async def forget(self, room: str, upto: int) -> int:
        """See `Store.forget`."""
        await self.check()
        kept = self._found(room)
        if not 0 <= upto <= kept.covers:
            raise ValueError(
                f"rows up to {upto} were to be forgotten; the room's checkpoint covers those up to {kept.covers}"
            )
        return kept.forget(upto) if upto > kept.forgotten else 0

    async def erase(self, room: str) -> Erased:
        """See `Store.erase`."""
        await self.check()
        kept = self._rooms.pop(room, None)
        if kept is None:
            return Erased(0, 0)
        self._first_epoch = max(self._first_epoch, kept.epoch + 1)
        self.outbox.deleted(room, kept.epoch)
        return Erased(len(kept.rows), len(kept.snapshots))

    async def unsign(self, author: str, room: str | None = None) -> Unsigned:
        """See `Store.unsign`."""
        await self.check()
        self.outbox.unsign(author, room)
        done = [kept.unsign(author) for name, kept in self._rooms.items() if room is None or name == room]
        return Unsigned(sum(one.rows for one in done), sum(one.snapshots for one in done))

    async def state_at(self, room: str, seq: int) -> State:
        """See `Store.state_at`."""
        await self.check()
        kept = self._found(room)
        if not 0 <= seq <= kept.seq:
            raise ValueError(f"moment {seq} was asked for; the room's rows go to {kept.seq}")
        states = [State(state, info.covers) for info, state in kept.snapshots.values()]
        if kept.covers:
            states.append(State(kept.state, kept.covers))
        elif not kept.forgotten:
            states.append(State(None, 0))
        roads = [one for one in states if one.covers == seq or kept.forgotten <= one.covers <= seq]
        if not kept.forgotten:
            roads.append(State(None, 0))
        if not roads:
            raise Forgotten(room, seq, min(one.covers for one in states if one.covers >= kept.forgotten))
        return max(roads, key=lambda one: one.covers)

    async def add_snapshot(
        self,
        room: str,
        state: bytes,
        *,
        covers: int,
        time: float,
        reason: Reason,
        label: str = "",
        note: str = "",
        author: str | None = None,
        pinned: bool = False,
    ) -> SnapshotInfo:
        """See `Store.add_snapshot`."""
        await self.check()
        kept = self._rooms.get(room)
        if kept is None:
            raise NoSuchRoom(room)
        if not 0 <= covers <= kept.seq:
            raise ValueError(f"a snapshot at {covers} was asked for; the room's rows go to {kept.seq}")
        made = draft(room, covers, time, reason, label=label, note=note, author=author, pinned=pinned)
        return self._keep(kept, made, state)

    def _keep(self, kept: _Room, info: SnapshotInfo, state: bytes) -> SnapshotInfo:
        self._last_id += 1
        moment = to_seconds(to_nanoseconds(info.time))
        info = replace(info, id=self._last_id, time=moment, size=len(state), checksum=checksum(state))
        kept.snapshots[info.id] = info, state
        self.outbox.snapshot(info)
        return info

    async def snapshots(self, room: str, *, before: int | None = None, limit: int = 100) -> list[SnapshotInfo]:
        """See `Store.snapshots`."""
        await self.check()
        known = reversed(self._found(room).snapshots.values())
        return list(islice((info for info, _ in known if before is None or info.id < before), limit))

    async def snapshot(self, room: str, id: int) -> tuple[SnapshotInfo, bytes]:
        """See `Store.snapshot`."""
        await self.check()
        found = self._found(room).snapshots.get(id)
        if found is None:
            raise NoSuchSnapshot(room, id)
        if checksum(found[1]) != found[0].checksum:
            raise DamagedSnapshot(room, id, "its state fails its checksum")
        return found

    async def change_snapshot(
        self, room: str, id: int, *, label: str | None = None, note: str | None = None, pinned: bool | None = None
    ) -> SnapshotInfo:
        """See `Store.change_snapshot`."""
        info, state = await self.snapshot(room, id)
        info = replace(
            info,
            label=info.label if label is None else label,
            note=info.note if note is None else note,
            pinned=info.pinned if pinned is None else pinned,
        )
        self._rooms[room].snapshots[id] = info, state
        return info

    async def delete_snapshots(self, room: str, ids: Collection[int]) -> int:
        """See `Store.delete_snapshots`."""
        await self.check()
        kept = self._found(room)
        return sum(kept.snapshots.pop(id, None) is not None for id in set(ids))

    async def rooms(self) -> AsyncIterator[RoomInfo]:
        """See `Store.rooms`."""
        await self.check()
        for name in sorted(self._rooms):
            yield self._rooms[name].info(name)

    async def room(self, room: str) -> RoomInfo | None:
        """See `Store.room`."""
        await self.check()
        kept = self._rooms.get(room)
        return None if kept is None else kept.info(room)

    async def check(self) -> None:
        """See `Store.check`."""
        await let_others_run()
        if not self._open:
            raise Unavailable("the store (it is closed)")
