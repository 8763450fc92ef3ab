"""Where the file may lie, who may have it, and which files are refused untouched."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from collab.errors import NewerSchema, SettingsError, StoreLocked, Unavailable
from collab.store import Entry, Kind, Reach, Row, State, Stored, schema
from collab.store.schema import is_outage, migrations, open_database
from collab.store.seal import checkpoint_seal, row_seal
from collab.store.sqlite import SQLiteStore

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rooms.db"


def opened(path: Path, *, create: bool = True, patience: float = 0.1) -> closing[Database]:
    return closing(open_database(path, create=create, patience=patience))


def refusal(path: Path, kind: type[Exception] = SettingsError) -> str:
    """What opening says; it must be one sentence that names the setting."""
    with pytest.raises(kind) as caught:
        open_database(path, create=True, patience=0.1)
    text = str(caught.value)
    assert "\n" not in text
    if kind is SettingsError:
        assert text.startswith("COLLAB_STORE__URL: ")
        assert type(caught.value) is SettingsError
    return text


def in_process(code: str, *args: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], **options)  # type: ignore[call-overload]


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


# How it is opened


def test_the_connection_keeps_its_promises(path):
    with opened(path) as db:
        pragmas = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "locking_mode", "foreign_keys", "fullfsync", "busy_timeout")
        }
        assert pragmas == {
            "journal_mode": "wal",
            "synchronous": 2,
            "locking_mode": "exclusive",
            "foreign_keys": 1,
            "fullfsync": 1,
            "busy_timeout": 100,
        }
        assert db.execute("PRAGMA secure_delete").fetchone()[0] == 1
        assert db.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 4000
        assert db.execute("PRAGMA journal_size_limit").fetchone()[0] == 64 << 20
        assert not Path(f"{path}-shm").exists(), "the index of the log is shared with other processes"


def test_the_tables(path):
    with opened(path) as db:
        tables = {"rooms", "log", "checkpoints", "probe", "snapshots", "snapshot_states", "epochs"}
        tables |= {"outbox", "outbox_wanted", "outbox_present"}
        assert set(db.table_names()) == tables | {"_sqlite_migrations", "sqlite_sequence"}
        assert db.table("log").pks == ["room_id", "seq"]
        applied = [one.name for one in migrations.applied(db)]
        assert applied == ["001_rooms_log_checkpoints", "002_history_snapshots", "003_outbox"]
    with opened(path) as db:
        assert migrations.pending(db) == []


def test_opening_again_after_a_death_between_the_steps_of_the_first_opening(path):
    with closing(Database(path)) as db:
        migrations.ensure_migrations_table(db)
    with opened(path) as db:
        assert "log" in db.table_names()


def first_version(path: Path) -> None:
    """A file as the first version wrote it: `room` with a checkpoint at 3 and rows 4 and 5, `new` with a row."""
    with closing(Database(path)) as db:
        migrations.apply(db, stop_before="002_history_snapshots")
        for id, name, covers, rows in ((1, "room", 3, (4, 5)), (2, "new", 0, (1,))):
            db.execute("INSERT INTO rooms VALUES (?, ?, 1, 0, 0, ?, ?, 0, 0)", (id, name, covers, covers))
            for seq in rows:
                seal = row_seal(name.encode(), seq, 1, b"ana", 10**9, 0, b"%d" % seq)
                db.execute("INSERT INTO log VALUES (?, ?, 1, 'ana', ?, 0, ?, ?)", (id, seq, 10**9, seal, b"%d" % seq))
        seal = checkpoint_seal(b"room", 1, 3, 0, b"state 3")
        db.execute("INSERT INTO checkpoints VALUES (1, 1, 3, 0, ?, ?)", (seal, b"state 3"))


@pytest.mark.anyio
async def test_a_file_of_the_first_version_is_brought_up_to_date(path):
    first_version(path)
    rows = tuple(Row(seq, b"%d" % seq, 1.0, "ana", Kind.RAW) for seq in (4, 5))
    for _ in range(2):
        async with SQLiteStore(path) as store:
            assert await store.load("room") == Stored(1, b"state 3", 3, rows)
            assert await store.reach("room") == Reach(5, 3, 3), "the rows that went at compaction are not kept"
            assert await store.reach("new") == Reach(1, 0, 0)
            assert await store.history("room") == list(rows)
            assert await store.load("never written") == Stored(1, None, 0, ())
    async with SQLiteStore(path) as store:
        assert await store.append([Entry("room", b"6", 1.0), Entry("new", b"2", 1.0)]) == [6, 2]
        assert await store.compact("room", b"state 6", covers=6, basis=3)
        assert await store.state_at("room", 5) == State(b"state 3", 3), "where its history begins"
        assert [row.seq for row in await store.history("new")] == [1, 2]


def test_bringing_up_to_date_is_one_step(path):
    """A death in the middle leaves the file as it was."""
    first_version(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE epochs (id)")  # the last step of the migration fails on it
    refusal(path)
    with closing(sqlite3.connect(path)) as db:
        assert "forgotten" not in {column[1] for column in db.execute("PRAGMA table_info(rooms)")}
        db.execute("DROP TABLE epochs")
    with opened(path) as db:
        assert migrations.pending(db) == []


def test_an_empty_file_is_a_new_store(path):
    path.touch()
    with opened(path) as db:
        assert "log" in db.table_names()


def test_folders_are_made(tmp_path):
    with opened(tmp_path / "a" / "b" / "rooms.db"):
        assert (tmp_path / "a" / "b" / "rooms.db").is_file()


def test_folders_and_files_are_not_made_when_opening_again(tmp_path):
    with pytest.raises(SettingsError):
        open_database(tmp_path / "a" / "rooms.db", create=False, patience=0.1)
    with pytest.raises(SettingsError):
        open_database(tmp_path / "rooms.db", create=False, patience=0.1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "a?b#c.db", "ü.db", "file:x.db", ":memory:", "'.db"])
def test_awkward_file_names(tmp_path, name):
    with opened(tmp_path / name):
        assert (tmp_path / name).is_file()


# Who has it


def test_a_second_connection_in_the_same_process_is_refused(path):
    with opened(path):
        assert refusal(path, StoreLocked) == (
            f"{path} is in use by another process (a running server?); stop that one first"
        )
        assert refusal(path, StoreLocked), "the first refusal let the lock go"
        other = in_process(
            "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM log')", path
        )
        other.communicate()
        assert other.returncode == 1, "another process could read: the lock is gone"
    with opened(path):
        pass


HOLD = """
    import sys, time
    from pathlib import Path
    from collab.store.schema import open_database
    db = open_database(Path(sys.argv[1]), create=True, patience=0.1)
    print("open", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_the_first_is_gone(path):
    with in_process(HOLD, path) as first:
        assert line_of(first) == "open\n"
        with in_process(HOLD, path, stderr=subprocess.PIPE) as second:
            _, errors = second.communicate(timeout=30)
        assert second.returncode == 1
        assert "StoreLocked" in errors and "is in use by another process" in errors
        refusal(path, StoreLocked)
        first.send_signal(signal.SIGKILL)
        first.wait()
        with opened(path):
            pass


@pytest.mark.parametrize("begin", ["BEGIN EXCLUSIVE", "BEGIN; SELECT * FROM log"])
def test_someone_else_reading_or_writing_keeps_us_out(path, begin):
    with opened(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in begin.split("; "):
            other.execute(statement).fetchall()
        refusal(path, StoreLocked)
    with opened(path):
        pass


def test_it_waits_a_moment_for_a_process_that_is_going(path):
    code = HOLD.replace("time.sleep(60)", "time.sleep(0.3); db.close()")
    with in_process(code, path) as first:
        line_of(first)
        with opened(path, patience=10):
            pass


# Files that are not ours


def test_a_newer_version_wrote_it(path):
    with opened(path) as db:
        row = {"migration_set": "collab", "name": "002_from_the_future", "applied_at": "2030-01-01"}
        db.table("_sqlite_migrations").insert(row)
    before = path.read_bytes()
    text = refusal(path, NewerSchema)
    assert "002_from_the_future" in text and str(path) in text
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("ddl", ["CREATE TABLE theirs (x)", "CREATE VIEW theirs AS SELECT 1"])
def test_the_database_of_another_program(path, ddl, mode):
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute(ddl)
    before = path.read_bytes()
    text = refusal(path)
    assert "another program" in text and "'theirs'" in text
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_the_database_of_another_program_that_uses_sqlite_utils_too(path):
    with closing(Database(path)) as db:
        migrations.ensure_migrations_table(db)
        row = {"migration_set": "llm", "name": "m001", "applied_at": "2030-01-01"}
        db.table("_sqlite_migrations").insert(row)
        db.table("logs").create({"id": int})
    assert "another program" in refusal(path)


def test_a_file_that_is_no_database(path):
    path.write_text("a letter to my aunt\n" * 1000)
    assert "is not an SQLite database" in refusal(path)
    assert path.read_text().startswith("a letter")


def test_a_file_too_damaged_to_open(path):
    with opened(path):
        pass
    content = bytearray(path.read_bytes())
    content[100:2000] = b"\xff" * 1900
    path.write_bytes(content)
    text = refusal(path)
    assert "is damaged" in text and "restore a backup" in text
    assert path.read_bytes() == content


# Places that cannot be


def test_a_folder(tmp_path):
    assert f"name a file, for example {tmp_path}/collab.db" in refusal(tmp_path)


def test_a_file_where_a_folder_should_be(path):
    path.touch()
    assert "is not a folder" in refusal(path / "rooms.db")
    refusal(path / "deeper" / "rooms.db")


def test_something_that_is_neither(path):
    os.mkfifo(path)
    assert "not a regular file" in refusal(path)


@pytest.mark.parametrize("rest", [None, b""])
def test_a_log_whose_database_is_gone(path, rest):
    with opened(path):
        log = Path(f"{path}-wal").read_bytes()
    path.unlink()
    if rest is not None:
        path.write_bytes(rest)
    assert log
    Path(f"{path}-wal").write_bytes(log)
    assert "put that one back" in refusal(path)
    assert Path(f"{path}-wal").read_bytes() == log


def test_a_name_that_the_file_system_does_not_take(tmp_path):
    assert "File name too long" in refusal(tmp_path / ("x" * 300))


OPEN = """
    import os, sys
    sys.path.insert(0, os.getcwd())
    from pathlib import Path
    from collab.errors import SettingsError
    from collab.store.schema import open_database
    if os.geteuid() == 0:
        os.setgid(65534); os.setuid(65534)
    try:
        open_database(Path(sys.argv[1]), create=True, patience=0.1).close()
    except SettingsError as error:
        print(error)
"""


def as_somebody_else(path: Path) -> str:
    """What opening says to a process that is not root."""
    with in_process(OPEN, path) as process:
        text, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert text == "" or text.startswith("COLLAB_STORE__URL: ")
    return str(text)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that everyone may reach; pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        folder = place / "data"
        folder.mkdir()
        folder.chmod(0o755)
        yield folder


def test_a_folder_that_may_not_be_written(open_to_all):
    open_to_all.chmod(0o555)
    text = as_somebody_else(open_to_all / "rooms.db")
    assert f"the folder {open_to_all} cannot be written" in text
    if os.geteuid() == 0:  # as in a container whose volume belongs to root
        assert f"{open_to_all} belongs to root (uid 0) and this process runs as nobody (uid {NOBODY})" in text
        assert f"run `chown -R {NOBODY} {open_to_all}`" in text
    else:
        assert "permissions too tight" in text
    assert list(open_to_all.iterdir()) == []


def test_a_folder_that_cannot_be_made(open_to_all):
    open_to_all.chmod(0o555)
    text = as_somebody_else(open_to_all / "deep" / "deeper" / "rooms.db")
    assert f"the folder {open_to_all / 'deep'} cannot be made" in text


def test_a_folder_that_may_not_even_be_looked_into(open_to_all):
    inner = open_to_all / "inner"
    inner.mkdir()
    open_to_all.chmod(0o600)
    assert "COLLAB_STORE__URL" in as_somebody_else(inner / "rooms.db")
    open_to_all.chmod(0o755)


def test_a_file_that_may_not_be_written(open_to_all):
    path = open_to_all / "rooms.db"
    with opened(path):
        pass
    open_to_all.chmod(0o777)
    path.chmod(0o444)
    assert f"the file {path} cannot be written" in as_somebody_else(path)
    path.chmod(0o666)
    assert as_somebody_else(path) == ""


# What the codes mean


@pytest.mark.parametrize(
    ("code", "outage"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, True),
        (sqlite3.SQLITE_READONLY_DBMOVED, True),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_CORRUPT_VTAB, False),
        (sqlite3.SQLITE_NOTADB, False),
        (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, False),
        (sqlite3.SQLITE_ERROR, False),
    ],
)
def test_an_outage_is_told_from_damage(code, outage):
    error = sqlite3.OperationalError("made up")
    error.sqlite_errorcode = code
    assert is_outage(error) is outage


