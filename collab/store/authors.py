"""Making the SQLite store forget who made what: the statements for `Store.unsign`.

Part of `tables.py` by its nature, as `past.py` is: it runs on the store's own thread. The log of all rooms is gone
through in pieces, each a transaction of its own, so that others commit in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlite_utils import Database

from ..errors import DamagedSnapshot
from . import Unsigned
from .seal import NONSENSE, row_seal

if TYPE_CHECKING:
    from .past import Past

LOOKED_AT = 50_000
"""Rows that one piece looks at: a twentieth of a second."""


class Authors:
    """One open database, as far as it concerns who made what.

    Args:
        db: The same connection as `Tables` has.
        failpoint: As for `Tables`.
        past: Changes what is said of snapshots.
    """

    def __init__(self, db: Database, failpoint: Callable[[str], None], past: Past) -> None:
        self._db = db
        self._at = failpoint
        self._past = past

    def unsign(self, author: str, room: str | None, after: int) -> tuple[Unsigned, int | None]:
        """One piece of `Store.unsign`: what it did, and where the next one goes on; None when that was all.

        Args:
            author: Whose.
            room: The one room it is about.
            after: The last row (by SQLite's own number) that was looked at; 0 at the beginning.
        """
        last = self._db.execute("SELECT coalesce(max(rowid), 0) FROM log").fetchone()[0]
        until = min(after + LOOKED_AT, last)
        found = self._db.execute(
            'SELECT log.rowid, rooms.name, log.seq, log.epoch, log."time", log.kind, log.crc, log."update" '
            "FROM log LEFT JOIN rooms ON rooms.id = log.room_id "
            "WHERE log.rowid > ? AND log.rowid <= ? AND log.author = ? AND (? IS NULL OR rooms.name = ?)",
            (after, until, author, room, room),
        ).fetchall()
        snapshots = [] if after else self._of_snapshots(author, room)
        with self._db.atomic():
            for rowid, *line in found:
                self._db.execute(
                    "UPDATE log SET author = NULL, crc = ? WHERE rowid = ?", (_sealed(author, line), rowid)
                )
            for name, id in snapshots:
                self._unsign_snapshot(name, id)
            told = 0 if after else self._of_outbox(author, room)
            if found or snapshots or told:
                self._db.execute("UPDATE epochs SET unclean = 1")
            self._at("unsign.before_commit")
        return Unsigned(len(found), len(snapshots)), until if until < last else None

    def _of_snapshots(self, author: str, room: str | None) -> list[tuple[str, int]]:
        return self._db.execute(
            "SELECT rooms.name, snapshots.id FROM snapshots LEFT JOIN rooms ON rooms.id = snapshots.room_id "
            "WHERE snapshots.author = ? AND (? IS NULL OR rooms.name = ?)",
            (author, room, room),
        ).fetchall()

    def _of_outbox(self, author: str, room: str | None) -> int:
        """What waits to be told, and who is here, names him no more; how many lines did."""
        return sum(
            self._db.execute(
                f"UPDATE {table} SET details = json_set(details, '$.user', NULL) "
                "WHERE json_extract(details, '$.user') = ? AND (? IS NULL OR room = ?)",
                (author, room, room),
            ).rowcount
            for table in ("outbox", "outbox_present")
        )

    def _unsign_snapshot(self, room: str, id: int) -> None:
        try:
            self._past.rewrite(room, id, lambda info: replace(info, author=None))
        except DamagedSnapshot:  # it stays that
            self._db.execute("UPDATE snapshots SET author = NULL WHERE id = ?", (id,))


def _sealed(author: str, line: list[Any]) -> Any:
    """The seal of the row without its author; the old one when that says that the row is damaged."""
    name, seq, epoch, moment, kind, seal, update = line
    try:
        if row_seal(name.encode(), seq, epoch, author.encode(), moment, kind, update) == seal:
            return row_seal(name.encode(), seq, epoch, None, moment, kind, update)
    except (*NONSENSE, AttributeError):
        pass
    return seal
