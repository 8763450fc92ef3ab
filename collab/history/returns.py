"""Ways back, as edits beside those of the editors: to what a room was, and to what it would be without somebody.

Those of one room are made one after the other. Each begins with a snapshot, so that it can be taken back, and ends with
a word to the editors, whose own undo would otherwise lead to what is not there any more.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

import anyio

from .. import telemetry
from ..desk import LARGE, Change, Desk
from ..errors import CollabError, Conflict, Stale
from ..hub import Hub
from ..letters import broadcast
from ..room import RoomCore
from ..store import Reason, SnapshotInfo
from ..store.outbox import Event, restored_as
from ..wire import vet
from .archive import Archive
from .restore import restore
from .timeline import weight
from .travel import Moment, Travel
from .undo import taken_back

KEYS = 1_000
"""How many answers are kept for those who ask again with the same key."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a way back.

    Args:
        before: The snapshot of what was there before; None when nothing had to change.
        bytes: The size of the edit; 0 when nothing had to change.
        seq: Its number in the room's log; None when there is none, or the store could not keep it by itself.
    """

    before: SnapshotInfo | None
    bytes: int
    seq: int | None


class _Same(CollabError):
    """There is nothing to change."""


class Returns:
    """Brings rooms back.

    Args:
        hub: All rooms.
        archive: What is kept of them.
        travel: Finds it.
        desk: Where the edits are made.
    """

    def __init__(self, hub: Hub, archive: Archive, travel: Travel, desk: Desk) -> None:
        self._hub = hub
        self._archive = archive
        self._travel = travel
        self._desk = desk
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._answers: OrderedDict[tuple[str, str], tuple[object, Outcome]] = OrderedDict()

    async def restore(self, room: str, to: Moment, *, author: str | None, key: str | None = None) -> Outcome:
        """Bring a room to what it was.

        Args:
            room: Its exact name.
            to: Which moment.
            author: Who restores.
            key: Who asks twice with the same one, for whatever reason, gets the same answer, and one restore.

        Raises:
            Conflict: The key was used for something else.
            Unconfirmed: It is made, and was not committed in time.
            CollabError: As `Travel.at` and `Desk.edit`; the document is what it was.
        """

        async def prepare() -> tuple[Change, int]:
            target = (await self._travel.at(room, to))[0].whole
            return partial(restore, target=target), len(target)

        return await self._once(
            room, ("restore", to), key, author, {"event": "restored", "snapshot": to.snapshot}, prepare
        )

    async def restore_into(self, room: str, to: Moment, new: str, *, author: str | None) -> int:
        """Write what a room was into another one, which has to be empty; returns its size in bytes.

        Raises:
            Conflict: That one holds something.
            CollabError: As `Travel.at` and `Desk.edit`; nothing was changed.
        """
        with telemetry.span("room.restore_into", room=room, into=new) as span:
            size = await self._restored_into(room, to, new, author)
            span.set(bytes=size)
            return size

    async def _restored_into(self, room: str, to: Moment, new: str, author: str | None) -> int:
        target = (await self._travel.at(room, to))[0].whole

        def empty(core: RoomCore) -> None:
            if core.clocks:
                raise Conflict(f"room {new!r} holds something already")

        return await self._desk.edit(
            new, partial(vet.as_it_is, target), author=author, new=True, check=empty, size=len(target)
        )

    async def undo(
        self,
        room: str,
        writer: str,
        since: float | None,
        until: float | None,
        *,
        author: str | None,
        key: str | None = None,
    ) -> Outcome:
        """Take back what one user did in a period, of what is kept.

        Args:
            room: The room's exact name.
            writer: Whose edits.
            since: From when on, in seconds since the epoch; None: from the first one that is kept on.
            until: Until when; None: until now.
            author: Who does it.
            key: As for `restore`.

        Raises:
            Forgotten: The history does not reach back to `since`.
            CollabError: As `restore`.
        """

        async def prepare() -> tuple[Change, int]:
            if since is not None:
                await self._archive.moment(room, time=math.nextafter(since, -math.inf))  # or it is forgotten
            start, rows = await self._archive.kept(room)
            last = rows[-1].seq if rows else start.covers
            poison = (await self._archive.at(room, last)).poison

            change = partial(
                taken_back, start=start, rows=rows, last=last, poison=poison, author=writer, since=since, until=until
            )
            return change, weight(rows, start.whole)

        asked = ("undo", writer, since, until)
        return await self._once(room, asked, key, author, {"event": "undone"}, prepare)

    async def _once(
        self,
        room: str,
        asked: object,
        key: str | None,
        author: str | None,
        news: dict[str, object],
        prepare: Callable[[], Awaitable[tuple[Change, int]]],
    ) -> Outcome:
        """The only way back of this room at this time; what was asked with the same key is answered as it was then."""
        async with self._locks.setdefault(room, anyio.Lock()):
            if key is not None and (room, key) in self._answers:
                before, outcome = self._answers[room, key]
                if before != asked:
                    raise Conflict("this Idempotency-Key was used for something else")
                return outcome
            with telemetry.span("room.restore", room=room, how=str(news["event"])) as span:
                outcome = await self._made(room, author, news, prepare)
                span.set(bytes=outcome.bytes)
            if key is not None:
                self._answers[room, key] = (asked, outcome)
                while len(self._answers) > KEYS:
                    self._answers.popitem(last=False)
            return outcome

    async def _made(
        self,
        room: str,
        author: str | None,
        news: dict[str, object],
        prepare: Callable[[], Awaitable[tuple[Change, int]]],
    ) -> Outcome:
        change, size = await prepare()
        before = await self._archive.create(room, author=author, reason=Reason.BEFORE_RESTORE)
        made = b""

        def look(update: bytes) -> None:
            nonlocal made
            made = update
            if made == vet.EMPTY:
                raise _Same

        edit = partial(self._desk.edit, room, change, author=author, size=size, look=look)
        try:
            try:
                # Of a large document it is made beside the loop. What is typed meanwhile is then an edit at the same
                # time as this one; to begin anew each time would never end.
                await edit(check=_as_it_is if before.size + size < LARGE else None)
            except Stale:  # people type without a pause
                await edit()
        except _Same:
            await self._archive.delete(room, before.id)
            return Outcome(None, 0, None)
        if (opened := self._hub.find(room)) is not None:
            broadcast(opened.core, json.dumps(news | {"before": before.id}))
        rows = await self._hub.store.history(room, before.covers)
        seq = next((row.seq for row in rows if row.update == made), None)
        told = {"user": author, "how": news["event"], "before": before.id, "seq": seq, "id": restored_as(before)}
        self._hub.news(Event.RESTORED, room, told)
        return Outcome(before, len(made), seq)


def _as_it_is(core: RoomCore) -> None:
    """The edit is made of the very document that it goes into."""
