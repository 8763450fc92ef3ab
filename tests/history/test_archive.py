"""Snapshots of live rooms, the document at a moment, and what is cleared away; in SQLite, as on a real server."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pycrdt import Doc, Text

from collab import recovery
from collab.errors import DamagedRoom, Forgotten, NoSuchRoom, NoSuchSnapshot, Unavailable
from collab.history import archive as archive_module
from collab.history.archive import Archive
from collab.history.retention import DAY
from collab.hub import Hub
from collab.opened import Opened
from collab.settings import Settings
from collab.store import Entry, Reason, Row, State
from collab.store.sqlite import SQLiteStore
from collab.wire.messages import Update
from tests.support.stores import Obedient
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(tmp_path: Path, store: Any = None, **history: Any) -> AsyncIterator[tuple[Hub, Archive]]:
    settings = Settings(store={"retry_seconds": 0.01, "retry_max_seconds": 0.05}, history=history)
    async with Hub(settings, store=store or SQLiteStore(tmp_path / "rooms.db")) as hub:
        yield hub, Archive(hub)


class Typist:
    """Somebody in a room, who types."""

    backstage = False
    author: str | None = "ana"
    may_write = True

    def __init__(self, opened: Opened) -> None:
        self.core = opened.core
        self.doc: Doc[Any] = Doc()
        self.shared = self.doc.get("t", type=Text)
        self.core.join(self)

    def take(self, tick: Any) -> None: ...

    def ask(self, state_vector: bytes) -> None: ...

    def refuse(self, error: Exception) -> None:
        raise error

    def type(self, text: str) -> None:
        before = self.doc.get_state()
        self.shared += text
        self.core.receive(self, Update(self.doc.get_update(before)), 0)


def text_of(state: State | bytes, rows: Sequence[Row] = ()) -> str:
    doc: Doc[Any] = Doc()
    update = state.update if isinstance(state, State) else state
    for one in [update, *(row.update for row in rows)]:
        if one is not None:
            doc.apply_update(one)
    return str(doc.get("t", type=Text))


async def typed(
    store: Any, upto: int, *, room: str = "room", first: int = 1, at: float = 0.0, step: float = 1.0
) -> None:
    """Edits that each add their number, `.`, by ana, one each `step` seconds from `at` on."""
    doc: Doc[Any] = Doc(client_id=7)  # the same client in each call, so that its edits build on the earlier ones
    shared = doc.get("t", type=Text)
    entries = []
    for seq in range(1, upto + 1):
        before = doc.get_state()
        with doc.transaction():
            shared += f"{seq}."
        entries.append(Entry(room, doc.get_update(before), at + (seq - first) * step, "ana"))
    await store.append(entries[first - 1 :])


def said(upto: int) -> str:
    return "".join(f"{seq}." for seq in range(1, upto + 1))


async def test_a_snapshot_holds_every_edit_that_was_taken_in(tmp_path):
    async with running(tmp_path) as (hub, archive), hub.room("room") as room:
        opened = hub.find("room")
        assert opened is not None and room is opened.room
        typist = Typist(opened)
        for turn in range(1, 31):
            typist.type(f"{turn}.")  # not applied yet, far less committed
            info = await archive.create("room", label=f"turn {turn}", author="root")
            kept, state = await archive.snapshot("room", info.id)
            assert kept == info and text_of(state) == said(turn)
            assert (info.covers, info.reason, info.author, info.pinned) == (turn, Reason.MANUAL, "root", False)
            if turn == 20:
                await recovery.compact(hub.store, "room")


async def test_snapshots_among_typists(tmp_path):
    """Whatever is typed meanwhile: all that was there when it was asked for, and what it says it covers."""
    async with running(tmp_path) as (hub, archive), hub.room("room"):
        opened = hub.find("room")
        assert opened is not None
        typist = Typist(opened)
        typist.type("begin.")
        ended = False

        async def type_on() -> None:
            for turn in range(1, 401):
                typist.type(f"{turn}.")
                await anyio.sleep(0.001)
            nonlocal ended
            ended = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(type_on)
            while not ended:
                before = str(typist.shared)
                info = await archive.create("room")
                text = text_of((await archive.snapshot("room", info.id))[1])
                assert text.startswith(before) and str(typist.shared).startswith(text)
                assert text == text_of(*await archive.moment("room", info.covers))


async def test_a_snapshot_waits_for_the_store_but_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "SETTLE_SECONDS", 0.2)
    store = Obedient()
    async with running(tmp_path, store) as (hub, archive), hub.room("room"):
        opened = hub.find("room")
        assert opened is not None
        Typist(opened).type("1.")
        store.break_down()
        with pytest.raises(Unavailable, match="not all edits"):
            await archive.create("room")
        store.down = None
        info = await archive.create("room")
        assert text_of((await archive.snapshot("room", info.id))[1]) == "1."


async def test_rooms_that_are_not_there_and_snapshots_that_are_not(tmp_path):
    async with running(tmp_path) as (hub, archive):
        for call in (archive.create("never written"), archive.moment("never written")):
            with pytest.raises(NoSuchRoom):
                await call
        await typed(hub.store, 3)
        made = await archive.create("room", label="one", note="more", pinned=True)
        assert (await archive.change("room", made.id, label="two", pinned=False)).note == "more"
        await archive.delete("room", made.id)
        for missing in (archive.delete("room", made.id), archive.snapshot("room", made.id)):
            with pytest.raises(NoSuchSnapshot):
                await missing
        assert await archive.snapshots("room") == []


async def test_a_damaged_room_gets_no_snapshot(tmp_path):
    async with running(tmp_path, Obedient()) as (hub, archive):
        await hub.store.append([Entry("room", b"nonsense", 0)])
        with pytest.raises(DamagedRoom):
            await archive.create("room")


async def test_every_moment(tmp_path):
    """By number and by time, across checkpoints and snapshots: what replaying all edits up to there gives."""
    async with running(tmp_path) as (hub, archive):
        for upto in (30, 60, 90):
            await typed(hub.store, upto, first=upto - 29, at=1000.0 + upto - 30)
            await recovery.compact(hub.store, "room")
        await typed(hub.store, 100, first=91, at=1090.0)
        await archive.create("room")
        for seq in range(101):
            state, rows = await archive.moment("room", seq)
            assert text_of(state, rows) == said(seq)
            assert [row.seq for row in rows] == list(range(state.covers + 1, seq + 1))
            assert text_of(*await archive.moment("room", time=999.5 + seq)) == said(seq)
        assert text_of(*await archive.moment("room")) == said(100)
        for seq in (-1, 101):
            with pytest.raises(ValueError):
                await archive.moment("room", seq)


async def test_old_edits_are_forgotten_and_what_they_led_to_stays(tmp_path):
    now = time.time()
    async with running(tmp_path, keep_days=30) as (hub, archive):
        # Ten edits a day, for fifty days: 1 to 500.
        await typed(hub.store, 500, at=now - 50 * DAY + 600, step=DAY / 10)
        assert await archive.forget("room") == 0, "what no checkpoint covers is not history yet"
        await recovery.compact(hub.store, "room")
        assert await archive.forget("room") == 200
        [base] = await archive.snapshots("room")
        assert (base.covers, base.reason) == (200, Reason.BASE)
        assert await archive.forget("room") == 0
        for seq in (200, 201, 333, 499, 500):
            assert text_of(*await archive.moment("room", seq)) == said(seq)
        assert text_of(*await archive.moment("room", time=now - 10.05 * DAY)) == said(400)
        for asked in ({"seq": 199}, {"time": now - 31 * DAY}):
            with pytest.raises(Forgotten) as caught:
                await archive.moment("room", **asked)
            assert caught.value.oldest == 200
        assert await archive.thin("room") == 0, "the base goes only when it is followed by another"


async def test_an_idle_room_is_forgotten_without_a_snapshot_and_goes_on_with_one(tmp_path):
    now = time.time()
    async with running(tmp_path, keep_days=30) as (hub, archive):
        await typed(hub.store, 10, at=now - 100 * DAY)
        await recovery.compact(hub.store, "room")
        await archive.sweep()
        assert await archive.snapshots("room") == []
        assert (await hub.store.reach("room")).forgotten == 10
        await typed(hub.store, 20, first=11, at=now)
        await recovery.compact(hub.store, "room")
        assert text_of(*await archive.moment("room", 15)) == said(15)
        assert text_of(*await archive.moment("room", time=now - DAY)) == said(10)


async def test_history_may_be_turned_off(tmp_path):
    async with running(tmp_path, keep_days=0) as (hub, _), hub.room("room"):
        opened = hub.find("room")
        assert opened is not None
        typist = Typist(opened)
        for turn in range(600):
            typist.type(".")
            if turn % 50 == 0:
                await anyio.lowlevel.checkpoint()
        await until(lambda: hub.metrics.compactions._value.get() == 1, "compacted")
        await until(lambda: opened.clean, "committed")
        assert (await hub.store.reach("room")).forgotten >= 500


async def test_snapshots_by_themselves(tmp_path):
    """After so many edits; so long after the first; and when everybody has left."""
    async with running(tmp_path, snapshot_edits=10, snapshot_minutes=30) as (hub, archive):
        archive.start()
        hub.beats.discard(archive._look)  # the clock is ours

        async def made() -> list[int]:
            return [info.covers for info in await archive.snapshots("room")]

        async def awaited(covers: list[int]) -> None:
            with anyio.fail_after(5):
                while await made() != covers:
                    await anyio.lowlevel.checkpoint()

        async with hub.room("room"):
            opened = hub.find("room")
            assert opened is not None
            typist = Typist(opened)
            for turn in range(1, 10):
                typist.type(f"{turn}.")
            await until(lambda: opened.clean, "committed")
            archive._look(100.0)
            archive._look(200.0)
            assert await made() == []
            typist.type("10.")
            await until(lambda: opened.clean, "committed")
            archive._look(300.0)
            await awaited([10])
            typist.type("11.")
            await until(lambda: opened.clean, "committed")
            archive._look(400.0)
            archive._look(400.0 + 29 * 60)
            assert await made() == [10]
            archive._look(400.0 + 30 * 60)
            await awaited([11, 10])
            archive._look(400.0 + 90 * 60)  # nothing was written since
            typist.type("12.")
            await until(lambda: opened.clean, "committed")
            archive._look(10_000.0)
        hub._drop(opened)
        archive._look(10_010.0)
        await awaited([12, 11, 10])
        assert {info.reason for info in await archive.snapshots("room")} == {Reason.ACTIVITY}
        assert hub.metrics.snapshots._value.get() == 3


async def test_the_beat_looks_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "LOOK_SECONDS", 0.0)
    async with running(tmp_path, snapshot_edits=1) as (hub, archive), hub.room("room"):
        archive.start()
        opened = hub.find("room")
        assert opened is not None
        Typist(opened).type("1.")
        with anyio.fail_after(10):
            while not await archive.snapshots("room"):
                await anyio.lowlevel.checkpoint()


async def test_a_sweep_goes_on_past_a_damaged_room(tmp_path):
    async with running(tmp_path, keep_days=30, keep_snapshots=2) as (hub, archive):
        for room in ("a", "b"):
            await typed(hub.store, 10, room=room, at=time.time())
            for _ in range(4):
                await archive.create(room, reason=Reason.SCHEDULED)
        await hub.store._writer.ask(  # type: ignore[attr-defined]
            lambda: (
                hub.store._writer.write(  # type: ignore[attr-defined]
                    lambda tables: tables._db.execute("DELETE FROM log WHERE seq = 10 AND room_id = 1")
                )
                and None
            )
        )
        await archive.sweep()
        assert len(await archive.snapshots("b")) == 2
        assert hub.metrics.snapshots_deleted._value.get() == 2


async def test_the_erased_is_gone(tmp_path):
    async with running(tmp_path) as (hub, archive):
        await typed(hub.store, 5)
        await archive.create("room")
        assert tuple(await archive.erase("room")) == (5, 1)
        with pytest.raises(NoSuchRoom):
            await archive.create("room")


async def test_a_large_document(tmp_path, figure):
    """10 MB: written once, then edited, so that it has to be built."""
    source = random.Random(2)
    doc: Doc[Any] = Doc()
    shared = doc.get("t", type=Text)
    for _ in range(100):
        shared += "".join(source.choices("abcdefgh ", k=100_000))
    async with running(tmp_path) as (hub, archive):
        await hub.store.append([Entry("room", doc.get_update(), 0.0)])
        before = doc.get_state()
        shared += "!"
        await hub.store.append([Entry("room", doc.get_update(before), 0.0)])
        started = time.perf_counter()
        info = await archive.create("room")
        built = time.perf_counter() - started
        await recovery.compact(hub.store, "room")
        started = time.perf_counter()
        await archive.create("room")
        copied = time.perf_counter() - started
        started = time.perf_counter()
        state, _ = await archive.moment("room", 2)
        read = time.perf_counter() - started
        assert info.size > 10_000_000 and text_of(state) == str(shared)
    figure(f"a snapshot of {info.size:,} bytes: built {built:.2f} s, copied {copied:.2f} s, read again {read:.2f} s")


async def test_a_long_history(tmp_path, full, figure):
    """Every moment of a long log is near a stored state, once snapshots were made by themselves."""
    rows = 100_000 if full else 20_000
    async with running(tmp_path) as (hub, archive):
        doc: Doc[Any] = Doc()
        shared = doc.get("t", type=Text)
        updates: list[bytes] = []
        doc.observe(lambda event: updates.append(event.update))
        for _ in range(rows):
            shared += "x"
        for start in range(0, rows, 1000):
            await hub.store.append([Entry("room", one, float(start)) for one in updates[start : start + 1000]])
            if start % 10_000 == 0:
                await archive.create("room")
        started = time.perf_counter()
        for seq in (source := random.Random(1)).sample(range(rows), 20):
            state, between = await archive.moment("room", seq)
            assert state.covers + len(between) == seq
        each = (time.perf_counter() - started) / 20
        assert source is not None
        started = time.perf_counter()
        assert len(await hub.store.history("room")) == rows
        whole = time.perf_counter() - started
    figure(
        f"{rows:,} edits, a snapshot per 10,000: a moment is read in {each * 1000:.0f} ms, all edits in {whole:.2f} s"
    )
