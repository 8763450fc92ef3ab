"""History and snapshots in SQLite: damage, pieces, and that the erased is in no file; the rest is the contract's."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from collab.errors import DamagedRoom, DamagedSnapshot, Unavailable
from collab.store import Entry, Erased, Reason, State, draft, past
from collab.store.sqlite import SQLiteStore
from collab.store.tables import Tables

pytestmark = pytest.mark.anyio


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed store: `room` and `other` have five rows, a checkpoint at 4 and snapshots at 2 and 5 (1 to 4)."""
    path = tmp_path / "rooms.db"
    async with SQLiteStore(path) as store:
        for room in ("room", "other"):
            await store.append([Entry(room, b"%d" % i, 1000.0 + i, "ana") for i in range(1, 6)])
            assert await store.compact(room, b"state 4", covers=4, basis=0)
            for covers in (2, 5):
                await store.add_snapshot(
                    room, b"%s %d" % (room.encode(), covers), covers=covers, time=5.0, reason=Reason.MANUAL, label="l"
                )
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute(statement).rowcount, statement


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("its state fails", "UPDATE snapshot_states SET state = x'00' WHERE id = 1"),
        ("its state fails", "UPDATE snapshot_states SET state = 'room 2' WHERE id = 1"),
        ("its state is missing", "DELETE FROM snapshot_states WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET label = 'm' WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET covers = 3 WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET author = 'mallory' WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET pinned = 1 WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET time = 'noon' WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET reason = 'whim' WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET note = x'ff' WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET epoch = 2 WHERE id = 1"),
        ("what is said of it", "UPDATE snapshots SET size = -1 WHERE id = 1"),
        ("its state fails", "UPDATE snapshot_states SET state = (SELECT state FROM snapshot_states WHERE id = 3)"),
    ],
)
async def test_a_damaged_snapshot_is_refused_and_stands_in_nobodys_way(path, what, statement):
    change(path, statement)
    async with SQLiteStore(path) as store:
        with pytest.raises(DamagedSnapshot, match=what) as caught:
            await store.snapshot("room", 1)
        assert (caught.value.room, caught.value.id) == ("room", 1)
        listed = [info.id for info in await store.snapshots("room")]
        assert listed == ([2] if "said" in what else [2, 1]), "a listing reads no states"
        assert await store.state_at("room", 3) == State(None, 0), "there is another way, by the rows"
        assert (await store.load("room")).seq == 5
        assert await store.delete_snapshots("room", [1]) == 1
        assert [info.id for info in await store.snapshots("room")] == [2]


async def test_where_the_only_way_is_damaged_it_is_said(path):
    async with SQLiteStore(path) as store:
        await store.forget("room", 2)
    change(path, "UPDATE snapshot_states SET state = x'00' WHERE id = 1")
    async with SQLiteStore(path) as store:
        with pytest.raises(DamagedSnapshot):
            await store.state_at("room", 3)
        assert (await store.state_at("room", 4)).update == b"state 4"


async def test_a_damaged_room_can_be_erased(path):
    change(path, "DELETE FROM log WHERE seq = 5 AND room_id = (SELECT id FROM rooms WHERE name = 'room')")
    async with SQLiteStore(path) as store:
        with pytest.raises(DamagedRoom):
            await store.load("room")
        assert await store.erase("room") == Erased(4, 2)
        assert await store.append([Entry("room", b"1", 0)]) == [1]
        assert (await store.load("room")).epoch == 2


async def test_long_work_is_done_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(past, "FORGET_ROWS", 100)
    steps: list[str] = []
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=steps.append) as store:
        await store.append([Entry("room", b"x", 0) for _ in range(1000)])
        await store.compact("room", b"state", covers=950, basis=0)
        for _ in range(50):
            await store.add_snapshot("room", b"s", covers=1, time=0, reason=Reason.ACTIVITY)
        steps.clear()
        assert await store.forget("room", 450) == 450
        assert steps.count("forget.before_commit") == 5
        assert await store.erase("room") == Erased(550, 50)


