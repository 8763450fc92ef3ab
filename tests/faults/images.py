"""What a store's file holds, looked at without its server: a picture of the disk, as a crash would leave it."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from collab import recovery
from collab.store.sqlite import SQLiteStore
from tests.faults.told import Told
from tests.faults.writers import Book


def copy(file: Path, to: Path) -> Path:
    """Copy a database and its log into the folder `to`; nobody may be writing."""
    to.mkdir(parents=True, exist_ok=True)
    for end in ("", "-wal"):
        source = file.with_name(file.name + end)
        if source.exists():
            shutil.copy(source, to / source.name)
    return to / file.name


def picture(server: Told, to: Path) -> tuple[Path, set[str]]:
    """Stop the server for a moment, copy its store, let it go on. Returns the copy, and what was reported by then."""
    server.signal(signal.SIGSTOP)
    try:
        while not _stands_still(server.pid):  # what its threads had begun in the kernel comes to its end first
            time.sleep(0.001)
        server.reports.settle()
        return copy(server.file, to), set(server.reports.committed)
    finally:
        server.signal(signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task")
    return not tasks.exists() or all(
        (task / "stat").read_text().rpartition(")")[2].split()[0] in "Tt" for task in tasks.iterdir()
    )


async def found_in(file: Path, books: Iterable[Book]) -> set[str]:
    """The ids of the edits of all `books` that a store's file holds, each audited."""
    found: set[str] = set()
    async with SQLiteStore(file) as store:
        for book in books:
            loaded = await recovery.build(book.room, await store.load(book.room))
            assert not loaded.poison
            found |= book.audit(loaded.doc)
    return found


def integrity(file: Path) -> str:
    """What SQLite itself says of a file that nobody uses: "ok"."""
    with sqlite3.connect(file) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
