"""The thread and the disk that fails: group commit, no answer without a commit, recovery without a restart."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from collab.errors import CollabError, DamagedRoom, Unavailable
from collab.store import Entry, writer
from collab.store.schema import open_database
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

BEFORE, AFTER = "append.before_commit", "append.after_commit"


class Faults:
    """A failpoint: counts the steps, and does at each what it was told to."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.at: dict[str, Callable[[], None]] = {}

    def __call__(self, step: str) -> None:
        self.counts[step] += 1
        if step in self.at:
            self.at[step]()


class Gate:
    """Holds the store's thread until it is opened."""

    def __init__(self) -> None:
        self._here, self._go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._here.set()
        assert self._go.wait(30)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._here.wait, 30)

    def open(self) -> None:
        self._go.set()


def error(code: int, text: str = "made up") -> sqlite3.OperationalError:
    made = sqlite3.OperationalError(text)
    made.sqlite_errorcode = code
    return made


def failing(code: int, times: int = 1) -> Callable[[], None]:
    left = times

    def fail() -> None:
        nonlocal left
        if left:
            left -= 1
            raise error(code)

    return fail


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rooms.db"


def one(update: bytes = b"", room: str = "room") -> list[Entry]:
    return [Entry(room, update, 1000.0)]


async def updates(store: SQLiteStore, room: str = "room") -> list[bytes]:
    return [row.update for row in (await store.load(room)).rows]


# Group commit


async def test_what_waits_during_a_commit_goes_into_the_next_one_together(path, faults):
    gate = faults.at[BEFORE] = Gate()
    async with SQLiteStore(path, failpoint=faults) as store:
        first = asyncio.create_task(store.append(one(b"first")))
        await gate.reached()
        others = [asyncio.create_task(store.append(one(b"%d" % i))) for i in range(100)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in [first, *others])
        gate.open()
        assert await asyncio.gather(first, *others) == [[i] for i in range(1, 102)]
        assert faults.counts[AFTER] == 2
        assert await updates(store) == [b"first", *(b"%d" % i for i in range(100))]


async def test_an_append_that_finds_the_thread_idle_does_not_wait_for_company(path, faults):
    async with SQLiteStore(path, failpoint=faults) as store:
        for i in range(10):
            assert await store.append(one()) == [i + 1]
        assert faults.counts[AFTER] == 10


async def test_a_group_is_bounded(path, faults, monkeypatch):
    monkeypatch.setattr(writer, "GROUP_ROWS", 10)
    gate = faults.at[BEFORE] = Gate()
    async with SQLiteStore(path, failpoint=faults) as store:
        tasks = [asyncio.create_task(store.append(one() * 3)) for _ in range(9)]
        await gate.reached()
        gate.open()
        await asyncio.gather(*tasks)
        assert 3 <= faults.counts[AFTER] <= 4
        monkeypatch.setattr(writer, "GROUP_BYTES", 10)
        faults.counts.clear()
        await asyncio.gather(*(store.append(one(b"x" * 20)) for _ in range(5)))
        assert faults.counts[AFTER] == 5


async def test_no_answer_before_the_commit(path, faults):
    """The answer comes after the commit returned; a second connection on a copy of the files sees the row by then."""
    gate = faults.at[AFTER] = Gate()
    async with SQLiteStore(path, failpoint=faults) as store:
        task = asyncio.create_task(store.append(one(b"kept")))
        await gate.reached()
        await asyncio.sleep(0.05)
        assert not task.done()
        copy = path.with_name("copy.db")
        await asyncio.to_thread(subprocess.run, ["cp", path, copy], check=True)
        await asyncio.to_thread(subprocess.run, ["cp", f"{path}-wal", f"{copy}-wal"], check=True)
        with closing(sqlite3.connect(copy)) as db:
            assert db.execute('SELECT "update" FROM log').fetchall() == [(b"kept",)]
        gate.open()
        assert await task == [1]


async def test_commits_go_on_between_the_pages_of_a_load(path, faults):
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append([Entry("long", b"", 0) for _ in range(10_000)])
        gate = faults.at["load.page"] = Gate()
        loading = asyncio.create_task(store.load("long"))
        await gate.reached()
        pages: list[int] = []
        faults.at[AFTER] = lambda: pages.append(faults.counts["load.page"])
        appending = asyncio.create_task(store.append(one()))
        await asyncio.sleep(0)
        gate.open()
        await appending
        assert pages[0] <= 3, "this thread may hear of it later"
        assert len((await loading).rows) == 10_000


