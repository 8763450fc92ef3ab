"""The owner of what rooms were: makes snapshots, by hand and by itself, and clears away what is too old.

A snapshot is made of what is *stored*, never of the document in memory, so it is known to the edit what it holds. For a
room in memory the archive first waits until all that the room has taken in when it was asked is committed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio

from .. import apart, telemetry
from ..apart import Apart
from ..errors import CollabError, Forgotten, NoSuchRoom, NoSuchSnapshot, Unavailable
from ..hub import Hub
from ..journal import Journal
from ..log import get_logger
from ..store import Erased, Reason, Row, SnapshotInfo, State, Stored, Unsigned
from .retention import DAY, thin
from .timeline import proved_state, state_at, weight

log = get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often it is looked whether a room is due for a snapshot."""
SETTLE_SECONDS = 30.0
"""How long a room may take to bring its edits into the store before a snapshot of it is refused."""
BUILD_SECONDS = 300.0
"""How long a large document may take to be built, those before it included."""
BUSY_SECONDS = 0.01
TRIES = 5
EDITS_PER_BYTE = 1 / 1024
"""A snapshot of a large document costs more than the edits that it is made after: one of them for each KiB of it."""
GRACE = 1 / 30
"""Part of the days for which edits are kept. They go when some are too old by so much more, all that are too old at
once: each time the document has to be built."""
EVERYTHING = 1_000_000

T = TypeVar("T")


@dataclass(slots=True)
class _Watch:
    """A room in memory: how many edits of it a snapshot holds, and when the first came that none does."""

    journal: Journal
    upto: int
    since: float | None = None

    @property
    def edits(self) -> int:
        return self.journal.committed - self.upto


