"""Edits of the server's own people: committed when they return, one after the other, by the same rules."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Text

from collab import desk as module
from collab.content.edits import appending, replacing
from collab.content.formats import Format
from collab.desk import Desk
from collab.errors import (
    BadMessage,
    BadUpdate,
    Conflict,
    Draining,
    NoSuchRoom,
    Stale,
    TooLarge,
    Unavailable,
    Unconfirmed,
)
from collab.fence import fenced
from collab.hub import Hub
from collab.room import RoomCore
from collab.settings import Settings
from collab.store import Entry
from collab.store.memory import MemoryStore
from collab.wire import vet
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Slow(MemoryStore):
    """A store whose commits wait until they may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()
        self.may.set()
        self.down = False

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        await self.may.wait()
        if self.down:
            raise Unavailable("the store")
        return await super().append(entries)


@pytest.fixture
async def store() -> Slow:
    return Slow()


@pytest.fixture
async def hub(store):
    async with Hub(Settings(limits={"document_bytes": 200_000}), store=store) as hub:
        yield hub
        store.may.set()


@pytest.fixture
def desk(hub):
    made = Desk(hub, 5)
    yield made
    made.close()


def text(hub: Hub, room: str = "room") -> str:
    opened = hub.find(room)
    assert opened is not None
    return str(opened.core.doc.get("text", type=Text))


def typed(words: str, format: Format = Format.text) -> Any:
    return lambda state: replacing(state, format, words.encode())


async def test_committed_when_it_returns(desk, store, hub):
    store.may.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(desk.edit, "room", typed("abc"), author="ana", new=True))
        await until(lambda: hub.find("room") is not None and text(hub) == "abc", "it is shown at once")
        await asyncio.sleep(0.05)
        assert not (await store.load("room")).rows
        store.may.set()
    [row] = (await store.load("room")).rows
    assert row.author == "ana"


async def test_not_committed_in_time(hub, store):
    store.may.clear()
    desk = Desk(hub, 0.1)
    with pytest.raises(Unconfirmed):
        await desk.edit("room", typed("abc"), new=True)
    store.may.set()
    await hub.flush()
    assert text(hub) == "abc", "it may be there: that is what was said"


async def test_not_even_begun_in_time(hub):
    desk = Desk(hub, 0.1)
    lock = desk._locks.setdefault("room", anyio.Lock())
    async with lock, anyio.create_task_group() as tasks:

        async def edit() -> None:
            with pytest.raises(Unavailable):
                await desk.edit("room", typed("abc"), new=True)

        tasks.start_soon(edit)


async def test_one_after_the_other(desk, hub):
    """Two replacements computed from one state would leave both texts."""
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(partial(desk.edit, "room", typed(f"<{number}>"), new=True))
    assert text(hub) == "<19>"


async def test_a_condition_holds_when_the_edit_goes_in(desk, hub):
    await desk.edit("room", typed("abc"), new=True)

    def only(core: RoomCore) -> None:
        if text(hub) != "abc":
            raise Conflict("it is another text")

    opened = hub.find("room")
    assert opened is not None

    def change(state: bytes) -> bytes:  # somebody types while the edit is computed
        update = appending(state, Format.text, b"!")
        other: Doc[Any] = Doc()
        other.apply_update(state)
        opened.core.doc.apply_update(appending(state, Format.text, b"?"))
        return update

    with pytest.raises(Conflict, match="another text"):
        await desk.edit("room", change, check=only)
    assert text(hub) == "abc?"


async def test_never_quiet_enough(desk, hub, monkeypatch):
    await desk.edit("room", typed("abc"), new=True)
    opened = hub.find("room")
    assert opened is not None

    def change(state: bytes) -> bytes:
        opened.core.doc.apply_update(appending(state, Format.text, b"?"))
        return appending(state, Format.text, b"!")

    with pytest.raises(Stale):
        await desk.edit("room", change, check=lambda core: None)
    assert text(hub) == "abc" + "?" * module.TRIES


async def test_what_is_refused_changes_nothing(desk, hub, store):
    await desk.edit("room", typed("abc"), new=True)
    before = await store.load("room")
    other: Doc[Any] = Doc()
    other["text"] = Text("x")
    state = other.get_state()
    other["text"].insert(1, "y")
    for update, error in (
        (b"garbage", BadUpdate),
        (other.get_update()[:-1], BadUpdate),
        (other.get_update(state), Conflict),  # builds on what is not there
        (replacing(vet.EMPTY, Format.text, b"x" * 200_001), TooLarge),
    ):
        with pytest.raises(error):
            await desk.edit("room", lambda _, update=update: update)
    assert await store.load("room") == before and text(hub) == "abc"


async def test_nothing_to_do(desk, store):
    await desk.edit("room", typed("abc"), new=True)
    assert await desk.edit("room", typed("abc")) == len(vet.EMPTY)
    assert len((await store.load("room")).rows) == 1


async def test_large_ones_are_made_on_another_thread(desk, hub):
    threads = []

    def change(state: bytes) -> bytes:
        threads.append(threading.current_thread().name)
        return replacing(state, Format.text, b"a" * 50_000)

    await desk.edit("room", change, new=True)
    await desk.edit("room", change)
    await desk.edit("other", change, new=True, size=50_000)
    assert threads[0] == threading.current_thread().name
    assert all(name.startswith("desk") for name in threads[1:]), threads


async def test_large_ones_wait_for_each_other_only_so_long(hub):
    desk, go = Desk(hub, 0.1), threading.Event()
    try:
        async with anyio.create_task_group() as tasks:

            async def first() -> None:
                with pytest.raises(Unavailable):
                    await desk.aside(50_000, go.wait)

            tasks.start_soon(first)
            await asyncio.sleep(0.01)
            with pytest.raises(Unavailable):
                await desk.aside(50_000, lambda: None)
    finally:
        go.set()
        desk.close()


async def test_rooms_that_hold_nothing(desk, hub):
    with pytest.raises(NoSuchRoom):
        async with desk.room("nothing"):
            pass
    with pytest.raises(NoSuchRoom):
        await desk.edit("nothing", typed("abc"))
    async with desk.room("nothing", new=True) as opened:
        assert opened.holders == 1
    assert opened.holders == 0


async def test_a_panic_reloads_the_room(desk, hub):
    await desk.edit("room", typed("abc"), new=True)

    class PanicException(BaseException):
        pass

    def broken() -> bytes:
        raise PanicException

    with pytest.raises(BadMessage, match="PanicException"):  # on a copy: nothing to repair
        await desk.edit("room", lambda state: fenced(broken))
    assert hub.metrics.registry.get_sample_value("collab_panics_total") == 0
    with pytest.raises(Unavailable):
        async with desk.room("room"):
            fenced(broken)
    async with desk.room("room") as opened:
        assert not opened.reloading and text(hub) == "abc"
    assert hub.metrics.registry.get_sample_value("collab_panics_total") == 1


async def test_not_while_draining(desk, hub):
    hub.draining = True
    with pytest.raises(Draining):
        await desk.edit("room", typed("abc"), new=True)
