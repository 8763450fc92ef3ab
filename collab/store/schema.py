"""The SQLite file: where it may lie, how it is opened so that nobody else writes to it, and what its tables are.

Trap for everyone who touches the file: POSIX drops *all* of a process's locks on a file when that process closes *any*
descriptor of it. While a store is open, nothing in the process may `open()` the database file, not even to read it.
"""

from __future__ import annotations

import os
import pwd
import sqlite3
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from ..errors import CollabError, NewerSchema, SettingsError, StoreLocked, Unavailable

SETTING = "COLLAB_STORE__URL"

OUTAGES = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
    }
)
"""Primary result codes that speak of the machine, not of what the file holds: they may pass by themselves."""

migrations = Migrations("collab")


@migrations(name="001_rooms_log_checkpoints")
def _rooms_log_checkpoints(db: Database) -> None:
    # Each room's line says how far its log and its checkpoint go, so that rows lost from the end are missed when the
    # room is loaded. It is kept by the trigger below: no further statement per commit (see tables.py on why that
    # matters).
    rooms = db.table("rooms")
    rooms.create(
        {
            "id": int,
            "name": str,
            "epoch": int,
            "created": int,  # all times: nanoseconds since the epoch
            "changed": int,
            "head": int,  # the last sequence number given out
            "covers": int,  # the last one the checkpoint holds, 0 without one
            "state_bytes": int,
            "log_bytes": int,
        },
        pk="id",
        not_null={"name", "epoch", "created", "changed", "head", "covers", "state_bytes", "log_bytes"},
    )
    rooms.create_index(["name"], index_name="rooms_name", unique=True)
    # A name that one damaged index page does not find must not look like a new, empty room: the second index is asked
    # before a room is believed to be new.
    rooms.create_index(["name"], index_name="rooms_name_again")
    # A table with a rowid and an index, not WITHOUT ROWID: rows of all rooms then land on the same few pages at the
    # end. Measured with 250 rooms in commits of 100 rows: 63 k rows/s against 48 k.
    db.table("log").create(
        {
            "room_id": int,
            "seq": int,
            "epoch": int,
            "author": str,
            "time": int,
            "kind": int,
            "crc": int,
            "update": bytes,
        },
        pk=("room_id", "seq"),
        not_null={"room_id", "seq", "epoch", "time", "kind", "crc", "update"},
        foreign_keys=[("room_id", "rooms", "id")],
    )
    db.execute(
        'CREATE TRIGGER log_head AFTER INSERT ON log BEGIN UPDATE rooms SET head = NEW.seq, changed = NEW."time", '
        'log_bytes = log_bytes + length(NEW."update") WHERE id = NEW.room_id; END'
    )
    db.table("checkpoints").create(
        {"room_id": int, "epoch": int, "covers": int, "time": int, "crc": int, "state": bytes},
        pk="room_id",
        not_null={"epoch", "covers", "time", "crc", "state"},
        foreign_keys=[("room_id", "rooms", "id")],
    )
    db.table("probe").create({"id": int, "time": int}, pk="id")


@migrations(name="002_history_snapshots")
def _history_snapshots(db: Database) -> None:
    # Rows that a checkpoint covers stay from now on. What earlier versions compacted is gone.
    db.execute("ALTER TABLE rooms ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0")  # the last row that is not kept
    db.execute("UPDATE rooms SET forgotten = covers")
    # States stand apart, so that going through a long list of snapshots does not turn the pages of their content.
    # AUTOINCREMENT: the number of one that was deleted is never given to another.
    db.execute(
        "CREATE TABLE snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT, room_id INTEGER NOT NULL REFERENCES rooms (id), "
        "epoch INTEGER NOT NULL, covers INTEGER NOT NULL, time INTEGER NOT NULL, label TEXT NOT NULL, "
        "note TEXT NOT NULL, author TEXT, reason TEXT NOT NULL, pinned INTEGER NOT NULL, size INTEGER NOT NULL, "
        "checksum TEXT NOT NULL, crc INTEGER NOT NULL)"
    )
    db.table("snapshots").create_index(["room_id"], index_name="snapshots_room")
    db.table("snapshots").create_index(["room_id", "covers"], index_name="snapshots_covers")
    db.table("snapshot_states").create(
        {"id": int, "state": bytes}, pk="id", not_null={"state"}, foreign_keys=[("id", "snapshots", "id")]
    )
    # The epoch of rooms that are made from now on. It grows with every room that is erased, so that a room of the same
    # name is told from it though nothing of it is kept, its name included.
    # `unclean`: a room was erased, and the file was not rewritten yet.
    db.table("epochs").create({"id": int, "first": int, "unclean": int}, pk="id", not_null={"first", "unclean"})
    db.execute("INSERT INTO epochs (id, first, unclean) VALUES (1, 1, 0)")


