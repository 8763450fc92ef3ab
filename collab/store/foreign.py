"""Stores that other servers wrote, read and never written: document by document, as Yjs updates (v1).

- Hocuspocus' SQLite extension: a table `documents`, one whole state for each name.
- pycrdt-store's `SQLiteYStore`: a table `yupdates`, one row for each update; its `FileYStore`: one file for each
  document, with updates behind each other.
- Lines of JSON, `{"room": "name", "update": "base64"}`: what a script can write out of any other store.
"""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
import struct
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadMessage, SettingsError, StoreLocked
from ..wire.lib0 import read_var_bytes

HEADER = b"SQLite format 3\0"
PAGE_SIZE, PAGE_COUNT = slice(16, 18), slice(28, 32)  # sqlite.org/fileformat.html; a size of 1 stands for 64 KiB
YSTORE = 2
"""The version of pycrdt-store's formats that is read here: the one that all of its releases write."""


class Kind(StrEnum):
    """Whose store it is."""

    hocuspocus_sqlite = "hocuspocus-sqlite"
    pycrdt_sqlite = "pycrdt-sqlite"
    pycrdt_files = "pycrdt-files"
    json_lines = "json-lines"


class Written(NamedTuple):
    """One update of a document.

    Args:
        room: The document's name, as the other server has it.
        update: A Yjs update (v1), not looked at.
        time: When it was written, in seconds since the epoch; None where the store does not say.
    """

    room: str
    update: bytes
    time: float | None


def read(kind: Kind, path: Path) -> Iterator[Written]:
    """All that `path` holds: the updates of each document in their order, and one document after the other.

    Raises:
        SettingsError: It is not there, cannot be read, or is of another kind.
        StoreLocked: The other server is at work in it.
        BadMessage: It is damaged, or was cut off.
    """
    readers: dict[Kind, Callable[[Path], Iterator[Written]]] = {
        Kind.hocuspocus_sqlite: _hocuspocus,
        Kind.pycrdt_sqlite: _ystore,
        Kind.pycrdt_files: _files,
        Kind.json_lines: _lines,
    }
    try:
        yield from readers[kind](path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); name another file") from None


def _hocuspocus(path: Path) -> Iterator[Written]:
    for name, update in _rows(path, "documents", ("name", "data"), "Hocuspocus", "SELECT name, data FROM documents"):
        yield Written(_text(path, name), _blob(path, update), None)


def _ystore(path: Path) -> Iterator[Written]:
    columns = ("path", "yupdate", "timestamp")
    # Its own order is the time's, which may stand still or go back; rows are numbered as they were written.
    query = "SELECT path, yupdate, timestamp FROM yupdates ORDER BY path, rowid"
    for name, update, time in _rows(path, "yupdates", columns, "pycrdt-store", query):
        yield Written(_text(path, name), _blob(path, update), float(time) if isinstance(time, int | float) else None)


def _rows(path: Path, table: str, columns: tuple[str, ...], whose: str, query: str) -> Iterator[tuple[Any, ...]]:
    with path.open("rb") as file:
        start = file.read(PAGE_COUNT.stop)
    if start[: len(HEADER)] != HEADER:
        raise SettingsError(f"{path} is no SQLite database: name the file that {whose} writes")
    size = int.from_bytes(start[PAGE_SIZE]) * int.from_bytes(start[PAGE_COUNT])
    if path.stat().st_size < size:  # quick_check does not mind when what is missing lies within the last page
        raise BadMessage(
            f"{path} is damaged or was cut off (it should have {size} bytes); bring back a sound copy of it"
        )
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=2, isolation_level=None)
    try:
        found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not found.issuperset(columns):
            raise SettingsError(
                f"{path} is not a store of {whose}: it has no table {table!r} with {', '.join(columns)}"
            )
        if table == "yupdates":
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != YSTORE:
                raise SettingsError(f"{path} has version {version} of pycrdt-store's format; {YSTORE} can be read")
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise BadMessage(f"{path} is damaged or was cut off ({sound}); bring back a sound copy of it")
        yield from connection.execute(query)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreLocked(str(path)) from None
        raise SettingsError(f"{path} cannot be read ({error}); name another file") from None
    except sqlite3.DatabaseError as error:
        raise BadMessage(f"{path} is damaged or was cut off ({error}); bring back a sound copy of it") from None
    finally:
        connection.close()


def _text(path: Path, found: object) -> str:
    if not isinstance(found, str):
        raise BadMessage(f"{path} holds a document whose name is no text")
    return found


def _blob(path: Path, found: object) -> bytes:
    if not isinstance(found, bytes):
        raise BadMessage(f"{path} holds a document that is no blob")
    return found


def _files(path: Path) -> Iterator[Written]:
    """A file is named as its document; one that is given alone, too."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        if not found:
            raise SettingsError(f"{path} has no files in it: name the folder that pycrdt-store's FileYStore writes to")
        for file in found:
            yield from _file(file, file.relative_to(path).as_posix())
    else:
        yield from _file(path, path.name)


def _file(file: Path, room: str) -> Iterator[Written]:
    raw = file.read_bytes()
    head, newline, body = raw.partition(b"\n")
    if not newline or head != b"VERSION:%d" % YSTORE:
        raise SettingsError(f"{file} is not a file of pycrdt-store's FileYStore: it should begin with VERSION:{YSTORE}")
    at = 0
    while at < len(body):
        try:
            update, at = read_var_bytes(body, at)
            _, at = read_var_bytes(body, at)
            stamp, at = read_var_bytes(body, at)
            (time,) = struct.unpack("<d", stamp)
        except (BadMessage, struct.error):
            raise BadMessage(f"{file} is damaged or was cut off at byte {len(head) + 1 + at}") from None
        yield Written(room, update, time)


def _lines(path: Path) -> Iterator[Written]:
    last: str | None = None
    done = set[str | None]()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
                room, update = found["room"], base64.b64decode(found["update"], validate=True)
                if not line.endswith(b"\n") or not isinstance(room, str):
                    raise ValueError
            except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
                raise BadMessage(
                    f'{path}, line {number}: it should be {{"room": "name", "update": "base64"}}, whole and on one line'
                ) from None
            if room != last:
                done.add(last)
                if room in done:
                    raise BadMessage(f"{path}, line {number}: the updates of {room!r} should stand together")
                last = room
            yield Written(room, update, None)
