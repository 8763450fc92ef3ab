"""O10: a store of an earlier version is brought up to date, and the process dies at each of its steps."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from pycrdt import Doc, Text
from sqlite_utils import Database

from collab import backup
from collab.store.schema import migrations
from collab.store.seal import row_seal
from tests.support.server import REPO

pytestmark = pytest.mark.timeout(3600)

ROOMS = 20
ROW_BYTES = 100_000

OPEN = """
import os, signal, sqlite3, sys
from pathlib import Path
from collab.store import schema

nth, seen = int(sys.argv[2]), 0

def step(statement):
    global seen
    seen += 1
    if seen == nth:
        os.kill(os.getpid(), signal.SIGKILL)

connect = sqlite3.connect

def traced(*args, **options):
    db = connect(*args, **options)
    db.set_trace_callback(step)
    return db

sqlite3.connect = traced
schema.open_database(Path(sys.argv[1]), create=False, patience=1).close()
print(seen)
"""


def earlier(path: Path, size: int) -> int:
    """A store of the first version with so many bytes of edits, in `ROOMS` rooms; returns how many."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        db = Database(connection, execute_plugins=False)
        migrations.apply(db, stop_before="002_history_snapshots")
        count = max(1, size // ROW_BYTES // ROOMS)
        for room in range(ROOMS):
            name = f"room {room}"
            doc: Doc = Doc()
            text = doc.get("t", type=Text)
            connection.execute("BEGIN")
            connection.execute(
                "INSERT INTO rooms (id, name, epoch, created, changed, head, covers, state_bytes, log_bytes) "
                "VALUES (?, ?, 1, 0, 0, 0, 0, 0, 0)",
                (room + 1, name),
            )
            for seq in range(1, count + 1):
                before = doc.get_state()
                text += chr(97 + seq % 26) * ROW_BYTES
                update = doc.get_update(before)
                seal = row_seal(name.encode(), seq, 1, b"ana", seq * 10**9, 0, update)
                connection.execute(
                    'INSERT INTO log (room_id, seq, epoch, author, "time", kind, crc, "update") '
                    "VALUES (?, ?, 1, 'ana', ?, 0, ?, ?)",
                    (room + 1, seq, seq * 10**9, seal, update),
                )
            connection.execute("COMMIT")
    return ROOMS * count


def opened(path: Path, nth: int) -> subprocess.CompletedProcess[str]:
    """Open it in a process that dies before its `nth` statement."""
    env = os.environ | {"PYTHONPATH": str(REPO)}
    return subprocess.run([sys.executable, "-c", OPEN, str(path), str(nth)], env=env, capture_output=True, text=True)


def test_o10_killed_at_each_step(tmp_path, full, figure):
    """It is as it was, or up to date, never something between; and in its place, never an empty one."""
    path = tmp_path / "rooms.db"
    rows = earlier(path, 1_000_000_000 if full else 20_000_000)
    size = path.stat().st_size
    with closing(sqlite3.connect(path)) as db:
        before = {name for (name,) in db.execute("SELECT name FROM _sqlite_migrations")}
    kills, states, seconds = 0, [], 0.0
    for nth in range(1, 500):
        began = time.monotonic()
        done = opened(path, nth)
        if done.returncode == 0:
            seconds = time.monotonic() - began
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        assert {one.name for one in tmp_path.iterdir()} <= {"rooms.db", "rooms.db-wal", "rooms.db-shm"}
        with closing(sqlite3.connect(path)) as db:
            applied = {name for (name,) in db.execute("SELECT name FROM _sqlite_migrations")}
            columns = {column[1] for column in db.execute("PRAGMA table_info(rooms)")}
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            (count,) = db.execute("SELECT count(*) FROM log").fetchone()
        whole = "002_history_snapshots" in applied
        assert ("forgotten" in columns) == ({"snapshots", "snapshot_states", "epochs"} <= tables) == whole
        told = "003_outbox" in applied
        assert ("told" in columns) == ({"outbox", "outbox_wanted", "outbox_present"} <= tables) == told <= whole
        assert count == rows
        states.append(whole + told)
    assert seconds and states == sorted(states), "what was brought up to date stays so"
    assert {0, 1} <= set(states) and before == {"001_rooms_log_checkpoints"}
    found = anyio.run(backup.verify, path)
    assert (found.rooms, found.rows, found.damaged) == (ROOMS, rows, {})
    figure(
        f"O10: {size / 1e6:.0f} MB brought up to date in {seconds:.2f} s, killed before each of {kills} statements and "
        f"begun again: {rows - found.rows} of {rows} rows lost, all verified"
    )
    assert [one.name for one in tmp_path.iterdir()] == ["rooms.db"]
