"""Reads an export (`collab.bundle`): each room is looked at in full, in a store of its own, before anybody gets it.

What is read is believed in nothing: neither lengths nor numbers, nor that an update is one.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import anyio.lowlevel
import anyio.to_thread

from . import recovery
from .bundle import VERSION
from .errors import BadMessage, BadUpdate, DamagedRoom, TooLarge
from .names import checked_name
from .store import Entry, Kind, Reason, RoomInfo, Store, Stored
from .store.copies import discard
from .store.sqlite import SQLiteStore
from .wire import vet

LINE = 256 << 10
"""The longest line of a record."""
NUMBER = 10_000_000
"""The highest number that a forgotten edit may have: each leaves a number behind."""
LATEST = 2**33
"""Seconds from the epoch to the year 2242; beyond, times are not kept exactly."""
ROWS = 2_000
BYTES = 4 << 20
"""So many rows, or so many bytes, are kept at once."""
LARGE = 32 << 10
"""Bytes from which on an update is looked at by another thread."""
FULL = 64 << 20
"""Bytes from which on the store in which rooms are looked at is thrown away, and another is begun."""
TURN = 100
"""Rows between two turns of the event loop."""


class Source:
    """The stream, as lines and blobs.

    Args:
        pieces: Its bytes.
        largest: The largest blob that is taken, in bytes.

    Attributes:
        records: How many lines were read.
        bytes: How many bytes were taken.
    """

    def __init__(self, pieces: AsyncIterator[bytes], largest: int) -> None:
        self._pieces = pieces
        self._largest = largest
        self._held = bytearray()
        self._before = hashlib.sha256()
        self._section = hashlib.sha256()
        self.records = 0
        self.bytes = 0

    async def record(self) -> tuple[bytes, dict[str, Any]]:
        """The next line, as it is and as what it says.

        Raises:
            BadMessage: It is no record, or the stream ends.
            TooLarge: It is too long.
        """
        at, end = 0, -1
        while (end := self._held.find(b"\n", at)) < 0:
            at = len(self._held)
            if at > LINE:
                raise TooLarge(f"the line of record {self.records + 1}", at, LINE)
            await self._more()
        found = bytes(self._held[: end + 1])
        del self._held[: end + 1]
        self.records += 1
        if len(found) > LINE:
            raise TooLarge(f"the line of record {self.records}", len(found), LINE)
        try:
            said = json.loads(found)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or not isinstance(said.get("record"), str):
            raise self.bad("it is no line of an export")
        return found, said

    async def blob(self, said: dict[str, Any]) -> bytes:
        """The bytes that follow a line that says how many. Raises as `record`."""
        size = whole(self, said, "bytes")
        if size > self._largest:
            raise TooLarge(f"what follows record {self.records}", size, self._largest)
        while len(self._held) < size:
            await self._more()
        found = bytes(self._held[:size])
        del self._held[:size]
        self.count(found)
        return found

    def count(self, part: bytes, *, anew: bool = False) -> None:
        """What was read belongs to what checksums are of; `anew`: a room begins with it."""
        if anew:
            self._section = hashlib.sha256()
        self._section.update(part)
        self._before.update(part)

    @property
    def section(self) -> str:
        """The checksum of the room, so far."""
        return self._section.hexdigest()

    @property
    def before(self) -> str:
        """The checksum of the stream, so far."""
        return self._before.hexdigest()

    async def ended(self) -> bool:
        """Whether nothing more comes."""
        return not self._held and await anext(self._pieces, b"") == b""

    def bad(self, what: str) -> BadMessage:
        """The error that says where in the stream something is wrong."""
        return BadMessage(f"record {self.records} of the export: {what}")

    async def _more(self) -> None:
        piece = await anext(self._pieces, None)
        if piece is None:
            raise BadMessage(f"the export is cut short: it ends after {self.bytes} bytes, in record {self.records + 1}")
        self.bytes += len(piece)
        self._held += piece


def whole(source: Source, said: dict[str, Any], name: str, upto: int = 2**53) -> int:
    """A field that is a whole number from 0 to `upto`."""
    value = said.get(name)
    if type(value) is not int or not 0 <= value <= upto:
        raise source.bad(f"{name!r} should be a whole number from 0 to {upto}")
    return value


def text(source: Source, said: dict[str, Any], name: str) -> str:
    """A field that is text, as UTF-8 can write it."""
    value = said.get(name)
    try:
        if isinstance(value, str):
            value.encode()
            return value
    except UnicodeEncodeError:
        pass
    raise source.bad(f"{name!r} should be text")


def author_of(source: Source, said: dict[str, Any]) -> str | None:
    """Who it was, if that is known."""
    return None if said.get("author") is None else text(source, said, "author")


def moment(source: Source, said: dict[str, Any]) -> float:
    """When it was, in seconds since the epoch."""
    value: Any = said.get("time")
    if type(value) not in (int, float) or not abs(value) <= LATEST:  # what is no number is not less either
        raise source.bad("'time' should be seconds since the epoch")
    return float(value)


class Scratch:
    """A store in which rooms are looked at; nothing of it stays.

    Args:
        file: Its file; None where the system puts what is temporary.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file or Path(tempfile.gettempdir()) / f"collab-import-{uuid4().hex}"
        self.store: Store = SQLiteStore(self._file)

    async def __aenter__(self) -> Self:
        discard(self._file)  # of a server that died
        await self.store.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.store.__aexit__(kind, error, at)
            discard(self._file)

    async def next(self) -> None:
        """A room is done with."""
        if (await anyio.Path(self._file).stat()).st_size > FULL:
            await self.__aexit__(None, None, None)
            self.store = SQLiteStore(self._file)
            await self.__aenter__()


