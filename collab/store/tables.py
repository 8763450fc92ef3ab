"""The statements of the SQLite store, on one connection; everything here runs on the store's own thread.

Each call into sqlite3 gives the GIL up and has to take it back, and so does each row that is fetched. Beside a busy
event loop every taking costs up to a switch interval. So a commit is *one* call whenever it can be, and many rows are
read as one value (a JSON array made by SQLite). Measured beside a thread that never lets go, at 0.5 ms: a commit of
100 rows 1.7 ms, against 4.3 ms for BEGIN, three INSERTs and COMMIT; reading 2,000 rows 8 ms against 70 ms, and at
Python's own 5 ms interval 5 to 17 ms against 2.5 s.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlite_utils import Database

from ..errors import DamagedRoom, Unavailable
from . import Entry, Erased, Kind, Row
from .authors import Authors
from .listing import Listing
from .outgoing import Outgoing
from .past import Past
from .seal import NONSENSE, checkpoint_seal, row_seal, to_nanoseconds, to_seconds

STATEMENT_ROWS = 1024
"""Most rows of one INSERT: 8,192 parameters, where SQLite allows 32,766 (since 3.32)."""

PAGE_ROWS = 1000
PAGE_BYTES = 8 << 20
INLINE_BYTES = 1024
"""Updates up to this size are read in bulk, as hex inside the JSON; larger ones by themselves."""

KINDS = tuple(Kind)

KNOWN_ROOMS = 50_000
"""Rooms whose place in the log is remembered between commits; past it the memory is emptied and fills again."""


class Known(NamedTuple):
    """A room's line in the table of rooms."""

    id: int
    name: str
    epoch: int
    seq: int
    covers: int
    forgotten: int


class _Plan(NamedTuple):
    """The statements of a commit, each entry's number, and what is known of the rooms once it is done."""

    statements: list[tuple[str, list[Any]]]
    numbers: list[list[int]]
    known: dict[str, Known]