# Callers


async def test_a_caller_that_is_cancelled_harms_nobody(path, faults):
    gate = faults.at[BEFORE] = Gate()
    async with SQLiteStore(path, failpoint=faults) as store:
        first = asyncio.create_task(store.append(one(b"0")))
        await gate.reached()
        tasks = [asyncio.create_task(store.append(one(b"%d" % i))) for i in range(1, 5)]
        looking = asyncio.create_task(store.load("room"))
        await asyncio.sleep(0)
        for task in (first, tasks[1], looking):
            task.cancel()
        await asyncio.sleep(0)
        gate.open()
        results = await asyncio.gather(first, *tasks, looking, return_exceptions=True)
        assert [type(result) for result in results].count(asyncio.CancelledError) == 3
        assert await updates(store) == [b"%d" % i for i in range(5)], "an append in the queue is kept all the same"
        assert faults.counts["load.page"] == 1, "nobody waits for that load"


async def test_an_impossible_entry_fails_alone(path, faults):
    gate = faults.at[BEFORE] = Gate()
    async with SQLiteStore(path, failpoint=faults) as store:
        first = asyncio.create_task(store.append(one(b"0")))
        await gate.reached()
        bad = [
            [Entry("room", b"", 0, author="\ud800")],
            [Entry("\ud800", b"", 0)],
            [Entry("room", "text", 0)],  # type: ignore[arg-type]
            [Entry("room", b"", float("nan"))],
            [*one(b"not this either"), Entry("other", b"", 0, kind=300)],  # type: ignore[arg-type]
        ]
        tasks = [asyncio.create_task(store.append(entries)) for pair in bad for entries in (pair, one(b"good"))]
        await asyncio.sleep(0)
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Exception) for result in results[::2])
        assert results[1::2] == [[2], [3], [4], [5], [6]]
        assert await first == [1]
        assert await updates(store) == [b"0"] + [b"good"] * 5


async def test_one_damaged_room_does_not_stop_the_others(path, faults):
    async with SQLiteStore(path) as store:
        await store.append([*one(), Entry("bad", b"", 0)])
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM log WHERE room_id = (SELECT id FROM rooms WHERE name = 'bad')")
        db.commit()
    gate = faults.at[BEFORE] = Gate()
    async with SQLiteStore(path, failpoint=faults) as store:
        first = asyncio.create_task(store.append(one()))
        await gate.reached()
        tasks = [asyncio.create_task(store.append(one(room=name))) for name in ("room", "bad", "new")]
        mixed = asyncio.create_task(store.append([*one(), *one(room="bad")]))
        await asyncio.sleep(0)
        gate.open()
        results = await asyncio.gather(first, *tasks, mixed, return_exceptions=True)
        assert [results[0], results[1], results[3]] == [[2], [3], [1]]
        for refused in (results[2], results[4]):
            assert isinstance(refused, DamagedRoom) and refused.room == "bad"