@dataclass(slots=True)
class Head:
    """What an export says of itself. `damaged`: rooms that are not in it, because nobody could read them."""

    rooms: int = 0
    damaged: int = 0


async def unpack(source: Source, scratch: Scratch, head: Head, *, name_bytes: int) -> AsyncGenerator[RoomInfo]:
    """Each room of the stream, once all of it is in `scratch.store` and was looked at; it is gone with the next one.

    Args:
        source: The stream.
        scratch: Where the rooms are put.
        head: Told what the stream says of itself.
        name_bytes: The longest name of a room.

    Raises:
        BadMessage: The stream is no export, or ends too early; or a record is wrong, or does not go with the others.
        BadUpdate: An update is none that this server takes.
        BadRoomName, TooLarge: What they say.
        Unavailable: There is no room to look at rooms.
    """
    found, said = await source.record()
    if said["record"] != "export":
        raise source.bad("an export begins otherwise")
    if said.get("version") != VERSION:
        raise source.bad(f"it is of version {str(said.get('version'))[:20]}; this server reads version {VERSION}")
    head.rooms = whole(source, said, "rooms")
    source.count(found)
    seen: set[str] = set()
    while True:
        found, said = await source.record()
        match said["record"]:
            case "room":
                source.count(found, anew=True)
                name = text(source, said, "name")
                checked_name(name.encode(), max_bytes=name_bytes)
                if name in seen:
                    raise source.bad("a room of this name came before")
                seen.add(name)
                yield await _Room(source, scratch.store, name, said).read()
                await scratch.next()
            case "damaged":
                source.count(found)
                head.damaged += 1
            case "end":
                if said.get("sha256") != source.before or whole(source, said, "rooms") != len(seen):
                    raise source.bad("the checksum of the export is another: something was lost or altered")
                if not await source.ended():
                    raise source.bad("something comes after the end")
                return
            case _:
                raise source.bad("a room, or the end, should come here")


