"""The one thread that has the SQLite connection: a queue in, answers out, and what happens when the disk fails.

Appends that wait while a commit runs go into the next one together (group commit): one fsync for all of them, each
caller answered after it. Nothing waits on purpose: an append that finds the thread idle is committed at once. Between
two commits one piece of other work is done (a page of a load, a compaction), so a long load delays a commit by one
page.

After *any* failure of a write the connection is thrown away and what is known is read again from the file: no answer
ever rests on a commit whose outcome is not certain. The caller appends again; Yjs updates are idempotent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ..errors import CollabError, DamagedRoom, Unavailable
from ..log import get_logger
from . import Entry
from .schema import is_outage, open_database
from .tables import Tables

T = TypeVar("T")

log = get_logger(__name__)

GROUP_ROWS = 16_384
GROUP_BYTES = 32 << 20
"""Most of one commit; what waits beyond it goes into the next."""

PATIENCE_SECONDS = 2.0
"""How long opening waits for another process to let go of the file (one that is just shutting down)."""

PAUSE_SECONDS = 0.5
"""After a try to open again has failed: how long callers are refused without another try."""

FRESH_SECONDS = 1.0
"""A commit this recent proves that one is possible."""


class Again:
    """What a job returns that has more to do: it is called again when others had their turn."""


@dataclass(slots=True, eq=False)
class _Append:
    entries: Sequence[Entry]
    answer: asyncio.Future[list[int]]


@dataclass(slots=True, eq=False)
class _Job:
    run: Callable[[], Any]
    answer: asyncio.Future[Any]
    urgent: bool


class Writer:
    """Runs everything that touches the file.

    `open`, `append`, `ask` and `close` belong to the event loop, `read`, `write`, `probe` and `turn` to the thread:
    they are what jobs are made of.
    """

    def __init__(self, path: Path, failpoint: Callable[[str], None]) -> None:
        self._path = path
        self._at = failpoint
        self._inbox: SimpleQueue[_Append | _Job | None] = SimpleQueue()
        self._accepting = False
        self._refusing = "it is closed"
        # From here on only the thread touches what is below.
        self._appends: deque[_Append] = deque()
        self._jobs: deque[_Job] = deque()
        self._in_hand: list[asyncio.Future[Any]] = []
        self._closing = False
        self._tables: Tables | None = None
        self._settled = False
        self._file: tuple[int, int] | None = None
        self._committed_at = -FRESH_SECONDS
        self._refusal: tuple[float, Unavailable] | None = None

    # On the event loop

    async def open(self) -> None:
        """Start the thread and open the file; raises what `open_database` raises."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._accepting = True
        # A daemon: a program that forgets to close the store can still end. A commit cut short that way is like one
        # cut short by a crash, and was not answered.
        threading.Thread(target=self._live, args=(opened,), name="collab-store", daemon=True).start()
        try:
            await opened
        except BaseException:  # also when the caller is cancelled: the thread then closes what it has opened
            self._stop()
            raise

    async def close(self) -> None:
        """Finish what was begun, close the file and end the thread. Cancelling stops the waiting, not the closing."""
        self._stop()
        await asyncio.shield(self._closed)

    def _stop(self) -> None:
        if self._accepting:
            self._accepting = False
            self._inbox.put(None)

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Commit the entries together with whatever else waits."""
        answer: asyncio.Future[list[int]] = self._future()
        self._inbox.put(_Append(entries, answer))
        return await answer

    async def ask(self, run: Callable[[], T | Again], *, urgent: bool = False) -> T:
        """Run something on the thread. Who stops waiting for it before it began, cancels it."""
        answer: asyncio.Future[T] = self._future()
        self._inbox.put(_Job(run, answer, urgent))
        return await answer

    def _future(self) -> asyncio.Future[Any]:
        if not self._accepting:
            raise Unavailable(f"the store ({self._refusing})")
        return self._loop.create_future()

    # On the thread: jobs are made of these

    def read(self, run: Callable[[Tables], T]) -> T:
        """Run something that only reads.

        Raises:
            Unavailable: The machine failed.
            sqlite3.Error: What the file holds is at fault.
        """
        tables = self._connected()
        try:
            return run(tables)
        except sqlite3.Error as error:
            if is_outage(error):
                self._discard(error)
                raise Unavailable(f"the store ({error})") from error
            raise

    def write(self, run: Callable[[Tables], T]) -> T:
        """Run something that commits; raises as `read` does."""
        tables = self._connected()
        try:
            if not self._settled:
                # An fsync that fails is reported once; the kernel then takes the pages for clean, and the next fsync
                # says yes though they never reached the disk ("fsyncgate"). A log read back from such pages may end in
                # a commit that no disk holds, and one added after it would be lost with it. So before anything is
                # promised on a log that was read back, it is moved into the database file: new writes, a new fsync.
                tables.settle()
                self._settled = True
            result = run(tables)
        except (CollabError, ValueError):  # refused before anything was written, or rolled back by us
            raise
        except Exception as error:
            self._discard(error)
            if isinstance(error, sqlite3.Error) and is_outage(error):
                raise Unavailable(f"the store ({error})") from error
            raise
        self._committed_at = time.monotonic()
        return result

    def probe(self) -> None:
        """Raise `Unavailable` unless a commit is possible; commits something unless someone just did."""
        self._connected()
        try:
            self._same_file()
        except Unavailable as error:
            self._discard(error)
            raise
        if time.monotonic() - self._committed_at >= FRESH_SECONDS:
            self.write(Tables.probe)

    # On the thread: the connection

    def _connected(self) -> Tables:
        if self._tables is not None:
            return self._tables
        if self._refusal is not None and time.monotonic() < self._refusal[0]:
            raise self._refusal[1]
        try:
            self._same_file()
            self._tables = self._open_file(create=False, patience=0.2)
        except CollabError as error:
            refusal = error if isinstance(error, Unavailable) else Unavailable(f"the store ({error})")
            self._refusal = time.monotonic() + PAUSE_SECONDS, refusal
            raise refusal from error
        log.warning("store reopened", path=str(self._path))
        self._refusal = None
        return self._tables

    def _open_file(self, *, create: bool, patience: float) -> Tables:
        tables = Tables(open_database(self._path, create=create, patience=patience), self._at)
        self._settled = False
        return tables

    def _same_file(self) -> None:
        # A volume that went away, or a backup copied over the file: what is there now is not what we acknowledged into.
        # Opening it as if it were would show empty or old rooms.
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise Unavailable(f"the store ({error.strerror}: {self._path})") from error
        if (found.st_dev, found.st_ino) != self._file:
            raise Unavailable(f"the store (another file took the place of {self._path}; restart to use that one)")

    def _discard(self, error: Exception) -> None:
        log.error("store connection discarded", path=str(self._path), error=str(error))
        tables, self._tables = self._tables, None
        self._committed_at = -FRESH_SECONDS
        if tables is not None:
            with contextlib.suppress(sqlite3.Error):
                tables.close()

    # On the thread: the queue

    def _live(self, opened: asyncio.Future[None]) -> None:
        try:
            try:
                self._tables = self._open_file(create=True, patience=PATIENCE_SECONDS)
                found = os.stat(self._path)
                self._file = found.st_dev, found.st_ino
            except BaseException as error:
                self._tell([(opened, None, error)])
                return
            self._tell([(opened, None, None)])
            self._serve()
            self._settle_at_the_end()
        except BaseException:
            log.exception("store thread died")
            self._accepting, self._refusing = False, "its thread has died"
        finally:
            if self._tables is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._tables.close()
            self._drain()
            left = self._in_hand + [one.answer for one in self._appends] + [one.answer for one in self._jobs]
            self._tell([(answer, None, Unavailable(f"the store ({self._refusing})")) for answer in left])
            self._tell([(self._closed, None, None)])

    def _serve(self) -> None:
        while True:
            if not (self._appends or self._jobs):
                if self._closing:
                    return
                self._sort(self._inbox.get())
            self._turn()

    def turn(self) -> None:
        """For a job that takes long, again and again: do one turn of what waits meanwhile.

        Raises:
            Unavailable: The job is to end, because the store closes or its connection was thrown away.
        """
        tables = self._tables
        self._turn()
        if self._closing or self._tables is not tables:
            raise Unavailable(f"the store ({'it closes' if self._closing else 'it failed meanwhile'})")

    def _turn(self) -> None:
        self._drain()
        outer = self._in_hand  # what a job has in hand that gives others a turn
        if self._appends:
            group = self._next_group()
            self._in_hand = outer + [one.answer for one in group]
            self._commit(group)
        if self._jobs:
            job = self._jobs.popleft()
            self._in_hand = [*outer, job.answer]
            self._do(job)
        self._in_hand = outer

    def _drain(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._sort(self._inbox.get_nowait())

    def _sort(self, item: _Append | _Job | None) -> None:
        match item:
            case None:
                self._closing = True
            case _Append():
                self._appends.append(item)
            case _Job(urgent=True):
                self._jobs.appendleft(item)
            case _Job():
                self._jobs.append(item)

    def _next_group(self) -> list[_Append]:
        group, rows, size = [self._appends.popleft()], 0, 0
        while self._appends:
            rows += len(group[-1].entries)
            size += sum(len(entry.update) for entry in group[-1].entries)
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                break
            group.append(self._appends.popleft())
        return group

    def _commit(self, group: list[_Append]) -> None:
        try:
            numbers = self.write(lambda tables: tables.append([one.entries for one in group]))
        except Unavailable as error:
            self._tell([(one.answer, None, error) for one in group])
        except Exception as error:
            # One of them asks for something impossible (a damaged room, a value no database takes): that one alone
            # must fail.
            if len(group) > 1:
                for one in group:
                    self._commit([one])
            else:
                self._tell([(group[0].answer, None, self._blame(group[0].entries, error))])
        else:
            self._tell([(one.answer, found, None) for one, found in zip(group, numbers, strict=True)])

    def _blame(self, entries: Sequence[Entry], error: Exception) -> Exception:
        """Which room made an append fail, so that the caller can set that one aside and go on with the others.

        The last page of the log is for whoever writes next: where no room at all can be written, none is to blame.
        """
        if not isinstance(error, sqlite3.DatabaseError):
            return error
        rooms = list(dict.fromkeys(entry.room for entry in entries))
        try:
            blamed = [found for room in rooms if (found := self._fault_of(room)) is not None]
            others = self.read(partial(Tables.some_rooms, without=set(rooms))) if len(blamed) == len(rooms) else []
            anywhere = len(blamed) < len(rooms) or any(self._fault_of(other) is None for other in others)
            if blamed and (anywhere or len(rooms) + len(others) == 1):
                return blamed[0]
        except (CollabError, sqlite3.Error) as found:
            error = found
        return error if isinstance(error, CollabError) else Unavailable(f"the store ({error})")

    def _fault_of(self, room: str) -> DamagedRoom | None:
        try:
            self.read(partial(Tables.rehearse, room=room))
        except DamagedRoom as found:
            return found
        except sqlite3.Error as found:
            return DamagedRoom(room, str(found))
        return None

    def _do(self, job: _Job) -> None:
        if job.answer.cancelled():
            return
        try:
            result = job.run()
        except Exception as error:
            self._tell([(job.answer, None, error)])
        else:
            if isinstance(result, Again):
                self._jobs.append(job)
            else:
                self._tell([(job.answer, result, None)])

    def _settle_at_the_end(self) -> None:
        if self._tables is not None:
            try:
                self._tables.settle()
            except (sqlite3.Error, Unavailable) as error:
                # The next start reads the log.
                log.warning("store not settled", path=str(self._path), error=str(error))

    def _tell(self, answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, error in answers:
        if future.done():  # its caller was cancelled
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
