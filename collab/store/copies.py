"""Copies of the SQLite store: made while it is written to, and looked at before anybody relies on them.

SQLite's backup API goes through the file a few pages at a time. The copy is made on the store's own connection, which
is what keeps it right: pages that are written after they were copied are written into the copy, too. So it holds all
that was committed before it began and perhaps some of what came later, and it is of one moment: that of its end.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import SettingsError, Unavailable
from .tables import Tables
from .writer import Writer

PAGES = 256
"""Copied (1 MiB) between two turns of those who wait for the store."""

Told = Callable[[int, int], None]
"""Called with how many pages are copied, and how many there are."""


class Copy:
    """The job of the store's thread that makes a copy.

    Args:
        writer: The thread.
        file: Where to; it must not be there.
        failpoint: Called with `copy.step` before each step.
        told: Called on the thread.

    Attributes:
        stopped: Set when nobody waits for it any more.
    """

    def __init__(self, writer: Writer, file: Path, failpoint: Callable[[str], None], told: Told) -> None:
        self._writer = writer
        self._file = Path(os.path.abspath(file))
        self._at = failpoint
        self._told = told
        self.stopped = False

    def __call__(self) -> None:
        """Make it. What was begun is deleted when it fails.

        Raises:
            SettingsError: The file cannot be made.
            Unavailable: The disk failed, or the store is closed.
        """
        try:
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise SettingsError(f"{self._file} cannot be written ({error.strerror}); name another file") from None
        try:
            self._writer.read(self._copy)
            synced(self._file)
        except BaseException as error:
            discard(self._file)
            if isinstance(error, OSError):
                raise Unavailable(f"the place of the copy ({error.strerror}: {self._file})") from error
            raise

    def _copy(self, tables: Tables) -> None:
        try:
            target = sqlite3.connect(f"{self._file.as_uri()}?mode=rw", uri=True, isolation_level=None)
            with contextlib.closing(target):
                # A copy that is not whole is of no use to anybody: it is synced once, at its end.
                target.execute("PRAGMA journal_mode = OFF").fetchone()
                target.execute("PRAGMA synchronous = OFF")
                tables.past.copy_to(target, PAGES, self._between)
                target.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, without a log beside it
        except sqlite3.Error as error:
            # Of the two files it may be either; the next commit tells whether it is ours.
            raise Unavailable(f"the copy ({error})") from error

    def _between(self, status: int, left: int, total: int) -> None:
        self._at("copy.step")
        if self.stopped:
            raise Unavailable("the copy (nobody waits for it any more)")
        self._told(total - left, total)
        if left:
            self._writer.turn()


def examine(file: Path) -> None:
    """Look at all pages of a copy that nobody has open, also those that belong to no room.

    Raises:
        SettingsError: It is damaged, or no store. An empty file is none, though opening it would make it one.
    """
    found = [line for (line,) in _asked(file, "PRAGMA integrity_check(10)")]
    if found != ["ok"]:
        raise SettingsError(f"{file} is damaged ({found[0]}); use another backup")
    _asked(file, "SELECT rooms.id, log.seq FROM rooms, log LIMIT 1")


def count_snapshots(file: Path) -> int:
    """How many there are, whether they can be read or not. Raises as `examine` does."""
    ((count,),) = _asked(file, "SELECT count(*) FROM snapshots")
    return int(count)


def _asked(file: Path, statement: str) -> list[tuple[Any, ...]]:
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as db:
            return db.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise SettingsError(f"{file} is no sound store ({error}); use another backup") from error


def discard(file: Path) -> None:
    """Delete a store's file that nobody has open, and what belongs to it."""
    for end in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + end).unlink(missing_ok=True)


def set_aside(place: Path, name: str) -> Path:
    """Give a store that nobody has open another name in its folder; what a crash left in its log goes with it."""
    aside = place.with_name(name)
    for end in ("-wal", ""):  # the log applied to another file would be the ruin of that one
        with contextlib.suppress(FileNotFoundError):
            place.with_name(place.name + end).rename(f"{aside}{end}")
    return aside


def put(file: Path, place: Path) -> None:
    """Give a whole store its name; when this returns, it is there whatever happens to the machine."""
    synced(file)
    file.replace(place)
    synced(place.parent)


def synced(place: Path) -> None:
    """Bring a file, or a folder's list of files, to the disk."""
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
