"""The store for one server: a single SQLite file in write-ahead mode, with one connection on a thread of its own.

Durable means `synchronous=FULL`: an answer comes after the fsync of its commit. The file is locked for this process
alone, so a second server on it is refused at its start. `writer.py` has the thread and what happens when the disk
fails, `tables.py` the statements, `schema.py` the file and its tables, `seal.py` the checksums.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from ..errors import DamagedRoom, SettingsError, Unavailable
from . import Entry, RoomInfo, Row, Stored
from .schema import SETTING
from .tables import FIRST_EPOCH, Known, Tables
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
            `compact.after_commit`, `check.before_commit`). What it raises is handled as if the step had failed.

    Besides what `Store` promises: `append` and `compact` raise `DamagedRoom` when the room's pages cannot be written;
    nothing of that call is kept, and other rooms are not concerned.
    """

    def __init__(self, path: str | os.PathLike[str], *, failpoint: Callable[[str], None] | None = None) -> None:
        self.path = Path(os.path.abspath(path))
        self._failpoint = failpoint or _pass
        self._writer = Writer(self.path, self._failpoint)

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

    async def compact(self, room: str, state: bytes, *, covers: int, basis: int) -> bool:
        """See `Store.compact`.

        Raises:
            ValueError: `covers` lies before `basis`, or beyond the room's last row.
        """

        def run() -> bool:
            with _blamed_on(room):
                return self._writer.write(lambda tables: tables.compact(room, state, covers=covers, basis=basis))

        return await self._writer.ask(run)

    async def rooms(self) -> AsyncIterator[RoomInfo]:
        """See `Store.rooms`. Rooms that a damaged index does not show come at the end, out of order."""
        after = None
        while page := await self._list(partial(Tables.listing, after=after)):
            for info in page:
                yield info
            after = page[-1].name
        for info in await self._list(Tables.unlisted):
            yield info

    async def _list(self, run: Callable[[Tables], list[RoomInfo]]) -> list[RoomInfo]:
        try:
            return await self._writer.ask(lambda: self._writer.read(run))
        except sqlite3.Error as error:
            raise Unavailable(f"the list of rooms in {self.path} ({error})") from error

    async def check(self) -> None:
        """See `Store.check`. Commits a row of its own unless something was committed within the last second."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._writer.ask(self._writer.probe, urgent=True)
        except TimeoutError:
            raise Unavailable(f"the store (no answer within {CHECK_SECONDS:g} seconds)") from None
        except sqlite3.Error as error:
            raise Unavailable(f"the store ({error})") from error


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
                return Stored(FIRST_EPOCH, None, 0, ())
            self._known, self._checkpoint = found
            self._rows = []
        known = self._known
        if self._last < known.seq:
            page = tables.page(known, self._last)
            if page is None:  # a compaction took rows still to be read; its checkpoint has them
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


def _pass(step: str) -> None:
    pass
