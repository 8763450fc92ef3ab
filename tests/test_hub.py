"""Opening, finding, holding, evicting and repairing rooms."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pycrdt import Array, Doc, Text

from collab import hub as hub_module
from collab.errors import BadUpdate, CollabError, Conflict, DamagedRoom, Draining, TooMany, Unavailable
from collab.fence import Panic
from collab.hub import Hub
from collab.opened import Opened
from collab.peers import Tick
from collab.settings import Settings
from collab.store import Entry
from collab.wire.lib0 import var_uint
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
            await hub.flush()  # only what is saved may go
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


async def test_who_was_let_in_before_the_drain_gets_a_room_and_nobody_after_the_end():
    async with running() as (hub, store):
        hub.draining = True
        client = Client(await hub.open("room"))
        client.type("at the last moment")
    assert said(store, "room") == "at the last moment"
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


async def test_a_room_that_cannot_be_saved_does_not_keep_the_others_in_memory():
    async with running(idle_count=0) as (hub, store):
        store.verdict = lambda entries: (
            DamagedRoom("bad", "its pages") if any(entry.room == "bad" for entry in entries) else None
        )
        for name in ("bad", "one", "two", "three"):
            async with hub.room(name) as room:
                room.ydoc["t"] = Text(name)
        await until(lambda: not any(map(hub.find, ("one", "two", "three"))), "the others saved and gone")
        assert [said(store, name) for name in ("one", "two", "three")] == ["one", "two", "three"]
        assert hub.find("bad") is not None, "the only place where it is"
        store.verdict = lambda entries: None
        await until(lambda: hub.find("bad") is None, "saved, too")
    assert said(store, "bad") == "bad"


async def test_two_clients_in_one_instant_while_a_third_leaves(full):
    """S19: always the same room, and nobody waits for ever."""
    async with running(idle_count=0) as (hub, store):
        store.seconds = 0.0001

        async def visit(name: str) -> Opened:
            opened = await hub.open(name)
            await asyncio.sleep(0)
            return opened

        async def leave(name: str) -> None:
            async with hub.room(name) as room:
                room.ydoc["t"] = Text("x")

        with anyio.fail_after(60):
            for nth in range(1000 if full else 200):
                one, other, _ = await asyncio.gather(visit(f"room{nth}"), visit(f"room{nth}"), leave(f"room{nth}"))
                assert one is other is hub.find(f"room{nth}") and one.holders == 2
                hub.release(one)
                hub.release(other)


async def test_what_was_sent_to_a_room_on_its_way_is_saved_when_the_hub_closes():
    async with running() as (hub, store):
        store.reads.clear()

        async def type_when_open() -> None:
            Client(await hub.open("room")).type("typed")

        typing = asyncio.create_task(type_when_open())
        await until(lambda: store.loads["room"] == 1, "being read")
        asyncio.get_running_loop().call_later(0.1, store.reads.set)
    assert said(store, "room") == "typed"
    await typing


def orphan(client: int, of: int) -> bytes:
    """Well-formed, and yrs does not take it: an item whose parent is a letter that `of` typed."""
    item = b"\x08" + var_uint(0) + var_uint(of) + var_uint(0) + b"\x01\x78"
    return var_uint(1) + var_uint(1) + var_uint(client) + var_uint(0) + item + b"\x00"


async def test_an_update_that_the_library_really_does_not_survive():
    """No simulation: every check lets it through, and yrs gives up in the middle of the transaction."""
    async with running() as (hub, store):
        opened = await hub.open("room")
        ana, ben, eve = (Client(opened) for _ in range(3))
        ana.type("a")
        await until(lambda: ben.text == "a", "ben told")
        ana.type("b")
        opened.core.receive(eve, Update(orphan(9, ana.doc.client_id)), 0)
        ben.type("c")
        await until(lambda: eve.refused, "the guilty one found")
        await until(lambda: len(str(opened.room.ydoc.get("t", type=Text))) == 3, "the others' letters are there")
        assert not ana.refused and not ben.refused
        await hub.flush()
        assert sorted(said(store, "room")) == ["a", "b", "c"]


async def test_a_room_is_read_again_when_the_store_is_back(monkeypatch):
    """Nobody is sent away meanwhile, and what they type is not lost."""
    async with running() as (hub, store):
        opened = await hub.open("room")
        ana, ben, eve = (Client(opened) for _ in range(3))
        ana.type("a")
        await hub.flush()
        store.break_down()
        opened.core.receive(eve, Update(orphan(9, ana.doc.client_id)), 0)
        await until(lambda: opened.reloading, "being read again")
        ana.type("b")
        await asyncio.sleep(0.1)
        assert opened.reloading and not ana.refused and ben.text == "a"
        store.down = None
        await until(lambda: ben.text == "ab", "ben told")
        assert eve.refused and not ben.refused and hub.find("room") is opened
        await hub.flush()
        assert said(store, "room") == "ab"


async def test_the_first_type_in_a_room_is_no_reason_to_read_all_of_it(monkeypatch):
    """How deep a room goes was seen when it was loaded, and when it was read again."""
    async with running() as (hub, store):
        stored: Doc[Any] = Doc({"list": Array([Array([Array()])])})
        await store.append([Entry("room", stored.get_update(), 1.0)])
        opened = await hub.open("room")
        for _ in range(2):
            looks: list[bytes] = []
            doc, real = opened.core.doc, opened.core.doc.get_update
            new: Doc = Doc()
            new.apply_update(opened.core.difference(b"\x00"))
            new.get("list", type=Array)[0].append(Array())
            monkeypatch.setattr(doc, "get_update", lambda *state, to=looks, real=real: to.append(b"") or real(*state))
            ana = Client(opened)
            opened.core.receive(ana, Update(new.get_update(doc.get_state())), 0)
            await until(lambda: opened.core.idle, "taken in")
            assert new.client_id in opened.core.clocks and not looks and not ana.refused
            await hub.flush()
            hub.reload(opened, Panic(RuntimeError("again")))
            await until(lambda: not opened.reloading, "read again")
            assert opened.core.doc is not doc


async def test_a_document_that_cannot_tell_the_store_what_it_is_owed(monkeypatch):
    """The room is read anew, and its clients are asked for what only they have now."""
    settings = Settings(
        store={"url": "memory:", "retry_seconds": 0.01, "retry_max_seconds": 0.05, "journal_bytes": 200}
    )
    store = Obedient()
    async with Hub(settings, store=store) as hub:
        opened = await hub.open("room")
        ana = Client(opened)
        ana.type("stored ")
        await hub.flush()
        store.break_down()
        for _ in range(20):
            ana.type("more words ")
            await asyncio.sleep(0)
        await until(lambda: opened.journal.behind, "the journal owed a difference")
        difference = opened.core.difference

        def broken(state_vector: bytes) -> bytes:
            monkeypatch.undo()
            raise Panic(PanicException("index out of bounds"))

        monkeypatch.setattr(opened.core, "difference", broken)
        store.down = None
        await until(lambda: ana.asked, "ana asked")
        assert difference(b"\x00")
        opened.core.receive(ana, SyncStep2(ana.doc.get_update(ana.asked[-1])), 0)
        await hub.flush()
        assert said(store, "room") == ana.text
        assert hub.metrics.panics._value.get() == 1


async def test_one_beat_that_fails_is_not_everybodys(monkeypatch):
    monkeypatch.setattr("collab.beats.BEAT_SECONDS", 0.01)
    beats: list[float] = []

    def fails(now: float) -> None:
        raise ZeroDivisionError

    async with running() as (hub, store):
        hub.beats |= {fails, beats.append}
        await until(lambda: len(beats) > 3, "beating on")


async def test_a_document_that_is_given_up_asks_for_nothing(monkeypatch):
    """What it says that it has may be lost with it: the answer to such a question would lack just that."""
    monkeypatch.setattr("collab.beats.BEAT_SECONDS", 0.01)
    beats: list[float] = []
    async with running() as (hub, store):
        opened = await hub.open("room")
        ana, ben = Client(opened), Client(opened)
        ana.type("a")
        await hub.flush()
        missing = Doc[Any](client_id=9)
        missing.get("text", type=Text).insert(0, "first")
        state = missing.get_state()
        missing.get("text", type=Text).insert(5, "second")
        opened.core.receive(ben, Update(missing.get_update(state)), 0)
        await until(lambda: ben.asked, "ben asked for what is lacking")
        store.break_down()
        hub.reload(opened, Panic(RuntimeError("as if yrs had panicked")))
        ben.asked.clear()
        opened.core.gaps.forget(ben)  # it may be asked again at once
        hub.beats.add(beats.append)
        await until(lambda: len(beats) > 3, "beating on")
        asked, reloading = list(ben.asked), opened.reloading
        store.down = None  # also when this fails: the hub waits for its store
        assert reloading and asked == []
        await until(lambda: ben.asked, "asked by the document that was read")


async def test_a_room_is_compacted_while_it_lives():
    settings = Settings(store={"url": "memory:", "checkpoint_rows": 10})
    store = Obedient()
    async with Hub(settings, store=store) as hub:
        opened = await hub.open("room")
        ana = Client(opened)
        for nth in range(100):
            ana.type(f"{nth} ")
            await asyncio.sleep(0)
        await hub.flush()
        await until(lambda: hub.metrics.compactions._value.get() > 0, "compacted")
        ana.type("and on")
        await hub.flush()
        kept = await store.load("room")
        assert kept.checkpoint is not None and kept.seq == 101 and len(kept.rows) < 101
        assert said(store, "room") == ana.text


async def test_what_the_application_does_while_a_room_is_read_again_is_kept():
    async with running() as (hub, store):
        opened = await hub.open("room")
        ana, eve = Client(opened), Client(opened)
        ana.type("a")
        await hub.flush()
        store.break_down()
        opened.core.receive(eve, Update(orphan(9, ana.doc.client_id)), 0)
        await until(lambda: opened.reloading, "being read again")
        opened.room.ydoc.get("title", type=Text).insert(0, "by the application")
        store.down = None
        await until(lambda: str(ana.doc.get("title", type=Text)) == "by the application", "ana told")
        assert str(opened.room.ydoc.get("title", type=Text)) == "by the application"
        await hub.flush()
        assert str(store.document("room").get("title", type=Text)) == "by the application"


async def test_a_room_that_is_gone_does_no_harm_to_the_one_that_came_after_it(monkeypatch):
    """Whoever still holds on to it may go on typing into it: the hub and the new room do not mind."""
    apply_update = Doc.apply_update

    def apply(self: Doc[Any], update: bytes) -> None:
        raise PanicException("whatever it is")

    async with running() as (hub, store):
        old = await hub.open("room")
        ana = Client(old)
        ana.type("typed")
        await hub.flush()
        monkeypatch.setattr(Doc, "apply_update", apply)
        old.core.receive(ana, Update(Doc({"x": Text("x")}).get_update()), 0)
        await until(lambda: old.gone, "given up")
        monkeypatch.setattr(Doc, "apply_update", apply_update)
        monkeypatch.setattr(hub_module, "DAMAGED_SECONDS", 0)
        new = await hub.open("room")
        assert new is not old
        ben = Client(new)
        ana.type("into nowhere")
        hub.reload(old, Panic(RuntimeError("again")))
        ben.type("typed again")
        await hub.flush()
        assert "typed again" in said(store, "room") and hub.find("room") is new
        hub.release(old)
        assert hub.find("room") is new and new.holders == 1


async def test_a_room_that_is_kept_out_of_memory():
    async with Hub(Settings(store={"url": "memory:"})) as hub:
        opened = await hub.open("room")
        with pytest.raises(Conflict):
            async with hub.absent("room"):
                pass
        hub.release(opened)
        async with anyio.create_task_group() as tasks:
            async with hub.absent("room"):
                assert hub.find("room") is None, "it was empty and nobody's"
                tasks.start_soon(hub.open, "room")
                await anyio.sleep(0.01)
                assert hub.find("room") is None
        found = hub.find("room")
        assert found is not None and found.holders == 1
        async with hub.absent("other"):
            pass
        assert hub.find("other") is None, "nobody wanted it"
