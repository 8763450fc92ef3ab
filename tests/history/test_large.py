"""Large documents and long histories in a server: how long each takes, and how late the loop is for all other rooms."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from pycrdt import Doc

from collab import apart
from collab.desk import Desk
from collab.errors import Crashed
from collab.history.archive import Archive
from collab.history.returns import Returns
from collab.history.travel import NOW, Moment, Travel
from collab.hub import Hub
from collab.settings import Settings
from collab.store import Entry
from collab.store.sqlite import SQLiteStore
from collab.wire import vet
from tests.history.test_archive import typed
from tests.history.test_size import large, log

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

PARAGRAPHS = 20_000
SNAPSHOTS = 10_000
UPDATES = 100_000
BEAT = 0.002


class Lateness:
    """How late the loop is, step by step: what every other room waits."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.worst: dict[str, float] = {}

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        late: list[float] = []

        async def look() -> None:
            while True:
                before = time.perf_counter()
                await anyio.sleep(BEAT)
                late.append(time.perf_counter() - before - BEAT)

        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await anyio.sleep(10 * BEAT)
            yield
            took = time.perf_counter() - began - 10 * BEAT
            await anyio.sleep(10 * BEAT)
            tasks.cancel_scope.cancel()
        late.sort()
        self.worst[name] = late[-1]
        p99 = late[int(0.99 * len(late))]
        self.steps.append(f"{name} {took:.2f} s (loop late: p99 {1e3 * p99:.1f} ms, at most {1e3 * late[-1]:.0f} ms)")

    def __str__(self) -> str:
        return "; ".join(self.steps)


@asynccontextmanager
async def running(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Hub, Archive, Travel, Returns, Desk]]:
    async with Hub(Settings(**settings), store=SQLiteStore(tmp_path / "rooms.db")) as hub:
        archive, desk = Archive(hub), Desk(hub, 120.0)
        travel = Travel(archive, desk)
        yield hub, archive, travel, Returns(hub, archive, travel, desk), desk
        desk.close()


async def test_a_document_of_10_mb(tmp_path, full, figure):
    before, doc = large(PARAGRAPHS if full else PARAGRAPHS // 20)
    old: Doc[Any] = Doc()
    old.apply_update(before)
    change = doc.get_update(old.get_state())
    late = Lateness()
    async with running(tmp_path) as (hub, archive, travel, returns, desk), hub.room("room"):
        async with late.step("written"):
            await desk.edit("room", partial(vet.as_it_is, before), new=True, size=len(before))
        async with late.step("snapshot"):
            info = await archive.create("room")
        async with late.step("changed"):
            await desk.edit("room", partial(vet.as_it_is, change), size=len(change))
        async with late.step("diff"):
            delta = await travel.diff("room", Moment(snapshot=info.id), NOW)
        async with late.step("restored"):
            outcome = await returns.restore("room", Moment(snapshot=info.id), author="root")
        assert delta["nodes"] and outcome.bytes > 1_000
        assert await travel.diff("room", Moment(snapshot=info.id), NOW) == {"text": {}, "nodes": {}}
    figure(f"a document of {len(before) / 1e6:.1f} MB: {late}")
    assert late.worst["diff"] < 0.5, "it is computed in another process"


async def test_a_list_of_10_000_snapshots(tmp_path, full, figure):
    count = SNAPSHOTS if full else SNAPSHOTS // 50
    late = Lateness()
    async with running(tmp_path) as (hub, archive, *_):
        await typed(hub.store, 1)
        for _ in range(count):
            await archive.create("room")
        found: list[int] = []
        async with late.step("page by page"):
            while page := await archive.snapshots("room", before=found[-1] if found else None, limit=100):
                found += [info.id for info in page]
        async with late.step("all at once"):
            assert len(await archive.snapshots("room", limit=count)) == count
        async with late.step("thinned"):
            await archive.thin("room")
    assert len(set(found)) == count and found == sorted(found, reverse=True)
    figure(f"{count:,} snapshots of one room: {late}")


async def test_a_log_of_100_000_updates(tmp_path, full, figure):
    rows = log(UPDATES if full else UPDATES // 20)
    half, last = len(rows) // 2, len(rows)
    late = Lateness()
    async with running(tmp_path) as (hub, archive, travel, returns, _):
        for start in range(0, last, 1_000):
            part = rows[start : start + 1_000]
            await hub.store.append([Entry("room", row.update, row.time, row.author) for row in part])
        async with late.step("in the middle"):
            state, _ = await travel.at("room", Moment(seq=half))
        async with late.step("at the end"):
            await travel.at("room", Moment(seq=last))
        async with late.step("snapshot"):
            await archive.create("room")
        async with late.step("just after it"):
            await travel.at("room", NOW)
        async with late.step("attribution"):
            assert (await travel.attribution("room")).runs
        async with late.step("activity"):
            assert await travel.activity("room", 10.0)
        async with hub.room("room"):
            async with late.step("undo of a third of a half"):
                assert (await returns.undo("room", "ben", float(half), None, author="root")).bytes
            async with late.step("restored to the middle"):
                await returns.restore("room", Moment(seq=half), author="root")
        assert await travel.diff("room", Moment(seq=half), NOW) == {"text": {}, "nodes": {}} and state.covers == half
    figure(f"a log of {last:,} updates: {late}")


def children() -> set[int]:
    """The processes that this one began: those of other tests, such as the editors in Node, are among them."""
    me = os.getpid()
    return {int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()}


async def test_a_restore_whose_process_is_killed_leaves_all_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "LARGE", 1)
    before, doc = large(1_000)
    async with running(tmp_path) as (hub, archive, travel, returns, desk), hub.room("room"):
        await desk.edit("room", partial(vet.as_it_is, before), new=True, size=len(before))
        info = await archive.create("room")
        await desk.edit("room", partial(vet.as_it_is, doc.get_update()), size=len(before))
        opened = hub.find("room")
        assert opened is not None
        version, there, seq = opened.core.version, opened.core.difference(b"\0"), (await hub.store.reach("room")).seq
        killed, others = 0, children()

        async def kill() -> None:
            """Each that there is, again and again: one of the work before may still be on its way out."""
            nonlocal killed
            while True:
                for pid in children() - others:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
                await anyio.sleep(0.005)

        crashed = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            try:
                await returns.restore("room", Moment(snapshot=info.id), author="root", key="k")
            except Crashed:
                crashed = True
            tasks.cancel_scope.cancel()
        assert crashed and killed and (opened.core.version, opened.core.difference(b"\0")) == (version, there)
        assert (await hub.store.reach("room")).seq == seq
        assert (await returns.restore("room", Moment(snapshot=info.id), author="root", key="k")).bytes
