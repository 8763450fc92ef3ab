"""Rooms as they were: a document at any moment that is kept, what lies between two, who wrote what, and who was there.

What is large is worked on beside the event loop, as edits are (`collab.desk`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..desk import Desk
from ..errors import BadMessage
from ..store import SnapshotInfo, State
from .activity import Session, activity
from .archive import Archive
from .attribution import Attribution, attribution
from .diff import Delta, diff
from .timeline import weight

SECONDS = 4_102_444_800.0
"""The year 2100: no edit came after it, and no store has to tell what a moment beyond all numbers is."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a room: one of these, or now when all are None.

    Args:
        snapshot: The id of a snapshot.
        seq: The number of the last edit.
        time: In seconds since the epoch.
    """

    snapshot: int | None = None
    seq: int | None = None
    time: float | None = None


NOW = Moment()


class Travel:
    """Looks at what rooms were.

    Args:
        archive: What is kept.
        desk: Where work on large documents is done.
    """

    def __init__(self, archive: Archive, desk: Desk) -> None:
        self._archive = archive
        self._desk = desk

    async def at(self, room: str, moment: Moment) -> tuple[State, SnapshotInfo | None]:
        """The document at a moment, and the snapshot if it is one.

        Now is what the room had taken in when this was called, perhaps with later edits.

        Raises:
            NoSuchRoom: It was never written.
            NoSuchSnapshot, DamagedSnapshot, DamagedRoom: It cannot be had.
            Forgotten: The history does not reach back so far.
            BadMessage: There is no such edit yet.
        """
        if moment.snapshot is not None:
            info, update = await self._archive.snapshot(room, moment.snapshot)
            return State(update, info.covers), info
        if moment == NOW:
            await self._archive.settled(room)
        time = None if moment.time is None else max(0.0, min(moment.time, SECONDS))
        try:
            return await self._archive.at(room, moment.seq, time=time), None
        except ValueError as error:
            raise BadMessage(f"there is no edit {moment.seq} yet") from error

    async def diff(self, room: str, before: Moment, after: Moment) -> Delta:
        """What has to change in the document at `before` so that it shows what it shows at `after`.

        Raises:
            TooDeep: Types in one of them nest too deep to be compared.
            Unavailable: It takes too long.
            CollabError: As `at`.
        """
        one, other = [(await self.at(room, moment))[0].whole for moment in (before, after)]
        return await self._desk.aside(len(one) + len(other), partial(diff, one, other))

    async def activity(self, room: str, gap: float) -> list[Session]:
        """The sessions of which edits are kept, by their first edit; see `activity.activity`.

        Raises:
            NoSuchRoom: It was never written.
        """
        _, rows = await self._archive.kept(room)
        return await self._desk.aside(weight(rows), partial(activity, rows, gap))

    async def attribution(self, room: str) -> Attribution:
        """Who wrote and who deleted which part, as far as edits are kept.

        Raises:
            NoSuchRoom: It was never written.
            Unavailable: It takes too long.
            DamagedRoom, DamagedSnapshot: What is kept cannot be read.
        """
        await self._archive.settled(room)
        start, rows = await self._archive.kept(room)
        now = await self._archive.at(room, rows[-1].seq if rows else start.covers)
        size = weight(rows, now.whole, start.whole)
        return await self._desk.aside(size, partial(attribution, start, rows, now))
