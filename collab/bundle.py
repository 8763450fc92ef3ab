"""All rooms of a store as one stream of bytes, made while people type: documents, history and snapshots.

The form is described in docs/reference/export.md. A room is put together in a file of its own first, so that whoever
reads slowly holds up nobody, and a room that turns out to be damaged leaves nothing half in the stream.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import anyio.lowlevel
import anyio.to_thread

from .errors import DamagedRoom, DamagedSnapshot, NoSuchSnapshot, Quarantined, Unavailable
from .store import Row, Store

VERSION = 1
MEDIA_TYPE = "application/vnd.collab.export"

IN_MEMORY = 1 << 20
"""Bytes of a room that are put together without a file."""
PIECE = 256 << 10
LARGE = 64 << 10
"""Bytes from which on something is written by another thread."""
AIM = 4 << 20
"""About how many bytes of history are read at once."""
ROWS = 2_000
"""Most rows of it, whatever their size."""
TURN = 200
"""Rows that are written between two turns of the event loop: about a millisecond."""
PAGE = 1_000

Calm = Callable[[str], AbstractAsyncContextManager[None]]
"""Within it a room's edits are all in the store, and nothing of the room is cleared away."""


class Existing(StrEnum):
    """What becomes of a room of the export that is here already, was deleted here, or that somebody has open."""

    refuse = "refuse"
    """The import ends there."""
    skip = "skip"
    """The one that is here stays as it is."""
    merge = "merge"
    """The document of the export is merged into it, as an edit, after a snapshot; its history and snapshots are not."""


@dataclass(slots=True)
class Exported:
    """How far an export is.

    Attributes:
        of: How many rooms there were when it began.
        rooms: How many are in the stream.
        damaged: How many are not, because they cannot be read.
        damaged_snapshots: How many snapshots of other rooms are not, for the same reason.
    """

    of: int = 0
    rooms: int = 0
    damaged: int = 0
    damaged_snapshots: int = 0


async def export(
    store: Store, folder: Path | None, told: Exported, calm: Calm = lambda room: nullcontext()
) -> AsyncGenerator[bytes]:
    """The stream. Rooms that come to be after it began are not in it.

    Args:
        store: Open.
        folder: Where large rooms are put together; None where the system puts what is temporary.
        told: Kept up to date.
        calm: See `Calm`.

    Raises:
        Unavailable: The store does not answer.
    """
    names = [info.name async for info in store.rooms() if info.seq]
    told.of = len(names)
    whole = hashlib.sha256()
    start = line("export", version=VERSION, rooms=len(names))
    whole.update(start)
    yield start
    for name in names:
        section = Section(folder)
        try:
            async with calm(name):
                told.damaged_snapshots += await _room(store, name, section)
            told.rooms += section.used
        except (DamagedRoom, Quarantined) as error:
            section.close()
            section = Section(folder)
            await section.add(line("damaged", name=name, what=str(error)))
            told.damaged += 1
        try:
            async for piece in section.pieces():
                whole.update(piece)
                yield piece
        finally:
            section.close()
    counts = {"rooms": told.rooms, "damaged": told.damaged, "damaged_snapshots": told.damaged_snapshots}
    yield line("end", **counts, sha256=whole.hexdigest())


def checked(file: Path) -> dict[str, Any]:
    """What the last record of an export says, after all of the file was compared with its checksum.

    Raises:
        Unavailable: It is not whole.
    """
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - PIECE))
        last = stream.read().removesuffix(b"\n").rpartition(b"\n")[2] + b"\n"
        stream.seek(0)
        found, left = hashlib.sha256(), size - len(last)
        while left > 0 and (piece := stream.read(min(PIECE, left))):
            found.update(piece)
            left -= len(piece)
    try:
        said = json.loads(last)
        if said["record"] == "end" and said["sha256"] == found.hexdigest():
            return {name: int(said[name]) for name in ("rooms", "damaged", "damaged_snapshots")}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise Unavailable(f"the whole export ({size} bytes came, and they are not all of it)")


