"""Brings an export into a running server, room by room: each one is in it as a whole, or not at all.

A room that is new here gets all that the export has of it. While that is written nobody opens it, and a note beside the
store says so: what a server that dies leaves half is erased by the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
import pycrdt

from .. import migration, recovery
from ..bundle import Existing
from ..desk import Desk
from ..errors import CollabError, Conflict, DamagedRoom, SettingsError, Unavailable
from ..fence import fenced
from ..hub import Hub
from ..log import get_logger
from ..notes import files, folder_beside, name_of, read, write
from ..store import Reason, RoomInfo, Store
from ..unpacking import Head, Scratch, Source, unpack
from .archive import Archive

log = get_logger(__name__)

KIND = "room"


@dataclass(slots=True)
class Imported:
    """How far an import is.

    Attributes:
        running: Whether it goes on.
        of: How many rooms the export has.
        rooms: How many were taken as they are.
        merged: How many were merged into one that is here.
        skipped: How many were left out, because there is one here.
        damaged: How many the export has not, because nobody could read them when it was made.
        rows: How many edits came with the rooms that were taken.
        snapshots: How many snapshots.
        bytes: How much was read of the export.
        problem: Why it ended before the end of the export.
    """

    running: bool = True
    of: int = 0
    rooms: int = 0
    merged: int = 0
    skipped: int = 0
    damaged: int = 0
    rows: int = 0
    snapshots: int = 0
    bytes: int = 0
    problem: str | None = None

    @property
    def done(self) -> int:
        """How many rooms of the export need not be looked at again."""
        return self.rooms + self.merged + self.skipped


class Arrivals:
    """Takes in exports, one at a time.

    Args:
        hub: All rooms.
        archive: Makes snapshots of rooms before something is merged into them.
        desk: Where that is done.

    Attributes:
        last: How far the import is that runs, or that ended last; None before the first.
    """

    def __init__(self, hub: Hub, archive: Archive, desk: Desk) -> None:
        self._hub = hub
        self._archive = archive
        self._desk = desk
        self.last: Imported | None = None

    async def open(self) -> None:
        """Erase what an import left half. The store is open, and nobody is let in yet.

        Raises:
            SettingsError: A note cannot be read.
        """
        folder = folder_beside(self._hub.store, "importing")
        for file in files(folder, [KIND]) if folder is not None else ():
            try:
                room = read(file)["name"]
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise SettingsError(f"{file} cannot be read ({error}): delete it, and look at what is half") from None
            await self._hub.store.erase(room)
            file.unlink()
            log.warning("half an import erased", room=room)

    async def take(self, pieces: AsyncIterator[bytes], existing: Existing, author: str | None) -> Imported:
        """Take in all rooms of a stream.

        Args:
            pieces: The stream.
            existing: What becomes of rooms that are here already.
            author: Whose edit it is when one is merged.

        Raises:
            Conflict: An import is running; or a room is here already, and that was to be refused.
            CollabError: As `unpack`. Rooms before the one that it concerns were taken, and `last` says how many.
        """
        if self.last is not None and self.last.running:
            raise Conflict("another import is running: GET /import says how far it is")
        told = self.last = Imported()
        source = Source(pieces, self._hub.settings.limits.document_bytes)
        head = Head()
        try:
            async with Scratch(folder_beside(self._hub.store, "import")) as scratch, AsyncExitStack() as stack:
                names = self._hub.settings.rooms.name_bytes
                rooms = await stack.enter_async_context(aclosing(unpack(source, scratch, head, name_bytes=names)))
                async for info in rooms:
                    told.of, told.bytes = head.rooms, source.bytes
                    await self._put(scratch.store, info, existing, author, told)
        except CollabError as error:
            told.problem = str(error)
            raise
        except BaseException:
            told.problem = "it was broken off"
            raise
        finally:
            told.running, told.of, told.damaged, told.bytes = False, head.rooms, head.damaged, source.bytes
        return told

    async def _put(
        self, scratch: Store, info: RoomInfo, existing: Existing, author: str | None, told: Imported
    ) -> None:
        room, here = info.name, True
        try:
            async with self._hub.absent(room):
                here = room in self._hub.tombs or await self._is_kept(room)
                if not here:
                    async with self._noted(room):
                        rows, snapshots = await migration.move(scratch, self._hub.store, info)
        except Conflict:
            if not here:
                raise
        if not here:
            told.rooms, told.rows, told.snapshots = told.rooms + 1, told.rows + rows, told.snapshots + snapshots
        elif existing is Existing.skip:
            told.skipped += 1
        elif existing is Existing.merge:
            await self._merge(scratch, room, author)
            told.merged += 1
        else:
            raise Conflict(f"room {room!r} is here already (it may have been deleted, or be open): skip or merge it")

    async def _is_kept(self, room: str) -> bool:
        try:
            return bool((await self._hub.store.reach(room)).seq)
        except DamagedRoom:
            return True

    @asynccontextmanager
    async def _noted(self, room: str) -> AsyncIterator[None]:
        """While inside, the room is half here; whoever opens the store after a crash knows."""
        folder = folder_beside(self._hub.store, "importing")
        if folder is None:
            yield
            return
        file = folder / name_of(KIND, room)
        folder.mkdir(exist_ok=True)
        await anyio.to_thread.run_sync(write, file, {"name": room})
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._taken_back(room)
            file.unlink()
            raise
        file.unlink()

    async def _taken_back(self, room: str) -> None:
        """Returns when nothing of the room is here, which was not before; waits while the store is down."""
        while True:
            try:
                if await self._is_kept(room):
                    await self._hub.store.erase(room)
                return
            except Unavailable as error:
                log.warning("half an import not erased yet", room=room, error=str(error))
                await anyio.sleep(self._hub.settings.store.retry_seconds)

    async def _merge(self, scratch: Store, room: str, author: str | None) -> None:
        there = await recovery.build(room, await scratch.load(room))
        state = fenced(there.doc.get_update)
        if await self._is_kept(room):
            await self._archive.create(room, reason=Reason.BEFORE_IMPORT, author=author)
        await self._desk.edit(room, partial(_merged, state), author=author, new=True, size=len(state))


def _merged(new: bytes, state: bytes) -> bytes:
    """What the document `state` lacks of another."""
    return bytes(fenced(pycrdt.get_update, new, fenced(pycrdt.get_state, state)))
