"""The outbox in SQLite: in the same transaction, in pieces, over any death; the rest is the contract's."""

from __future__ import annotations

import time

import pytest

from collab.errors import Unavailable
from collab.store import Entry, Reason, outgoing
from collab.store.outbox import Event, News, Outcome
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0


class Died(Exception):
    """The process ended here."""


async def wanted(store: SQLiteStore) -> SQLiteStore:
    await store.outbox.want(tuple(Event), 1, NOW)
    return store


async def kinds(store: SQLiteStore) -> list[str]:
    return [notice.event.value for notice in reversed(await store.outbox.notices(dead=False))]


@pytest.mark.parametrize("step", ["append.before_commit", "snapshot.before_commit", "erase.before_commit"])
async def test_what_is_not_committed_is_not_told(tmp_path, step):
    path, armed = tmp_path / "rooms.db", False

    def at(name: str) -> None:
        if armed and name == step:
            raise Died

    async with SQLiteStore(path, failpoint=at) as store:
        await (await wanted(store)).append([Entry("old", b"1", NOW)])
        armed = True
        calls = {
            "append.before_commit": lambda: store.append([Entry("new", b"1", NOW)]),
            "snapshot.before_commit": lambda: store.add_snapshot("old", b"", covers=1, time=NOW, reason=Reason.MANUAL),
            "erase.before_commit": lambda: store.erase("old"),
        }
        with pytest.raises((Died, Unavailable)):
            await calls[step]()
        armed = False
        assert await kinds(store) == ["room.created"]
        await calls[step]()
        assert len(await kinds(store)) == 2


async def test_a_command_tells_it_too(tmp_path):
    """Who is told stands in the file: whoever writes there, writes that down."""
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await wanted(store)
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await store.append([Entry("room", b"1", NOW)])
        await store.erase("room")
        assert await kinds(store) == ["room.created", "room.deleted"]


async def test_saying_the_same_again_writes_nothing(tmp_path):
    steps: list[str] = []
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=steps.append) as store:
        await store.outbox.want((), 0, NOW)
        await wanted(store)
        await store.append([Entry("room", b"1", NOW)])
        await wanted(store)
        assert await store.outbox.untold() == [("room", 0)], "it does not count as told"


async def test_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(outgoing, "PIECE", 7)
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await wanted(store)
        await store.append([Entry(f"{n:03}", b"1", NOW) for n in range(60)])
        assert [name for name, _ in await store.outbox.untold()] == [f"{n:03}" for n in range(60)]
        due = await store.outbox.due(0, NOW, 100)
        await store.outbox.settle([Outcome(notice.seq, "no", None) for notice in due], NOW)
        assert await store.outbox.replay(None) == 60
        assert [notice.room for notice in await store.outbox.due(0, NOW, 100)] == [f"{n:03}" for n in range(60)]
        died = [await store.outbox.expire(0, NOW, NOW) for _ in range(10)]
        assert died == [7] * 8 + [4, 0]


async def test_how_long_it_takes(tmp_path, figure):
    """A backlog costs no more per event the longer it grows."""
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await wanted(store)
        lines = [News(Event.RESTORED, f"room {n % 5_000}", NOW, {}, str(n)) for n in range(100_000)]
        began = time.perf_counter()
        for start in range(0, len(lines), 5_000):
            await store.outbox.post(lines[start : start + 5_000])
        posted = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(50):
            due = await store.outbox.due(0, NOW, 20)
            await store.outbox.settle([Outcome(notice.seq) for notice in due], NOW)
        settled = (time.perf_counter() - began) / 50
        began = time.perf_counter()
        tally = await store.outbox.tally()
        counted = time.perf_counter() - began
    figure(
        f"outbox of {tally.waiting:,}: {posted / len(lines) * 1e6:.0f} us to post one, "
        f"{settled * 1e3:.1f} ms to take and settle 20, {counted * 1e3:.0f} ms to count"
    )
    assert settled < 0.2