@migrations(name="003_outbox")
def _outbox(db: Database) -> None:
    db.execute("ALTER TABLE rooms ADD COLUMN told INTEGER NOT NULL DEFAULT 0")  # the last row of which hooks were told
    db.execute("UPDATE rooms SET told = head")
    # One line for each event and target. `due` is set for the first of a lane (a target's notices of one room) alone.
    # Without AUTOINCREMENT the number of one that was delivered would be given to another, before those that wait.
    db.execute(
        "CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, target INTEGER NOT NULL, id TEXT NOT NULL, "
        'event TEXT NOT NULL, room TEXT NOT NULL, "time" INTEGER NOT NULL, details TEXT NOT NULL, '
        "attempts INTEGER NOT NULL DEFAULT 0, due INTEGER, tried INTEGER, dead INTEGER, error TEXT NOT NULL DEFAULT '')"
    )
    db.execute("CREATE INDEX outbox_lanes ON outbox (target, room, seq) WHERE dead IS NULL")
    db.execute("CREATE INDEX outbox_due ON outbox (target, due, seq) WHERE due IS NOT NULL")
    db.execute("CREATE INDEX outbox_dead ON outbox (dead) WHERE dead IS NOT NULL")
    db.execute(
        "CREATE TRIGGER outbox_first AFTER INSERT ON outbox WHEN NOT EXISTS (SELECT 1 FROM outbox WHERE "
        "target = NEW.target AND room = NEW.room AND dead IS NULL AND seq < NEW.seq) "
        "BEGIN UPDATE outbox SET due = 0 WHERE seq = NEW.seq; END"
    )
    db.execute(
        "CREATE TABLE outbox_wanted (event TEXT NOT NULL, target INTEGER NOT NULL, PRIMARY KEY (event, target)) "
        "WITHOUT ROWID"
    )
    # Who has joined and not left: if the process dies, nobody else knows.
    db.execute(
        "CREATE TABLE outbox_present (client TEXT NOT NULL, room TEXT NOT NULL, details TEXT NOT NULL, "
        "PRIMARY KEY (client, room))"
    )
    now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000000"
    # A base is the server's own affair.
    for name, when, only, event, id, room, moment, details in (
        (
            *("outbox_created", "AFTER INSERT ON rooms", "", "room.created"),
            *("'created-' || NEW.id || '-' || NEW.created", "NEW.name", "NEW.created"),
            "json_object('epoch', NEW.epoch)",
        ),
        (
            *("outbox_deleted", "AFTER DELETE ON rooms", "", "room.deleted"),
            *("'deleted-' || OLD.id || '-' || OLD.created", "OLD.name", now),
            "json_object('epoch', OLD.epoch)",
        ),
        (
            *("outbox_snapshot", "AFTER INSERT ON snapshots", "NEW.reason <> 'base' AND ", "snapshot.made"),
            *(
                "'snapshot-' || NEW.id || '-' || NEW.time",
                "(SELECT name FROM rooms WHERE id = NEW.room_id)",
                "NEW.time",
            ),
            "json_object('snapshot', NEW.id, 'seq', NEW.covers, 'reason', NEW.reason, 'label', NEW.label, "
            "'user', NEW.author, 'bytes', NEW.size)",
        ),
    ):
        db.execute(
            f"CREATE TRIGGER {name} {when} WHEN {only}EXISTS (SELECT 1 FROM outbox_wanted "
            f"WHERE event = '{event}') BEGIN "
            'INSERT INTO outbox (target, id, event, room, "time", details) '
            f"SELECT target, {id}, '{event}', {room}, {moment}, {details} FROM outbox_wanted WHERE event = '{event}'; "
            "END"
        )