class _Room:
    """One room on its way into a store."""

    def __init__(self, source: Source, store: Store, name: str, said: dict[str, Any]) -> None:
        self._source = source
        self._store = store
        self._name = name
        self._seq = whole(source, said, "seq")
        self._covers = whole(source, said, "covers", self._seq)
        self._forgotten = whole(source, said, "forgotten", min(self._covers, NUMBER))
        if not self._seq:
            raise source.bad("the room is empty")
        self._kept = 0
        self._entries: list[Entry] = []
        self._size = 0
        self._snapshots = 0

    async def read(self) -> RoomInfo:
        """All of it."""
        for done in range(0, self._forgotten, ROWS):
            await self._store.append([Entry(self._name, vet.EMPTY, 0.0)] * min(ROWS, self._forgotten - done))
        checkpoint: bytes | None = None
        while True:
            found, said = await self._source.record()
            kind = said["record"]
            if kind == "end of room":
                break
            if checkpoint is not None:
                raise self._source.bad("a checkpoint is the last of a room")
            self._source.count(found)
            match kind:
                case "row":
                    await self._row(said)
                case "snapshot":
                    await self._snapshot(said)
                case "checkpoint":
                    checkpoint = await self._sound(said)
                case _:
                    raise self._source.bad("the room has not ended")
        await self._flush()
        await self._end(found, said, checkpoint)
        return RoomInfo(self._name, 0, self._seq, self._covers, len(checkpoint or b""), 0, 0, 0.0, self._forgotten)

    async def _row(self, said: dict[str, Any]) -> None:
        source = self._source
        if self._snapshots:
            raise source.bad("rows come before snapshots")
        update = await source.blob(said)
        await self._vetted(update)
        author, kind = author_of(source, said), Kind(whole(source, said, "kind", max(Kind)))
        self._entries.append(Entry(self._name, update, moment(source, said), author, kind))
        self._kept += 1
        self._size += len(update)
        if self._kept > self._seq - self._forgotten:
            raise source.bad("there are more rows than the room said")
        if len(self._entries) >= ROWS or self._size >= BYTES:
            await self._flush()
        elif self._kept % TURN == 0:
            await anyio.lowlevel.checkpoint()

    async def _flush(self) -> None:
        if self._entries:
            await self._store.append(self._entries)
            self._entries, self._size = [], 0

    async def _snapshot(self, said: dict[str, Any]) -> None:
        source = self._source
        await self._flush()
        self._check_rows()
        state = await self._sound(said)
        if said.get("sha256") != hashlib.sha256(state).hexdigest():
            raise source.bad("the checksum of the snapshot is another")
        try:
            reason = Reason(text(source, said, "reason"))
        except ValueError:
            raise source.bad("'reason' is none of ours") from None
        if type(said.get("pinned")) is not bool:
            raise source.bad("'pinned' should be true or false")
        await self._store.add_snapshot(
            self._name,
            state,
            covers=whole(source, said, "covers", self._seq),
            time=moment(source, said),
            reason=reason,
            label=text(source, said, "label"),
            note=text(source, said, "note"),
            author=author_of(source, said),
            pinned=said["pinned"],
        )
        self._snapshots += 1

    async def _sound(self, said: dict[str, Any]) -> bytes:
        """A full state that can be opened."""
        state = await self._source.blob(said)
        await self._vetted(state)
        try:
            await recovery.build(self._name, Stored(0, state, 1, ()))
        except DamagedRoom as error:
            raise self._source.bad(f"it is no document ({error.what})") from None
        return state

    async def _vetted(self, update: bytes) -> None:
        try:
            if len(update) < LARGE:
                vet.parse(update)
            else:
                await anyio.to_thread.run_sync(vet.parse, update)
        except BadUpdate as error:
            raise BadUpdate(str(self._source.bad(f"what follows is no Yjs update ({error})"))) from None

    def _check_rows(self) -> None:
        if self._kept != self._seq - self._forgotten:
            raise self._source.bad("rows of the room are missing")

    async def _end(self, found: bytes, said: dict[str, Any], checkpoint: bytes | None) -> None:
        source, store = self._source, self._store
        self._check_rows()
        if (said.get("rows"), said.get("snapshots")) != (self._kept, self._snapshots):
            raise source.bad("rows or snapshots of the room are missing")
        if said.get("sha256") != source.section:
            raise source.bad("the checksum of the room is another: something was lost or altered")
        source.count(found)
        if (checkpoint is None) == bool(self._covers):
            raise source.bad("the room has no checkpoint, or says nothing of it")
        try:
            if checkpoint is not None:
                await store.compact(self._name, checkpoint, covers=self._covers, basis=0)
            if self._forgotten:
                await store.forget(self._name, self._forgotten)
            loaded = await recovery.verify(store, self._name)
        except DamagedRoom as error:
            raise source.bad(f"the room does not add up ({error.what})") from None
        if loaded.poison:
            raise source.bad(f"rows of the room cannot be read: {', '.join(map(str, loaded.poison[:20]))}")
