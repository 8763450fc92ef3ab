"""Where the server's own people edit a room: an edit goes in beside those of the editors, and is saved when it returns.

An edit of a whole document is computed on a copy, off the event loop (a large one in another process, `apart.py`), and
comes in as one update, vetted as any client's. Two of them computed from one state would double what they put there, so
those of one room are made one after the other; what editors type meanwhile is merged as always.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel

from . import apart
from .apart import Apart
from .errors import BadMessage, CollabError, Conflict, Draining, NoSuchRoom, Stale, TooLarge, Unavailable, Unconfirmed
from .fence import Panic
from .gaps import Incoming
from .hub import Hub
from .journal import Journal
from .log import get_logger
from .opened import Opened
from .room import RoomCore
from .wire import vet
from .wire.vet import Extent

log = get_logger(__name__)

LARGE = 32 * 1024
"""Bytes from which on an edit is computed on another thread."""
TRIES = 5
"""How often an edit with a condition is computed anew when the document changed meanwhile."""
TURNS = 100
"""How many turns of the event loop such an edit waits for one in which nobody types."""
PAUSE_SECONDS = 0.01
"""How often a room that is being read anew is looked at."""

STACK_BYTES = 8 * 2**20
"""Stack of that thread: the document library recurses, and threads have as little as 128 KiB (musl)."""

T = TypeVar("T")
Change = Callable[[bytes], bytes]
"""From a document's full state to the update that changes it. For large ones it is pickled (`apart.py`)."""


