"""The outbox's contract finds outboxes that break the promise."""

from __future__ import annotations

from pathlib import Path

from tests.support.broken import broken_stores_are_found

BROKEN = """
import pytest
from collab.store.contract_outbox import OutboxContract
from collab.store.memory import MemoryStore
from collab.store.memory_outbox import MemoryOutbox
from collab.store.outbox import Event, Outcome


class TellsNothingOfItself(MemoryStore):
    def change(self, box):
        box.created = lambda *what: None


class TellsChangesTwice(MemoryStore):
    def change(self, box):
        announce = box.announce

        async def again(rooms, now):
            done = await announce(rooms, now)
            box._told.clear()
            return done

        box.announce = again


class SendsAllOfALane(MemoryStore):
    def change(self, box):
        box._heads = lambda target: [
            line for line in box._lines.values() if line.notice.target == target and line.notice.dead is None
        ]


class WaitsForTheDead(MemoryStore):
    def change(self, box):
        heads = box._heads

        def those(target):
            dead = {line.notice.room for line in box._lines.values() if line.notice.dead is not None}
            return [line for line in heads(target) if line.notice.room not in dead]

        box._heads = those


class ForgetsTheTries(MemoryStore):
    def change(self, box):
        settle = box.settle

        async def forget(outcomes, now):
            await settle(outcomes, now)
            for line in box._lines.values():
                object.__setattr__(line.notice, "attempts", 0)

        box.settle = forget


class ReplaysInFront(MemoryStore):
    def change(self, box):
        add = box._add

        def front(notice):
            last, box._last = box._last, -len(box._lines) - 1
            add(notice)
            box._last = last

        replay = box.replay

        async def again(seqs):
            box._add = front
            try:
                return await replay(seqs)
            finally:
                box._add = add

        box.replay = again


class NeverLeft(MemoryStore):
    def change(self, box):
        async def abandon(now):
            return 0

        box.abandon = abandon


def opener(kind):
    @pytest.fixture
    def open_store(self):
        store = kind()
        if hasattr(store, "change"):
            store.change(store.outbox)
        return lambda: store

    return type(f"Test{kind.__name__}", (OutboxContract,), {"open_store": open_store})


for kind in (TellsNothingOfItself, TellsChangesTwice, SendsAllOfALane, WaitsForTheDead, ForgetsTheTries,
             ReplaysInFront, NeverLeft, MemoryStore):
    globals()[f"Test{kind.__name__}"] = opener(kind)
"""


def test_every_outbox_that_breaks_the_promise_is_found(tmp_path: Path) -> None:
    broken_stores_are_found(BROKEN, tmp_path)
