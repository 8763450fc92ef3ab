"""What is special about an outbox in memory; the rest is the contract's."""

from __future__ import annotations

import pytest

from collab.store import Entry, Reason
from collab.store.memory import MemoryStore
from collab.store.outbox import Event

pytestmark = pytest.mark.anyio


async def test_a_room_of_the_same_name_begins_anew():
    async with MemoryStore() as store:
        await store.outbox.want(tuple(Event), 1, 0.0)
        await store.append([Entry("room", b"1", 1.0), Entry("room", b"2", 1.0)])
        await store.outbox.announce(["room"], 1.0)
        await store.erase("room")
        await store.append([Entry("room", b"1", 1.0)])
        assert await store.outbox.untold() == [("room", 0)]


async def test_a_base_is_nobodys_business():
    async with MemoryStore() as store:
        await store.outbox.want(tuple(Event), 1, 0.0)
        await store.append([Entry("room", b"1", 1.0)])
        await store.add_snapshot("room", b"", covers=1, time=1.0, reason=Reason.BASE)
        assert [one.event for one in await store.outbox.notices(dead=False)] == [Event.CREATED]