def is_outage(error: sqlite3.Error) -> bool:
    """Whether the machine failed (true), or what the file holds is at fault (false)."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in OUTAGES


def open_database(path: Path, *, create: bool, patience: float) -> Database:
    """Open the file for this process alone, bring its tables up to date, and return the connection.

    Args:
        path: An absolute path.
        create: Make the file, and the folders above it, when they are missing.
        patience: How long to wait for another process to let go of the file, in seconds.

    Raises:
        SettingsError: The place cannot be used; the sentence says what to do.
        NewerSchema: A newer version wrote it. Nothing was changed.
        StoreLocked: Another process has it.
        Unavailable: The disk failed, or is full.
    """
    try:
        if create:
            _make_folder(path.parent)
        _look_at(path)
    except OSError as error:
        raise SettingsError(
            f"{SETTING}: {path} cannot be used ({error.strerror}: {error.filename}); "
            "name a file in a folder that this process may use"
        ) from error
    uri = f"{path.as_uri()}?mode={'rwc' if create else 'rw'}"
    try:
        # isolation_level=None: transactions begin where the code says BEGIN, nowhere else.
        conn = sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None, cached_statements=256)
        try:
            return _prepare(Database(conn, execute_plugins=False), path)
        except BaseException:
            conn.close()
            raise
    except sqlite3.Error as error:
        raise _explain(path, error) from error


def _prepare(db: Database, path: Path) -> Database:
    # Must come before the first look at the file: a WAL opened in this mode keeps its index in memory and an exclusive
    # lock on the file, so no second process can write or checkpoint, by design and not by agreement. SQLite 3.7.0 to
    # 3.51.2 can corrupt a WAL when two connections do (docs/design/0002-one-writer.md).
    db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
    db.execute("BEGIN IMMEDIATE")
    db.execute("COMMIT")
    _recognise(db, path)
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise SettingsError(f"{SETTING}: the file system of {path} cannot hold a write-ahead log; use a local disk")
    db.execute("PRAGMA synchronous = FULL")  # a commit returns after its fsync: acknowledged is durable
    db.execute(
        "PRAGMA fullfsync = ON"
    )  # macOS, whose plain fsync stops in the drive's cache; elsewhere it does nothing
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute("PRAGMA foreign_keys = ON")
    # What is deleted is overwritten with zeros. Not every copy: see `Tables.erase`.
    db.execute("PRAGMA secure_delete = ON").fetchone()
    db.execute("PRAGMA cell_size_check = ON")  # notice a damaged page when it is read, not when it is used
    db.execute("PRAGMA cache_size = -16384")  # KiB
    # A checkpoint runs inside a commit and is felt there; every 4,000 pages (16 MB) makes it rare, and what must be
    # read again after a crash stays small. The log file is cut back when a burst made it longer than 64 MB.
    db.execute("PRAGMA wal_autocheckpoint = 4000").fetchone()
    db.execute("PRAGMA journal_size_limit = 67108864").fetchone()
    migrations.apply(db)
    return db


def _recognise(db: Database, path: Path) -> None:
    """Raise unless the file is empty or ours; read only."""
    applied = [one.name for one in migrations.applied(db)]
    with Database(memory=True) as blank:
        known = {one.name for one in migrations.pending(blank)}
    for name in applied:
        if name not in known:
            raise NewerSchema(str(path), name)
    strangers = [name for name in db.table_names() + db.view_names() if name != Migrations.migrations_table]
    if not applied and strangers:
        raise SettingsError(
            f"{SETTING}: {path} is an SQLite database of another program (it has a table {strangers[0]!r}); "
            "name a file of its own"
        )


def _make_folder(folder: Path) -> None:
    if folder.exists() or folder.is_symlink():
        return
    _make_folder(folder.parent)
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise SettingsError(_unwritable(folder.parent, f"the folder {folder} cannot be made"))
    folder.mkdir(exist_ok=True)
    # The folder's own entry must survive a power cut too; SQLite only cares for the files inside it.
    above = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def _look_at(path: Path) -> None:
    """What can be told without opening the file; the kernel's answer, so it holds for root and read-only mounts too."""
    folder = path.parent
    if not folder.is_dir():
        raise SettingsError(f"{SETTING}: {folder} is not a folder; name a file inside a folder")
    if path.is_dir():
        raise SettingsError(f"{SETTING}: {path} is a folder; name a file, for example {path}/collab.db")
    if path.exists() and not path.is_file():
        raise SettingsError(f"{SETTING}: {path} is not a regular file; name another one")
    log = Path(f"{os.path.realpath(path)}-wal")
    if log.exists() and log.stat().st_size and not (path.exists() and path.stat().st_size):
        # SQLite would delete the log, and with it the last edits.
        raise SettingsError(f"{SETTING}: {log} is there but {path} is not; put that one back, or move the log away")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise SettingsError(_unwritable(path, f"the file {path} cannot be written"))
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise SettingsError(_unwritable(folder, f"the folder {folder} cannot be written"))


def _unwritable(place: Path, problem: str) -> str:
    try:
        owner = place.stat().st_uid
    except OSError:
        return f"{SETTING}: {problem}; name a file in a folder that this process may use"
    us = os.geteuid()
    if owner == us or us == 0:
        return f"{SETTING}: {problem} (is it mounted read-only, or are its permissions too tight?); name another place"
    return (
        f"{SETTING}: {problem}: {place} belongs to {_who(owner)} and this process runs as {_who(us)}; "
        f"run `chown -R {us} {place}` (for a container, on its volume), or name a file elsewhere"
    )


def _who(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _explain(path: Path, error: sqlite3.Error) -> CollabError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreLocked(str(path))
        case sqlite3.SQLITE_NOTADB:
            return SettingsError(f"{SETTING}: {path} is not an SQLite database; name another file")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return SettingsError(_unwritable(path.parent, f"{path} cannot be opened for writing ({error})"))
        case _ if is_outage(error):
            return Unavailable(f"the store {path} ({error})")
    return SettingsError(
        f"{SETTING}: {path} is damaged ({error}); restore a backup, "
        f"or rescue what is in it with `sqlite3 {path} .recover`"
    )
