"""The store for one server: a single SQLite file in write-ahead mode, with one connection on a thread of its own.

Durable means `synchronous=FULL`: an answer comes after the fsync of its commit. The file is locked for this process
alone, so a second server on it is refused at its start. `writer.py` has the thread and what happens when the disk
fails, `tables.py` and `past.py` the statements, `schema.py` the file and its tables, `seal.py` the checksums.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from uuid import uuid4

from ..errors import DamagedRoom, SettingsError, Unavailable
from . import Entry, Erased, Reach, Reason, RoomInfo, Row, SnapshotInfo, State, Stored, Unsigned, draft
from .copies import Copy, Told
from .past import DELETE_SNAPSHOTS
from .schema import SETTING
from .sqlite_outbox import SQLiteOutbox
from .tables import Known, Tables
from .writer import Again, Writer

T = TypeVar("T")

CHECK_SECONDS = 2.0
"""How long `check` waits for the thread before it says that the store does not answer."""


class SQLiteStore:
    """See `collab.store.Store`.

    Args:
        path: The database file; made, with the folders above it, when it is missing.
        failpoint: For tests: called on the store's thread with the name of each step (`append.before_commit`,
            `append.after_commit`, `load.page`, `compact.read`, `compact.checkpoint`, `compact.before_commit`,
            `compact.after_commit`, `forget.before_commit`, `erase.before_commit`, `snapshot.before_commit`,
            `copy.step`, `outbox.before_commit`, `check.before_commit`). What it raises is handled as if the step had
            failed.

    Besides what `Store` promises: `append` and `compact` raise `DamagedRoom` when the room's pages cannot be written;
    nothing of that call is kept, and other rooms are not concerned.
    """

    def __init__(self, path: str | os.PathLike[str], *, failpoint: Callable[[str], None] | None = None) -> None:
        self.path = Path(os.path.abspath(path))
        self._failpoint = failpoint or _pass
        self._writer = Writer(self.path, self._failpoint)
        self.outbox = SQLiteOutbox(lambda: self._writer, lambda: uuid4().hex)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store for `sqlite:///relative/path` or `sqlite:////absolute/path`; the path is taken as it stands.

        Raises:
            SettingsError: The URL is not of this form.
        """
        rest = url.removeprefix("sqlite:")
        if not rest.startswith("///"):
            raise SettingsError(
                f"{SETTING}: {url!r} names a host or no path; write sqlite:///relative/path or sqlite:////absolute/path"
            )
        path = rest.removeprefix("///")
        if path in ("", ":memory:"):
            raise SettingsError(f"{SETTING}: {url!r} names no file; write sqlite:///path, or memory: to keep nothing")
        if "?" in path or "\0" in path:
            raise SettingsError(f"{SETTING}: {url!r} has options after the path, and there are none; leave them out")
        return cls(path)

    async def __aenter__(self) -> Self:
        """Open the file and take its lock.

        Raises:
            SettingsError: The place cannot be used; the sentence says what to change. `NewerSchema` is one.
            StoreLocked: Another process has the file.
            Unavailable: The disk failed or is full.
        """
        self._writer = Writer(self.path, self._failpoint)
        await self._writer.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Commit what waits, close the file and let go of its lock."""
        await self._writer.close()

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """See `Store.append`. A caller that is cancelled stops waiting; its entries may be kept."""
        if not entries:
            return []
        return await self._writer.append(tuple(entries))

    async def load(self, room: str) -> Stored:
        """See `Store.load`. Read in pages, between which others commit; what comes out is of one moment."""
        return await self._writer.ask(_Load(self._writer, room))

    async def compact(self, room: str, state: bytes, *, covers: int, basis: int, keep: bool = True) -> bool:
        """See `Store.compact`.

        Raises:
            ValueError: `covers` lies before `basis`, or beyond the room's last row.
        """

        return await self._write(room, lambda t: t.compact(room, state, covers=covers, basis=basis, keep=keep))

    async def reach(self, room: str) -> Reach:
        """See `Store.reach`."""
        return await self._read(room, lambda tables: tables.past.reach(room))

    async def history(self, room: str, after: int = 0, until: int | None = None) -> list[Row]:
        """See `Store.history`. Read in pages, as `load` does."""
        return await self._writer.ask(_Rows(self._writer, room, after, until))

    async def seq_at(self, room: str, time: float) -> int:
        """See `Store.seq_at`."""
        return await self._read(room, lambda tables: tables.past.seq_at(room, time))

    async def forget(self, room: str, upto: int) -> int:
        """See `Store.forget`. Done in pieces, between which others commit."""
        return sum(await self._in_pieces(room, lambda tables: tables.past.forget(room, upto)))

    async def erase(self, room: str) -> Erased:
        """See `Store.erase`. Done in pieces; the room is there until the last one, which rewrites the whole file."""
        gone = await self._in_pieces(room, lambda tables: tables.erase(room))
        return Erased(sum(piece.rows for piece in gone), sum(piece.snapshots for piece in gone))

    async def unsign(self, author: str, room: str | None = None) -> Unsigned:
        """See `Store.unsign`. Done in pieces; the last one rewrites the whole file."""
        after: int | None = 0
        rows = snapshots = 0

        def piece(tables: Tables) -> tuple[Unsigned, int | None]:
            done, then = tables.authors.unsign(author, room, after or 0)
            if then is None:
                tables.clean()
            return done, then

        while after is not None:
            done, after = await self._writer.ask(lambda: self._writer.write(piece))
            rows, snapshots = rows + done.rows, snapshots + done.snapshots
        return Unsigned(rows, snapshots)

    async def state_at(self, room: str, seq: int) -> State:
        """See `Store.state_at`."""
        return await self._read(room, lambda tables: tables.past.state_at(room, seq))

    async def add_snapshot(
        self,
        room: str,
        state: bytes,
        *,
        covers: int,
        time: float,
        reason: Reason,
        label: str = "",
        note: str = "",
        author: str | None = None,
        pinned: bool = False,
    ) -> SnapshotInfo:
        """See `Store.add_snapshot`."""
        info = draft(room, covers, time, reason, label=label, note=note, author=author, pinned=pinned)
        return await self._write(room, lambda tables: tables.past.add(tables.find(room), info, state))

    async def snapshots(self, room: str, *, before: int | None = None, limit: int = 100) -> list[SnapshotInfo]:
        """See `Store.snapshots`."""
        return await self._read(room, lambda tables: tables.past.snapshots(room, before, limit))

    async def snapshot(self, room: str, id: int) -> tuple[SnapshotInfo, bytes]:
        """See `Store.snapshot`."""
        return await self._read(room, lambda tables: tables.past.snapshot(room, id))

    async def change_snapshot(
        self, room: str, id: int, *, label: str | None = None, note: str | None = None, pinned: bool | None = None
    ) -> SnapshotInfo:
        """See `Store.change_snapshot`."""
        asked = {"label": label, "note": note, "pinned": pinned}
        changes = {name: value for name, value in asked.items() if value is not None}
        return await self._write(room, lambda tables: tables.past.change(room, id, changes))

    async def delete_snapshots(self, room: str, ids: Collection[int]) -> int:
        """See `Store.delete_snapshots`. Done in pieces, between which others commit."""
        left = list(ids)

        def piece(tables: Tables) -> tuple[int, bool]:
            done = tables.past.delete(room, left[-DELETE_SNAPSHOTS:])
            del left[-DELETE_SNAPSHOTS:]
            return done, not left

        return sum(await self._in_pieces(room, piece))

    async def _read(self, room: str, run: Callable[[Tables], T]) -> T:
        def job() -> T:
            with _blamed_on(room):
                return self._writer.read(run)

        return await self._writer.ask(job)

    async def _write(self, room: str, run: Callable[[Tables], T]) -> T:
        def job() -> T:
            with _blamed_on(room):
                return self._writer.write(run)

        return await self._writer.ask(job)

    async def _in_pieces(self, room: str, piece: Callable[[Tables], tuple[T, bool]]) -> list[T]:
        """What the pieces say; each is a job of its own. A caller that is cancelled stops between two."""
        said: list[T] = []
        done = False
        while not done:
            one, done = await self._write(room, piece)
            said.append(one)
        return said

    async def rooms(self) -> AsyncIterator[RoomInfo]:
        """See `Store.rooms`. Rooms that a damaged index does not show come at the end, out of order."""
        after = None
        while page := await self._list(partial(_page, after=after)):
            for info in page:
                yield info
            after = page[-1].name
        for info in await self._list(lambda tables: tables.listing.unlisted()):
            yield info

    async def _list(self, run: Callable[[Tables], list[RoomInfo]]) -> list[RoomInfo]:
        try:
            return await self._writer.ask(lambda: self._writer.read(run))
        except sqlite3.Error as error:
            raise Unavailable(f"the list of rooms in {self.path} ({error})") from error

    async def room(self, room: str) -> RoomInfo | None:
        """See `Store.room`."""
        return await self._read(room, lambda tables: tables.listing.info(room))

    async def copy_to(self, file: Path, told: Told = lambda done, total: None) -> None:
        """Write all that is committed into a new file, which is a store of its own; others commit meanwhile.

        It holds every row whose `append` returned before this was called, and is of one moment. A caller that is
        cancelled stops it, and nothing is left of it.

        Raises:
            SettingsError: The file cannot be made, or is there already.
            Unavailable: A disk failed, or the store is closed.
        """
        job = Copy(self._writer, file, self._failpoint, told)
        try:
            await self._writer.ask(job)
        except asyncio.CancelledError:
            job.stopped = True
            raise

    async def check(self) -> None:
        """See `Store.check`. Commits a row of its own unless something was committed within the last second."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._writer.ask(self._writer.probe, urgent=True)
        except TimeoutError:
            raise Unavailable(f"the store (no answer within {CHECK_SECONDS:g} seconds)") from None
        except sqlite3.Error as error:
            raise Unavailable(f"the store ({error})") from error