def line(record: str, **fields: Any) -> bytes:
    """A record's line."""
    return json.dumps({"record": record} | fields, separators=(",", ":")).encode() + b"\n"


class Section:
    """Bytes that are put together, then read once. `used`: whether there are any."""

    def __init__(self, folder: Path | None) -> None:
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(
            IN_MEMORY, dir=None if folder is None else str(folder)
        )
        self._digest = hashlib.sha256()
        self.used = False

    @property
    def sha256(self) -> str:
        """Of all that is in it, in hex."""
        return self._digest.hexdigest()

    async def add(self, head: bytes, blob: bytes = b"") -> None:
        """Put them at its end."""
        self.used = True
        if len(blob) < LARGE:
            self._write(head + blob)
        else:
            await anyio.to_thread.run_sync(self._write, head)
            await anyio.to_thread.run_sync(self._write, blob)

    def _write(self, part: bytes) -> None:
        self._digest.update(part)
        self._file.write(part)

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it."""
        self._file.seek(0)
        while piece := await anyio.to_thread.run_sync(self._file.read, PIECE):
            yield piece

    def close(self) -> None:
        """Nothing of it is left."""
        self._file.close()


async def _room(store: Store, room: str, section: Section) -> int:
    """How many of its snapshots are damaged."""
    stored = await store.load(room)
    if not stored.seq:
        return 0  # erased meanwhile
    # Where no history is kept, rows go whenever the room is compacted, and may have gone just now.
    forgotten = min((await store.reach(room)).forgotten, stored.covers)
    await section.add(line("room", name=room, seq=stored.seq, covers=stored.covers, forgotten=forgotten))
    after, count = forgotten, 100
    while after < stored.covers:
        rows = await store.history(room, after, min(after + count, stored.covers))
        if not rows or rows[0].seq != after + 1:
            raise DamagedRoom(room, f"rows are missing after {after}")
        await _rows(section, rows)
        after = rows[-1].seq
        count = max(1, min(ROWS, len(rows) * AIM // max(sum(len(row.update) for row in rows), 1)))
    for start in range(0, len(stored.rows), ROWS):
        await _rows(section, stored.rows[start : start + ROWS])
    snapshots, damaged = await _snapshots(store, room, section, stored.seq)
    if stored.checkpoint is not None:
        await section.add(line("checkpoint", bytes=len(stored.checkpoint)), stored.checkpoint)
    await section.add(line("end of room", rows=stored.seq - forgotten, snapshots=snapshots, sha256=section.sha256))
    return damaged


async def _rows(section: Section, rows: tuple[Row, ...] | list[Row]) -> None:
    for nth, row in enumerate(rows, 1):
        head = line("row", time=row.time, author=row.author, kind=int(row.kind), bytes=len(row.update))
        await section.add(head, row.update)
        if nth % TURN == 0:
            await anyio.lowlevel.checkpoint()


async def _snapshots(store: Store, room: str, section: Section, upto: int) -> tuple[int, int]:
    """How many there are, the oldest first, and how many are left out because they are damaged."""
    ids: list[int] = []
    while page := await store.snapshots(room, before=ids[-1] if ids else None, limit=PAGE):
        ids += [info.id for info in page]
    count = damaged = 0
    for id in reversed(ids):
        try:
            info, state = await store.snapshot(room, id)
        except NoSuchSnapshot:
            continue  # deleted just now
        except DamagedSnapshot:
            damaged += 1
            continue
        if info.covers > upto:
            continue  # made just now
        head = line(
            "snapshot",
            covers=info.covers,
            time=info.time,
            label=info.label,
            note=info.note,
            author=info.author,
            reason=info.reason.value,
            pinned=info.pinned,
            bytes=len(state),
            sha256=info.checksum,
        )
        await section.add(head, state)
        count += 1
    return count, damaged
