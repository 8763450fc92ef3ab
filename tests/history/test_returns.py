"""Ways back in live rooms: what is left when something goes wrong, who is the author, what is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from collab import recovery
from collab.desk import Desk
from collab.errors import Conflict, Forgotten, NoSuchRoom, TooLarge
from collab.history import returns as returns_module
from collab.history.archive import Archive
from collab.history.returns import Outcome, Returns
from collab.history.travel import NOW, Moment, Travel
from collab.hub import Hub
from collab.settings import Settings
from collab.store import Reason
from collab.store.sqlite import SQLiteStore
from tests.history.test_archive import Typist, said, text_of, typed

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def returning(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Hub, Archive, Travel, Returns]]:
    async with Hub(Settings(**settings), store=SQLiteStore(tmp_path / "rooms.db")) as hub:
        archive, desk = Archive(hub), Desk(hub, 10.0)
        travel = Travel(archive, desk)
        yield hub, archive, travel, Returns(hub, archive, travel, desk)
        desk.close()


async def test_a_restore_is_a_row_of_whoever_restores(tmp_path):
    async with returning(tmp_path) as (hub, archive, travel, returns):
        await typed(hub.store, 10)
        outcome = await returns.restore("room", Moment(seq=4), author="root")
        assert text_of((await travel.at("room", NOW))[0]) == said(4)
        (row,) = await hub.store.history("room", 10)
        assert (row.seq, row.author, len(row.update)) == (outcome.seq, "root", outcome.bytes) and outcome.seq == 11
        assert outcome.before is not None
        assert (outcome.before.reason, outcome.before.covers, outcome.before.author) == (
            Reason.BEFORE_RESTORE, 10, "root",
        )  # fmt: skip
        await returns.restore("room", Moment(snapshot=outcome.before.id), author="root")
        assert text_of((await travel.at("room", NOW))[0]) == said(10)


async def test_nothing_to_change_leaves_nothing(tmp_path):
    async with returning(tmp_path) as (hub, archive, _, returns):
        await typed(hub.store, 10)
        assert await returns.restore("room", Moment(seq=10), author="root") == Outcome(None, 0, None)
        assert await returns.undo("room", "nobody", None, None, author="root") == Outcome(None, 0, None)
        assert (await hub.store.reach("room")).seq == 10 and await archive.snapshots("room") == []


async def test_many_at_once_with_one_key(tmp_path):
    async with returning(tmp_path) as (hub, archive, _, returns):
        await typed(hub.store, 10)
        outcomes = []

        async def once() -> None:
            outcomes.append(await returns.restore("room", Moment(seq=4), author="root", key="k"))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(once)
        assert len(set(outcomes)) == 1 and len(outcomes) == 10 and len(await archive.snapshots("room")) == 1
        with pytest.raises(Conflict):
            await returns.undo("room", "ana", None, None, author="root", key="k")
        assert (await hub.store.reach("room")).seq == 11


async def test_keys_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(returns_module, "KEYS", 2)
    async with returning(tmp_path) as (hub, _, _, returns):
        await typed(hub.store, 10)
        for key, seq in [("a", 4), ("b", 5), ("c", 6)]:
            await returns.restore("room", Moment(seq=seq), author="root", key=key)
        with pytest.raises(Conflict):
            await returns.restore("room", Moment(seq=9), author="root", key="c")
        assert (await returns.restore("room", Moment(seq=9), author="root", key="a")).bytes


async def test_a_failure_leaves_the_document_as_it_was(tmp_path):
    async with returning(tmp_path, limits={"document_bytes": 1_000}) as (hub, _, travel, returns):
        await typed(hub.store, 10)
        for turn in range(100):
            there = text_of((await travel.at("room", NOW))[0])
            last = (await hub.store.reach("room")).seq
            to = Moment(seq=(4, 10)[turn % 2])
            try:
                await returns.restore("room", to, author="root")
            except TooLarge:
                break
        else:
            raise AssertionError("the document never grew too large")
        with pytest.raises(TooLarge):
            await returns.restore("room", to, author="root", key="k")
        assert text_of((await travel.at("room", NOW))[0]) == there
        assert (await hub.store.reach("room")).seq == last
        with pytest.raises(NoSuchRoom):
            await returns.restore("other", Moment(seq=1), author="root")


async def test_into_another_room(tmp_path):
    async with returning(tmp_path) as (hub, _, travel, returns):
        await typed(hub.store, 10)
        assert await returns.restore_into("room", Moment(seq=4), "copy", author="root") > 0
        assert text_of((await travel.at("copy", NOW))[0]) == said(4)
        with pytest.raises(Conflict):
            await returns.restore_into("room", NOW, "copy", author="root")
        assert text_of((await travel.at("copy", NOW))[0]) == said(4)


async def test_undo_of_a_period(tmp_path):
    async with returning(tmp_path) as (hub, _, travel, returns):
        await typed(hub.store, 10, at=1000.0)
        await returns.undo("room", "ana", 1003.0, 1006.0, author="root")
        text = "".join(f"{seq}." for seq in (1, 2, 3, 8, 9, 10))
        assert text_of((await travel.at("room", NOW))[0]) == text
        await returns.undo("room", "ana", None, None, author="root")
        assert text_of((await travel.at("room", NOW))[0]) == ""
        await returns.undo("room", "root", None, None, author="root")
        assert text_of((await travel.at("room", NOW))[0]) == said(10)


async def test_undo_of_what_is_forgotten(tmp_path):
    async with returning(tmp_path, history={"keep_days": 1}) as (hub, archive, travel, returns):
        await typed(hub.store, 10, at=1000.0)
        await recovery.compact(hub.store, "room")
        await archive.forget("room")
        with pytest.raises(Forgotten):
            await returns.undo("room", "ana", 1003.0, None, author="root")
        assert text_of((await travel.at("room", NOW))[0]) == said(10)


async def test_while_somebody_types_in_every_turn(tmp_path):
    """Nobody waits for a room to fall silent."""
    async with returning(tmp_path) as (hub, _, travel, returns), hub.room("room"):
        opened = hub.find("room")
        assert opened is not None
        typist = Typist(opened)
        typist.type("begin.")
        await opened.journal.flushed()
        await travel.at("room", NOW)
        ended = False

        async def type_on() -> None:
            while not ended:
                typist.type("x")
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(type_on)
            await anyio.sleep(0.1)
            outcome = await returns.restore("room", Moment(seq=1), author="root")
            ended = True
        assert outcome.bytes and text_of((await travel.at("room", NOW))[0]).startswith("begin.")
