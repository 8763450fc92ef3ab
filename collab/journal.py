"""The peer that remembers: what was typed, on its way to the disk.

Each room has a `Journal`; all journals share one `GroupCommit`. All that is pending goes into one commit; while it runs
the next batch gathers. Within a room nothing is reordered. Awareness is never stored.

When the store fails nothing is lost and nothing counts as saved: the batch is tried again, later and later, and what
comes meanwhile waits in the journals' backlogs. One that grows past its limit is thrown away and the room is owed one
merged update (the lag rule): the content is safe, its history (text typed and deleted meanwhile, who did it) is not.
A room that the store cannot take, for a reason of its own, is set aside and does not hold up the others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from anyio import Event, move_on_after, sleep

from .errors import CollabError, DamagedRoom, Unavailable
from .fence import Panic
from .log import get_logger
from .metrics import Metrics
from .peers import Backlog, Tick
from .room import RoomCore
from .settings.sections import StoreSettings
from .store import Entry, Kind, Store

log = get_logger(__name__)

BATCH_ROWS = 5_000
BATCH_BYTES = 16 * 2**20
"""What one commit takes at most: more waits for the next, so that nobody's answer waits for everybody's data."""
GAP_SECONDS = 0.005
"""From the beginning of one commit to that of the next, at least. What comes after a pause is committed at once; while
many type, commits are fewer and larger, each of which costs the loop as much as some edits do: at 10,000 edits/s the
server took 62 % of a core instead of 90 (tests/bench, W2), and it acknowledged a third more (W6)."""
HUNG_SECONDS = 10.0
"""A commit that takes longer counts as one that failed, as long as it lasts."""


class _Pending(NamedTuple):
    """One entry and when the room took it in (monotonic seconds)."""

    entry: Entry
    at: float


class Journal:
    """The peer of one room that stands for the store.

    Args:
        core: The room.
        commits: Where the entries go.
        limit: How many bytes may wait before the room is owed a merged update instead.

    Attributes:
        accepted: How many entries this journal was given; a position in it.
        committed: The position up to which the store has everything.
        log_rows, log_bytes: How long the log is that was written since the last checkpoint.
    """

    backstage = True
    author: str | None = None
    may_write = False

    def __init__(self, core: RoomCore, commits: GroupCommit, limit: int) -> None:
        self.core = core
        self.room = core.name
        self.accepted = 0
        self.committed = 0
        self.log_rows = 0
        self.log_bytes = 0
        self._commits = commits
        self._backlog: Backlog[_Pending] = Backlog(limit)
        self._flying: list[_Pending] = []
        self._flying_upto = 0
        self._waiting: deque[tuple[int, Callable[[bool], None]]] = deque()

    # ------------------------------------------------------------------ as a peer

    def take(self, tick: Tick) -> None:
        """Note what the front changed (backstage peers have it already)."""
        at = time.monotonic()
        for update, sender in tick.changes:
            if sender is not None and sender.backstage:
                continue
            author = None if sender is None else sender.author
            entry = Entry(self.room, update, tick.wall, author)
            self.accepted += 1
            if self._backlog.add(_Pending(entry, at), len(update), tick.begun, tick.vector):
                self._commits.metrics.resyncs["journal"].inc()
                log.warning("journal behind", room=self.room, limit=self._backlog.limit)
        if self.lag:
            self._commits.dirty(self)

    def ask(self, state_vector: bytes) -> None:
        """The journal has nothing that the room lacks."""

    def refuse(self, error: CollabError) -> None:
        """The journal sends no updates."""

    # ------------------------------------------------------------------ on the way to the disk

    @property
    def lag(self) -> int:
        """How many entries the store does not have yet."""
        return self.accepted - self.committed

    @property
    def behind(self) -> bool:
        """Whether the room is owed a merged update: its history has a hole here."""
        return self._backlog.since is not None

    @property
    def lag_bytes(self) -> int:
        """How many bytes wait."""
        return self._backlog.bytes + sum(len(pending.entry.update) for pending in self._flying)

    def board(self, rows: int, size: int) -> list[_Pending]:
        """What goes into the next commit: at most `rows` entries and about `size` bytes of them, at least one.

        What was on board of a commit that failed goes first. `landed` says that the commit succeeded.
        """
        if not self._flying:
            since = self._backlog.since
            if since is not None:
                entry = Entry(self.room, self.core.difference(since), time.time(), None, Kind.MERGED)
                self._backlog.clear()
                self._flying = [_Pending(entry, time.monotonic())]
                self._flying_upto = self.accepted
            elif len(self._backlog.items) <= rows and self._backlog.bytes <= size:
                self._flying = self._backlog.take()
                self._flying_upto = self.accepted
            else:
                while self._backlog.items and len(self._flying) < rows and (size > 0 or not self._flying):
                    pending = self._backlog.pop(_size)
                    size -= len(pending.entry.update)
                    self._flying.append(pending)
                self._flying_upto = self.accepted - len(self._backlog.items)
        return self._flying

    @property
    def on_board(self) -> list[_Pending]:
        """What is on its way to the disk right now."""
        return self._flying

    def landed(self) -> None:
        """What was on board is committed."""
        self.log_rows += len(self._flying)
        self.log_bytes += sum(len(pending.entry.update) for pending in self._flying)
        self._flying = []
        self._reached(self._flying_upto, True)

    def _reached(self, position: int, committed: bool) -> None:
        self.committed = position
        while self._waiting and self._waiting[0][0] <= position:
            self._waiting.popleft()[1](committed)

    def forfeit(self) -> None:
        """What waits cannot be made into an update any more. Nobody may be told that it was saved: the room is to be
        read anew from the store, and its clients asked for all that it lacks then."""
        self._backlog.clear()
        self._flying = []
        self._reached(self.accepted, False)

    def when(self, position: int, call: Callable[[bool], None]) -> None:
        """Call with True once `position` is committed, with False when it was forfeited; at once when it is already.

        Positions may not be lower than those of earlier calls.
        """
        if position <= self.committed:
            call(True)
        else:
            self._waiting.append((position, call))

    async def flushed(self) -> None:
        """Returns when all that the journal was given until now is committed; waits while the store is down."""
        if self.lag:
            event = Event()
            self.when(self.accepted, lambda committed: event.set())
            await event.wait()


def _size(pending: _Pending) -> int:
    return len(pending.entry.update)


class GroupCommit:
    """The one writer. Takes what all journals have, commits it together, tells them.

    Attributes:
        landed: Called with each journal that had something committed.
        broken: Called with a journal whose room cannot make the merged update that is owed.
    """

    def __init__(self, store: Store, settings: StoreSettings, metrics: Metrics) -> None:
        self.store = store
        self.settings = settings
        self.metrics = metrics
        self.landed: Callable[[Journal], None] = lambda journal: None
        self.broken: Callable[[Journal, Panic], None] = lambda journal, panic: None
        self._dirty: dict[Journal, None] = {}
        self._aboard: list[Journal] = []
        self._aside: dict[Journal, float] = {}
        self._work = Event()
        self._up = True
        self._failures = 0
        self._began: float | None = None

    @property
    def store_up(self) -> bool:
        """False from a commit that failed, or hangs, to the next that succeeds."""
        return self._up and (self._began is None or time.monotonic() - self._began < HUNG_SECONDS)

    def dirty(self, journal: Journal) -> None:
        """`journal` has something to commit."""
        if journal not in self._aside:
            self._dirty[journal] = None
            self._work.set()

    @property
    def lagging(self) -> list[Journal]:
        """The journals that have something the store does not have."""
        return [journal for journal in dict.fromkeys([*self._dirty, *self._aboard, *self._aside]) if journal.lag]

    async def run(self) -> None:
        """Commit, for ever. Cancel it only when every journal is flushed."""
        while True:
            self._readmit()
            if not self._dirty:
                self._work = Event()
                with move_on_after(self.settings.retry_max_seconds if self._aside else None):
                    await self._work.wait()
                continue
            self._aboard = self._gather()
            due = time.monotonic() + GAP_SECONDS
            try:
                await self._commit(self._aboard)
            except Exception as error:
                self._failed(error)
                self._dirty = dict.fromkeys(self._aboard) | self._dirty
                await self._pause()
            else:
                await sleep(max(0.0, due - time.monotonic()))

    def _gather(self) -> list[Journal]:
        """The journals whose turn it is, each with what it takes into the next commit on board."""
        journals, rows, size = [], 0, 0
        while self._dirty and rows < BATCH_ROWS and size < BATCH_BYTES:
            journal = next(iter(self._dirty))
            del self._dirty[journal]
            try:
                boarding = journal.board(BATCH_ROWS - rows, BATCH_BYTES - size)
            except Panic as panic:
                log.error("journal difference failed", room=journal.room, cause=panic.cause, lost=journal.lag)
                journal.forfeit()
                self.broken(journal, panic)
                continue
            if boarding:
                journals.append(journal)
                rows += len(boarding)
                size += sum(map(_size, boarding))
        return journals

    async def _commit(self, journals: list[Journal]) -> None:
        """Commit what is on board; what the store will not take for a reason that lies in one room is set aside.

        Raises:
            Exception: The store failed.
        """
        if not journals:
            return
        try:
            await self._append(journals)
        except Unavailable:
            raise
        except Exception as error:
            if len(journals) == 1:
                if not isinstance(error, DamagedRoom):
                    raise
                self._set_aside(journals[0], error)
            elif isinstance(error, DamagedRoom) or self._failures:  # any other error is given a second try first
                await self._one_by_one(journals)
            else:
                raise

    async def _one_by_one(self, journals: list[Journal]) -> None:
        blamed: list[tuple[Journal, Exception]] = []
        for journal in journals:
            try:
                await self._append([journal])
            except Unavailable:
                raise
            except Exception as error:
                blamed.append((journal, error))
        if len(blamed) == len(journals) and not any(isinstance(reason, DamagedRoom) for _, reason in blamed):
            raise blamed[0][1]  # it is the store
        for journal, reason in blamed:
            self._set_aside(journal, reason)

    async def _append(self, journals: list[Journal]) -> None:
        batch = [pending for journal in journals for pending in journal.on_board]
        started = time.perf_counter()
        self._began = time.monotonic()
        try:
            await self.store.append([pending.entry for pending in batch])
        finally:
            self._began = None
        if self._failures:
            log.info("store recovered", failures=self._failures)
        self._up, self._failures = True, 0
        self._observe(batch, time.perf_counter() - started)
        for journal in journals:
            journal.landed()
            if journal.lag:
                self._dirty[journal] = None
            self.landed(journal)

    def _set_aside(self, journal: Journal, error: Exception) -> None:
        """Try this one again later, by itself."""
        self.metrics.store_failures.inc()
        self.metrics.count_error(error)
        log.error("room not stored", room=journal.room, error=str(error), lag=journal.lag)
        self._dirty.pop(journal, None)
        self._aside[journal] = time.monotonic() + self.settings.retry_max_seconds

    def _readmit(self) -> None:
        now = time.monotonic()
        for journal in [journal for journal, at in self._aside.items() if at <= now]:
            del self._aside[journal]
            self._dirty[journal] = None

    def _failed(self, error: Exception) -> None:
        self._up = False
        self._failures += 1
        self.metrics.store_failures.inc()
        self.metrics.count_error(error)
        foreseen = isinstance(error, CollabError)
        if self._failures == 1 or not foreseen:
            lag = sum(journal.lag for journal in self.lagging)
            log.log(
                "warning" if foreseen else "error", "store failed", error=str(error), lag=lag, exc_info=not foreseen
            )

    async def _pause(self) -> None:
        settings = self.settings
        await sleep(min(settings.retry_seconds * 2 ** min(self._failures - 1, 20), settings.retry_max_seconds))

    def _observe(self, batch: list[_Pending], seconds: float) -> None:
        self.metrics.commit_seconds.observe(seconds)
        self.metrics.commit_rows.observe(len(batch))
        now = time.monotonic()
        for at, those in groupby(batch, key=attrgetter("at")):  # what came in one tick waited for as long
            self.metrics.journal_wait_seconds.observe(now - at, len(list(those)))
