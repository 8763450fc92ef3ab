"""When a room's log is long enough, and what happens to rooms that cannot be compacted."""

from __future__ import annotations

import anyio
import pytest
from pycrdt import Doc, Text

from collab.compactor import Compactor
from collab.hub import Hub
from collab.journal import GroupCommit, Journal
from collab.metrics import Metrics
from collab.room import RoomCore
from collab.settings import Settings
from collab.store import Entry
from tests.support.stores import Obedient
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

SETTINGS = Settings(store={"url": "memory:", "checkpoint_rows": 10, "checkpoint_bytes": 1000})


@pytest.fixture
async def store():
    async with Obedient() as store:
        yield store


@pytest.fixture
async def compactor(store):
    compactor = Compactor(store, SETTINGS.store, Metrics())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(compactor.run)
        yield compactor
        tasks.cancel_scope.cancel()


def journal(store: Obedient, room: str, *, rows: int = 0, size: int = 0, document: int = 0) -> Journal:
    core = RoomCore(room)
    core.bytes = document
    journal = Journal(core, GroupCommit(store, SETTINGS.store, Metrics()), 1000)
    journal.log_rows, journal.log_bytes = rows, size
    return journal


async def write(store: Obedient, room: str, rows: int) -> str:
    """So many rows of typing; returns what they say."""
    entries: list[Entry] = []
    doc: Doc = Doc()
    text = doc.get("t", type=Text)
    doc.observe(lambda event: entries.append(Entry(room, event.update, 1.0)))
    for nth in range(rows):
        text += f"{nth} "
    await store.append(entries)
    return str(text)


def covers(store: Obedient, room: str) -> int:
    return store._rooms[room].covers


@pytest.mark.parametrize(
    ("rows", "size", "document", "long"),
    [
        (9, 999, 0, False),
        (10, 0, 0, True),
        (0, 1000, 0, True),
        (10, 0, 20 * 1024, False),  # a checkpoint of a large document costs more than ten rows
        (20, 0, 20 * 1024, True),
        (0, 1000, 10_000, False),
        (0, 5000, 10_000, True),
    ],
)
async def test_how_long_is_long(store, compactor, rows, size, document, long):
    await write(store, "room", 20)
    waiting = journal(store, "room", rows=rows, size=size, document=document)
    compactor.look_at(waiting)
    assert (waiting.log_rows + waiting.log_bytes == 0) is long
    if long:
        await until(lambda: covers(store, "room") == 20, "compacted")
    else:
        await anyio.sleep(0.05)
        assert covers(store, "room") == 0


async def test_a_room_that_cannot_be_compacted_stays_as_it_is_and_stops_nobody(store, compactor):
    await store.append([Entry("damaged", b"no update", 1.0)])
    said = await write(store, "sound", 20)
    compactor.look_at(journal(store, "damaged", rows=10))
    compactor.look_at(journal(store, "sound", rows=10))
    await until(lambda: covers(store, "sound") == 20, "the other one compacted")
    assert covers(store, "damaged") == 0
    assert str(store.document("sound").get("t", type=Text)) == said


async def test_a_store_that_is_down_is_tried_again_when_the_room_has_grown(store, compactor):
    await write(store, "room", 20)
    store.break_down()
    compactor.look_at(journal(store, "room", rows=10))
    await until(lambda: store.loads["room"] == 1, "tried")
    store.down = None
    compactor.look_at(journal(store, "room", rows=10))
    await until(lambda: covers(store, "room") == 20, "compacted")


async def test_a_live_room_is_compacted_while_people_type():
    store = Obedient()
    async with Hub(SETTINGS, store=store) as hub, hub.room("room") as room:
        text = room.ydoc.get("t", type=Text)
        for nth in range(100):
            text += f"{nth} "
            await anyio.sleep(0.001)
        said = str(text)
        await until(lambda: hub.metrics.compactions._value.get() >= 2, "compacted more than once")
        assert room.core.bytes < 2000, "as large as its checkpoint, and what came since"
    assert str(store.document("room").get("t", type=Text)) == said


async def test_a_long_log_is_compacted_when_its_room_is_opened():
    store = Obedient()
    async with store:
        await write(store, "room", 20)
    async with Hub(SETTINGS, store=store) as hub, hub.room("room"):
        await until(lambda: hub.metrics.compactions._value.get() == 1, "compacted")
