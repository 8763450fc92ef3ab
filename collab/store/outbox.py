"""What happened, on its way to those who want to know: the promise of a store that keeps it (webhooks).

A capability that a store may have: its attribute `outbox`. What follows from a commit is told in that same commit, by
the store itself: `room.created`, `room.deleted`, `snapshot.made`. Of each room it is kept up to which edit its changes
were told (`announce`), so what changed and was not told is found after any death of the process (`untold`). The rest is
posted.

Each event becomes one *notice* per target. The notices of one room for one target are a lane: they leave in the order
of their numbers, and only the first of a lane is ever `due`. One that is given up is *dead*, and holds up nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from . import SnapshotInfo, Store

UNSET = "its URL is not set any more"
"""Why a notice is dead whose target is not there."""


class Event(StrEnum):
    """What may happen."""

    CHANGED = "document.changed"
    RESTORED = "document.restored"
    SNAPSHOT = "snapshot.made"
    CREATED = "room.created"
    DELETED = "room.deleted"
    JOINED = "client.joined"
    LEFT = "client.left"
    TEST = "test"


class News(NamedTuple):
    """An event on its way in.

    Args:
        event: What happened.
        room: The room's exact name; empty when none is meant.
        time: When, in seconds since the epoch.
        details: More about it, as JSON can say it. `client.joined` and `client.left` name their `client`.
        id: Its name, the same however often it is told.
    """

    event: Event
    room: str
    time: float
    details: Mapping[str, Any]
    id: str


@dataclass(frozen=True, slots=True)
class Notice:
    """An event for one target.

    Args:
        seq: Its number; it grows with each notice of the store.
        target: Whom it is for: a number from 0 on.
        id: The event's name; the same for all targets, and for ever.
        event: What happened.
        room: The room's exact name; empty when none is meant.
        time: When, in seconds since the epoch.
        details: More about it.
        attempts: How often it was tried in vain.
        tried: When that began, in seconds since the epoch; None: it was not tried.
        dead: When it was given up; None: it waits.
        error: Why it failed last; empty before.
    """

    seq: int
    target: int
    id: str
    event: Event
    room: str
    time: float
    details: Mapping[str, Any]
    attempts: int = 0
    tried: float | None = None
    dead: float | None = None
    error: str = ""


class Outcome(NamedTuple):
    """What became of trying to deliver a notice.

    Args:
        seq: Its number.
        error: Why it failed; None: it was delivered.
        again: When it is due again, in seconds since the epoch; None: never, it is dead.
    """

    seq: int
    error: str | None = None
    again: float | None = None


class Tally(NamedTuple):
    """How many notices wait and are dead, and when the oldest that waits came about (seconds since the epoch)."""

    waiting: int
    dead: int
    oldest: float | None


@runtime_checkable
class Outbox(Protocol):
    """What `store.outbox` does, in a store that can. Raises `Unavailable` as the store does."""

    async def want(self, events: Collection[Event], targets: int, now: float) -> None:
        """From now on, until it is said anew, these events are kept for the targets 0, 1, ... `targets` - 1.

        A test is always. Where changes were not wanted before, those made until now count as told. What waits for a
        target that is not there any more is dead.
        """

    async def post(self, news: Sequence[News]) -> None:
        """Keep what is wanted of this, at once, in this order. Remembers who has joined and not left."""

    async def announce(self, rooms: Sequence[str], now: float) -> int:
        """Post `document.changed` for those of the rooms with edits that were not told, and count them as told; how
        many those were."""

    async def untold(self) -> list[tuple[str, int]]:
        """The rooms with edits that were not told, each with the last one that was."""

    async def abandon(self, now: float) -> int:
        """Post `client.left` for all who have joined and not left; how many they were."""

    async def due(self, target: int, now: float, limit: int) -> list[Notice]:
        """Notices that may leave now, the first of each lane at most; those that waited longest first."""

    async def settle(self, outcomes: Sequence[Outcome], now: float) -> None:
        """What became of notices: they go, or are due later, or are dead. The next of a lane is due at once."""

    async def resume(self, target: int) -> None:
        """The first of each lane is due at once."""

    async def expire(self, target: int, now: float, before: float) -> int:
        """The target is away: what waits for it counts as tried from now on, and what was tried since `before` or
        earlier (seconds since the epoch) is dead. A piece of it; returns how many died in it."""

    async def notices(self, *, dead: bool, before: int | None = None, limit: int = 100) -> list[Notice]:
        """Those that wait or those that are dead, the latest first; of those with lower numbers than `before`."""

    async def replay(self, seqs: Collection[int] | None) -> int:
        """Dead ones (None: all) wait again, behind what waits in their lanes; returns how many. Not those whose target
        is not there any more."""

    async def forget_dead(self, before: float) -> int:
        """Delete what has been dead since before then (seconds since the epoch); returns how many."""

    async def tally(self) -> Tally:
        """How many there are."""


def restored_as(before: SnapshotInfo) -> str:
    """The id of the event of a restore, which is known by the snapshot that it began with."""
    return f"restored-{before.id}-{round(before.time * 1000)}"


def outbox_of(store: Store) -> Outbox | None:
    """The store's outbox, if it has one."""
    outbox = getattr(store, "outbox", None)
    return outbox if isinstance(outbox, Outbox) else None
