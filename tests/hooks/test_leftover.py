"""Restores of a process that died before it said so."""

from __future__ import annotations

import pytest

from collab.hooks.leftover import restores
from collab.store import Entry, Reason
from collab.store.memory import MemoryStore
from collab.store.outbox import restored_as

pytestmark = pytest.mark.anyio


async def test_an_edit_by_whoever_restored():
    async with MemoryStore() as store:
        for room, writer in (("done", "admin"), ("not", "ana")):
            await store.append([Entry(room, b"1", 1.0, "ana")])
            await store.add_snapshot(room, b"", covers=1, time=2.0, reason=Reason.MANUAL, author="admin")
            await store.add_snapshot(room, b"", covers=1, time=2.0, reason=Reason.BEFORE_RESTORE, author="admin")
            await store.append([Entry(room, b"2", 3.0, "ana"), Entry(room, b"3", 3.0, writer)])
        before = (await store.snapshots("done"))[0]
        (found,) = await restores(store, [("done", 1), ("not", 1), ("never written", 0)])
        assert (found.room, found.details["seq"], found.details["before"]) == ("done", 3, before.id)
        assert found.id == restored_as(before)
        assert await restores(store, [("done", 2)]) == [], "its changes were told, and it before them"