async def test_pages_that_cannot_be_written_are_blamed_on_their_room(path):
    async with SQLiteStore(path) as store:
        for name in ("a", "z", "bad"):
            await store.append([Entry(name, b"x" * 20, 0) for _ in range(1000)])
    content, blamed, nobodys = path.read_bytes(), 0, 0
    for page in range(1, len(content) // 4096):
        path.write_bytes(content[: page * 4096] + bytes(4096) + content[(page + 1) * 4096 :])
        try:
            async with SQLiteStore(path) as store:
                await asyncio.gather(store.load("a"), store.load("z"))
                try:
                    await store.append([*one(room="a"), *one(room="bad"), *one(room="z")])
                except DamagedRoom as refused:
                    assert refused.room == "bad"
                    assert await store.append([*one(room="a"), *one(room="z")]) == [1001, 1001]
                    blamed += 1
                except Unavailable:  # the last page of the table, where all rows go
                    with pytest.raises(Unavailable):
                        await store.append(one(room="a"))
                    nobodys += 1
        except CollabError:
            continue  # a page that others need, too
    assert blamed and nobodys


async def test_an_error_that_is_nobodys_fault_may_pass(path, faults):
    def fail() -> None:
        raise sqlite3.DatabaseError("nobody's fault")

    async with SQLiteStore(path, failpoint=faults) as store:
        faults.at[BEFORE] = fail
        with pytest.raises(Unavailable, match="nobody's"):
            await store.append([*one(), *one(room="a")])


async def test_it_can_be_closed_while_it_opens(path):
    store = SQLiteStore(path)
    opening = asyncio.create_task(store.__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await store._writer._closed
    async with SQLiteStore(path) as other:
        await other.append(one())


async def test_closing_commits_what_waits(path, faults):
    gate = faults.at[BEFORE] = Gate()
    store = await SQLiteStore(path, failpoint=faults).__aenter__()
    tasks = [asyncio.create_task(store.append(one(b"%d" % i))) for i in range(10)]
    await gate.reached()
    closing_task = asyncio.create_task(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="closed"):
        await store.append(one(b"too late"))
    gate.open()
    assert await asyncio.gather(*tasks) == [[i] for i in range(1, 11)]
    await closing_task
    assert [name.name for name in path.parent.iterdir()] == [path.name], "the log was not moved into the file"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM log").fetchone() == (10,)


async def test_giving_up_on_closing_does_not_stop_it(path, faults):
    gate = faults.at[BEFORE] = Gate()
    store = await SQLiteStore(path, failpoint=faults).__aenter__()
    task = asyncio.create_task(store.append(one()))
    await gate.reached()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await store.__aexit__(None, None, None)
    gate.open()
    assert await task == [1]
    await store._writer._closed


async def test_a_log_that_cannot_be_moved_at_the_end_is_read_by_the_next_start(path, monkeypatch):
    with monkeypatch.context() as patch:
        async with SQLiteStore(path) as store:
            await store.append(one(b"kept"))

            def fail(self: object) -> None:
                raise error(sqlite3.SQLITE_FULL)

            patch.setattr("collab.store.tables.Tables.settle", fail)
    async with SQLiteStore(path) as store:
        assert await updates(store) == [b"kept"]


async def test_nobody_waits_for_a_thread_that_is_dead(path, faults):
    def die() -> None:
        raise KeyboardInterrupt

    faults.at[BEFORE] = die
    async with SQLiteStore(path, failpoint=faults) as store:
        first = asyncio.create_task(store.append(one()))
        waiting = [asyncio.create_task(store.append(one())) for _ in range(3)]
        results = await asyncio.wait_for(asyncio.gather(first, *waiting, return_exceptions=True), 10)
        assert all(isinstance(result, Unavailable) for result in results)
        with pytest.raises(Unavailable, match="its thread has died"):
            await store.check()
    async with SQLiteStore(path) as store:
        assert await store.append(one()) == [1]


async def test_no_thread_is_left(path):
    async with SQLiteStore(path) as store:
        await store.append(one())
        assert [thread.name for thread in threading.enumerate()].count("collab-store") == 1
    for _ in range(100):
        if "collab-store" not in [thread.name for thread in threading.enumerate()]:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the thread lives on")
    gc.collect()


async def test_a_program_that_forgets_to_close_ends(path):
    code = """
        import asyncio, sys
        from collab.store import Entry, open_store
        async def main():
            store = await open_store("sqlite:///" + sys.argv[1]).__aenter__()
            await store.append([Entry("room", b"kept", 0)])
        asyncio.run(main())
    """
    assert run(code, path, timeout=20).returncode == 0
    async with SQLiteStore(path) as store:
        assert await updates(store) == [b"kept"]


# check


async def test_check_commits_when_nothing_else_did(path, faults, monkeypatch):
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one())
        await store.check()
        assert faults.counts["check.before_commit"] == 0
        monkeypatch.setattr(writer, "FRESH_SECONDS", 0)
        await store.check()
        assert faults.counts["check.before_commit"] == 1


async def test_check_does_not_wait_for_ever(path, faults, monkeypatch):
    monkeypatch.setattr("collab.store.sqlite.CHECK_SECONDS", 0.1)
    gate = faults.at[BEFORE] = Gate()
    async with SQLiteStore(path, failpoint=faults) as store:
        task = asyncio.create_task(store.append(one()))
        await gate.reached()
        started = time.monotonic()
        with pytest.raises(Unavailable, match="no answer within 0.1 seconds"):
            await store.check()
        assert time.monotonic() - started < 2
        gate.open()
        assert await task == [1]
        await store.check()


async def test_check_goes_before_loads_that_wait(path, monkeypatch):
    monkeypatch.setattr(writer, "FRESH_SECONDS", 0)
    steps: list[str] = []
    gate = Gate()

    def failpoint(step: str) -> None:
        steps.append(step)
        if step == "load.page":
            gate()

    async with SQLiteStore(path, failpoint=failpoint) as store:
        await store.append(one())
        loads = [asyncio.create_task(store.load("room")) for _ in range(10)]
        await gate.reached()
        checking = asyncio.create_task(store.check())
        await asyncio.sleep(0)
        gate.open()
        await checking
        await asyncio.gather(*loads)
        assert steps[2:5] == ["load.page", "check.before_commit", "load.page"]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT])
