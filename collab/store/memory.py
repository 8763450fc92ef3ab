"""A store that lives as long as its object: for tests, for trying things out, and for embedding.

It keeps the whole promise of `collab.store.Store` but one: nothing outlives the process. What it holds survives
closing and opening *the same object* again, so that a test can play a restart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from anyio.lowlevel import checkpoint as let_others_run

from ..errors import Unavailable
from . import Entry, RoomInfo, Row, Stored
from .seal import row_seal, to_nanoseconds

_EPOCH = 1


@dataclass(slots=True)
class _Room:
    seq: int = 0
    covers: int = 0
    state: bytes | None = None
    rows: list[Row] = field(default_factory=list)
    changed: float = 0.0


class MemoryStore:
    """See `collab.store.Store`. Every call lets other tasks run once before it acts, as a real backend would."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Room] = {}
        self._open = False

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
            row_seal(entry.room.encode(), 0, _EPOCH, author, time, int(entry.kind), entry.update)
        await self.check()
        numbers = []
        for entry in entries:
            room = self._rooms.setdefault(entry.room, _Room())
            room.seq += 1
            room.changed = entry.time
            room.rows.append(Row(room.seq, entry.update, entry.time, entry.author, entry.kind))
            numbers.append(room.seq)
        return numbers

    async def load(self, room: str) -> Stored:
        """See `Store.load`."""
        await self.check()
        kept = self._rooms.get(room)
        if kept is None:
            return Stored(_EPOCH, None, 0, ())
        return Stored(_EPOCH, kept.state, kept.covers, tuple(kept.rows))

    async def compact(self, room: str, state: bytes, *, covers: int, basis: int) -> bool:
        """See `Store.compact`."""
        await self.check()
        kept = self._rooms.get(room, _Room())
        if kept.covers != basis:
            return False
        if not max(basis, 1) <= covers <= kept.seq:
            raise ValueError(f"a checkpoint at {covers} was asked for; the room's rows go from {basis} to {kept.seq}")
        kept.state, kept.covers = state, covers
        kept.rows = [row for row in kept.rows if row.seq > covers]
        return True

    async def rooms(self) -> AsyncIterator[RoomInfo]:
        """See `Store.rooms`."""
        await self.check()
        for name in sorted(self._rooms):
            kept = self._rooms[name]
            yield RoomInfo(
                name=name,
                epoch=_EPOCH,
                seq=kept.seq,
                covers=kept.covers,
                checkpoint_bytes=len(kept.state or b""),
                log_rows=len(kept.rows),
                log_bytes=sum(len(row.update) for row in kept.rows),
                changed=kept.changed,
            )

    async def check(self) -> None:
        """See `Store.check`."""
        await let_others_run()
        if not self._open:
            raise Unavailable("the store (it is closed)")
