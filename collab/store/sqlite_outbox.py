"""The outbox of the SQLite store as the event loop sees it: every call is a job, or some, of the store's thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from .outbox import Event, News, Notice, Outcome, Tally
from .outgoing import Outgoing
from .writer import Writer

T = TypeVar("T")


class SQLiteOutbox:
    """See `collab.store.outbox.Outbox`.

    Args:
        writer: Gives the store's writer, which is another one each time that the store is opened.
        name: Makes the names of events.
    """

    def __init__(self, writer: Callable[[], Writer], name: Callable[[], str]) -> None:
        self._writer = writer
        self._name = name

    async def _write(self, run: Callable[[Outgoing], T]) -> T:
        writer = self._writer()
        return await writer.ask(lambda: writer.write(lambda tables: run(tables.outgoing)))

    async def _read(self, run: Callable[[Outgoing], T]) -> T:
        writer = self._writer()
        return await writer.ask(lambda: writer.read(lambda tables: run(tables.outgoing)))

    async def want(self, events: Collection[Event], targets: int, now: float) -> None:
        """See `Outbox.want`."""
        await self._write(lambda outgoing: outgoing.want(events, targets, now))

    async def post(self, news: Sequence[News]) -> None:
        """See `Outbox.post`."""
        await self._write(lambda outgoing: outgoing.post(news))

    async def announce(self, rooms: Sequence[str], now: float) -> int:
        """See `Outbox.announce`."""
        return await self._write(lambda outgoing: outgoing.announce(rooms, now))

    async def untold(self) -> list[tuple[str, int]]:
        """See `Outbox.untold`. Read in pieces, between which others commit."""
        found: list[tuple[str, int]] = []
        after: int | None = 0
        while after is not None:
            some, after = await self._read(lambda outgoing, start=after: outgoing.untold(start))  # type: ignore[misc]
            found += some
        return found

    async def abandon(self, now: float) -> int:
        """See `Outbox.abandon`."""
        return await self._write(lambda outgoing: outgoing.abandon(now, self._name))

    async def due(self, target: int, now: float, limit: int) -> list[Notice]:
        """See `Outbox.due`."""
        return await self._read(lambda outgoing: outgoing.due(target, now, limit))

    async def settle(self, outcomes: Sequence[Outcome], now: float) -> None:
        """See `Outbox.settle`."""
        await self._write(lambda outgoing: outgoing.settle(outcomes, now))

    async def resume(self, target: int) -> None:
        """See `Outbox.resume`."""
        await self._write(lambda outgoing: outgoing.resume(target))

    async def expire(self, target: int, now: float, before: float) -> int:
        """See `Outbox.expire`."""
        return await self._write(lambda outgoing: outgoing.expire(target, now, before))

    async def notices(self, *, dead: bool, before: int | None = None, limit: int = 100) -> list[Notice]:
        """See `Outbox.notices`."""
        return await self._read(lambda outgoing: outgoing.notices(dead, before, limit))

    async def replay(self, seqs: Collection[int] | None) -> int:
        """See `Outbox.replay`. Done in pieces, between which others commit."""
        count, done = 0, False
        while not done:
            some, done = await self._write(lambda outgoing: outgoing.replay(seqs))
            count += some
        return count

    async def forget_dead(self, before: float) -> int:
        """See `Outbox.forget_dead`."""
        return await self._write(lambda outgoing: outgoing.forget_dead(before))

    async def tally(self) -> Tally:
        """See `Outbox.tally`."""
        return await self._read(lambda outgoing: outgoing.tally())
