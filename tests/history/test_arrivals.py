"""Exports taken into a hub in which people are: each room as a whole or not at all, also when the server dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pycrdt import Text

from collab import migration
from collab.bundle import Existing
from collab.desk import Desk
from collab.errors import BadMessage, Conflict, NoSuchRoom, Unavailable
from collab.history.archive import Archive
from collab.history.arrivals import Arrivals
from collab.hub import Hub
from collab.settings import Settings
from collab.store import Reason
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore
from tests.support.rooms import content, fill
from tests.support.server import REPO
from tests.test_bundle import exported
from tests.test_unpacking import cut

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(store: Any) -> AsyncIterator[tuple[Hub, Arrivals]]:
    settings = Settings(store={"retry_seconds": 0.01, "retry_max_seconds": 0.05})
    async with Hub(settings, store=store) as hub:
        desk = Desk(hub, 10)
        arrivals = Arrivals(hub, Archive(hub), desk)
        await arrivals.open()
        yield hub, arrivals
        desk.close()


@pytest.fixture
async def source() -> AsyncIterator[MemoryStore]:
    async with MemoryStore() as store:
        await fill(store, "a", forgotten=12)
        await fill(store, "b ü", 3)
        await fill(store, "c")
        yield store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rooms.db"


async def test_all_is_as_it_was(source, file):
    async with running(SQLiteStore(file)) as (hub, arrivals):
        told = await arrivals.take(cut(await exported(source), 1000), Existing.refuse, "admin")
        assert told == arrivals.last and not told.running and told.problem is None
        assert (told.of, told.rooms, told.merged, told.skipped, told.rows, told.snapshots) == (3, 3, 0, 0, 51, 4)
        assert told.bytes == len(await exported(source))
        assert await content(hub.store) == await content(source)
        assert not hub.rooms, "taken in without being in memory"
        opened = await hub.open("a")
        assert str(opened.room.ydoc.get("t", type=Text)).endswith("30 ü😀 ")
        hub.release(opened)
    assert os.listdir(file.parent / "rooms.db.importing") == []
    assert not [name for name in os.listdir(file.parent) if name == "rooms.db.import"]


async def test_rooms_that_are_here_already(source, file):
    stream = await exported(source)
    async with running(SQLiteStore(file)) as (hub, arrivals):
        await fill(hub.store, "b ü", 2)
        before = (await content(hub.store))["b ü"]
        with pytest.raises(Conflict, match="'b ü' is here already"):
            await arrivals.take(cut(stream, 1000), Existing.refuse, None)
        assert arrivals.last is not None and (arrivals.last.rooms, arrivals.last.done) == (1, 1)
        assert "here already" in (arrivals.last.problem or "")
        assert {name: value for name, value in (await content(hub.store)).items() if name == "b ü"} == {"b ü": before}
        told = await arrivals.take(cut(stream, 1000), Existing.skip, None)
        assert (told.rooms, told.skipped) == (1, 2)
        after = await content(hub.store)
        assert after == await content(source) | {"b ü": before}
        told = await arrivals.take(cut(stream, 1000), Existing.merge, "admin")
        assert (told.rooms, told.merged) == (0, 3)
        merged = await hub.open("b ü")
        text = str(merged.room.ydoc.get("t", type=Text))
        assert sorted(text.split()) == sorted("1 2 1 2 3".replace(" ", " ü😀 ").split() + ["ü😀"])
        hub.release(merged)
        newest = (await hub.store.snapshots("b ü"))[0]
        assert (newest.reason, newest.author, newest.covers) == (Reason.BEFORE_IMPORT, "admin", 2)
        unchanged = await hub.open("a")
        assert str(unchanged.room.ydoc.get("t", type=Text)).count("30 ü") == 1, "the same content is not there twice"
        hub.release(unchanged)


async def test_rooms_that_were_deleted_or_are_open_count_as_here(source, file):
    stream = await exported(source)
    async with running(SQLiteStore(file)) as (hub, arrivals):
        await hub.tombs.add("a")
        held = await hub.open("c")
        told = await arrivals.take(cut(stream, 1000), Existing.skip, None)
        assert (told.rooms, told.skipped) == (1, 2)
        with pytest.raises(NoSuchRoom):
            await arrivals.take(cut(stream, 1000), Existing.merge, None)
        await hub.tombs.lift("a")
        told = await arrivals.take(cut(stream, 1000), Existing.merge, None)
        assert (told.rooms, told.merged) == (1, 2)
        assert str(held.room.ydoc.get("t", type=Text)).endswith("30 ü😀 "), "who is in it sees it"
        hub.release(held)


async def test_whoever_comes_while_it_is_written_waits_and_gets_all_of_it(source, file, monkeypatch):
    texts: list[str] = []
    move = migration.move

    async def slowly(*args: Any) -> Any:
        tasks.start_soon(enter, args[2].name)
        await anyio.sleep(0.05)
        done = await move(*args)
        assert not texts or len(texts) == arrivals.last.rooms  # type: ignore[union-attr]
        return done

    async def enter(room: str) -> None:
        async with hub.room(room) as opened:
            texts.append(str(opened.ydoc.get("t", type=Text)))

    monkeypatch.setattr(migration, "move", slowly)
    async with running(SQLiteStore(file)) as (hub, arrivals):
        async with anyio.create_task_group() as tasks:
            await arrivals.take(cut(await exported(source), 1000), Existing.refuse, None)
    assert sorted(len(text.split()) for text in texts) == [6, 60, 60]


async def test_one_at_a_time(source, file):
    stream = await exported(source)
    began = anyio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield stream[:1000]
        began.set()
        await anyio.sleep_forever()

    async with running(SQLiteStore(file)) as (hub, arrivals):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(arrivals.take, slow(), Existing.refuse, None)
            await began.wait()
            with pytest.raises(Conflict, match="another import"):
                await arrivals.take(cut(stream, 1000), Existing.refuse, None)
            tasks.cancel_scope.cancel()
        assert arrivals.last is not None and not arrivals.last.running and arrivals.last.problem
        assert (await arrivals.take(cut(stream, 1000), Existing.refuse, None)).rooms == 3
    assert not [name for name in os.listdir(file.parent) if name == "rooms.db.import"]


async def test_what_fails_half_way_leaves_nothing(source, file, monkeypatch):
    """The store fails after the rows were written, and once more when they are to be taken back."""
    stream = await exported(source)

    class Failing(SQLiteStore):
        troubles = 2

        async def compact(self, *args: Any, **options: Any) -> bool:
            await self._trouble()
            return await super().compact(*args, **options)

        async def erase(self, room: str) -> Any:
            await self._trouble()
            return await super().erase(room)

        async def _trouble(self) -> None:
            if self.troubles:
                self.troubles -= 1
                raise Unavailable("the store")

    async with running(Failing(file)) as (hub, arrivals):
        with pytest.raises(Unavailable):
            await arrivals.take(cut(stream, 1000), Existing.refuse, None)
        assert arrivals.last is not None and arrivals.last.rooms == 0
        assert await content(hub.store) == {}
        assert (await arrivals.take(cut(stream, 1000), Existing.refuse, None)).rooms == 3
        assert await content(hub.store) == await content(source)
    assert os.listdir(f"{file}.importing") == []


async def test_garbage_behind_good_rooms(source, file):
    stream = await exported(source)
    at = stream.index(b'"name":"c"')
    async with running(SQLiteStore(file)) as (hub, arrivals):
        with pytest.raises(BadMessage):
            await arrivals.take(cut(stream[:at] + b"garbage" * 1000, 1000), Existing.refuse, None)
        assert arrivals.last is not None and arrivals.last.rooms == 2
        assert sorted(await content(hub.store)) == ["a", "b ü"]
        told = await arrivals.take(cut(stream, 1000), Existing.skip, None)
        assert (told.rooms, told.skipped) == (1, 2)
        assert await content(hub.store) == await content(source)


DYING = """
import os, signal, sys, anyio
from pathlib import Path
from collab.store.sqlite import SQLiteStore
from collab.history.arrivals import Existing
from tests.history.test_arrivals import running
from tests.test_unpacking import cut

