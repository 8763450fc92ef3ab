"""The peer that remembers: what was typed, on its way to the disk.

Each room has a `Journal`; all journals share one `GroupCommit`. All that is pending goes into one commit; while it runs
the next batch gathers. Within a room nothing is reordered. Awareness is never stored.

When the store fails nothing is lost and nothing counts as saved: the batch is tried again, later and later, and what
comes meanwhile waits in the journals' backlogs. One that grows past its limit is thrown away and the room is owed one
merged update (the lag rule): the content is safe, its history (text typed and deleted meanwhile, who did it) is not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from anyio import Event, sleep

from .errors import CollabError
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


@dataclass(slots=True)
class _Pending:
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
        self._waiting: deque[tuple[int, Event]] = deque()

    # ------------------------------------------------------------------ as a peer

    def take(self, tick: Tick) -> None:
        """Note what the front changed (backstage peers have it already)."""
        at = time.monotonic()
        for change in tick.changes:
            sender = change.sender
            if sender is not None and sender.backstage:
                continue
            author = None if sender is None else sender.author
            entry = Entry(self.room, change.update, tick.wall, author)
            self.accepted += 1
            if self._backlog.add(_Pending(entry, at), len(change.update), tick.before):
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
            else:
                while self._backlog.items and len(self._flying) < rows and (size > 0 or not self._flying):
                    pending = self._backlog.pop(_size)
                    size -= len(pending.entry.update)
                    self._flying.append(pending)
                self._flying_upto = self.accepted - len(self._backlog.items)
        return self._flying

    def landed(self) -> None:
        """What was on board is committed."""
        self.log_rows += len(self._flying)
        self.log_bytes += sum(len(pending.entry.update) for pending in self._flying)
        self._flying = []
        self.committed = self._flying_upto
        while self._waiting and self._waiting[0][0] <= self.committed:
            self._waiting.popleft()[1].set()

    async def flushed(self) -> None:
        """Returns when all that the journal was given until now is committed; waits while the store is down."""
        if self.lag:
            event = Event()
            self._waiting.append((self.accepted, event))
            await event.wait()


def _size(pending: _Pending) -> int:
    return len(pending.entry.update)


class GroupCommit:
    """The one writer. Takes what all journals have, commits it together, tells them.

    Attributes:
        store_up: False from a write that failed to the next that did not.
    """

    def __init__(self, store: Store, settings: StoreSettings, metrics: Metrics) -> None:
        self.store = store
        self.settings = settings
        self.metrics = metrics
        self.store_up = True
        self.landed: Callable[[Journal], None] = lambda journal: None
        self._dirty: dict[Journal, None] = {}
        self._work = Event()

    def dirty(self, journal: Journal) -> None:
        """`journal` has something to commit."""
        self._dirty[journal] = None
        self._work.set()

    @property
    def lagging(self) -> list[Journal]:
        """The journals that have something the store does not have."""
        return [journal for journal in self._dirty if journal.lag]

    async def run(self) -> None:
        """Commit, for ever. Cancel it only when every journal is flushed."""
        failures = 0
        while True:
            if not self._dirty:
                self._work = Event()
                await self._work.wait()
            journals, batch = self._gather()
            started = time.perf_counter()
            try:
                await self.store.append([pending.entry for pending in batch])
            except Exception as error:
                failures += 1
                self._failed(error, failures)
                self._dirty = dict.fromkeys(journals) | self._dirty
                await self._pause(failures)
                continue
            if failures:
                log.info("store recovered", failures=failures)
                failures = 0
            self.store_up = True
            self._observe(batch, time.perf_counter() - started)
            for journal in journals:
                journal.landed()
                if journal.lag:
                    self._dirty[journal] = None
                self.landed(journal)

    def _gather(self) -> tuple[list[Journal], list[_Pending]]:
        journals, batch, size = [], list[_Pending](), 0
        while self._dirty and len(batch) < BATCH_ROWS and size < BATCH_BYTES:
            journal = next(iter(self._dirty))
            del self._dirty[journal]
            try:
                boarding = journal.board(BATCH_ROWS - len(batch), BATCH_BYTES - size)
            except CollabError as error:  # its document is broken; the room is being reloaded, and its seats asked
                log.error("journal difference failed", room=journal.room, error=str(error))
                continue
            if boarding:
                journals.append(journal)
                batch += boarding
                size += sum(map(_size, boarding))
        return journals, batch

    def _failed(self, error: Exception, failures: int) -> None:
        self.store_up = False
        self.metrics.store_failures.inc()
        self.metrics.count_error(error)
        level = log.warning if isinstance(error, CollabError) else log.exception
        if failures == 1 or not isinstance(error, CollabError):
            level("store failed", error=str(error), lag=sum(journal.lag for journal in self.lagging))

    async def _pause(self, failures: int) -> None:
        seconds = min(self.settings.retry_seconds * 2 ** min(failures - 1, 20), self.settings.retry_max_seconds)
        await sleep(seconds)

    def _observe(self, batch: list[_Pending], seconds: float) -> None:
        self.metrics.commit_seconds.observe(seconds)
        self.metrics.commit_rows.observe(len(batch))
        now = time.monotonic()
        for pending in batch:
            self.metrics.journal_wait_seconds.observe(now - pending.at)
