"""The contract's part about what was finds stores that break the promise."""

from __future__ import annotations

from pathlib import Path

from tests.support.broken import broken_stores_are_found

BROKEN = """
import pytest
from dataclasses import replace
from collab.store import Entry, Reach, State
from collab.store.contract import StoreContract
from collab.store.memory import MemoryStore


class LosesWhatWasCompacted(MemoryStore):
    async def compact(self, room, state, *, covers, basis, keep=True):
        return await super().compact(room, state, covers=covers, basis=basis, keep=False)


class ForgetsTooMuch(MemoryStore):
    async def forget(self, room, upto):
        self._found(room).forget(upto)
        return upto


class LosesTheBase(MemoryStore):
    def _keep(self, kept, info, state):
        return info if info.reason == "base" else super()._keep(kept, info, state)


class GivesANearState(MemoryStore):
    async def state_at(self, room, seq):
        kept = self._found(room)
        states = [State(state, info.covers) for info, state in kept.snapshots.values()]
        return max([State(None, 0), *(one for one in states if one.covers <= seq)], key=lambda one: one.covers)


class GivesNumbersTwice(MemoryStore):
    async def delete_snapshots(self, room, ids):
        done = await super().delete_snapshots(room, ids)
        self._last_id = max(self._found(room).snapshots, default=0)
        return done


class SharesSnapshots(MemoryStore):
    async def snapshot(self, room, id):
        for name in self._rooms:
            if id in self._rooms[name].snapshots:
                return self._rooms[name].snapshots[id]
        return await super().snapshot(room, id)


class ListsOldestFirst(MemoryStore):
    async def snapshots(self, room, *, before=None, limit=100):
        return (await super().snapshots(room, before=before, limit=10**9))[::-1][:limit]


class ErasesHalf(MemoryStore):
    async def erase(self, room):
        kept = self._rooms.get(room)
        gone = await super().erase(room)
        if kept is not None:
            await self.append([Entry(room, b"", 0)])
            self._rooms[room].snapshots = kept.snapshots
            self._rooms[room].rows.clear()
        return gone


class KeepsTheEpoch(MemoryStore):
    async def erase(self, room):
        gone = await super().erase(room)
        self._first_epoch = 1
        return gone


def opener(kind):
    @pytest.fixture
    def open_store(self):
        store = kind()
        return lambda: store

    return type(f"Test{kind.__name__}", (StoreContract,), {"open_store": open_store})


for kind in (LosesWhatWasCompacted, ForgetsTooMuch, LosesTheBase, GivesANearState, GivesNumbersTwice, SharesSnapshots,
             ListsOldestFirst, ErasesHalf, KeepsTheEpoch, MemoryStore):
    globals()[f"Test{kind.__name__}"] = opener(kind)
"""

PAST = "history or rows or forget or base or moment or reach or state or snapshot or erase"


def test_every_store_that_breaks_the_promise_about_the_past_is_found(tmp_path: Path) -> None:
    broken_stores_are_found(BROKEN, tmp_path, "-k", PAST)
