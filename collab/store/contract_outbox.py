"""The promise of `collab.store.outbox.Outbox` as tests, for stores that have one.

Subclass it beside `collab.store.contract.StoreContract`, with the same `open_store`:

    class TestMyStore(StoreContract, OutboxContract):
"""

from __future__ import annotations

from typing import Any

import pytest

from ..errors import Unavailable
from . import Entry, Reason, Store
from .contract_past import NOW, Opener, write
from .outbox import UNSET, Event, News, Notice, Outbox, Outcome, Tally, outbox_of

ALL = tuple(Event)


def out(store: Store) -> Outbox:
    """The store's outbox."""
    found = outbox_of(store)
    assert found is not None, "the store has an attribute `outbox` that can do all that an `Outbox` can"
    return found


def news(room: str, number: int = 1, event: Event = Event.RESTORED, **details: Any) -> News:
    """One event."""
    return News(event, room, NOW + number, details or {"n": number}, f"{room}-{number}")


async def waiting(store: Store) -> list[Notice]:
    """All that waits, in order."""
    return list(reversed(await out(store).notices(dead=False)))


async def events(store: Store) -> list[tuple[str, Event]]:
    """Room and event of all that waits, in order."""
    return [(notice.room, notice.event) for notice in await waiting(store)]


async def due(store: Store, now: float = NOW, target: int = 0) -> list[str]:
    """The ids of what may leave."""
    return [notice.id for notice in await out(store).due(target, now, 100)]