step, seen = sys.argv[2], 0

def die(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)

class Dying(SQLiteStore):
    async def append(self, entries):
        done = await super().append(entries)
        die("append")
        return done
    async def add_snapshot(self, *args, **options):
        done = await super().add_snapshot(*args, **options)
        die("snapshot")
        return done
    async def compact(self, *args, **options):
        done = await super().compact(*args, **options)
        die("compact")
        return done
    async def forget(self, *args):
        done = await super().forget(*args)
        die("forget")
        return done

async def main():
    async with running(Dying("rooms.db")) as (hub, arrivals):
        await arrivals.take(cut(Path(sys.argv[1]).read_bytes(), 1000), Existing.refuse, None)

anyio.run(main)
"""


@pytest.mark.parametrize("step", ["append", "snapshot", "compact", "forget"])
async def test_a_server_that_dies_between_two_steps(source, file, step, tmp_path):
    (tmp_path / "all").write_bytes(await exported(source))
    env = os.environ | {"PYTHONPATH": str(REPO)}
    died = await anyio.run_process([sys.executable, "-c", DYING, "all", step], cwd=tmp_path, env=env, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    async with running(SQLiteStore(file)) as (hub, arrivals):
        assert await content(hub.store) == {}
        assert os.listdir(f"{file}.importing") == []
        told = await arrivals.take(cut(await exported(source), 1000), Existing.refuse, None)
        assert told.rooms == 3
        assert await content(hub.store) == await content(source)
