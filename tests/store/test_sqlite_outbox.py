"""The outbox of a store that is opened again, and fails; the rest is the contract's."""

from __future__ import annotations

import pytest

from collab.errors import Unavailable
from collab.store import Entry
from collab.store.outbox import Event, News
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


async def test_the_same_object_opened_again(tmp_path):
    store = SQLiteStore(tmp_path / "rooms.db")
    for number in range(2):
        async with store:
            await store.outbox.want(tuple(Event), 1, 0.0)
            await store.append([Entry("room", b"x", 1.0)])
            assert (await store.outbox.tally()).waiting == 1 + number
            await store.outbox.post([News(Event.TEST, "", 1.0, {}, "x")])
    with pytest.raises(Unavailable):
        await store.outbox.tally()


async def test_a_write_that_fails_keeps_nothing(tmp_path):
    fail = False

    def at(step: str) -> None:
        if fail and step == "outbox.before_commit":
            raise OSError("no space")

    async with SQLiteStore(tmp_path / "rooms.db", failpoint=at) as store:
        await store.outbox.want(tuple(Event), 1, 0.0)
        fail = True
        with pytest.raises(OSError, match="no space"):
            await store.outbox.post([News(Event.TEST, "", 1.0, {}, "x")])
        fail = False
        assert (await store.outbox.tally()).waiting == 0