class Desk:
    """Edits rooms of `hub`.

    Args:
        hub: All rooms.
        seconds: Longest time an edit may take, up to its commit.
    """

    def __init__(self, hub: Hub, seconds: float) -> None:
        self._hub = hub
        self._seconds = seconds
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._thread = ThreadPoolExecutor(1, "desk")
        self._apart = Apart()

    def close(self) -> None:
        """End the thread, once it has finished what it does."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def aside(self, size: int, call: Callable[[], T]) -> T:
        """`call()`, which works on a document of `size` bytes: on another thread when that is large, in another process
        when it is very large.

        Raises:
            Unavailable: It takes too long, or those before it do.
            Crashed: The other process died of it.
        """
        if size < LARGE:
            return call()
        if size >= apart.LARGE:
            with anyio.move_on_after(self._seconds):
                return await self._apart.run(call)
            raise Unavailable("what is done with large documents one after the other")
        before = threading.stack_size(STACK_BYTES)
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, call)  # makes the thread, the first time
        finally:
            threading.stack_size(before)
        with anyio.move_on_after(self._seconds):
            return await future
        raise Unavailable("what is done with large documents one after the other")

    @asynccontextmanager
    async def room(self, name: str, *, new: bool = False) -> AsyncGenerator[Opened]:
        """The room, in memory; it stays there within.

        Args:
            name: Its exact name.
            new: Whether it may be one that holds nothing.

        Raises:
            NoSuchRoom: It holds nothing.
            CollabError: As `Hub.open`.
        """
        opened = await self._hub.open(name)
        try:
            await _sound(opened)
            if not (new or opened.core.clocks):
                raise NoSuchRoom(name)
            yield opened
        except Panic as panic:
            self._hub.reload(opened, panic)
            raise Unavailable("the room") from panic
        finally:
            self._hub.release(opened)

    async def edit(
        self,
        name: str,
        change: Change,
        *,
        author: str | None = None,
        new: bool = False,
        check: Callable[[RoomCore], None] | None = None,
        size: int = 0,
        look: Callable[[bytes], None] | None = None,
    ) -> int:
        """Edit a room; returns the size of the update in bytes, once it is committed.

        Args:
            name: The room's exact name.
            change: Makes the update; large documents are handed to it on another thread.
            author: Whose edit it is.
            new: Whether the room may be one that holds nothing.
            check: Raises unless the edit may be made; it holds in the moment in which the edit goes in.
            size: How large in bytes what is put there is.
            look: Is shown the update; what it raises keeps it out.

        Raises:
            Stale: There is a condition, and the room is never as quiet as that needs.
            Unconfirmed: It is in the document, and was not committed in time.
            Unavailable: It could not be made in time; nothing was changed.
            CollabError: What `change` and `check` raise, and `Hub.open`; nothing was changed.
        """
        if self._hub.draining:
            raise Draining
        pen: _Pen | None = None
        with anyio.move_on_after(self._seconds):
            lock = self._locks.setdefault(name, anyio.Lock())
            async with lock, self.room(name, new=new) as opened:
                update, extent = await self._prepared(opened, change, check, size)
                if look is not None:
                    look(update)
                pen = _Pen(opened.journal, author)
                # Not `receive`, which would read all of it again, on the loop.
                opened.core.requeue([Incoming(update, extent, pen, pen)])
                await pen.done.wait()  # in the lock: the next one starts from a document that has this
                if pen.error is not None:
                    raise pen.error
                return len(update)
        raise Unconfirmed("the store", self._seconds) if pen is not None else Unavailable("the room")

    async def _prepared(
        self, opened: Opened, change: Change, check: Callable[[RoomCore], None] | None, size: int
    ) -> tuple[bytes, Extent]:
        """The update; no task switch lies between the last look at the document and its return."""
        core = opened.core
        for _ in range(TRIES):
            await _quiet(core, patient=check is None)
            if check is not None:
                check(core)
            version = core.version
            state = core.difference(b"\x00")
            try:
                update, extent = await self.aside(len(state) + size, partial(vet.measured, change, state))
            except Panic as panic:  # on a copy: the room is sound
                raise BadMessage(f"the document library cannot make this edit ({panic.cause})") from panic
            if check is not None and core.version == version:
                await _quiet(core, patient=False)
            await _sound(opened)  # no task switch when it is
            if check is None or core.version == version:
                self._look_at(core, update, extent)
                return update, extent
        raise Stale

    def _look_at(self, core: RoomCore, update: bytes, extent: Extent) -> None:
        """What a client's update is held against, too.

        Raises:
            Conflict: It builds on what the document does not have.
            TooLarge: The document would be too large.
        """
        if extent.missing(core.clocks):
            raise Conflict("the update builds on something that the room does not have: send all that it builds on")
        limit = self._hub.settings.limits.document_bytes
        if update != vet.EMPTY and core.bytes + len(update) > limit:
            core.bytes = len(core.difference(b"\x00"))  # what was counted is all that ever came
            if core.bytes + len(update) > limit:
                raise TooLarge("the document", core.bytes + len(update), limit)


async def _sound(opened: Opened) -> None:
    """Returns when the room's document can be trusted; raises `Unavailable` when the room was given up."""
    while True:
        if opened.gone:
            raise Unavailable("the room")
        if not opened.reloading:
            return
        await anyio.sleep(PAUSE_SECONDS)


async def _quiet(core: RoomCore, *, patient: bool) -> None:
    """Returns when all that was received is in the document; who is `patient` waits for what is there now alone."""
    for _ in range(1 if patient else TURNS):
        told = anyio.Event()
        if core.once_told(told.set):
            await told.wait()
        elif core.replica.outside:  # the application's, which is told in this turn or the next
            await anyio.lowlevel.checkpoint()
        else:
            return
    if not patient:
        raise Stale


class _Pen:
    """The peer that one edit comes from, and the receipt for it."""

    backstage = False
    may_write = True

    def __init__(self, journal: Journal, author: str | None) -> None:
        self.author = author
        self.error: CollabError | None = None
        self.done = anyio.Event()
        self._journal = journal

    def take(self, tick: object) -> None:
        """It hears nothing: it never joined the room."""

    def ask(self, state_vector: bytes) -> None:
        """It has nothing that the room lacks."""

    def refuse(self, error: CollabError) -> None:
        self.error = error
        self.done.set()

    def settled(self) -> None:
        self._journal.when(self._journal.accepted, self._landed)

    def adrift(self) -> None:
        self.refuse(Conflict("the update builds on something that the room does not have any more"))

    def _landed(self, committed: bool) -> None:
        if not committed:
            self.error = Unavailable("the store")
        self.done.set()