@pytest.mark.anyio
class OutboxContract:
    """Say with `open_store` how your store is made."""

    async def test_nobody_wants_to_know(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 3)
            await out(store).post([news("room"), news("", event=Event.TEST)])
            await store.erase("room")
            assert await waiting(store) == [] and await out(store).tally() == Tally(0, 0, None)

    async def test_commits_tell_of_themselves(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 1, NOW)
            await store.append([Entry("a", b"1", NOW), Entry("b", b"1", NOW), Entry("a", b"2", NOW)])
            await store.append([Entry("a", b"3", NOW)])
            info = await store.add_snapshot(
                "a", b"state", covers=2, time=NOW, reason=Reason.MANUAL, label='a "label"', author="ana"
            )
            await store.add_snapshot("a", b"state", covers=1, time=NOW, reason=Reason.BASE)
            await store.erase("b")
            await store.erase("never written")
        async with open_store() as store:
            created, other, snapshot, deleted = await waiting(store)
            assert (created.room, created.event, created.details, created.time) == (
                "a",
                Event.CREATED,
                {"epoch": 1},
                NOW,
            )
            assert (other.room, other.event) == ("b", Event.CREATED)
            assert (snapshot.room, snapshot.event) == ("a", Event.SNAPSHOT)
            assert snapshot.details == {
                **{"snapshot": info.id, "seq": 2, "reason": "manual", "label": 'a "label"', "user": "ana"},
                "bytes": 5,
            }
            assert (deleted.room, deleted.event, deleted.details) == ("b", Event.DELETED, {"epoch": 1})
            assert len({notice.id for notice in await waiting(store)}) == 4
            await store.append([Entry("b", b"1", NOW)])
            assert (await waiting(store))[-1].details == {"epoch": 2}

    async def test_only_what_is_wanted(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want([Event.DELETED], 2, NOW)
            await write(store, 2)
            await store.add_snapshot("room", b"", covers=1, time=NOW, reason=Reason.MANUAL)
            await out(store).post([news("room"), news("", event=Event.TEST)])
            await store.erase("room")
            found = await waiting(store)
            assert [(notice.target, notice.event) for notice in found] == [
                *((0, Event.TEST), (1, Event.TEST)),
                *((0, Event.DELETED), (1, Event.DELETED)),
            ]
            assert found[0].id == found[1].id and found[2].id == found[3].id

    async def test_changes_are_told_once(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 3, "old")
            await out(store).want(ALL, 1, NOW)
            assert await out(store).untold() == [], "from before anybody wanted to know"
            await write(store, 2, "old")
            await write(store, 2, "new")
            assert sorted(await out(store).untold()) == [("new", 0), ("old", 3)]
            assert await out(store).announce(["old", "never written"], NOW) == 1
            await write(store, 1, "old")
        async with open_store() as store:
            await out(store).want(ALL, 1, NOW)
            assert sorted(await out(store).untold()) == [("new", 0), ("old", 5)], "what a death leaves behind is found"
            assert await out(store).announce(["new", "old"], NOW) == 2
            assert await out(store).announce(["new", "old"], NOW) == 0
            assert await out(store).untold() == []
            changes = [notice for notice in await waiting(store) if notice.event is Event.CHANGED]
            assert [(notice.room, notice.details) for notice in changes] == [
                ("old", {"epoch": 1, "seq": 5, "since": 3}),
                ("new", {"epoch": 1, "seq": 2, "since": 0}),
                ("old", {"epoch": 1, "seq": 6, "since": 5}),
            ]
            assert len({notice.id for notice in changes}) == 3
            await store.erase("old")
            assert await out(store).announce(["old"], NOW) == 0

    async def test_a_lane_keeps_its_order_and_waits_for_no_other(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 2, NOW)
            await out(store).post([news("a", 1), news("b", 1), news("a", 2), news("b", 2), news("a", 3)])
            assert await due(store) == ["a-1", "b-1"] and await due(store, target=1) == ["a-1", "b-1"]
            first, other = await out(store).due(0, NOW, 100)
            assert await out(store).due(0, NOW, 1) == [first]
            await out(store).settle([Outcome(first.seq, "no answer", NOW + 10), Outcome(other.seq)], NOW)
            assert await due(store) == ["b-2"]
            assert await due(store, target=1) == ["a-1", "b-1"]
        async with open_store() as store:
            assert await due(store) == ["b-2"]
            assert await due(store, NOW + 10) == ["b-2", "a-1"]
            again = (await out(store).due(0, NOW + 10, 100))[1]
            assert (again.attempts, again.tried, again.error) == (1, NOW, "no answer")
            await out(store).settle([Outcome(again.seq, "gone", None)], NOW + 20)
            assert await due(store, NOW + 20) == ["a-2", "b-2"], "the dead hold up nobody"
            (dead,) = await out(store).notices(dead=True)
            assert (dead.id, dead.attempts, dead.tried, dead.dead, dead.error) == ("a-1", 2, NOW, NOW + 20, "gone")
            await out(store).settle([Outcome(again.seq), Outcome(10**6)], NOW)

    async def test_numbers_are_not_used_again(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 1, NOW)
            await out(store).post([news("a", 1)])
            (first,) = await waiting(store)
            await out(store).settle([Outcome(first.seq)], NOW)
            assert await waiting(store) == []
        async with open_store() as store:
            await out(store).post([news("a", 2)])
            assert (await waiting(store))[0].seq > first.seq

    async def test_the_dead_live_again_behind_those_that_wait(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 1, NOW)
            await out(store).post([news("a", n) for n in (1, 2, 3)] + [news("b", 1)])
            for _ in range(2):
                first = (await out(store).due(0, NOW, 1))[0]
                await out(store).settle([Outcome(first.seq, "no", None)], NOW)
            assert await out(store).tally() == Tally(2, 2, NOW + 3)
            dead = {notice.id: notice.seq for notice in await out(store).notices(dead=True)}
            assert list(dead) == ["a-2", "a-1"]
            assert await out(store).replay([dead["a-1"], 10**9]) == 1
            assert [notice.id for notice in await waiting(store)] == ["a-3", "b-1", "a-1"]
            assert await due(store) == ["a-3", "b-1"]
            assert await out(store).replay(None) == 1 and await out(store).replay(None) == 0
            last = (await waiting(store))[-1]
            assert (last.id, last.attempts, last.tried, last.dead) == ("a-2", 0, None, None)
            page = await out(store).notices(dead=False, limit=2)
            assert [notice.id for notice in page] == ["a-2", "a-1"]
            assert [n.id for n in await out(store).notices(dead=False, before=page[-1].seq)] == ["b-1", "a-3"]

    async def test_a_target_that_is_away(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 2, NOW)
            await out(store).post([news("a", 1), news("a", 2), news("b", 1)])
            first = (await out(store).due(0, NOW, 1))[0]
            await out(store).settle([Outcome(first.seq, "no answer", NOW + 100)], NOW)
            assert await out(store).expire(0, NOW + 50, NOW - 10) == 0
            await out(store).post([news("a", 3)])
            await out(store).resume(0)
            assert await due(store, NOW + 1) == ["a-1", "b-1"]
            assert await out(store).expire(0, NOW + 60, NOW + 10) == 1
            assert await out(store).expire(0, NOW + 60, NOW + 55) == 2, "what waits behind it was as good as tried"
            assert [notice.id for notice in await out(store).notices(dead=True)] == ["b-1", "a-2", "a-1"]
            assert await due(store) == ["a-3"]
            assert await due(store, target=1) == ["a-1", "b-1"]
            assert await out(store).forget_dead(NOW + 60) == 0
            assert await out(store).forget_dead(NOW + 61) == 3
            assert await out(store).tally() == Tally(5, 0, NOW + 1)

    async def test_a_target_that_is_not_there_any_more(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 2, NOW)
            await out(store).post([news("a", 1)])
            await out(store).want(ALL, 1, NOW + 5)
            (dead,) = await out(store).notices(dead=True)
            assert (dead.target, dead.dead, dead.error) == (1, NOW + 5, UNSET)
            assert await out(store).replay(None) == 0
            assert [notice.target for notice in await waiting(store)] == [0]

    async def test_who_was_here_when_the_process_died(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 1, NOW)
            joined = [
                news("a", 1, Event.JOINED, client="x-1", user="ana", clients=1),
                news("a", 2, Event.JOINED, client="x-2", user=None, clients=2),
                news("b", 1, Event.JOINED, client="x-1", user="ana", clients=1),
                news("a", 3, Event.LEFT, client="x-2", user=None, clients=1),
            ]
            await out(store).post(joined)
        async with open_store() as store:
            await out(store).want(ALL, 1, NOW)
            assert await out(store).abandon(NOW + 9) == 2
            assert await out(store).abandon(NOW + 9) == 0
            left = (await waiting(store))[-2:]
            assert [(n.room, n.event, n.details, n.time) for n in left] == [
                ("a", Event.LEFT, {"client": "x-1", "user": "ana", "lost": True}, NOW + 9),
                ("b", Event.LEFT, {"client": "x-1", "user": "ana", "lost": True}, NOW + 9),
            ]
            await out(store).post([news("a", 4, Event.JOINED, client="x-3")])
            await out(store).want([Event.CHANGED], 1, NOW)
            await out(store).want(ALL, 1, NOW)
            assert await out(store).abandon(NOW) == 0, "who was here when nobody wanted to know is not known"

    async def test_a_user_who_is_forgotten_is_not_told_of(self, open_store: Opener) -> None:
        async with open_store() as store:
            await out(store).want(ALL, 1, NOW)
            await out(store).post([news("a", n, Event.JOINED, client=str(n), user=who) for n, who in enumerate("xyx")])
            await out(store).post([news("b", 1, Event.JOINED, client="1", user="x")])
            await store.unsign("x", "a")
            assert [notice.details["user"] for notice in await waiting(store)] == [None, "y", None, "x"]
            await store.unsign("x")
            await out(store).abandon(NOW)
            assert [notice.details["user"] for notice in await waiting(store)].count("x") == 0

    async def test_a_closed_store_tells_nothing(self, open_store: Opener) -> None:
        async with open_store() as store:
            outbox = out(store)
        for call in (outbox.post([news("a")]), outbox.due(0, NOW, 1), outbox.tally(), outbox.untold()):
            with pytest.raises(Unavailable):
                await call
