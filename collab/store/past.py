"""What the SQLite store keeps of rooms as they were: the statements for history, snapshots, and making them go.

Part of `tables.py` by its nature, and bound to its rules: it runs on the store's own thread, and reads many lines as
one value. What may take long is done in pieces, each a transaction of its own that leaves the room whole, so that other
rooms commit in between.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlite_utils import Database

from ..errors import CollabError, DamagedRoom, DamagedSnapshot, Forgotten, NoSuchRoom, NoSuchSnapshot
from ..log import get_logger
from . import Erased, Reach, Reason, SnapshotInfo, State, draft
from .seal import checksum, snapshot_seal, to_nanoseconds, to_seconds

if TYPE_CHECKING:
    from .tables import Known

log = get_logger(__name__)

FORGET_ROWS = 5_000
DELETE_SNAPSHOTS = 20
"""Most that goes in one piece."""
ROADS = 20
"""How many stored states are tried, from the newest on, when some are damaged."""

_COLUMNS = """id, epoch, covers, "time", label, note, author, reason, pinned, size, checksum, crc"""


class Past:
    """One open database, as far as it concerns what was.

    Args:
        db: The same connection as `Tables` has.
        failpoint: As for `Tables`.
        find: A room's line; None when it was never written.
        checkpoint: The state that a room's checkpoint holds.
    """

    def __init__(
        self,
        db: Database,
        failpoint: Callable[[str], None],
        find: Callable[[str], Known | None],
        checkpoint: Callable[[Known], bytes | None],
    ) -> None:
        self._db = db
        self._at = failpoint
        self._find = find
        self._checkpoint = checkpoint
        self._first_epoch = 0

    @property
    def first_epoch(self) -> int:
        """The epoch of rooms that are made now."""
        if not self._first_epoch:
            self._first_epoch = self._db.execute("SELECT first FROM epochs").fetchone()[0]
        return self._first_epoch

    def copy_to(self, target: sqlite3.Connection, pages: int, between: Callable[[int, int, int], None]) -> None:
        """Copy the whole file, so many pages at a time; what is committed on this connection between two is copied."""
        self._db.conn.backup(target, pages=pages, progress=between)

    # Where the history begins and ends

    def reach(self, room: str) -> Reach:
        """See `Store.reach`."""
        known = self._find(room)
        return Reach(0, 0, 0) if known is None else Reach(known.seq, known.covers, known.forgotten)

    def seq_at(self, room: str, time: float) -> int:
        """See `Store.seq_at`."""
        known = self._find(room)
        if known is None:
            return 0
        later = self._db.execute(
            'SELECT seq FROM log WHERE room_id = ? AND seq > ? AND "time" > ? ORDER BY seq LIMIT 1',
            (known.id, known.forgotten, to_nanoseconds(time)),
        ).fetchone()
        return known.seq if later is None else int(later[0]) - 1

    def state_at(self, room: str, seq: int) -> State:
        """See `Store.state_at`."""
        known = self._find(room)
        head = 0 if known is None else known.seq
        if not 0 <= seq <= head:
            raise ValueError(f"moment {seq} was asked for; the room's rows go to {head}")
        if known is None:
            return State(None, 0)
        damage: CollabError | None = None
        for covers, read in self._roads(known, seq):
            try:
                return State(read(), covers)
            except (DamagedRoom, DamagedSnapshot) as error:
                damage = damage or error
        if damage is not None and known.forgotten:
            raise damage
        if known.forgotten:
            raise Forgotten(room, seq, self._oldest(known))
        return State(None, 0)

    def _roads(self, known: Known, seq: int) -> Iterator[tuple[int, Callable[[], bytes | None]]]:
        """The stored states that lead to `seq`, the nearest first: what each covers, and how to read it."""
        found = self._db.execute(
            "SELECT id, covers FROM snapshots WHERE room_id = ? AND covers <= ? AND (covers = ? OR covers >= ?) "
            "ORDER BY covers DESC, id DESC LIMIT ?",
            (known.id, seq, seq, known.forgotten, ROADS),
        ).fetchall()
        here = 0 < known.covers <= seq
        for id, covers in found:
            if here and known.covers >= covers:
                here = False
                yield known.covers, lambda: self._checkpoint(known)
            yield covers, lambda id=id: self.snapshot(known.name, id)[1]  # type: ignore[misc]
        if here:
            yield known.covers, lambda: self._checkpoint(known)

    def _oldest(self, known: Known) -> int:
        first = self._db.execute(
            "SELECT min(covers) FROM snapshots WHERE room_id = ? AND covers >= ?", (known.id, known.forgotten)
        ).fetchone()[0]
        return known.covers if first is None else min(int(first), known.covers)

    # Making rows go

    def forget(self, room: str, upto: int) -> tuple[int, bool]:
        """One piece of `Store.forget`: how many rows went, and whether that was all."""
        known = self._find(room)
        covers = 0 if known is None else known.covers
        if not 0 <= upto <= covers:
            raise ValueError(
                f"rows up to {upto} were to be forgotten; the room's checkpoint covers those up to {covers}"
            )
        if known is None or upto <= known.forgotten:
            return 0, True
        last = min(upto, known.forgotten + FORGET_ROWS)
        with self._db.atomic():
            gone = self.drop_rows(known.id, last)
            self._at("forget.before_commit")
        return gone, last == upto

    def drop_rows(self, room_id: int, upto: int) -> int:
        """Inside a transaction: delete the rows up to `upto`, and the bases that lie before another one up to there."""
        gone = self._db.execute("DELETE FROM log WHERE room_id = ? AND seq <= ?", (room_id, upto)).rowcount
        self._db.execute("UPDATE rooms SET forgotten = max(forgotten, ?) WHERE id = ?", (upto, room_id))
        bases = self._db.execute(
            "SELECT id FROM snapshots WHERE room_id = ? AND reason = ? AND covers <= ? ORDER BY covers DESC, id DESC",
            (room_id, Reason.BASE.value, upto),
        ).fetchall()
        self._delete([id for (id,) in bases[1:]])
        return gone

    def erase(self, room: str) -> tuple[Erased, bool]:
        """One piece of `Store.erase`: what went, and whether that was all.

        History and snapshots go first, piece by piece; the room can be read until its last piece goes. Asks nothing of
        what the lines say that could be damaged.
        """
        found = self._db.execute(
            "SELECT id, epoch, covers, forgotten FROM rooms INDEXED BY rooms_name WHERE name = ?", (room,)
        ).fetchone()
        if found is None:
            found = self._db.execute(
                "SELECT id, epoch, covers, forgotten FROM rooms INDEXED BY rooms_name_again WHERE name = ?", (room,)
            ).fetchone()
        if found is None:
            return Erased(0, 0), True
        room_id, epoch, covers, forgotten = found
        self._first_epoch = 0
        some = self._db.execute(
            "SELECT id FROM snapshots WHERE room_id = ? LIMIT ?", (room_id, DELETE_SNAPSHOTS)
        ).fetchall()
        with self._db.atomic():
            if isinstance(covers, int) and isinstance(forgotten, int) and forgotten < covers:
                return Erased(self.drop_rows(room_id, min(covers, forgotten + FORGET_ROWS)), 0), False
            if some:
                return Erased(0, self._delete([id for (id,) in some])), False
            rows = self._db.execute("DELETE FROM log WHERE room_id = ?", (room_id,)).rowcount
            self._db.execute("DELETE FROM checkpoints WHERE room_id = ?", (room_id,))
            self._db.execute("DELETE FROM rooms WHERE id = ?", (room_id,))
            older = epoch if isinstance(epoch, int) else 0
            self._db.execute("UPDATE epochs SET first = max(first, ? + 1), unclean = 1", (older,))
            self._at("erase.before_commit")
        return Erased(rows, 0), True

    # Snapshots

    def add(self, known: Known | None, info: SnapshotInfo, state: bytes) -> SnapshotInfo:
        """See `Store.add_snapshot`; `info` without its id, size and checksum."""
        if known is None:
            raise NoSuchRoom(info.room)
        if not 0 <= info.covers <= known.seq:
            raise ValueError(f"a snapshot at {info.covers} was asked for; the room's rows go to {known.seq}")
        # Times are kept as what `to_nanoseconds` can hold; what is answered now must be what is read later.
        moment = to_nanoseconds(info.time)
        with self._db.atomic():
            last = self._db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'snapshots'").fetchone()[0]
            info = replace(info, id=(last or 0) + 1, size=len(state), checksum=checksum(state), time=to_seconds(moment))
            self._db.execute(
                f"INSERT INTO snapshots (room_id, {_COLUMNS}) VALUES (?{', ?' * 12})",
                (known.id, *_line(info, known.epoch, moment)),
            )
            self._db.execute("INSERT INTO snapshot_states (id, state) VALUES (?, ?)", (info.id, state))
            self._at("snapshot.before_commit")
        return info

    def keep_base(self, known: Known, time: float) -> None:
        """Inside a transaction: the checkpoint stays as a snapshot, unless one stands there."""
        there = self._db.execute(
            "SELECT 1 FROM snapshots WHERE room_id = ? AND covers = ? LIMIT 1", (known.id, known.covers)
        ).fetchone()
        state = self._checkpoint(known)
        if there is None and state is not None:
            self.add(known, draft(known.name, known.covers, time, Reason.BASE), state)

    def snapshots(self, room: str, before: int | None, limit: int) -> list[SnapshotInfo]:
        """See `Store.snapshots`. One that is damaged is left out, and logged."""
        known = self._find(room)
        found: list[SnapshotInfo] = []
        if known is None:
            return found
        last = 2**63 - 1 if before is None else before
        while len(found) < limit:
            lines = json.loads(
                self._db.execute(_LINES, {"room": known.id, "before": last, "limit": limit - len(found)}).fetchone()[0]
            )
            if not lines:
                break
            for line in sorted(lines, key=lambda line: -line[0]):  # an aggregate need not keep the order of its rows
                last = line[0]
                try:
                    found.append(_info(known, line))
                except DamagedSnapshot as error:
                    log.error("snapshot left out", room=room, snapshot=last, error=str(error))
        return found

    def snapshot(self, room: str, id: int) -> tuple[SnapshotInfo, bytes]:
        """See `Store.snapshot`."""
        info = self._about(room, id)[1]
        try:
            found = self._db.execute("SELECT state FROM snapshot_states WHERE id = ?", (id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
                raise DamagedSnapshot(room, id, str(error)) from error
            raise
        if found is None:
            raise DamagedSnapshot(room, id, "its state is missing")
        (state,) = found
        if not isinstance(state, bytes) or len(state) != info.size or checksum(state) != info.checksum:
            raise DamagedSnapshot(room, id, "its state fails its checksum")
        return info, state

    def change(self, room: str, id: int, changes: dict[str, Any]) -> SnapshotInfo:
        """See `Store.change_snapshot`."""
        with self._db.atomic():
            info = self.rewrite(room, id, lambda info: replace(info, **changes))
            self._at("snapshot.before_commit")
        return info

    def rewrite(self, room: str, id: int, change: Callable[[SnapshotInfo], SnapshotInfo]) -> SnapshotInfo:
        """Inside a transaction: what is said of a snapshot becomes what `change` makes of it."""
        known, info = self._about(room, id)
        info = change(info)
        *_, crc = _line(info, known.epoch, to_nanoseconds(info.time))
        self._db.execute(
            "UPDATE snapshots SET label = ?, note = ?, author = ?, pinned = ?, crc = ? WHERE id = ?",
            (info.label, info.note, info.author, int(info.pinned), crc, id),
        )
        return info

    def delete(self, room: str, ids: Collection[int]) -> int:
        """See `Store.delete_snapshots`; one piece of it."""
        known = self._find(room)
        if known is None:
            return 0
        with self._db.atomic():
            own = [
                id
                for id in ids
                if self._db.execute("SELECT 1 FROM snapshots WHERE id = ? AND room_id = ?", (id, known.id)).fetchone()
            ]
            return self._delete(own)

    def _delete(self, ids: list[int]) -> int:
        for id in ids:
            self._db.execute("DELETE FROM snapshot_states WHERE id = ?", (id,))
            self._db.execute("DELETE FROM snapshots WHERE id = ?", (id,))
        return len(ids)

    def _about(self, room: str, id: int) -> tuple[Known, SnapshotInfo]:
        known = self._find(room)
        if known is None or abs(id) >= 2**63:
            raise NoSuchSnapshot(room, id)
        lines = json.loads(self._db.execute(_LINES, {"room": known.id, "before": id + 1, "limit": 1}).fetchone()[0])
        if not lines or lines[0][0] != id:
            raise NoSuchSnapshot(room, id)
        return known, _info(known, lines[0])


def _line(info: SnapshotInfo, epoch: int, moment: int) -> tuple[Any, ...]:
    """The columns of `_COLUMNS`."""
    seal = snapshot_seal(
        info.room.encode(),
        info.id,
        epoch,
        info.covers,
        moment,
        info.pinned,
        info.size,
        info.checksum.encode(),
        info.label.encode(),
        info.note.encode(),
        None if info.author is None else info.author.encode(),
        info.reason.value.encode(),
    )
    texts = info.label, info.note, info.author, info.reason.value
    return info.id, epoch, info.covers, moment, *texts, int(info.pinned), info.size, info.checksum, seal


def _info(known: Known, line: list[Any]) -> SnapshotInfo:
    """What a line says.

    Raises:
        DamagedSnapshot: It is not what was written.
    """
    id, epoch, covers, moment, label, note, author, reason, pinned, size, digest, seal = line
    try:
        info = SnapshotInfo(
            id,
            known.name,
            covers,
            to_seconds(moment),
            _text(label),
            _text(note),
            None if author is None else _text(author),
            Reason(_text(reason)),
            bool(pinned),
            size,
            _text(digest),
        )
        if epoch != known.epoch or _line(info, epoch, moment)[-1] != seal:
            raise ValueError
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DamagedSnapshot(known.name, id, "what is said of it fails its checksum") from error
    except Exception as error:  # struct.error, which is none of these
        raise DamagedSnapshot(known.name, id, "what is said of it cannot be read") from error
    return info


def _text(column: str) -> str:
    return bytes.fromhex(column).decode()


_LINES = """
SELECT json_group_array(json_array(id, CAST(epoch AS INTEGER), CAST(covers AS INTEGER), CAST("time" AS INTEGER),
  hex(label), hex(note), CASE WHEN author IS NOT NULL THEN hex(author) END, hex(reason), CAST(pinned AS INTEGER),
  CAST(size AS INTEGER), hex(checksum), CAST(crc AS INTEGER)))
FROM (SELECT * FROM snapshots WHERE room_id = :room AND id < :before ORDER BY id DESC LIMIT :limit)
"""