async def test_check_says_when_a_commit_fails(path, faults, monkeypatch, code):
    monkeypatch.setattr(writer, "FRESH_SECONDS", 0)
    async with SQLiteStore(path, failpoint=faults) as store:
        faults.at["check.before_commit"] = failing(code)
        with pytest.raises(Unavailable, match="made up"):
            await store.check()
        await store.check()


# The disk fails (D08, D09, D10)

OUTAGES = {
    "EIO": sqlite3.SQLITE_IOERR_WRITE,
    "fsync": sqlite3.SQLITE_IOERR_FSYNC,
    "ENOSPC": sqlite3.SQLITE_FULL,
    "BUSY": sqlite3.SQLITE_BUSY,
}


@pytest.mark.parametrize("step", [BEFORE, AFTER])
@pytest.mark.parametrize("code", OUTAGES.values(), ids=OUTAGES)
async def test_every_nth_commit_fails(path, faults, step, code):
    """No answer for those that failed, and each of the others is there, in order, under its number."""
    steps = 0

    def fail() -> None:
        nonlocal steps
        steps += 1
        if steps % 3 == 0:
            raise error(code)

    faults.at[step] = fail
    answered: dict[int, bytes] = {}
    async with SQLiteStore(path, failpoint=faults) as store:
        for i in range(60):
            try:
                ((seq,), _) = await asyncio.gather(store.append(one(b"%d" % i)), store.load("room"))
            except Unavailable as refused:
                assert "made up" in str(refused)
            else:
                assert seq not in answered
                answered[seq] = b"%d" % i
        assert len(answered) == 40
        kept = {row.seq: row.update for row in (await store.load("room")).rows}
    assert answered.items() <= kept.items()
    assert len(kept) == (40 if step == BEFORE else 60)
    assert list(kept) == list(range(1, len(kept) + 1))


async def test_all_callers_of_a_group_that_failed_are_told(path, faults):
    gate = Gate()

    def fail() -> None:
        gate()
        raise error(sqlite3.SQLITE_IOERR_FSYNC)

    faults.at[BEFORE] = fail
    async with SQLiteStore(path, failpoint=faults) as store:
        tasks = [asyncio.create_task(store.append(one())) for _ in range(10)]
        await gate.reached()
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        assert await updates(store) == []


async def test_numbers_are_read_again_after_an_uncertain_commit(path, faults):
    async with SQLiteStore(path, failpoint=faults) as store:
        assert await store.append(one(b"1")) == [1]
        faults.at[AFTER] = failing(sqlite3.SQLITE_IOERR)
        with pytest.raises(Unavailable):
            await store.append(one(b"2"))
        assert await store.append(one(b"2 again")) == [3]
        assert await updates(store) == [b"1", b"2", b"2 again"]


async def test_after_a_failure_the_log_is_moved_into_the_file_before_anything_is_promised(path, faults, monkeypatch):
    """What a failed fsync left in the page cache is never the ground of an answer."""
    statements: list[str] = []

    def traced(*args: object, **options: object) -> object:
        db = open_database(*args, **options)  # type: ignore[arg-type]
        db.conn.set_trace_callback(statements.append)
        return db

    monkeypatch.setattr(writer, "open_database", traced)
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one())
        faults.at[BEFORE] = failing(sqlite3.SQLITE_IOERR_FSYNC)
        with pytest.raises(Unavailable):
            await store.append(one())
        statements.clear()
        faults.at = {BEFORE: lambda: statements.append("commit"), "load.page": lambda: statements.append("read")}
        await store.load("room")
        await store.append(one())
        await store.append(one())
    kinds = ["settle" if "wal_checkpoint(" in sql else sql for sql in statements]
    kinds = [kind for kind in kinds if kind in ("settle", "commit", "read")]
    assert kinds == ["read", "settle", "commit", "commit", "settle"]  # the last one when it closes


