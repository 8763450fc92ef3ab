"""What is particular to the store in memory; its promise is tested in tests/contract."""

from __future__ import annotations

import asyncio

import pytest

from collab.errors import Unavailable
from collab.store import Entry, Stored
from collab.store.memory import MemoryStore

pytestmark = pytest.mark.anyio


async def test_what_it_holds_lives_as_long_as_the_object():
    store = MemoryStore()
    async with store:
        await store.append([Entry("room", b"1", 0)])
    async with store:
        assert (await store.load("room")).seq == 1
    async with MemoryStore() as other:
        assert await other.load("room") == Stored(1, None, 0, ())


async def test_it_must_be_open():
    store = MemoryStore()
    with pytest.raises(Unavailable, match="closed"):
        await store.append([Entry("room", b"1", 0)])
    with pytest.raises(Unavailable):
        [info async for info in store.rooms()]


async def test_every_call_lets_others_run_before_it_acts():
    async with MemoryStore() as store:
        task = asyncio.create_task(store.append([Entry("room", b"1", 0)]))
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await store.load("room")).seq == 0


@pytest.mark.parametrize(
    "entry",
    [
        Entry("\ud800", b"", 0),
        Entry("room", b"", 0, author="\ud800"),
        Entry("room", "text", 0),  # type: ignore[arg-type]
        Entry("room", b"", float("nan")),
    ],
)
async def test_what_no_other_store_would_take_is_refused(entry):
    async with MemoryStore() as store:
        with pytest.raises((ValueError, TypeError)):
            await store.append([Entry("room", b"1", 0), entry])
        assert [info async for info in store.rooms()] == []