@pytest.mark.parametrize("step", ["forget.before_commit", "erase.before_commit", "snapshot.before_commit"])
async def test_a_failure_changes_nothing(path, step):
    broken = False

    def fail(now: str) -> None:
        if broken and now == step:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    async with SQLiteStore(path, failpoint=fail) as store:
        before = await store.load("room"), await store.history("room", 4), await store.snapshots("other")
        broken = True
        with pytest.raises(Unavailable):
            if step == "forget.before_commit":
                await store.forget("room", 3)
            elif step == "erase.before_commit":
                await store.erase("room")
            else:
                await store.change_snapshot("other", 4, label="new")
        broken = False
        assert (await store.load("room"), await store.history("room", 4), await store.snapshots("other")) == before
        await store.erase("room")
        assert (await store.load("room")).seq == 0


@pytest.mark.parametrize("rooms", [3, 300])
async def test_what_was_erased_is_in_no_file(tmp_path, rooms):
    """Content, authors, labels and the name, of rows of all sizes, forgotten ones too; beside rooms that stay."""
    path = tmp_path / "rooms.db"
    source = random.Random(rooms)
    secret, stays = b"SECRETIVE", b"EVERLASTING"
    names = [f"{'SECRETIVE' if i == rooms // 2 else 'EVERLASTING'} {i}" for i in range(rooms)]
    victim = names[rooms // 2]

    def content(name: str) -> bytes:
        size = source.choice((20, 60, 900, 5_000, 60_000)) if rooms == 3 else source.choice((20, 60, 900))
        return (secret if name == victim else stays) * (1 + size // 10)

    async with SQLiteStore(path) as store:
        basis = dict.fromkeys(names, 0)
        for turn in range(6):
            for name in source.sample(names, rooms):
                rows = [
                    Entry(name, content(name), 0.0, name) for _ in range(source.randrange(1, 30 if rooms == 3 else 6))
                ]
                await store.append(rows)
                seq = (await store.reach(name)).seq
                if source.random() < 0.5:
                    assert await store.compact(name, content(name), covers=seq, basis=basis[name])
                    basis[name] = seq
                    if turn == 3:
                        await store.forget(name, seq - 1)
                made = await store.add_snapshot(
                    name, content(name), covers=seq, time=0, reason=Reason.MANUAL, label=name, note=name, author=name
                )
                if turn % 2:
                    await store.change_snapshot(name, made.id, label=f"changed {name}")
                    await store.delete_snapshots(name, [made.id - rooms])
        files = [tmp_path / "rooms.db", tmp_path / "rooms.db-wal"]
        assert sum(_in_wal_and_file(files, secret)) > 0
        erased = await store.erase(victim)
        assert erased.rows and erased.snapshots
        assert _in_wal_and_file(files, secret) == [0, 0], "what was erased is still there"
        assert await store.append([Entry(victim.replace("SECRETIVE", "NEW"), b"x", 0)]) == [1]
    assert _in_wal_and_file(files, secret) == [0, 0]
    assert _in_wal_and_file(files, stays)[0] > 0


def _in_wal_and_file(files: list[Path], token: bytes) -> list[int]:
    """How often `token` occurs in each file; `cat` reads: while a store is open this process may not open its file."""
    return [
        subprocess.run(["cat", file], capture_output=True).stdout.count(token) if file.exists() else 0 for file in files
    ]


async def test_a_long_list_of_snapshots(tmp_path, figure):
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await store.append([Entry("room", b"x", 0)])
        state = random.Random(1).randbytes(2_000)

        def fill(found: Tables) -> None:
            with found._db.atomic():
                for i in range(10_000):
                    info = draft("room", 1, float(i), Reason.ACTIVITY, label=f"number {i}")
                    found.past.add(found.find("room"), info, state)

        await store._writer.ask(lambda: store._writer.write(fill))
        started = time.perf_counter()
        assert len(await store.snapshots("room", limit=10_000)) == 10_000
        whole = time.perf_counter() - started
        started = time.perf_counter()
        assert len(await store.snapshots("room", before=5_000)) == 100
        page = time.perf_counter() - started
    figure(f"10,000 snapshots: all of them listed in {whole * 1000:.0f} ms, a page of 100 in {page * 1000:.1f} ms")
    assert whole < 5