async def test_while_the_log_cannot_be_moved_rooms_can_be_read(path, faults, monkeypatch):
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one(b"kept"))
        faults.at[BEFORE] = failing(sqlite3.SQLITE_FULL)
        with pytest.raises(Unavailable):
            await store.append(one())

        def fail(self: object) -> None:
            raise error(sqlite3.SQLITE_FULL, "database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr("collab.store.tables.Tables.settle", fail)
            for _ in range(3):
                with pytest.raises(Unavailable, match="disk is full"):
                    await store.append(one())
                with pytest.raises(Unavailable, match="disk is full"):
                    await store.check()
                assert await updates(store) == [b"kept"]
        assert await store.append(one(b"later")) == [2]


async def test_a_compaction_that_fails_changes_nothing(path, faults):
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append([Entry("room", b"%d" % i, 0) for i in range(5)])
        before = await store.load("room")
        for step in ("compact.read", "compact.checkpoint", "compact.before_commit"):
            faults.at = {step: failing(sqlite3.SQLITE_IOERR)}
            with pytest.raises(Unavailable):
                await store.compact("room", b"state", covers=3, basis=0)
            assert await store.load("room") == before
        faults.at = {"compact.after_commit": failing(sqlite3.SQLITE_IOERR)}
        with pytest.raises(Unavailable):
            await store.compact("room", b"state", covers=3, basis=0)
        assert (await store.load("room")).checkpoint == b"state"
        assert await store.compact("room", b"state", covers=3, basis=0) is False


async def test_a_read_that_fails_is_no_empty_room(path, faults):
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one(b"kept"))
        faults.at["load.page"] = failing(sqlite3.SQLITE_IOERR_READ)
        with pytest.raises(Unavailable):
            await store.load("room")
        assert await updates(store) == [b"kept"]


async def test_any_other_exception_reaches_its_caller_and_no_one_else(path, faults):
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one(b"1"))
        faults.at[BEFORE] = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await store.append(one(b"2"))
        faults.at = {"load.page": lambda: 1 / 0}
        with pytest.raises(ZeroDivisionError):
            await store.load("room")
        faults.at = {}
        assert await store.append(one(b"2")) == [2]


async def test_the_disk_is_full_for_a_while(path, faults, monkeypatch):
    """D10: refused while it is full, read all the same, and it goes on by itself when there is room again."""
    full = False

    def limited(*args: object, **options: object) -> object:
        db = open_database(*args, **options)  # type: ignore[arg-type]
        if full:
            db.execute("PRAGMA max_page_count = 1")
        return db

    monkeypatch.setattr(writer, "open_database", limited)
    monkeypatch.setattr(writer, "FRESH_SECONDS", 0)
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one(b"before"))
        full = True
        faults.at[BEFORE] = failing(sqlite3.SQLITE_FULL)
        for _ in range(4):
            with pytest.raises(Unavailable, match="full|made up"):
                await store.append(one(b"x" * 100_000))
            assert await updates(store) == [b"before"]
        full = False
        with pytest.raises(Unavailable, match="full"):
            await store.append(one(b"x" * 100_000))
        assert await store.append(one(b"after")) == [2]
        await store.check()


def run(code: str, *args: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=Path(__file__).parents[2])


async def test_the_kernel_refuses_to_write(path):
    """The same with a real refusal: the limit on the size of a file."""
    code = """
        import asyncio, resource, sys
        from collab.errors import Unavailable
        from collab.store import Entry
        from collab.store.sqlite import SQLiteStore

        def allow(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        async def main():
            kept, refused = [], 0
            async with SQLiteStore(sys.argv[1]) as store:
                for turn in range(6):
                    allow(300_000 if turn % 2 == 0 else resource.RLIM_INFINITY)
                    for i in range(40):
                        update = b"%d.%d" % (turn, i) + b"x" * 5000
                        try:
                            await store.append([Entry("room", update, 0)])
                        except Unavailable:
                            refused += 1
                        else:
                            kept.append(update)
                    loaded = [row.update for row in (await store.load("room")).rows]
                    assert set(kept) <= set(loaded)
                    if turn % 2:
                        await store.check()
                    else:
                        try:
                            await store.check()
                        except Unavailable:
                            refused += 1
                allow(resource.RLIM_INFINITY)
            print(len(kept), refused)

        asyncio.run(main())
    """
    done = run(code, path)
    assert done.returncode == 0, done.stderr
    kept, refused = map(int, done.stdout.split())
    assert kept >= 120 and refused >= 40
    async with SQLiteStore(path) as store:
        assert (await store.load("room")).seq >= kept


# The file goes away