def test_an_error_without_a_code_is_no_outage():
    assert not is_outage(sqlite3.OperationalError("Could not decode to UTF-8"))


@pytest.mark.anyio
async def test_a_disk_that_fails_at_the_start_may_recover(path, monkeypatch):
    async with SQLiteStore(path) as store:
        await store.append([Entry("room", b"", 0)])

    def fail(*args: object, **options: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    monkeypatch.setattr(sqlite3, "connect", fail)
    assert "disk I/O error" in refusal(path, Unavailable)


def test_a_file_system_that_cannot_hold_the_log(path):
    with Database(memory=True) as db, pytest.raises(SettingsError, match="cannot hold a write-ahead log"):
        schema._prepare(db, path)


def test_the_sentence_for_a_place_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_001)
    owner = schema._who(tmp_path.stat().st_uid)
    assert schema._unwritable(tmp_path, "it cannot be written") == (
        f"COLLAB_STORE__URL: it cannot be written: {tmp_path} belongs to {owner} and this process runs as uid 4000001; "
        f"run `chown -R 4000001 {tmp_path}` (for a container, on its volume), or name a file elsewhere"
    )


def test_the_sentence_for_a_place_of_our_own(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid)
    assert "mounted read-only" in schema._unwritable(tmp_path, "it cannot be written")
    assert "name a file in a folder" in schema._unwritable(tmp_path / "gone", "it cannot be written")