class _Rows:
    """Reads rows of a room, one page per call."""

    def __init__(self, writer: Writer, room: str, after: int, until: int | None) -> None:
        self._writer = writer
        self._room = room
        self._after = after
        self._until = until
        self._rows: list[Row] | None = None

    def __call__(self) -> list[Row] | Again:
        with _blamed_on(self._room):
            return self._writer.read(self._step)

    def _step(self, tables: Tables) -> list[Row] | Again:
        if self._rows is None:
            known = tables.find(self._room)
            if known is None:
                return []
            self._known, self._rows = known, []
            self._last = max(self._after, known.forgotten)
            self._end = known.seq if self._until is None else min(self._until, known.seq)
        if self._last < self._end:
            page = tables.page(self._known, self._last, self._end)
            if page is None:  # rows still to be read were forgotten
                self._rows = None
                return Again()
            self._rows += page
            self._last = page[-1].seq
        return self._rows if self._last >= self._end else Again()


class _Load:
    """Reads a room, one page per call."""

    def __init__(self, writer: Writer, room: str) -> None:
        self._writer = writer
        self._room = room
        self._known: Known | None = None
        self._checkpoint: bytes | None = None
        self._rows: list[Row] = []

    def __call__(self) -> Stored | Again:
        with _blamed_on(self._room):
            return self._writer.read(self._step)

    def _step(self, tables: Tables) -> Stored | Again:
        if self._known is None:
            found = tables.start(self._room)
            if found is None:
                return Stored(tables.past.first_epoch, None, 0, ())
            self._known, self._checkpoint = found
            self._rows = []
        known = self._known
        if self._last < known.seq:
            page = tables.page(known, self._last, known.seq)
            if page is None:  # rows still to be read were forgotten; a newer checkpoint has them
                self._known = None
                return Again()
            self._rows += page
        if self._last < known.seq:
            return Again()
        return Stored(known.epoch, self._checkpoint, known.covers, tuple(self._rows))

    @property
    def _last(self) -> int:
        if self._rows:
            return self._rows[-1].seq
        return self._known.covers if self._known else 0


@contextmanager
def _blamed_on(room: str) -> Iterator[None]:
    """What SQLite says of the file's content while it looks at one room is said of that room."""
    try:
        yield
    except sqlite3.Error as error:
        raise DamagedRoom(room, str(error)) from error


def _page(tables: Tables, after: str | None) -> list[RoomInfo]:
    return tables.listing.page(after)


def _pass(step: str) -> None:
    pass
