"""Which rooms are compacted, when, and that one that cannot be compacted is nobody else's trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Text

from collab.compactor import ROWS_PER_BYTE, Compactor
from collab.journal import GroupCommit, Journal
from collab.metrics import Metrics
from collab.room import RoomCore
from collab.settings.sections import StoreSettings
from collab.store import Entry
from tests.support.stores import Obedient
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

SETTINGS = StoreSettings(checkpoint_rows=10, checkpoint_bytes=10_000)


@asynccontextmanager
async def compacting(store: Obedient) -> AsyncIterator[Compactor]:
    compactor = Compactor(store, SETTINGS, Metrics())
    async with store, anyio.create_task_group() as tasks:
        tasks.start_soon(compactor.run)
        yield compactor
        tasks.cancel_scope.cancel()


def journal(name: str, *, rows: int = 0, log_bytes: int = 0, size: int = 0) -> Journal:
    """The journal of a room of `size` bytes whose log is so long."""
    core = RoomCore(name)
    core.bytes = size
    made = Journal(core, GroupCommit(Obedient(), SETTINGS, Metrics()), 2**20)
    made.log_rows, made.log_bytes = rows, log_bytes
    return made


async def keep(store: Obedient, room: str, letters: int = 20) -> None:
    entries: list[Entry] = []
    doc: Doc[Any] = Doc()
    text = doc.get("t", type=Text)
    doc.observe(lambda event: entries.append(Entry(room, event.update, 1.0)))
    for _ in range(letters):
        text += "x"
    await store.append(entries)


def done(compactor: Compactor) -> Callable[[], float]:
    return lambda: compactor._metrics.compactions._value.get()


@pytest.mark.parametrize(
    ("rows", "log_bytes", "size", "due"),
    [
        (9, 0, 0, False),
        (10, 0, 0, True),
        (0, 9_999, 0, False),
        (0, 10_000, 0, True),
        (10, 0, 100 * 1024, False),  # the checkpoint of a large room costs more than so few rows
        (int(100 * 1024 * ROWS_PER_BYTE), 0, 100 * 1024, True),
        (0, 10_000, 100 * 1024, False),
        (0, 50 * 1024, 100 * 1024, True),
    ],
)
async def test_when_it_is_time(rows, log_bytes, size, due):
    store = Obedient()
    async with compacting(store) as compactor:
        await keep(store, "room")
        looked_at = journal("room", rows=rows, log_bytes=log_bytes, size=size)
        compactor.look_at(looked_at)
        if due:
            await until(lambda: done(compactor)() == 1, "compacted")
        else:
            await anyio.sleep(0.05)
        assert (await store.load("room")).covers == (20 if due else 0)
        assert (looked_at.log_rows, looked_at.log_bytes) == ((0, 0) if due else (rows, log_bytes))
        if due:
            assert looked_at.core.bytes == len((await store.load("room")).checkpoint or b"")


async def test_one_after_the_other_and_each_once():
    store = Obedient()
    async with compacting(store) as compactor:
        for nth in range(5):
            await keep(store, f"room{nth}")
        for _ in range(3):
            for nth in range(5):
                compactor.look_at(journal(f"room{nth}", rows=10))
        await until(lambda: done(compactor)() == 5, "all compacted")
        assert store.loads == {f"room{nth}": 1 for nth in range(5)}


async def test_a_room_that_cannot_be_compacted_does_not_stop_the_others():
    """Damaged, or with an error of the store's that nobody foresaw: it stays as it is, and the others are compacted."""

    class Fickle(Obedient):
        async def compact(self, room: str, state: bytes, *, covers: int, basis: int, keep: bool = True) -> bool:
            if room == "unlucky":
                raise ZeroDivisionError
            return await super().compact(room, state, covers=covers, basis=basis, keep=keep)

    store = Fickle()
    async with compacting(store) as compactor:
        for name in ("damaged", "unlucky", "well"):
            await keep(store, name)
        await store.append([Entry("damaged", b"not an update", 1.0)])
        for name in ("damaged", "unlucky", "well"):
            compactor.look_at(journal(name, rows=10))
        await until(lambda: done(compactor)() == 1, "the last one compacted")
        assert [(await store.load(name)).covers for name in ("damaged", "unlucky", "well")] == [0, 0, 20]
        errors = compactor._metrics.errors
        assert errors["DamagedRoom"]._value.get() == 1 and errors["Unexpected"]._value.get() == 1


async def test_a_store_that_is_down_is_tried_again_when_the_room_has_grown():
    store = Obedient()
    async with compacting(store) as compactor:
        await keep(store, "room")
        store.break_down()
        compactor.look_at(journal("room", rows=10))
        await until(lambda: compactor._metrics.errors["Unavailable"]._value.get() == 1, "tried")
        store.down = None
        compactor.look_at(journal("room", rows=10))
        await until(lambda: done(compactor)() == 1, "compacted")
