"""The outbox of a store in memory: what `outgoing.py` does with tables and triggers, with lists and calls."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from . import Reason, SnapshotInfo
from .outbox import UNSET, Event, News, Notice, Outcome, Tally


@dataclass(slots=True)
class _Line:
    notice: Notice
    due: float = 0.0


class MemoryOutbox:
    """See `collab.store.outbox.Outbox`.

    Args:
        check: Raises `Unavailable` while the store is closed.
        rooms: The rooms there are: name, epoch and last sequence number of each.
    """

    def __init__(
        self, check: Callable[[], Awaitable[None]], rooms: Callable[[], Collection[tuple[str, int, int]]]
    ) -> None:
        self._check = check
        self._rooms = rooms
        self._events: frozenset[Event] = frozenset()
        self._targets = 0
        self._last = 0
        self._lines: dict[int, _Line] = {}
        self._told: dict[tuple[str, int], int] = {}
        self._present: dict[tuple[str, str], News] = {}

    # What the store itself has to tell

    def created(self, room: str, epoch: int, moment: float) -> None:
        """A room was written for the first time."""
        self._post(News(Event.CREATED, room, moment, {"epoch": epoch}, uuid4().hex))

    def deleted(self, room: str, epoch: int) -> None:
        """A room is gone."""
        self._told.pop((room, epoch), None)
        self._post(News(Event.DELETED, room, time.time(), {"epoch": epoch}, uuid4().hex))

    def snapshot(self, info: SnapshotInfo) -> None:
        """A snapshot was made."""
        if info.reason is not Reason.BASE:
            details = {
                "snapshot": info.id,
                "seq": info.covers,
                "reason": info.reason.value,
                "label": info.label,
                "user": info.author,
                "bytes": info.size,
            }
            self._post(News(Event.SNAPSHOT, info.room, info.time, details, uuid4().hex))

    def unsign(self, author: str, room: str | None) -> None:
        """Name a user no more."""
        for line in self._lines.values():
            known = line.notice
            if known.details.get("user") == author and room in (None, known.room):
                line.notice = replace(known, details={**known.details, "user": None})
        for key, news in self._present.items():
            if news.details.get("user") == author and room in (None, news.room):
                self._present[key] = news._replace(details={**news.details, "user": None})

    # What is asked of every outbox

    async def want(self, events: Collection[Event], targets: int, now: float) -> None:
        """See `Outbox.want`."""
        await self._check()
        known = Event.CHANGED in self._events and self._targets
        self._events, self._targets = frozenset(events), targets
        for line in self._lines.values():
            if line.notice.dead is None and line.notice.target >= targets:
                line.notice = replace(line.notice, dead=now, error=UNSET)
        if not known:
            self._told = {(name, epoch): seq for name, epoch, seq in self._rooms()}
        if not {Event.JOINED, Event.LEFT} & self._events or not targets:
            self._present.clear()

    async def post(self, news: Sequence[News]) -> None:
        """See `Outbox.post`."""
        await self._check()
        for one in news:
            self._post(one)

    def _post(self, news: News) -> None:
        if news.event in self._events or news.event is Event.TEST:
            for target in range(self._targets):
                self._add(Notice(0, target, news.id, news.event, news.room, news.time, dict(news.details)))
        key = str(news.details.get("client")), news.room
        if news.event is Event.JOINED:
            self._present[key] = news
        elif news.event is Event.LEFT:
            self._present.pop(key, None)

    def _add(self, notice: Notice) -> None:
        self._last += 1
        self._lines[self._last] = _Line(replace(notice, seq=self._last))

    async def announce(self, rooms: Sequence[str], now: float) -> int:
        """See `Outbox.announce`."""
        await self._check()
        known = {name: (epoch, seq) for name, epoch, seq in self._rooms()}
        done = 0
        for room in rooms:
            epoch, seq = known.get(room, (0, 0))
            since = self._told.get((room, epoch), 0)
            if since < seq:
                details = {"epoch": epoch, "seq": seq, "since": since}
                self._post(News(Event.CHANGED, room, now, details, uuid4().hex))
                self._told[room, epoch] = seq
                done += 1
        return done

    async def untold(self) -> list[tuple[str, int]]:
        """See `Outbox.untold`."""
        await self._check()
        told = [(name, self._told.get((name, epoch), 0), seq) for name, epoch, seq in self._rooms()]
        return [(name, upto) for name, upto, seq in told if upto < seq]

    async def abandon(self, now: float) -> int:
        """See `Outbox.abandon`."""
        await self._check()
        left = list(self._present.values())
        for news in left:
            details = {key: value for key, value in news.details.items() if key != "clients"} | {"lost": True}
            self._post(News(Event.LEFT, news.room, now, details, uuid4().hex))
        return len(left)

    def _heads(self, target: int) -> list[_Line]:
        """The first notice of each lane."""
        lanes: dict[str, _Line] = {}
        for seq in sorted(self._lines):
            line = self._lines[seq]
            if line.notice.dead is None and line.notice.target == target:
                lanes.setdefault(line.notice.room, line)
        return list(lanes.values())

    async def due(self, target: int, now: float, limit: int) -> list[Notice]:
        """See `Outbox.due`."""
        await self._check()
        ready = [line for line in self._heads(target) if line.due <= now]
        return [line.notice for line in sorted(ready, key=lambda line: (line.due, line.notice.seq))[:limit]]

    async def settle(self, outcomes: Sequence[Outcome], now: float) -> None:
        """See `Outbox.settle`."""
        await self._check()
        for seq, error, again in outcomes:
            line = self._lines.get(seq)
            if line is None:
                continue
            if error is None:
                del self._lines[seq]
                continue
            known = line.notice
            tried = now if known.tried is None else known.tried
            line.notice = replace(known, attempts=known.attempts + 1, tried=tried, error=error)
            if again is None:
                line.notice = replace(line.notice, dead=now)
            else:
                line.due = again

    async def resume(self, target: int) -> None:
        """See `Outbox.resume`."""
        await self._check()
        for line in self._heads(target):
            line.due = 0.0

    async def expire(self, target: int, now: float, before: float) -> int:
        """See `Outbox.expire`."""
        await self._check()
        dead = 0
        for line in self._lines.values():
            known = line.notice
            if known.target != target or known.dead is not None:
                continue
            tried = now if known.tried is None else known.tried
            died = tried <= before
            line.notice = replace(known, tried=tried, dead=now if died else None)
            dead += died
        return dead

    async def notices(self, *, dead: bool, before: int | None = None, limit: int = 100) -> list[Notice]:
        """See `Outbox.notices`."""
        await self._check()
        found = [line.notice for line in self._lines.values() if (line.notice.dead is not None) == dead]
        found = [notice for notice in found if before is None or notice.seq < before]
        return sorted(found, key=lambda notice: -notice.seq)[:limit]

    async def replay(self, seqs: Collection[int] | None) -> int:
        """See `Outbox.replay`."""
        dead = [
            notice
            for notice in await self.notices(dead=True, limit=len(self._lines))
            if seqs is None or notice.seq in seqs
        ]
        again = [notice for notice in reversed(dead) if notice.target < self._targets]
        for notice in again:
            del self._lines[notice.seq]
            self._add(replace(notice, attempts=0, tried=None, dead=None))
        return len(again)

    async def forget_dead(self, before: float) -> int:
        """See `Outbox.forget_dead`."""
        await self._check()
        gone = [seq for seq, line in self._lines.items() if line.notice.dead is not None and line.notice.dead < before]
        for seq in gone:
            del self._lines[seq]
        return len(gone)

    async def tally(self) -> Tally:
        """See `Outbox.tally`."""
        await self._check()
        waiting = [line.notice for line in self._lines.values() if line.notice.dead is None]
        oldest = min(waiting, key=lambda notice: notice.seq).time if waiting else None
        return Tally(len(waiting), len(self._lines) - len(waiting), oldest)
