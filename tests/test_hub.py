"""Opening, finding, holding, evicting and repairing rooms."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Text

from collab.errors import BadUpdate, CollabError, DamagedRoom, Draining, TooMany, Unavailable
from collab.hub import Hub, Opened
from collab.peers import Tick
from collab.settings import Settings
from collab.store import Entry
from collab.wire.messages import SyncStep1, SyncStep2, Update
from tests.support.stores import Obedient
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(store: Obedient | None = None, **rooms: Any) -> AsyncIterator[tuple[Hub, Obedient]]:
    store = store or Obedient()
    settings = Settings(store={"url": "memory:", "retry_seconds": 0.01, "retry_max_seconds": 0.05}, rooms=rooms)
    async with Hub(settings, store=store) as hub:
        yield hub, store


class Client:
    """A peer in front that keeps a document and what it is told."""

    backstage = False
    author: str | None = "ana"
    may_write = True

    def __init__(self, opened: Opened) -> None:
        self.core = opened.core
        self.doc: Doc[Any] = Doc()
        self.updates: list[bytes] = []
        self.asked: list[bytes] = []
        self.refused: list[CollabError] = []
        self.core.join(self)

    def take(self, tick: Tick) -> None:
        for update in tick.merged:
            self.doc.apply_update(update)

    def ask(self, state_vector: bytes) -> None:
        self.asked.append(state_vector)

    def refuse(self, error: CollabError) -> None:
        self.refused.append(error)

    def type(self, text: str) -> bytes:
        """Type at the end, and send it."""
        before = self.doc.get_state()
        shared = self.doc.get("t", type=Text)
        shared += text
        update = self.doc.get_update(before)
        self.core.receive(self, Update(update), 0)
        return update

    @property
    def text(self) -> str:
        return str(self.doc.get("t", type=Text))


def said(store: Obedient, room: str) -> str:
    return str(store.document(room).get("t", type=Text))


async def test_a_thousand_open_one_room_at_once_and_it_is_read_once():
    async with running() as (hub, store):
        opened: list[Opened] = []

        async def enter() -> None:
            opened.append(await hub.open("room"))

        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(enter)
        assert len(set(map(id, opened))) == 1
        assert store.loads == {"room": 1}
        assert opened[0].holders == 1000
        for _ in range(1000):
            hub.release(opened[0])
        assert hub.find("room") is opened[0], "kept warm"


async def test_whoever_gives_up_waiting_holds_nothing():
    async with running() as (hub, store):
        store.reads.clear()
        waiting = [asyncio.create_task(hub.open("room")) for _ in range(3)]
        await until(lambda: store.loads["room"] == 1, "being read")
        waiting[0].cancel()
        await asyncio.sleep(0)
        store.reads.set()
        opened = await waiting[1]
        assert await waiting[2] is opened
        waiting[1].cancel()
        assert opened.holders == 2


async def test_everybody_gave_up_and_the_room_is_there_all_the_same():
    async with running() as (hub, store):
        store.reads.clear()
        waiting = asyncio.create_task(hub.open("room"))
        await until(lambda: store.loads["room"] == 1, "being read")
        waiting.cancel()
        await asyncio.sleep(0)
        store.reads.set()
        await until(lambda: hub.find("room"), "read")
        opened = hub.find("room")
        assert opened is not None and opened.holders == 0


async def test_a_failed_load_is_never_an_empty_room():
    store = Obedient()
    async with store:
        await store.append([Entry("room", Doc({"t": Text("kept")}).get_update(), 1.0)])
    async with running(store) as (hub, store):
        store.break_down()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await hub.open("room")
        assert hub.find("room") is None
        store.down = ZeroDivisionError("nobody expected this")
        with pytest.raises(Unavailable):
            await hub.open("room")
        store.down = None
        async with hub.room("room") as room:
            assert str(room.ydoc.get("t", type=Text)) == "kept"


async def test_a_damaged_room_is_refused_and_the_others_are_served():
    store = Obedient()
    async with store:
        await store.append(
            [Entry("damaged", b"no update", 1.0), Entry("sound", Doc({"t": Text("x")}).get_update(), 1.0)]
        )
    async with running(store) as (hub, store):
        for _ in range(5):
            with pytest.raises(DamagedRoom):
                await hub.open("damaged")
        assert store.loads["damaged"] == 1, "it is not read again for each who asks"
        async with hub.room("sound") as room:
            assert str(room.ydoc.get("t", type=Text)) == "x"
        assert store.document("sound").get_state() == room.ydoc.get_state()


async def test_what_the_application_and_the_clients_type_reaches_each_other_and_the_store():
    async with running() as (hub, store):
        opened = await hub.open("room")
        ana, ben = Client(opened), Client(opened)
        ana.type("ana ")
        await until(lambda: ben.text == "ana ", "ben told")
        text = opened.room.ydoc.get("t", type=Text)
        text += "application"
        await until(lambda: ana.text == ben.text == "ana application", "both told")
        await hub.flush()
        assert said(store, "room") == "ana application"
        authors = [entry.author for commit in store.commits for entry in commit]
        assert authors == ["ana", None]


async def test_idle_rooms_go_least_recently_used_first():
    async with running(idle_count=2) as (hub, store):
        for name in ("one", "two", "three"):
            async with hub.room(name) as room:
                room.ydoc["t"] = Text(name)
            if name == "two":
                async with hub.room("one"):
                    pass
        await until(lambda: hub.find("two") is None, "the one that nobody was in for longest")
        assert hub.find("one") and hub.find("three")
        assert said(store, "two") == "two"


async def test_idle_rooms_go_by_their_size():
    async with running(idle_bytes=5000) as (hub, store):
        for name in ("one", "two", "three"):
            async with hub.room(name) as room:
                room.ydoc["t"] = Text("x" * 2000)
        await until(lambda: hub.find("one") is None, "one too much")
        assert hub.find("two") and hub.find("three")


async def test_no_room_goes_before_it_is_saved():
    async with running(idle_count=0) as (hub, store):
        async with hub.room("room") as room:
            store.break_down()
            room.ydoc["t"] = Text("typed")
        await asyncio.sleep(0.2)
        assert hub.find("room") is not None
        async with hub.room("room") as again:
            assert again is room
        store.down = None
        await until(lambda: hub.find("room") is None, "saved, and gone")
        assert said(store, "room") == "typed"


@pytest.mark.parametrize("pause", [0, 0.001, 0.01, 0.1])
async def test_reopened_while_a_slow_save_runs(pause):
    """D06: whoever comes back at once sees everything, whatever the store is doing meanwhile."""
    async with running(idle_count=0) as (hub, store):
        store.seconds = 0.05
        expected = ""
        for nth in range(10):
            async with hub.room("room") as room:
                text = room.ydoc.get("t", type=Text)
                assert str(text) == expected
                text += f"{nth} "
                expected = str(text)
            await asyncio.sleep(pause)
    assert said(store, "room") == expected


async def test_too_many_rooms():
    async with running(max_open=2) as (hub, store):
        one = await hub.open("one")
        await hub.open("two")
        with pytest.raises(TooMany):
            await hub.open("three")
        assert await hub.open("one") is one
        hub.release(one)
        hub.release(one)
        await hub.open("three")


async def test_a_held_transaction_makes_the_tick_wait():
    async with running() as (hub, store):
        opened = await hub.open("room")
        ana, ben = Client(opened), Client(opened)
        async with opened.room.ydoc.new_transaction():
            ana.type("typed meanwhile")
            await asyncio.sleep(0.05)
            assert ben.text == ""
        await until(lambda: ben.text == "typed meanwhile", "told afterwards")


class PanicException(BaseException):
    """As pyo3 names it."""


def poisoned(doc: Doc[Any], guilty: list[bytes]) -> Doc[Any]:
    """A document whose library panics at some updates."""
    apply_update = doc.apply_update

    def apply(update: bytes) -> None:
        if update in guilty:
            raise PanicException("index out of bounds")
        apply_update(update)

    doc.apply_update = apply  # type: ignore[method-assign]
    return doc


async def test_after_a_panic_the_guilty_goes_and_everything_else_stays(monkeypatch):
    guilty: list[bytes] = []
    apply_update = Doc.apply_update

    def apply(self: Doc[Any], update: bytes) -> None:
        if update in guilty:
            raise PanicException("index out of bounds")
        apply_update(self, update)

    async with running() as (hub, store):
        opened = await hub.open("room")
        ana, ben, eve = (Client(opened) for _ in range(3))
        ana.type("before ")
        await until(lambda: ben.text == "before ", "ben told")
        monkeypatch.setattr(Doc, "apply_update", apply)
        evil: Doc[Any] = Doc({"t": Text("evil")})
        guilty.append(evil.get_update())
        ben.type("ben ")
        opened.core.receive(eve, Update(guilty[0]), 0)
        ana.type("ana ")
        await until(lambda: eve.refused, "the guilty one found")
        assert isinstance(eve.refused[0], BadUpdate)
        assert not ana.refused and not ben.refused
        await until(lambda: ana.asked and ben.asked, "everybody asked for what the room may lack")
        answer = opened.core.receive(ana, SyncStep1(b"\x00"), 0)
        assert isinstance(answer, SyncStep2)
        late: Doc[Any] = Doc()
        late.apply_update(answer.update)
        text = str(late.get("t", type=Text))
        assert "before " in text and "ana " in text and "ben " in text and "evil" not in text
        assert hub.metrics.panics._value.get() == 1
        ana.type("after")
        await hub.flush()
        assert "after" in said(store, "room")


async def test_a_room_that_cannot_be_read_again_is_closed(monkeypatch):
    async with running() as (hub, store):
        opened = await hub.open("room")
        ana = Client(opened)
        ana.type("typed")
        await hub.flush()
        apply_update = Doc.apply_update

        def apply(self: Doc[Any], update: bytes) -> None:
            raise PanicException("whatever it is")

        monkeypatch.setattr(Doc, "apply_update", apply)
        opened.core.receive(ana, Update(Doc({"t": Text("x")}).get_update()), 0)
        await until(lambda: ana.refused, "told to go")
        assert isinstance(ana.refused[0], DamagedRoom)
        assert hub.find("room") is None
        monkeypatch.setattr(Doc, "apply_update", apply_update)
        hub.release(opened)
        assert not hub._idle
    assert said(store, "room") == "typed", "nothing was written over it"


async def test_draining_opens_nothing_new():
    async with running() as (hub, store):
        opened = await hub.open("room")
        hub.draining = True
        assert await hub.open("room") is opened
        with pytest.raises(Draining):
            await hub.open("another")


async def test_leaving_saves_what_was_typed_last():
    async with running() as (hub, store):
        store.seconds = 0.05
        opened = await hub.open("room")
        client = Client(opened)
        for nth in range(100):
            client.type(f"{nth} ")
    assert said(store, "room") == client.text != ""


async def test_random_lives(full):
    """Clients come, type and go in few rooms with hardly any memory; in the end the store has all of it."""
    chance = random.Random(5)
    async with running(idle_count=1) as (hub, store):
        store.seconds = 0.001
        typed: dict[str, int] = {}

        async def live(number: int) -> None:
            for _ in range(20):
                name = f"room {chance.randrange(40)}"
                opened = await hub.open(name)
                client = Client(opened)
                answer = opened.core.receive(client, SyncStep1(b"\x00"), 0)
                assert isinstance(answer, SyncStep2)
                client.doc.apply_update(answer.update)
                for _ in range(chance.randrange(4)):
                    client.type("x")
                    typed[name] = typed.get(name, 0) + 1
                    await asyncio.sleep(chance.choice([0, 0, 0.001]))
                opened.core.leave(client, 0)
                hub.release(opened)

        async with anyio.create_task_group() as tasks:
            for number in range(100 if full else 20):
                tasks.start_soon(live, number)
    assert {name: len(said(store, name)) for name in typed} == typed
    assert store.loads.total() > 60, "rooms came and went"
