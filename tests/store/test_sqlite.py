"""The store as a whole: its URL, its history against a model, and files that were cut off while they were written."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.errors import SettingsError
from collab.store import Entry, Kind, Store, open_store
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore

NOW = 1_760_000_000.25


# The URL


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore.from_url("sqlite:///data/rooms.db")
    monkeypatch.chdir("/")
    assert store.path == tmp_path / "data" / "rooms.db"


def test_an_absolute_path():
    assert SQLiteStore.from_url("sqlite:////var/lib/rooms.db").path == Path("/var/lib/rooms.db")


def test_the_path_is_taken_as_it_stands():
    assert SQLiteStore.from_url("sqlite:////a b%20c#d.db").path == Path("/a b%20c#d.db")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:", "names a host or no path"),
        ("sqlite:rooms.db", "names a host or no path"),
        ("sqlite:/var/rooms.db", "names a host or no path"),
        ("sqlite://", "names a host or no path"),
        ("sqlite://host/rooms.db", "names a host or no path"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///rooms.db?mode=ro", "has options"),
        ("sqlite:///rooms\0.db", "has options"),
    ],
)
def test_other_urls_are_refused_with_a_sentence(url, says):
    with pytest.raises(SettingsError, match=says) as caught:
        SQLiteStore.from_url(url)
    assert str(caught.value).startswith("COLLAB_STORE__URL: ")


def test_nothing_is_made_before_it_is_opened(tmp_path):
    open_store(f"sqlite:///{tmp_path}/data/rooms.db")
    assert list(tmp_path.iterdir()) == []


# Against a model

rooms = st.sampled_from(["a", "A", "é", "a/b"])
entries = st.builds(
    Entry,
    room=rooms,
    update=st.binary(max_size=30) | st.integers(1000, 5000).map(bytes),
    time=st.floats(1e9, 3e9),
    author=st.none() | st.text(max_size=5, alphabet=st.characters(exclude_categories=["Cs"])),
    kind=st.sampled_from(Kind),
)
steps = st.one_of(
    st.tuples(st.just("append"), st.lists(st.lists(entries, min_size=1, max_size=6), min_size=1, max_size=4)),
    st.tuples(st.just("compact"), rooms, st.binary(max_size=50), st.floats(0, 1), st.integers(-1, 1)),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("crash")),
)


async def outcome(store: Store, step: tuple) -> object:
    """What one step gives, or the kind of error it ends in."""
    match step:
        case ("append", calls):
            return await asyncio.gather(*(store.append(call) for call in calls))
        case ("compact", room, state, share, off):
            stored = await store.load(room)
            try:
                return await store.compact(
                    room, state, covers=stored.covers + round(share * len(stored.rows)), basis=stored.covers + off
                )
            except ValueError:
                return ValueError
    return None


def copy_files(path: Path, copy: Path) -> None:
    for end in ("", "-wal"):
        if os.path.exists(f"{path}{end}"):
            # By another process: closing the file in this one would drop the store's lock on it.
            subprocess.run(["cp", f"{path}{end}", f"{copy}{end}"], check=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=20))
def test_any_history_gives_what_the_store_in_memory_gives(history):
    async def compare() -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "0.db")
            model, store = MemoryStore(), SQLiteStore(path)
            await model.__aenter__()
            await store.__aenter__()
            for number, step in enumerate(history, 1):
                if step[0] == "reopen":
                    await store.__aexit__(None, None, None)
                    store = await SQLiteStore(path).__aenter__()
                elif step[0] == "crash":
                    # The files as they are at this moment, in another place, as after a kill.
                    copy = Path(folder, f"{number}.db")
                    copy_files(path, copy)
                    await store.__aexit__(None, None, None)
                    path, store = copy, await SQLiteStore(copy).__aenter__()
                assert await outcome(store, step) == await outcome(model, step)
            for room in ("a", "A", "é", "a/b", "never"):
                assert await store.load(room) == await model.load(room)
            assert [info async for info in store.rooms()] == [info async for info in model.rooms()]
            await store.__aexit__(None, None, None)
            with closing(sqlite3.connect(path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert db.execute("PRAGMA foreign_key_check").fetchall() == []

    asyncio.run(compare())


# Clocks (D14)


@pytest.mark.anyio
async def test_order_does_not_come_from_the_clock_whatever_it_does(tmp_path, monkeypatch):
    source = random.Random(14)
    path = tmp_path / "rooms.db"
    written = []
    for opening in range(5):
        monkeypatch.setattr(time, "time_ns", lambda opening=opening: (NOW.__trunc__() - 3600 * opening) * 10**9)
        async with SQLiteStore(path) as store:
            for _ in range(20):
                moment = NOW + source.choice([-3600.0, 0.0, 0.0, 3600.0])
                update = source.randbytes(8)
                await store.append([Entry("room", update, moment)])
                written.append((update, moment))
            if opening == 2:
                stored = await store.load("room")
                assert await store.compact("room", b"state", covers=stored.seq - 5, basis=0)
    async with SQLiteStore(path) as store:
        stored = await store.load("room")
    assert stored.seq == 100 and stored.covers == 55
    assert [(row.update, row.time) for row in stored.rows] == written[55:]


# A log that was cut off or spoiled while it was written (D12)

WRITE = """
    import asyncio, os, signal, sys
    from collab.store import Entry
    from collab.store.sqlite import SQLiteStore

    async def main():
        store = await SQLiteStore(sys.argv[1]).__aenter__()
        for i in range(1, int(sys.argv[2]) + 1):
            await store.append([Entry("room", b"%d" % i * (1 + i % 700), 1000), Entry(f"room {i % 7}", b"", 1000)])
            print(i, os.path.getsize(sys.argv[1] + "-wal"), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())
