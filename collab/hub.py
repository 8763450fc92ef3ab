"""Opens, finds, compacts and evicts rooms; owns the store and every background task.

`async with Hub(settings) as hub:` opens the store, then the tasks; leaving closes them in reverse: the journals are
flushed, the tasks end, the store closes. Rooms are opened single-flight: however many ask at once, the store is read
once and all get the same room. A room that could not be loaded is never an empty room.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from . import gauges, recovery
from .beats import BEAT_SECONDS, Beat, beat_on
from .compactor import Compactor
from .errors import BadUpdate, CollabError, Conflict, DamagedRoom, Draining, NoSuchRoom, TooMany, Unavailable
from .fence import Panic
from .gaps import Incoming
from .journal import GroupCommit, Journal
from .limits import Warm
from .log import Throttle, get_logger
from .metrics import Metrics
from .opened import Opened, Opening
from .presence import Presence
from .quarantine import Quarantine
from .recovery import Loaded
from .room import RoomCore
from .seat import Seat
from .settings import Settings
from .store import Store, open_store
from .tombs import Tombs
from .uptake import Panicked
from .yroom import Room

log = get_logger(__name__)

BUSY_SECONDS = 0.01
"""How long a tick waits for an application that holds a transaction open."""
DAMAGED_SECONDS = 10.0
"""How long a damaged room is refused without another look at the store."""


class Hub(anyio.AsyncContextManagerMixin):
    """All rooms of one server.

    Args:
        settings: All settings.
        metrics: Where things are counted.
        store: Another store than the one the settings name.

    Attributes:
        beats: Called with the monotonic time once a second.
        floods: Logs what hostile clients could repeat for ever.
        news: Called with what happens: an event, the room it is about, and more about it.
        stateless: Called with what a client says to the application: room, text, and the seat, to answer it.
        draining: Set once the server shuts down. Who was let in before may still open a room: what they sent counts.
    """

    def __init__(self, settings: Settings, *, metrics: Metrics | None = None, store: Store | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics() if metrics is None else metrics
        self.store = open_store(settings.store.url) if store is None else store
        self.commits = GroupCommit(self.store, settings.store, self.metrics)
        self.quarantine = Quarantine(self.metrics)
        self.tombs = Tombs()
        self.compactor = Compactor(self.store, settings.store, self.metrics, keep=settings.history.keep_days > 0)
        self.compactor.watched = partial(self.quarantine.reading, "compaction")
        self.commits.landed = self.compactor.look_at
        self.commits.broken = self._broken
        self.beats: set[Beat] = set()
        self.stateless: Callable[[str, str, Seat], None] = lambda room, text, seat: None
        self.news: Callable[..., None] = lambda event, room, details: None
        self.draining = self._closed = self._evicting = False
        self.floods = Throttle(log)
        self._rooms: dict[str, Opened] = {}
        self._opening: dict[str, Opening] = {}
        self._idle = Warm(settings.rooms.idle_count, settings.rooms.idle_bytes)
        self._damaged: dict[str, tuple[float, DamagedRoom]] = {}
        self._tasks: TaskGroup
        self._loop: asyncio.AbstractEventLoop
        gauges.watch(self.metrics, self._rooms, self._idle, self.commits, lambda: self.draining)
        gauges.watch_machine(self.metrics, getattr(self.store, "path", None))

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._loop = asyncio.get_running_loop()
        async with self.store, self.quarantine.beside(self.store), anyio.create_task_group() as self._tasks:
            self.tombs.open(self.store)
            self._tasks.start_soon(self.commits.run)
            self._tasks.start_soon(beat_on, self._beating, self.metrics.loop_stall_seconds.observe)
            self._tasks.start_soon(self.compactor.run)
            try:
                yield self
            finally:
                self.draining = True
                with anyio.CancelScope(shield=True):
                    await self.flush()
                self._closed = True
                for opened in self._rooms.values():
                    opened.core.close()
                self.floods.flush(everything=True)
                self._tasks.cancel_scope.cancel()

    def start_soon(self, call: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Run `call(*args)` in the background, until it ends or the hub closes."""
        self._tasks.start_soon(call, *args)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in a while, if the hub is still open then."""
        self._loop.call_later(seconds, lambda: None if self._closed else call())

    # ------------------------------------------------------------------ opening and finding

    def find(self, name: str) -> Opened | None:
        """The room, if it is in memory. No task switch: what is found cannot go away before it is held (`hold`)."""
        return self._rooms.get(name)

    @property
    def rooms(self) -> Collection[Opened]:
        """The rooms in memory."""
        return self._rooms.values()

    async def open(self, name: str) -> Opened:
        """The room, loaded from the store when it has to be, and held (`release` lets it go again).

        Raises:
            NoSuchRoom: It was deleted, and is to stay so.
            DamagedRoom: What is stored cannot be trusted.
            Unavailable: The store does not answer.
            TooMany: There are too many rooms already.
            Draining: The hub is closed.
        """
        if name in self.tombs:
            raise NoSuchRoom(name)
        if (opened := self._rooms.get(name)) is not None:
            self.hold(opened)
            return opened
        if self._closed:
            raise Draining
        opening = self._opening.get(name)
        if opening is None:
            if len(self._rooms) - len(self._idle) + len(self._opening) >= self.settings.rooms.max_open:
                raise TooMany("open rooms", self.settings.rooms.max_open)
            opening = self._opening[name] = Opening()
            self._tasks.start_soon(self._load, name, opening)
        return await opening.awaited(self.release)

    @asynccontextmanager
    async def room(self, name: str) -> AsyncGenerator[Room]:
        """The room, for an application that wants to read or edit its document, or to serve a channel; see `open`.

        async with hub.room("notes") as room:
            room.ydoc["title"] = Text("Notes")
        """
        opened = await self.open(name)
        try:
            yield opened.room
        finally:
            self.release(opened)

    @asynccontextmanager
    async def absent(self, name: str) -> AsyncGenerator[None]:
        """While inside, the room is not in memory; who wants it waits. For what is written into the store by itself.

        Raises:
            Conflict: Somebody has it.
        """
        opened = self._rooms.get(name)
        if opened is not None and not opened.holders and opened.clean:
            self._drop(opened)
        if name in self._rooms or name in self._opening:
            raise Conflict(f"room {name!r} is in use")
        opening = self._opening[name] = Opening()
        try:
            yield
        finally:
            if opening.waiting:
                self._tasks.start_soon(self._load, name, opening)
            else:
                del self._opening[name]
                opening.done.set()

    async def _load(self, name: str, opening: Opening) -> None:
        started = time.perf_counter()
        try:
            loaded = await self._read(name)
            opening.opened = self._admit(name, loaded, opening.waiting)
            self.metrics.rooms_opened.inc()
            self.metrics.open_seconds.observe(time.perf_counter() - started)
        except Exception as error:
            opening.error = self._failed("room not opened", name, error)
        finally:
            del self._opening[name]
            opening.done.set()

    def _failed(self, what: str, name: str, error: Exception) -> CollabError:
        self.metrics.count_error(error)
        log.warning(what, room=name, error=str(error), exc_info=not isinstance(error, CollabError))
        return error if isinstance(error, CollabError) else Unavailable("the room")

    async def _read(self, name: str) -> Loaded:
        known = self._damaged.get(name)
        if known is not None and time.monotonic() - known[0] < DAMAGED_SECONDS:
            raise known[1]
        try:
            with self.quarantine.reading("load", name):
                loaded = await recovery.opened(self.store, name)
        except DamagedRoom as error:
            self._damaged[name] = (time.monotonic(), error)
            raise
        self._damaged.pop(name, None)
        if loaded.poison:
            log.error("poison rows left out", room=name, rows=list(loaded.poison))
        return loaded

    def _admit(self, name: str, loaded: Loaded, holders: int) -> Opened:
        limits, rooms = self.settings.limits, self.settings.rooms
        core = RoomCore(
            name,
            loaded.doc,
            nesting=loaded.nesting,
            keyed=loaded.keyed,
            presence=Presence(
                forget_seconds=rooms.presence_seconds,
                max_bytes=limits.awareness_bytes,
                max_ids=rooms.presence_ids,
                max_ids_each=limits.awareness_ids_per_connection,
            ),
            held_updates=rooms.held_updates,
            held_bytes=rooms.held_bytes,
        )
        core.bytes = loaded.bytes
        self.quarantine.watch(core)
        journal = Journal(core, self.commits, self.settings.store.journal_bytes)
        journal.log_rows, journal.log_bytes = loaded.rows, loaded.log_bytes
        core.join(journal)
        self.compactor.look_at(journal)
        opened = Opened(Room.around(core, self.metrics, lambda panic: self.reload(opened, panic)), journal, holders)
        core.wake = partial(self._loop.call_soon, self._tick, opened)  # after all that this turn of the loop has read
        self._rooms[name] = opened
        if not holders:
            self._rest(opened)
        return opened

    # ------------------------------------------------------------------ holding and letting go

    def hold(self, opened: Opened) -> None:
        """Somebody needs `opened`: it stays in memory until as many `release`."""
        opened.holders += 1
        self._idle.take(opened.core.name)

    def release(self, opened: Opened) -> None:
        """One holder less. A room that nobody holds is kept warm for a while."""
        opened.holders -= 1
        if not opened.holders and not opened.gone:
            self._rest(opened)

    def _rest(self, opened: Opened) -> None:
        """Nobody holds this room, which may still grow, by what its clients left behind."""
        self._idle.put(opened.core.name, opened.core.bytes + opened.core.gaps.bytes)
        if self._idle.over and not self._evicting:
            self._evicting = True
            self._tasks.start_soon(self._evict)

    async def _evict(self) -> None:
        """Let go of the rooms that were idle for longest, of those that the store has all of."""
        try:
            while self._idle.over:
                opened = next((opened for opened in map(self._rooms.__getitem__, self._idle) if opened.clean), None)
                if opened is None:
                    # Their last ticks may still be ahead, and then their commits.
                    await anyio.sleep(BUSY_SECONDS if self.commits.store_up else BEAT_SECONDS)
                    continue
                self._drop(opened)
                self.metrics.rooms_closed.inc()
        finally:
            self._evicting = False

    async def dismiss(self, name: str) -> Opened | None:
        """Send everybody out of a room for good (4404); what was in memory of it is the caller's to close."""
        await self.tombs.add(name)
        if (opening := self._opening.get(name)) is not None:
            await opening.done.wait()
        if (opened := self._rooms.pop(name, None)) is not None:
            opened.gone = True
            self._idle.take(name)
            for peer in tuple(opened.core.peers):
                peer.refuse(NoSuchRoom(name))
        return opened

    def _drop(self, opened: Opened) -> None:
        opened.gone = True
        opened.core.close()
        if self._rooms.get(opened.core.name) is opened:  # and not one that was opened after it
            del self._rooms[opened.core.name]
            self._idle.take(opened.core.name)

    async def flush(self) -> None:
        """Returns when the store has all that any room took in; waits while the store is down."""
        for opening in list(self._opening.values()):  # clients may have sent something for a room on its way
            await opening.done.wait()
        for opened in list(self._rooms.values()):
            while not opened.clean:
                await anyio.sleep(BUSY_SECONDS)  # its last tick may still be ahead, and then its commit
                await opened.journal.flushed()

    # ------------------------------------------------------------------ the tick

    def _tick(self, opened: Opened) -> None:
        if opened.reloading:
            return
        core, metrics = opened.core, self.metrics
        gaps_before = core.gaps.total
        started = time.perf_counter()
        try:
            ticks = self.quarantine.collect(core, time.monotonic(), time.time())
            if ticks is None:
                self._loop.call_later(BUSY_SECONDS, self._tick, opened)
                return
            applied = time.perf_counter()
            core.tell(ticks)
        except Panic as panic:
            self.reload(opened, panic)
            return
        if ticks:
            metrics.apply_seconds.observe(applied - started)
            metrics.broadcast_seconds.observe(time.perf_counter() - applied)
            if not opened.holders and not opened.gone:
                self._rest(opened)
        if core.gaps.total != gaps_before:
            metrics.gaps.inc(core.gaps.total - gaps_before)

    def reload(self, opened: Opened, panic: Panic) -> None:
        """yrs panicked in this room: read it anew from the store, and find out whose update did it."""
        self.metrics.panics.inc()
        log.error("document panicked", room=opened.core.name, cause=panic.cause)
        if not opened.reloading:
            opened.reloading = True
            self._tasks.start_soon(self._reload, opened, panic.updates if isinstance(panic, Panicked) else [])

    def _broken(self, journal: Journal, panic: Panic) -> None:
        if (opened := self._rooms.get(journal.room)) is not None:
            self.reload(opened, panic)

    async def _reload(self, opened: Opened, suspects: list[Incoming]) -> None:
        core = opened.core
        try:
            await opened.journal.flushed()
            loaded = await self._read_patiently(core.name)
            updates = [suspect.update for suspect in suspects]
            with self.quarantine.reading("reload", core.name, updates):
                guilty = await recovery.guilty(core.name, loaded.doc, updates)
        except Exception as error:
            reason = self._failed("room not reloaded", core.name, error)
            self._drop(opened)
            for peer in tuple(core.peers):
                peer.refuse(reason)
            return  # and for ever "reloading": nobody is told anything of this document again
        opened.reloading = False
        for number in guilty:
            if (sender := suspects[number].sender) is not None:
                sender.refuse(BadUpdate("the document does not survive this update"))
        again = [suspect for number, suspect in enumerate(suspects) if number not in guilty]
        again += core.untold()
        core.replica.replace(loaded.doc, loaded.nesting, loaded.keyed)
        core.requeue(again)
        log.info("room reloaded", room=core.name, suspects=len(suspects), guilty=len(guilty))
        for peer in tuple(core.peers):
            peer.ask(core.state_vector())
        self._tick(opened)

    async def _read_patiently(self, name: str) -> Loaded:
        while True:
            try:
                return await self._read(name)
            except Unavailable:
                await anyio.sleep(self.settings.store.retry_seconds)

    def _beating(self) -> Generator[Beat]:
        for opened in tuple(self._rooms.values()):
            # A document that is given up, as its room is read anew, is not to ask anybody for what it lacks.
            if opened.holders and not (opened.reloading or opened.gone):
                yield opened.core.beat
        yield from (beat for beat in tuple(self.beats) if beat in self.beats)
        yield lambda now: self.floods.flush()
