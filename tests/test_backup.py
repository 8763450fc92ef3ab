"""What a backup must stand up to before it is relied on. What commands make of it: tests/cli/test_backup.py."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest
from pycrdt import Doc, Text

from collab import backup
from collab.errors import DamagedRoom, SettingsError, StoreLocked
from collab.store import Entry, Reason
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A store with two rooms, more rows than are read at once, and a snapshot."""
    doc: Doc = Doc()
    doc["t"] = Text("text")
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        update = doc.get_update()
        await store.append([Entry("room", update, 1.0)] * (backup.ROWS + 5) + [Entry("other", update, 1.0)])
        await store.add_snapshot("room", update, covers=1, time=1.0, reason=Reason.MANUAL)
        await store.compact("room", update, covers=backup.ROWS, basis=0)
    return tmp_path / "rooms.db"


def spoil(file: Path, statement: str) -> None:
    db = sqlite3.connect(file)
    with db:
        db.execute(statement)
    db.close()


async def test_verify(file):
    told: list[tuple[int, int]] = []
    found = await backup.verify(file, lambda *at: told.append(at))
    assert (found.rooms, found.rows, found.snapshots, found.damaged) == (2, backup.ROWS + 6, 1, {})
    assert found.bytes == len(file.read_bytes()) and found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert told == [(0, 2), (1, 2)]


async def test_history_that_is_damaged_or_lacks_a_row(file):
    spoil(file, "UPDATE log SET author = 'mallory' WHERE seq = 77 AND room_id = 1")
    assert "77" in (await backup.verify(file)).damaged["room"]
    spoil(file, "DELETE FROM log WHERE seq = 77 AND room_id = 1")
    assert list((await backup.verify(file)).damaged) == ["room"]


async def test_a_snapshot_that_no_list_shows(file):
    """What is said of it is damaged, so the list leaves it out; the backup is not whole all the same."""
    spoil(file, "UPDATE snapshots SET note = 'another'")
    with pytest.raises(SettingsError, match="1 snapshots, of which 0"):
        await backup.verify(file)


async def test_restore(file, tmp_path):
    place = tmp_path / "new" / "store.db"
    found = await backup.restore(file, place, replace=False)
    assert found == await backup.verify(place)
    with pytest.raises(SettingsError, match="is there already"):
        await backup.restore(file, place, replace=False)
    async with SQLiteStore(place):
        with pytest.raises(StoreLocked):
            await backup.restore(file, place, replace=True)
    place.write_bytes(b"what is left of a store" * 1000)
    await backup.restore(file, place, replace=True)
    assert await backup.verify(place) == found
    aside = sorted(name for name in os.listdir(place.parent) if "replaced" in name)
    assert len(aside) == 1 and (place.parent / aside[0]).read_bytes().startswith(b"what is left")


async def test_what_is_damaged_is_not_restored_unless_told(file, tmp_path):
    spoil(file, "UPDATE log SET author = 'mallory' WHERE seq = 77 AND room_id = 1")
    place = tmp_path / "new.db"
    with pytest.raises(DamagedRoom, match="nothing was restored"):
        await backup.restore(file, place, replace=False)
    assert not list(tmp_path.glob("new.db*"))
    assert list((await backup.restore(file, place, replace=False, damaged=True)).damaged) == ["room"]
    assert place.exists()