"""


def killed_while_writing(path: Path, commits: int) -> tuple[bytes, bytes, list[int]]:
    """Writes that many commits and dies; returns the file, its log, and how long the log was after each commit."""
    command = [sys.executable, "-c", textwrap.dedent(WRITE), str(path), str(commits)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    sizes = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(sizes) == commits and sizes == sorted(sizes)
    return path.read_bytes(), Path(f"{path}-wal").read_bytes(), sizes


def put_files(path: Path, main: bytes, log: bytes) -> None:
    path.write_bytes(main)
    Path(f"{path}-wal").write_bytes(log)


async def survivors(path: Path, main: bytes, log: bytes) -> int:
    """How many commits are left when the server finds these two files; all that is left must be sound."""
    put_files(path, main, log)
    async with SQLiteStore(path) as store:
        rows = (await store.load("room")).rows
        assert [row.update for row in rows] == [b"%d" % i * (1 + i % 700) for i in range(1, len(rows) + 1)]
        assert sum([info.seq async for info in store.rooms()]) == 2 * len(rows), "half of a commit is there"
        assert await store.append([Entry("room", b"next", 1000)]) == [len(rows) + 1]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return len(rows)


@pytest.mark.anyio
@pytest.mark.timeout(1800)
async def test_the_log_is_cut_or_spoiled(tmp_path, full, figure):
    """Opens, and loses only the commits whose own bytes were touched and those after them: nothing before."""
    commits = 60
    path, copy = tmp_path / "rooms.db", tmp_path / "copy.db"
    main, log, ends = killed_while_writing(path, commits)
    assert len(log) == ends[-1]
    assert await survivors(copy, main, log) == commits

    def untouched(place: int) -> int:
        """How many commits lie wholly before this byte of the log."""
        return sum(end <= place for end in ends)

    source = random.Random(12)
    last_page = len(log) - 4096
    cuts = range(1, len(log), 97) if full else sorted(source.sample(range(1, len(log)), 60))
    for cut in cuts:
        assert await survivors(copy, main, log[: len(log) - cut]) == untouched(len(log) - cut), f"cut by {cut}"
    places = range(last_page, len(log)) if full else sorted(source.sample(range(last_page, len(log)), 60))
    for place in places:
        spoiled = bytearray(log)
        spoiled[place] ^= 1 << source.randrange(8)
        assert await survivors(copy, main, bytes(spoiled)) == commits - 1, f"a bit at {place}"
    for place in source.sample(range(ends[0], last_page), 300 if full else 20):
        spoiled = bytearray(log)
        spoiled[place] ^= 1 << source.randrange(8)
        assert await survivors(copy, main, bytes(spoiled)) == untouched(place), f"a bit at {place}"
    for tail in (log[-4120:], log[-4120 * 3 :], bytes(5000), source.randbytes(10_000)):
        assert await survivors(copy, main, log + tail) == commits, "something was appended to the log"
    figure(f"{len(cuts)} cuts by 1 to {max(cuts)} bytes, {len(places)} bits of the last page: lost the touched commits")


# A long log (D23)


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_a_long_log(tmp_path, full, figure):
    count = 1_000_000 if full else 50_000
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        for start in range(0, count, 5000):
            await store.append([Entry("room", b"%020d" % i, NOW, "ana") for i in range(start, start + 5000)])
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        started = time.perf_counter()
        stored = await store.load("room")
        load = time.perf_counter() - started
        assert len(stored.rows) == count and stored.rows[-1].update == b"%020d" % (count - 1)
        started = time.perf_counter()
        assert await store.compact("room", b"state", covers=count - 10, basis=0)
        compact = time.perf_counter() - started
        started = time.perf_counter()
        assert len((await store.load("room")).rows) == 10
        again = time.perf_counter() - started
    figure(f"{count:,} rows: load {load:.2f} s, compact {compact:.2f} s, load after it {again * 1000:.1f} ms")