class Tables:
    """One open database.

    Args:
        db: From `open_database`.
        failpoint: Called with the name of each step at which a test may want to stop or fail.

    Attributes:
        past: The statements about history and snapshots.
        authors: Those about who made what.
        listing: Those about which rooms there are.
        outgoing: Those about what is to be told.
    """

    def __init__(self, db: Database, failpoint: Callable[[str], None]) -> None:
        self._db = db
        self._at = failpoint
        self._known: dict[str, Known] = {}
        self._next_id = 0
        self.past = Past(db, failpoint, self.find, self._checkpoint)
        self.authors = Authors(db, failpoint, self.past)
        self.listing = Listing(db)
        self.outgoing = Outgoing(db, failpoint)

    def close(self) -> None:
        """Close the connection; SQLite moves the write-ahead log into the file, if it can."""
        self._db.close()

    def settle(self) -> None:
        """Move the write-ahead log into the file and start a new one.

        Raises:
            sqlite3.Error, Unavailable: It could not be done.
        """
        busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Unavailable("the store (its write-ahead log is in use)")

    # Writing

    def append(self, calls: Sequence[Sequence[Entry]]) -> list[list[int]]:
        """Commit the entries of all calls in one transaction; returns each entry's sequence number."""
        plan = self._plan(calls)
        if len(plan.statements) == 1:  # a statement outside a transaction is one of its own
            self._at("append.before_commit")
            self._db.execute(*plan.statements[0])
        else:
            with self._db.atomic():
                for sql, params in plan.statements:
                    self._db.execute(sql, params)
                self._at("append.before_commit")
        self._at("append.after_commit")
        self._known |= plan.known
        return plan.numbers

    def rehearse(self, room: str) -> None:
        """Do what an `append` to the room would, and take it back: raises what that would raise."""
        with contextlib.suppress(_Rehearsed), self._db.atomic():
            for sql, params in self._plan([[Entry(room, b"", 0.0)]]).statements:
                self._db.execute(sql, params)
            raise _Rehearsed

    def _plan(self, calls: Sequence[Sequence[Entry]]) -> _Plan:
        known = self._look_up({entry.room for call in calls for entry in call})
        heads = {name: room.seq for name, room in known.items()}
        fresh: list[Any] = []
        rows: list[Any] = []
        numbers = []
        for call in calls:
            own = []
            for entry in call:
                author = None if entry.author is None else entry.author.encode()
                moment, kind, update = to_nanoseconds(entry.time), int(entry.kind), entry.update
                room = known.get(entry.room)
                if room is None:
                    room = known[entry.room] = Known(self._new_id(), entry.room, self.past.first_epoch, 0, 0, 0)
                    fresh += (room.id, room.name, room.epoch, moment, moment, 0, 0, 0, 0)
                heads[room.name] = seq = heads.get(room.name, 0) + 1
                seal = row_seal(room.name.encode(), seq, room.epoch, author, moment, kind, update)
                rows += (room.id, seq, room.epoch, entry.author, moment, kind, seal, update)
                own.append(seq)
            numbers.append(own)
        statements = [*_inserts("rooms", _ROOM_COLUMNS, fresh), *_inserts("log", _LOG_COLUMNS, rows)]
        return _Plan(statements, numbers, {name: room._replace(seq=heads[name]) for name, room in known.items()})

    def some_rooms(self, without: set[str]) -> list[str]:
        """A few rooms, old and new ones."""
        found = self._db.execute(
            "SELECT name FROM (SELECT name FROM rooms ORDER BY id LIMIT 3) UNION "
            "SELECT name FROM (SELECT name FROM rooms ORDER BY id DESC LIMIT 3)"
        )
        return [name for (name,) in found if name not in without]

    def compact(self, room: str, state: bytes, *, covers: int, basis: int, keep: bool) -> bool:
        """See `Store.compact`."""
        with self._db.atomic():
            self._at("compact.read")
            known = self.find(room) or Known(0, room, self.past.first_epoch, 0, 0, 0)
            if known.covers != basis:
                return False
            if not max(basis, 1) <= covers <= known.seq:
                raise ValueError(
                    f"a checkpoint at {covers} was asked for; the room's rows go from {basis} to {known.seq}"
                )
            now = time.time_ns()
            if keep and 0 < known.forgotten == basis < covers:
                self.past.keep_base(known, to_seconds(now))
            seal = checkpoint_seal(room.encode(), known.epoch, covers, now, state)
            self._db.execute(
                "REPLACE INTO checkpoints (room_id, epoch, covers, time, crc, state) VALUES (?, ?, ?, ?, ?, ?)",
                (known.id, known.epoch, covers, now, seal, state),
            )
            self._at("compact.checkpoint")
            if not keep:
                self.past.drop_rows(known.id, covers)
            self._db.execute(
                'UPDATE rooms SET covers = ?, state_bytes = ?, log_bytes = (SELECT coalesce(sum(length("update")), 0) '
                "FROM log WHERE room_id = rooms.id AND seq > ?) WHERE id = ?",
                (covers, len(state), covers, known.id),
            )
            self._at("compact.before_commit")
        self._at("compact.after_commit")
        self._known.pop(room, None)
        return True

    def erase(self, room: str) -> tuple[Erased, bool]:
        """One piece of `Store.erase`, see `Past.erase`. After the last one no file holds any of it.

        When SQLite moves rows from page to page it leaves copies behind in the gaps, and overwrites only the row that
        is deleted (`secure_delete`). So the file is rewritten; nothing can be committed meanwhile.
        """
        self._known.pop(room, None)
        gone, all_gone = self.past.erase(room)
        if all_gone:
            self.clean()
        return gone, all_gone

    def clean(self) -> None:
        """Rewrite the file, if it may hold what was deleted or erased."""
        if self._db.execute("SELECT unclean FROM epochs").fetchone()[0]:
            self._db.execute("VACUUM")
            self._db.execute("UPDATE epochs SET unclean = 0")
            self.settle()

    def probe(self) -> None:
        """Commit something: the only proof that a commit is possible."""
        self._at("check.before_commit")
        self._db.execute("REPLACE INTO probe (id, time) VALUES (1, ?)", (time.time_ns(),))

    def _new_id(self) -> int:
        if not self._next_id:
            # Past everything that bears an id, so that rows left behind by a lost room never join a new one.
            self._next_id = self._db.execute(
                "SELECT max(coalesce((SELECT max(id) FROM rooms), 0), coalesce((SELECT max(room_id) FROM log), 0), "
                "coalesce((SELECT max(room_id) FROM checkpoints), 0))"
            ).fetchone()[0]
        self._next_id += 1
        return self._next_id

    # Reading

    def find(self, room: str) -> Known | None:
        """The room's line as it stands in the file; None when it was never written. Raises as `_read_rooms`."""
        return self._read_rooms({room}).get(room)

    def _look_up(self, names: set[str]) -> dict[str, Known]:
        if len(self._known) > KNOWN_ROOMS:
            self._known.clear()
        # Not `names - known.keys()`, which looks at all that is known: with 50,000 rooms 0.8 ms for each commit.
        known = {name: room for name in names if (room := self._known.get(name)) is not None}
        return self._read_rooms({name for name in names if name not in known}) | known

    def _read_rooms(self, names: set[str]) -> dict[str, Known]:
        """The lines of those rooms that there are.

        Raises:
            DamagedRoom: A room's parts do not go together.
        """
        found: dict[str, Known] = {}
        for some in _pieces(sorted(names), STATEMENT_ROWS):
            for name, id, epoch, head, covers, forgotten, last in self._rooms_named("rooms_name", some):
                if epoch is None or head is None or covers is None or forgotten is None:
                    raise DamagedRoom(name, "its line in the table of rooms cannot be read")
                # Rows that the checkpoint covers are history: the room is whole without them.
                if (last or 0) > head or (head > covers and last != head):
                    raise DamagedRoom(name, f"its log ends at row {last or covers}, but {head} rows were committed")
                found[name] = Known(id, name, epoch, head, covers, forgotten)
        for some in _pieces(sorted(names - found.keys()), STATEMENT_ROWS):
            if not self._rooms_named("rooms_name_again", some):
                continue
            for name in some:
                if self._rooms_named("rooms_name_again", [name]):
                    raise DamagedRoom(name, "the indexes of room names disagree on it")
        return found

    def _rooms_named(self, index: str, names: list[str]) -> list[tuple[Any, ...]]:
        names = names + names[-1:] * (_round_up(len(names)) - len(names))
        answer = self._db.execute(_rooms_sql(index, len(names)), names).fetchone()[0]
        return [(bytes.fromhex(name).decode(errors="backslashreplace"), *rest) for name, *rest in json.loads(answer)]

    def start(self, room: str) -> tuple[Known, bytes | None] | None:
        """The room's line and its checkpoint; None when it was never written."""
        known = self.find(room)
        return None if known is None else (known, self._checkpoint(known))

    def _checkpoint(self, known: Known) -> bytes | None:
        room = known.name
        kept = self._db.execute(
            'SELECT covers, epoch, "time", crc, state FROM checkpoints WHERE room_id = ?', (known.id,)
        ).fetchone()
        if kept is None:
            if known.covers:
                raise DamagedRoom(room, "its checkpoint is missing")
            return None
        covers, epoch, moment, seal, state = kept
        if (covers, epoch) != (known.covers, known.epoch):
            raise DamagedRoom(room, f"its checkpoint stands at {covers}, but one at {known.covers} was committed")
        try:
            sound = checkpoint_seal(room.encode(), epoch, covers, moment, state) == seal
        except NONSENSE:
            sound = False
        if not sound:
            raise DamagedRoom(room, "its checkpoint fails its checksum")
        return bytes(state)

    def page(self, room: Known, after: int, until: int) -> list[Row] | None:
        """The next rows after `after`, up to `until`; None when some of them were forgotten since `room` was read."""
        self._at("load.page")
        last = min(until, after + PAGE_ROWS)
        forgotten, answer = self._db.execute(_PAGE, {"room": room.id, "after": after, "last": last}).fetchone()
        if forgotten is None or forgotten > after:
            return None
        name, rows, size = room.name.encode(), list[Row](), 0
        people: dict[str | None, tuple[bytes | None, str | None]] = {None: (None, None)}
        for place, (seq, epoch, author, moment, kind, seal, update) in enumerate(json.loads(answer), after + 1):
            if seq != place:
                break
            try:
                content = bytes.fromhex(update) if update is not None else self._read_update(room.id, seq)
                if author not in people:
                    signed = bytes.fromhex(author)
                    people[author] = signed, signed.decode()
                writer, person = people[author]
                if epoch != room.epoch or row_seal(name, seq, epoch, writer, moment, kind, content) != seal:
                    raise ValueError
                rows.append(Row(seq, content, to_seconds(moment), person, KINDS[kind]))
            except NONSENSE as error:
                raise DamagedRoom(room.name, f"row {seq} fails its checksum") from error
            size += len(content)
            if size > PAGE_BYTES:
                return rows
        if after + len(rows) < last:
            raise DamagedRoom(room.name, f"row {after + len(rows) + 1} is missing")
        return rows

    def _read_update(self, room_id: int, seq: int) -> bytes:
        found: bytes = self._db.execute(
            'SELECT CAST("update" AS BLOB) FROM log WHERE room_id = ? AND seq = ?', (room_id, seq)
        ).fetchone()[0]
        return found


