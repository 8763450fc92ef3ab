"""Snapshots at times of day: the last moment and the next, and the one that was slept through."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from pycrdt import Doc, Text

from collab.history import schedule
from collab.history.archive import Archive
from collab.history.schedule import Schedule, following, last
from collab.hub import Hub
from collab.settings import Settings
from collab.settings.values import parse_times
from collab.store import Entry, Reason
from collab.store.sqlite import SQLiteStore

DAY = 86_400.0
MIDNIGHT = 20_000 * DAY


@pytest.mark.parametrize(
    ("times", "now", "before", "after"),
    [
        ("03:00", 2.0, -21.0, 3.0),
        ("03:00", 3.0, 3.0, 27.0),
        ("03:00", 23.9, 3.0, 27.0),
        ("15:30, 3:00", 4.0, 3.0, 15.5),
        ("15:30, 3:00", 16.0, 15.5, 27.0),
        ("15:30, 3:00", 0.0, -8.5, 3.0),
        ("00:00", 0.0, 0.0, 24.0),
    ],
)
def test_the_last_and_the_next(times, now, before, after):
    parsed, hour = parse_times(times), 3_600
    assert last(parsed, MIDNIGHT + now * hour) == MIDNIGHT + before * hour
    assert following(parsed, MIDNIGHT + now * hour) == MIDNIGHT + after * hour


@pytest.mark.parametrize("text", ["25:00", "3", "03:60", "noon", "03:00;04:00", "-1:00", "03:00 04:00"])
def test_what_is_no_time_of_day(text):
    with pytest.raises(ValueError, match="times of day"):
        parse_times(text)


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[tuple[Hub, Archive, SQLiteStore]]:
    store = SQLiteStore(tmp_path / "rooms.db")
    async with Hub(Settings(history={"snapshot_at": "03:00"}), store=store) as hub:
        yield hub, Archive(hub), store


def words(text: str) -> bytes:
    return Doc({"t": Text(text)}).get_update()


@pytest.mark.anyio
async def test_rooms_that_changed_get_one_and_no_others(tmp_path: Path):
    async with running(tmp_path) as (hub, archive, store):
        made = Schedule(hub, archive)
        now = time.time()
        await store.append([Entry(name, words(name), now - 100) for name in ("a", "b", "c")])
        await archive.create("c")
        assert await made.make(now - 50) == 2
        assert [[one.reason for one in await store.snapshots(name)] for name in "abc"] == [
            [Reason.SCHEDULED],
            [Reason.SCHEDULED],
            [Reason.MANUAL],
        ]
        assert await made.make(now - 50) == 0, "a server that starts again has it already"
        await store.append([Entry("b", words("more"), now)])
        assert await made.make(now - 50) == 0, "it changed since, and its time is not there yet"
        assert await made.make(time.time() + 1) == 1
        assert [one.covers for one in await store.snapshots("b")] == [2, 1]


@pytest.mark.anyio
async def test_a_damaged_room_is_in_nobodys_way(tmp_path: Path):
    async with running(tmp_path) as (hub, archive, store):
        await store.append([Entry("a", b"no update", 1.0), Entry("b", words("b"), 1.0)])
        assert await Schedule(hub, archive).make(time.time()) == 1
        assert [info.covers for info in await store.snapshots("b")] == [1]


async def there_are(count: int, store: SQLiteStore) -> None:
    for _ in range(1_000):
        if len(await store.snapshots("a")) == count:
            return
        await anyio.sleep(0.01)
    pytest.fail(f"there are no {count} snapshots after 10 s")


@pytest.mark.anyio
async def test_the_clock_strikes(tmp_path: Path, monkeypatch):
    """A time that was slept through is made up for at once, the next one comes when it is there."""
    shift = MIDNIGHT + 3 * 3_600 - 1.0 - time.time()  # a second before three
    clock = SimpleNamespace(time=lambda: time.time() + shift, monotonic=time.monotonic)
    monkeypatch.setattr(schedule, "time", clock)
    async with running(tmp_path) as (hub, archive, store):
        monkeypatch.setattr("collab.history.archive.time", clock)
        await store.append([Entry("a", words("a"), 1.0)])
        Schedule(hub, archive).start()
        await there_are(1, store)
        await store.append([Entry("a", words("b"), 2.0)])
        await there_are(2, store)
        assert clock.time() >= MIDNIGHT + 3 * 3_600