async def test_a_file_that_vanished_is_no_empty_store(path, faults, monkeypatch):
    monkeypatch.setattr(writer, "PAUSE_SECONDS", 0)
    away = path.with_name("away.db")
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one(b"kept"))
        path.rename(away)
        with pytest.raises(Unavailable, match="No such file"):
            await store.check()
        for call in (store.append(one()), store.load("room"), store.check()):
            with pytest.raises(Unavailable, match="No such file"):
                await call
        assert not path.exists()
        away.rename(path)
        assert await updates(store) == [b"kept"]
        assert await store.append(one()) == [2]
        await store.check()


async def test_another_file_in_its_place_is_not_taken_for_it(path, monkeypatch):
    """As when an old backup is copied over the file while the server runs, or a volume is mounted over it."""
    monkeypatch.setattr(writer, "PAUSE_SECONDS", 0)
    async with SQLiteStore(path) as store:
        await store.append(one(b"old"))
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    async with SQLiteStore(path) as store:
        await store.append(one(b"new"))
        os.replace(backup, path)
        with pytest.raises(Unavailable, match="another file took the place"):
            await store.check()
        with pytest.raises(Unavailable, match="another file took the place"):
            await store.append(one(b"newer"))


async def test_another_process_that_took_the_file_meanwhile(path, faults, monkeypatch):
    async with SQLiteStore(path, failpoint=faults) as store:
        await store.append(one(b"1"))
        faults.at[BEFORE] = failing(sqlite3.SQLITE_IOERR)
        with pytest.raises(Unavailable):
            await store.append(one(b"2"))
        with closing(open_database(path, create=False, patience=1)):
            with pytest.raises(Unavailable, match="in use by another process"):
                await store.append(one(b"2"))
            started = time.monotonic()
            results = await asyncio.gather(*(store.load("room") for _ in range(50)), return_exceptions=True)
            assert all(isinstance(result, Unavailable) for result in results)
            assert time.monotonic() - started < 5, "each of them waited for the lock"
        monkeypatch.setattr(writer, "PAUSE_SECONDS", 0)
        await asyncio.sleep(0.6)
        assert await store.append(one(b"2")) == [2]


# kill -9 (D02, D03)

DIE = """
    import asyncio, os, signal, sys
    from collab.store import Entry
    from collab.store.sqlite import SQLiteStore

    path, fatal, times = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def failpoint(step):
        global times
        if step == fatal:
            times -= 1
            if not times:
                os.kill(os.getpid(), signal.SIGKILL)

    async def main():
        async with SQLiteStore(path, failpoint=failpoint) as store:
            for i in range(1, 11):
                await store.append([Entry("room", b"%d" % i, 0), Entry("new %d" % i, b"", 0)])
                await store.append([Entry("room", b"%d'" % i, 0)])
                print(i, flush=True)
            if fatal.startswith("compact"):
                await store.compact("room", b"1 to 12", covers=12, basis=0)
                print("compacted", flush=True)

    asyncio.run(main())
"""


@pytest.mark.parametrize("times", [1, 2, 9, 10])
@pytest.mark.parametrize("step", [BEFORE, AFTER])
async def test_killed_around_a_commit(path, step, times):
    """D02: before it, what was not answered is not there; after it, it is, answered or not."""
    done = run(DIE, path, step, times)
    assert done.returncode == -signal.SIGKILL
    answered = len(done.stdout.split())
    assert answered == (times - 1) // 2
    async with SQLiteStore(path) as store:
        kept = await updates(store)
        assert len(kept) == (times - 1 if step == BEFORE else times)
        assert kept == [b"%d%s" % (i, mark) for i in range(1, 11) for mark in (b"", b"'")][: len(kept)]
        assert [info.seq async for info in store.rooms() if info.name.startswith("new")] == [1] * ((len(kept) + 1) // 2)
        assert await store.append(one()) == [len(kept) + 1]


@pytest.mark.parametrize("step", ["read", "checkpoint", "before_commit", "after_commit"])
async def test_killed_around_a_compaction(path, step):
    """D03: the room is as before or as after, and nothing in between."""
    done = run(DIE, path, f"compact.{step}", 1)
    assert done.returncode == -signal.SIGKILL
    async with SQLiteStore(path) as store:
        stored = await store.load("room")
        assert stored.seq == 20
        if step == "after_commit":
            assert (stored.checkpoint, stored.covers, len(stored.rows)) == (b"1 to 12", 12, 8)
        else:
            assert (stored.checkpoint, stored.covers, len(stored.rows)) == (None, 0, 20)
        assert (await store.append(one())) == [21]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