class Archive:
    """Snapshots and history of all rooms of a hub.

    Args:
        hub: Where the rooms are. Its settings say what is made and cleared away by itself, after `start`.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._settings = hub.settings.history
        self._watches: dict[str, _Watch] = {}
        self._due: dict[str, None] = {}
        self._work = anyio.Event()
        self._looked = 0.0
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._apart = Apart()

    def start(self) -> None:
        """From now on snapshots are made by itself, and what is too old goes."""
        self._hub.beats.add(self._look)
        self._hub.start_soon(self._make_what_is_due)
        self._hub.start_soon(self._sweep_for_ever)

    @asynccontextmanager
    async def alone(self, room: str) -> AsyncIterator[None]:
        """While inside, nobody else makes a snapshot of the room, forgets of it, or erases it."""
        lock = self._locks.get(room)
        if lock is None:
            lock = self._locks[room] = anyio.Lock()
        async with lock:
            yield

    # ------------------------------------------------------------------ snapshots

    async def create(
        self,
        room: str,
        *,
        label: str = "",
        note: str = "",
        author: str | None = None,
        reason: Reason = Reason.MANUAL,
        pinned: bool = False,
    ) -> SnapshotInfo:
        """Make a snapshot. It holds every edit that the room had taken in when this was called, perhaps later ones.

        Raises:
            NoSuchRoom: It was never written.
            DamagedRoom: What is stored of it cannot be read.
            Unavailable: The store does not take the room's edits.
        """
        with telemetry.span("snapshot.create", room=room, reason=reason.value) as span:
            info = await self._create(room, label, note, author, reason, pinned)
            span.set(snapshot=info.id, bytes=info.size)
        self._hub.metrics.snapshots.inc()
        log.info("snapshot made", room=room, snapshot=info.id, reason=reason.value, bytes=info.size)
        return info

    async def _create(
        self, room: str, label: str, note: str, author: str | None, reason: Reason, pinned: bool
    ) -> SnapshotInfo:
        await self.settled(room)
        async with self.alone(room):
            stored = await self._hub.store.load(room)
            if not stored.seq:
                raise NoSuchRoom(room)
            state = await self._state(room, stored)
            return await self._hub.store.add_snapshot(
                room,
                state,
                covers=stored.seq,
                time=time.time(),
                reason=reason,
                label=label,
                note=note,
                author=author,
                pinned=pinned,
            )

    async def settled(self, room: str) -> None:
        """Returns when the store has all that the room, if it is in memory, has taken in until now."""
        opened = self._hub.find(room)
        if opened is None:
            return
        self._hub.hold(opened)
        try:
            with anyio.fail_after(SETTLE_SECONDS):
                while opened.reloading or opened.core.replica.outside:  # the application's, which is told soon
                    await anyio.sleep(BUSY_SECONDS)
                    await opened.journal.flushed()
                told = anyio.Event()
                if opened.core.once_told(told.set):  # of what is there now: people may type without a pause
                    await told.wait()
                await opened.journal.flushed()
        except TimeoutError:
            raise Unavailable(f"the store (it has not all edits of {room!r} after {SETTLE_SECONDS:g} s)") from None
        finally:
            self._hub.release(opened)

    async def _state(self, room: str, stored: Stored) -> bytes:
        if stored.checkpoint is not None and not stored.rows:
            return stored.checkpoint  # it was proved when it was made
        size = weight(stored.rows, stored.checkpoint)
        return await self._built(room, size, partial(proved_state, room, stored))

    async def _built(self, room: str, size: int, build: Callable[[], Awaitable[T]]) -> T:
        """What `build` comes to, of `size` bytes: large ones in another process, which may crash."""
        if size >= apart.LARGE:
            with anyio.move_on_after(BUILD_SECONDS):
                return await self._apart.run(build)
            raise Unavailable("what is done with large documents one after the other")
        with self._hub.compactor.watched(room):
            return await build()

    async def snapshots(self, room: str, *, before: int | None = None, limit: int = 100) -> list[SnapshotInfo]:
        """The newest snapshots, the latest first; of those whose id is lower than `before`, to go on after a page."""
        return await self._hub.store.snapshots(room, before=before, limit=limit)

    async def snapshot(self, room: str, id: int) -> tuple[SnapshotInfo, bytes]:
        """A snapshot and its state. Raises `NoSuchSnapshot`, `DamagedSnapshot`."""
        return await self._hub.store.snapshot(room, id)

    async def change(
        self, room: str, id: int, *, label: str | None = None, note: str | None = None, pinned: bool | None = None
    ) -> SnapshotInfo:
        """Change what is not None. Raises `NoSuchSnapshot`, `DamagedSnapshot`."""
        return await self._hub.store.change_snapshot(room, id, label=label, note=note, pinned=pinned)

    async def delete(self, room: str, id: int) -> None:
        """Delete a snapshot. Raises `NoSuchSnapshot`."""
        if not await self._hub.store.delete_snapshots(room, [id]):
            raise NoSuchSnapshot(room, id)

    # ------------------------------------------------------------------ the document as it was

    async def moment(self, room: str, seq: int | None = None, *, time: float | None = None) -> tuple[State, list[Row]]:
        """What the document was after edit `seq`, or at `time` (seconds since the epoch), or is now: a state and the
        edits after it that lead there.

        Raises:
            NoSuchRoom: It was never written.
            Forgotten: The history does not reach back so far.
            DamagedSnapshot, DamagedRoom: What leads there cannot be read.
            ValueError: `seq` is not in use.
        """
        store = self._hub.store
        for _ in range(TRIES):
            reach = await store.reach(room)
            if not reach.seq:
                raise NoSuchRoom(room)
            at = reach.seq if seq is None else seq
            if time is not None:
                at = await store.seq_at(room, time)
                if reach.forgotten and at <= reach.forgotten and time < self._oldest:
                    raise Forgotten(room, at - 1, at)
            state = await store.state_at(room, at)
            rows = await store.history(room, state.covers, at)
            if len(rows) == at - state.covers:
                return state, rows
        raise Unavailable(f"the history of {room!r} (it is being cleared away)")

    async def at(self, room: str, seq: int | None = None, *, time: float | None = None) -> State:
        """The same, as one state. Raises as `moment`."""
        state, rows = await self.moment(room, seq, time=time)
        if not rows:
            return state
        size = weight(rows, state.update)
        return await self._built(room, size, partial(state_at, room, state, rows))

    async def kept(self, room: str) -> tuple[State, list[Row]]:
        """The oldest state that the history reaches back to, and all edits after it.

        Raises:
            NoSuchRoom: It was never written.
            DamagedSnapshot, DamagedRoom: What is kept cannot be read.
        """
        for _ in range(TRIES):
            reach = await self._hub.store.reach(room)
            if not reach.seq:
                raise NoSuchRoom(room)
            start = await self._hub.store.state_at(room, reach.forgotten)
            rows = await self._hub.store.history(room, start.covers)
            if not rows or rows[0].seq == start.covers + 1:
                return start, rows
        raise Unavailable(f"the history of {room!r} (it is being cleared away)")

    @property
    def _oldest(self) -> float:
        """The time (seconds since the epoch) from which on every edit is kept."""
        return time.time() - self._settings.keep_days * DAY

    # ------------------------------------------------------------------ clearing away

    async def erase(self, room: str) -> Erased:
        """Delete all there is of a room, its snapshots too. Who sits in it is sent away, and nobody makes it again
        until `hub.tombs.lift`.

        Raises:
            Unavailable: The store does not take what was typed last. Ask again.
        """
        with anyio.move_on_after(SETTLE_SECONDS) as patience:
            if (opened := await self._hub.dismiss(room)) is not None:
                while not opened.clean:  # what came into the store later would be the beginning of another room
                    await anyio.sleep(BUSY_SECONDS)
                    await opened.journal.flushed()
                opened.core.close()
        if patience.cancelled_caught:
            raise Unavailable("the store")
        async with self.alone(room):
            return await self._hub.store.erase(room)

    async def unsign(self, author: str, room: str | None = None) -> Unsigned:
        """Forget that a user made what he made, in one room or in all; what he wrote stays. What he types from now on
        bears his name again: revoke his access first.

        Raises:
            Unavailable: The store does not take what was typed last. Ask again.
        """
        for name in [opened.core.name for opened in self._hub.rooms] if room is None else [room]:
            await self.settled(name)
        return await self._hub.store.unsign(author, room)

    async def forget(self, room: str) -> int:
        """Delete the edits of a room that are too old to be kept; returns how many went.

        What they led to stays as a snapshot, `Reason.BASE`, unless the checkpoint is just that.
        """
        store = self._hub.store
        async with self.alone(room):
            reach = await store.reach(room)
            grace = self._settings.keep_days * GRACE * DAY
            if min(await store.seq_at(room, self._oldest - grace), reach.covers) <= reach.forgotten:
                return 0
            upto = min(await store.seq_at(room, self._oldest), reach.covers)
            if upto < reach.covers:
                await self._keep_base(room, upto)
            gone = await store.forget(room, upto)
        self._hub.metrics.rows_forgotten.inc(gone)
        return gone

    async def _keep_base(self, room: str, seq: int) -> None:
        try:
            state, rows = await self.moment(room, seq)
        except Forgotten:  # nothing leads there; the history begins later
            return
        if not rows:
            return
        stored = Stored(0, state.update, state.covers, tuple(rows))
        update = await self._state(room, stored)
        await self._hub.store.add_snapshot(room, update, covers=seq, time=time.time(), reason=Reason.BASE)

    async def thin(self, room: str) -> int:
        """Delete the snapshots of a room that the settings do not keep; returns how many."""
        store = self._hub.store
        infos = await store.snapshots(room, limit=EVERYTHING)
        if not infos:
            return 0
        begin = (await store.reach(room)).forgotten
        by_covers = defaultdict(list)
        for info in infos:
            by_covers[info.covers].append(info.id)
        needed = set(by_covers[begin][:1]) if begin else set()  # the history begins with it
        gone = [info.id for info in thin(infos, time.time(), self._settings) if info.id not in needed]
        done = await store.delete_snapshots(room, gone)
        self._hub.metrics.snapshots_deleted.inc(done)
        return done

    async def sweep(self) -> None:
        """Clear away, in all rooms, what the settings do not keep. One room's trouble is its own."""
        async for info in self._hub.store.rooms():
            if info.forgotten < info.covers and self._settings.keep_days:
                await self._tried("history not cleared away", info.name, self.forget)
            await self._tried("snapshots not thinned", info.name, self.thin)

    async def _sweep_for_ever(self) -> None:
        while True:
            await anyio.sleep(60 * self._settings.sweep_minutes)
            try:
                await self.sweep()
            except Exception as error:
                self._hub.metrics.count_error(error)
                log.warning("sweep failed", error=str(error), exc_info=not isinstance(error, CollabError))

    async def _tried(self, what: str, room: str, call: Callable[[str], Awaitable[object]]) -> None:
        try:
            await call(room)
        except Exception as error:
            self._hub.metrics.count_error(error)
            log.warning(what, room=room, error=str(error), exc_info=not isinstance(error, CollabError))

    # ------------------------------------------------------------------ snapshots by itself

    def _look(self, now: float) -> None:
        """Which rooms are due for a snapshot; called by the hub's beat, with its monotonic time."""
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        here = {opened.core.name: opened.journal for opened in self._hub.rooms}
        for room, watch in list(self._watches.items()):
            if here.get(room) is not watch.journal:  # nobody holds it any more: its activity has ended
                del self._watches[room]
                if watch.edits and self._on:
                    self._due[room] = None
        for room, journal in here.items():
            watch = self._watches.setdefault(room, _Watch(journal, 0))
            if watch.since is None and watch.edits:
                watch.since = now
            if self._is_due(watch, now):
                watch.upto, watch.since = journal.committed, None
                self._due[room] = None
        if self._due:
            self._work.set()

    @property
    def _on(self) -> bool:
        return bool(self._settings.snapshot_edits or self._settings.snapshot_minutes)

    def _is_due(self, watch: _Watch, now: float) -> bool:
        edits, minutes = self._settings.snapshot_edits, self._settings.snapshot_minutes
        many = edits and watch.edits >= max(edits, EDITS_PER_BYTE * watch.journal.core.bytes)
        return bool(many or (minutes and watch.since is not None and now - watch.since >= 60 * minutes))

    async def _make_what_is_due(self) -> None:
        while True:
            if not self._due:
                self._work = anyio.Event()
                await self._work.wait()
            room = next(iter(self._due))
            del self._due[room]
            await self._tried("snapshot not made", room, self._make_by_itself)

    async def _make_by_itself(self, room: str) -> None:
        newest: Iterable[SnapshotInfo] = await self._hub.store.snapshots(room, limit=1)
        reach = await self._hub.store.reach(room)
        if not reach.seq or any(info.covers == reach.seq for info in newest):  # erased; or one was just made by hand
            return
        await self.create(room, reason=Reason.ACTIVITY)
        await self.thin(room)
