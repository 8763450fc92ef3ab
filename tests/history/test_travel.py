"""What rooms were, asked of a hub with a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collab import recovery
from collab.desk import Desk
from collab.errors import BadMessage, Forgotten, NoSuchRoom, NoSuchSnapshot
from collab.history.archive import Archive
from collab.history.diff import apply_text
from collab.history.travel import NOW, Moment, Travel
from collab.hub import Hub
from collab.settings import Settings
from collab.store.sqlite import SQLiteStore
from tests.history.test_archive import Typist, said, text_of, typed

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def travelling(tmp_path: Path, **history: Any) -> AsyncIterator[tuple[Hub, Archive, Travel]]:
    async with Hub(Settings(history=history), store=SQLiteStore(tmp_path / "rooms.db")) as hub:
        archive, desk = Archive(hub), Desk(hub, 10.0)
        yield hub, archive, Travel(archive, desk)
        desk.close()


async def test_every_moment(tmp_path):
    async with travelling(tmp_path) as (hub, archive, travel):
        await typed(hub.store, 30, at=1000.0)
        await recovery.compact(hub.store, "room")
        await typed(hub.store, 40, first=31, at=1030.0)
        info = await archive.create("room")
        await typed(hub.store, 60, first=41, at=1040.0)
        for seq in range(61):
            state, found = await travel.at("room", Moment(seq=seq))
            assert (text_of(state), state.covers, found) == (said(seq), seq, None)
            assert text_of((await travel.at("room", Moment(time=999.5 + seq)))[0]) == said(seq)
        state, found = await travel.at("room", Moment(snapshot=info.id))
        assert (text_of(state), found) == (said(40), info)
        assert text_of((await travel.at("room", NOW))[0]) == said(60)
        assert text_of((await travel.at("room", Moment(time=1e300)))[0]) == said(60)
        assert text_of((await travel.at("room", Moment(time=-1e300)))[0]) == ""


async def test_now_is_what_was_taken_in(tmp_path):
    async with travelling(tmp_path) as (hub, _, travel), hub.room("room"):
        opened = hub.find("room")
        assert opened is not None
        typist = Typist(opened)
        for turn in range(1, 11):
            typist.type(f"{turn}.")
            assert text_of((await travel.at("room", NOW))[0]) == said(turn)


async def test_moments_that_cannot_be_had(tmp_path):
    async with travelling(tmp_path, keep_days=1) as (hub, archive, travel):
        with pytest.raises(NoSuchRoom):
            await travel.at("room", NOW)
        await typed(hub.store, 10, at=1000.0)
        with pytest.raises(BadMessage):
            await travel.at("room", Moment(seq=11))
        with pytest.raises(NoSuchSnapshot):
            await travel.at("room", Moment(snapshot=1))
        await recovery.compact(hub.store, "room")
        await archive.forget("room")
        with pytest.raises(Forgotten):
            await travel.at("room", Moment(seq=5))
        assert text_of((await travel.at("room", NOW))[0]) == said(10)


async def test_diff_of_two_moments(tmp_path):
    async with travelling(tmp_path) as (hub, _, travel):
        await typed(hub.store, 20)
        for one, other in [(0, 20), (20, 0), (5, 15), (15, 5)]:
            delta = await travel.diff("room", Moment(seq=one), Moment(seq=other))
            assert apply_text(said(one), delta["text"]["t"]) == said(other)
        assert await travel.diff("room", NOW, Moment(seq=20)) == {"text": {}, "nodes": {}}


async def test_who_was_there(tmp_path):
    async with travelling(tmp_path) as (hub, archive, travel):
        await typed(hub.store, 20, at=1000.0)
        (session,) = await travel.activity("room", 10.0)
        assert (session.author, session.begin, session.end, session.edits) == ("ana", 1000.0, 1019.0, 20)
        assert len(await travel.activity("room", 0.0)) == 20
        assert "".join(run.shown for run in (await travel.attribution("room")).runs) == said(20)
        assert {run.author for run in (await travel.attribution("room")).runs} == {"ana"}
        await recovery.compact(hub.store, "room")
        await archive.forget("room")  # a thousand seconds after 1970 is more than any settings keep
        await typed(hub.store, 22, first=21, at=2000.0)
        runs = (await travel.attribution("room")).runs
        assert [(run.author, run.shown) for run in runs] == [(None, said(20)), ("ana", "21.22.")]
        with pytest.raises(NoSuchRoom):
            await travel.attribution("other")