# hex() and CAST keep the JSON plain ASCII whatever a damaged page holds (a blob for a number, text that is not UTF-8).
_PAGE = f"""
SELECT (SELECT CAST(forgotten AS INTEGER) FROM rooms WHERE id = :room),
  json_group_array(json_array(seq, CAST(epoch AS INTEGER), CASE WHEN author IS NOT NULL THEN hex(author) END,
    CAST("time" AS INTEGER), CAST(kind AS INTEGER), CAST(crc AS INTEGER),
    CASE WHEN length("update") <= {INLINE_BYTES} THEN hex("update") END))
FROM (SELECT * FROM log WHERE room_id = :room AND seq > :after AND seq <= :last ORDER BY seq)
"""


@cache
def _rooms_sql(index: str, count: int) -> str:
    # The name comes from the index, the numbers from the table; where they do not meet, the numbers are NULL.
    return f"""
SELECT json_group_array(json_array(hex(named.name), named.id, CAST(room.epoch AS INTEGER), CAST(room.head AS INTEGER),
  CAST(room.covers AS INTEGER), CAST(room.forgotten AS INTEGER), (SELECT max(seq) FROM log WHERE room_id = named.id)))
FROM (SELECT id, name FROM rooms INDEXED BY {index} WHERE name IN ({", ".join("?" * count)})) AS named
  LEFT JOIN rooms AS room ON room.id = named.id
"""


_ROOM_COLUMNS = ("id", "name", "epoch", "created", "changed", "head", "covers", "state_bytes", "log_bytes")
_LOG_COLUMNS = ("room_id", "seq", "epoch", "author", "time", "kind", "crc", "update")


def _inserts(table: str, columns: tuple[str, ...], params: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    width = len(columns)
    for piece in _pieces(params, STATEMENT_ROWS * width):
        rows = _round_up(len(piece) // width)
        yield _insert_sql(table, columns, rows), piece + [None] * (rows * width - len(piece))


@cache
def _insert_sql(table: str, columns: tuple[str, ...], rows: int) -> str:
    # The rows of padding are NULL throughout and are left out again. So every number of rows is one statement, with
    # one of eleven texts, which the connection keeps prepared.
    names = ", ".join(f'"{column}"' for column in columns)
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({names}) SELECT * FROM (VALUES {', '.join([row] * rows)}) WHERE column1 IS NOT NULL"


def _pieces(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _round_up(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


class _Rehearsed(Exception):
    """Ends a transaction that must not be committed."""
