"""The outbox of the SQLite store: its tables, their triggers and their statements.

What follows from a commit is written by triggers, in the same transaction and whoever writes: the server, or a command
while no server runs. They do nothing while nobody wants to know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlite_utils import Database

from .outbox import UNSET, Event, News, Notice, Outcome, Tally
from .seal import to_nanoseconds, to_seconds

PIECE = 5_000
"""Rows that one piece of work looks at, or changes."""

_NOTICE = 'seq, target, id, event, room, "time", details, attempts, tried, dead, error'
_FAN_OUT = 'INSERT INTO outbox (target, id, event, room, "time", details) SELECT target, ?1, ?2, ?3, ?4, ?5 '
_FAN_OUT += "FROM outbox_wanted WHERE event = ?2"


class Outgoing:
    """One open database, as far as it concerns what is to be told. Runs on the store's own thread."""

    def __init__(self, db: Database, failpoint: Callable[[str], None]) -> None:
        self._db = db
        self._at = failpoint

    def want(self, events: Collection[Event], targets: int, now: float) -> None:
        """See `Outbox.want`."""
        wanted = {(event.value, target) for event in {*events, Event.TEST} for target in range(targets)}
        if set(self._db.execute("SELECT event, target FROM outbox_wanted")) == wanted:
            return
        with self._db.atomic():
            known = self._wanted(Event.CHANGED)
            self._db.execute("DELETE FROM outbox_wanted")
            for line in wanted:
                self._db.execute("INSERT INTO outbox_wanted VALUES (?, ?)", line)
            self._db.execute(
                "UPDATE outbox SET dead = ?, due = NULL, error = ? WHERE dead IS NULL AND target >= ?",
                (to_nanoseconds(now), UNSET, targets),
            )
            if not known and self._wanted(Event.CHANGED):
                self._db.execute("UPDATE rooms SET told = head WHERE told < head")
            if not (self._wanted(Event.JOINED) or self._wanted(Event.LEFT)):
                self._db.execute("DELETE FROM outbox_present")

    def _wanted(self, event: Event) -> bool:
        return bool(self._db.execute("SELECT 1 FROM outbox_wanted WHERE event = ? LIMIT 1", (event.value,)).fetchone())

    def post(self, news: Sequence[News]) -> None:
        """See `Outbox.post`."""
        with self._db.atomic():
            for one in news:
                self._post(one)
            self._at("outbox.before_commit")

    def _post(self, news: News) -> None:
        details = json.dumps(dict(news.details), sort_keys=True)
        self._db.execute(_FAN_OUT, (news.id, news.event.value, news.room, to_nanoseconds(news.time), details))
        client = news.details.get("client")
        if news.event is Event.JOINED:
            self._db.execute("REPLACE INTO outbox_present VALUES (?, ?, ?)", (client, news.room, details))
        elif news.event is Event.LEFT:
            self._db.execute("DELETE FROM outbox_present WHERE client = ? AND room = ?", (client, news.room))

    def announce(self, rooms: Sequence[str], now: float) -> int:
        """See `Outbox.announce`."""
        done = 0
        with self._db.atomic():
            for room in rooms:
                found = self._db.execute(
                    "SELECT id, epoch, created, head, told FROM rooms WHERE name = ? AND told < head", (room,)
                ).fetchone()
                if found is None:
                    continue
                room_id, epoch, created, head, told = found
                self._post(
                    News(
                        Event.CHANGED,
                        room,
                        now,
                        {"epoch": epoch, "seq": head, "since": told},
                        f"changed-{room_id}-{created}-{head}",
                    )
                )
                self._db.execute("UPDATE rooms SET told = head WHERE id = ?", (room_id,))
                done += 1
            self._at("outbox.before_commit")
        return done

    def untold(self, after: int) -> tuple[list[tuple[str, int]], int | None]:
        """One piece of `Outbox.untold`: some rooms, and where the next one goes on; None when that was all."""
        last = self._db.execute("SELECT coalesce(max(id), 0) FROM rooms").fetchone()[0]
        until = min(after + PIECE, last)
        lines = self._db.execute(
            "SELECT json_group_array(json_array(hex(name), told)) FROM rooms WHERE id > ? AND id <= ? AND told < head",
            (after, until),
        ).fetchone()[0]
        found = [(bytes.fromhex(name).decode(errors="backslashreplace"), told) for name, told in json.loads(lines)]
        return found, until if until < last else None

    def abandon(self, now: float, name: Callable[[], str]) -> int:
        """See `Outbox.abandon`; `name` makes the names of events."""
        with self._db.atomic():
            left = self._db.execute("SELECT room, details FROM outbox_present ORDER BY rowid").fetchall()
            for room, details in left:
                known = {key: value for key, value in json.loads(details).items() if key != "clients"}
                self._post(News(Event.LEFT, room, now, known | {"lost": True}, name()))
            self._at("outbox.before_commit")
        return len(left)

    def due(self, target: int, now: float, limit: int) -> list[Notice]:
        """See `Outbox.due`."""
        found = self._db.execute(
            f"SELECT {_NOTICE} FROM outbox WHERE target = ? AND due IS NOT NULL AND due <= ? ORDER BY due, seq LIMIT ?",
            (target, to_nanoseconds(now), limit),
        )
        return [_notice(line) for line in found.fetchall()]

    def settle(self, outcomes: Sequence[Outcome], now: float) -> None:
        """See `Outbox.settle`."""
        moment = to_nanoseconds(now)
        with self._db.atomic():
            for seq, error, again in outcomes:
                lane = self._db.execute("SELECT target, room FROM outbox WHERE seq = ?", (seq,)).fetchone()
                if lane is None:
                    continue
                if error is None:
                    self._db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
                elif again is None:
                    self._die([seq], moment, error, tries=1)
                else:
                    self._db.execute(
                        "UPDATE outbox SET attempts = attempts + 1, tried = coalesce(tried, ?), due = ?, error = ? "
                        "WHERE seq = ?",
                        (moment, to_nanoseconds(again), error, seq),
                    )
                self._wake(*lane)
            self._at("outbox.before_commit")

    def _die(self, seqs: list[int], moment: int, error: str | None, tries: int) -> None:
        for seq in seqs:
            self._db.execute(
                "UPDATE outbox SET attempts = attempts + ?, tried = coalesce(tried, ?), dead = ?, due = NULL, "
                "error = coalesce(?, error) WHERE seq = ?",
                (tries, moment, moment, error, seq),
            )

    def _wake(self, target: int, room: str) -> None:
        """The first notice of a lane is due at once, unless it is due at some time already."""
        self._db.execute(
            "UPDATE outbox SET due = 0 WHERE due IS NULL AND seq = "
            "(SELECT min(seq) FROM outbox WHERE target = ? AND room = ? AND dead IS NULL)",
            (target, room),
        )

    def resume(self, target: int) -> None:
        """See `Outbox.resume`."""
        self._db.execute("UPDATE outbox SET due = 0 WHERE target = ? AND due > 0", (target,))

    def expire(self, target: int, now: float, before: float) -> int:
        """See `Outbox.expire`."""
        moment = to_nanoseconds(now)
        with self._db.atomic():
            self._db.execute(
                "UPDATE outbox SET tried = ? WHERE seq IN "
                "(SELECT seq FROM outbox WHERE target = ? AND dead IS NULL AND tried IS NULL LIMIT ?)",
                (moment, target, PIECE),
            )
            late = self._db.execute(
                "SELECT seq, room FROM outbox WHERE target = ? AND dead IS NULL AND tried <= ? LIMIT ?",
                (target, to_nanoseconds(before), PIECE),
            ).fetchall()
            self._die([seq for seq, _ in late], moment, None, tries=0)
            for room in dict.fromkeys(room for _, room in late):
                self._wake(target, room)
            self._at("outbox.before_commit")
        return len(late)

    def notices(self, dead: bool, before: int | None, limit: int) -> list[Notice]:
        """See `Outbox.notices`."""
        state = "NOT NULL" if dead else "NULL"
        found = self._db.execute(
            f"SELECT {_NOTICE} FROM outbox WHERE dead IS {state} AND seq < ? ORDER BY seq DESC LIMIT ?",
            (2**63 - 1 if before is None else before, limit),
        )
        return [_notice(line) for line in found.fetchall()]

    def replay(self, seqs: Collection[int] | None) -> tuple[int, bool]:
        """One piece of `Outbox.replay`: how many, and whether that was all."""
        wanted = None if seqs is None else json.dumps(sorted(seq for seq in seqs if abs(seq) < 2**63))
        chosen = "SELECT seq FROM outbox WHERE dead IS NOT NULL AND target IN (SELECT target FROM outbox_wanted) AND "
        chosen += "(?1 IS NULL OR seq IN (SELECT value FROM json_each(?1))) ORDER BY seq LIMIT ?2"
        with self._db.atomic():
            found = [seq for (seq,) in self._db.execute(chosen, (wanted, PIECE))]
            for seq in found:
                self._db.execute(
                    'INSERT INTO outbox (target, id, event, room, "time", details, error) '
                    'SELECT target, id, event, room, "time", details, error FROM outbox WHERE seq = ?',
                    (seq,),
                )
                self._db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
            self._at("outbox.before_commit")
        return len(found), len(found) < PIECE

    def forget_dead(self, before: float) -> int:
        """See `Outbox.forget_dead`."""
        return self._db.execute("DELETE FROM outbox WHERE dead < ?", (to_nanoseconds(before),)).rowcount

    def tally(self) -> Tally:
        """See `Outbox.tally`."""
        waiting, dead = self._db.execute(
            "SELECT (SELECT count(*) FROM outbox WHERE dead IS NULL), "
            "(SELECT count(*) FROM outbox WHERE dead IS NOT NULL)"
        ).fetchone()
        oldest = self._db.execute('SELECT "time" FROM outbox WHERE dead IS NULL ORDER BY seq LIMIT 1').fetchone()
        return Tally(waiting, dead, to_seconds(oldest[0]) if oldest else None)


def _notice(line: Sequence[Any]) -> Notice:
    seq, target, id, event, room, moment, details, attempts, tried, dead, error = line
    return Notice(
        seq,
        target,
        id,
        Event(event),
        room,
        to_seconds(moment),
        json.loads(details),
        attempts,
        None if tried is None else to_seconds(tried),
        None if dead is None else to_seconds(dead),
        error,
    )
