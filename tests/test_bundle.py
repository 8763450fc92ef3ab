"""An export as bytes: what stands in it, what is left out, and how one that is not whole is told."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from collab import bundle
from collab.errors import Unavailable
from collab.store import Store
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore
from tests.support.rooms import fill

pytestmark = pytest.mark.anyio


async def exported(store: Store, told: bundle.Exported | None = None) -> bytes:
    return b"".join([piece async for piece in bundle.export(store, None, told or bundle.Exported())])


def records(stream: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """As the reference says that it is read, without our reader."""
    found = []
    while stream:
        line, _, stream = stream.partition(b"\n")
        said = json.loads(line)
        size = said.get("bytes", 0)
        found.append((said, stream[:size]))
        stream = stream[size:]
    return found


async def test_what_stands_in_it():
    told = bundle.Exported()
    async with MemoryStore() as store:
        await fill(store, "a", forgotten=12)
        await fill(store, "b ü/\n", 3)
        stream = await exported(store, told)
        found = records(stream)
        rows = await store.history("a")
    kinds = [said["record"] for said, _ in found]
    first = ["room", *["row"] * 18, *["snapshot"] * 2, "checkpoint", "end of room"]
    assert kinds == ["export", *first, "room", *["row"] * 3, "end of room", "end"]
    assert found[0][0] == {"record": "export", "version": 1, "rooms": 2}
    assert found[1][0] == {"record": "room", "name": "a", "seq": 30, "covers": 20, "forgotten": 12}
    assert [(said["time"], said["author"], said["kind"], blob) for said, blob in found[2:20]] == [
        (row.time, row.author, row.kind, row.update) for row in rows
    ]
    assert found[20][0]["sha256"] == hashlib.sha256(found[20][1]).hexdigest()
    assert found[20][0]["note"] == "n\nü" and found[20][0]["reason"] == "scheduled" and found[20][0]["pinned"] is True
    last = stream.rstrip(b"\n").rpartition(b"\n")[0] + b"\n"
    assert found[-1][0]["sha256"] == hashlib.sha256(last).hexdigest()
    assert (told.of, told.rooms, told.damaged) == (2, 2, 0)


async def test_large_things_go_through_files_and_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "IN_MEMORY", 100)
    monkeypatch.setattr(bundle, "LARGE", 10)
    monkeypatch.setattr(bundle, "PIECE", 50)
    monkeypatch.setattr(bundle, "AIM", 20)
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await fill(store, "a", 200, compacted=180)
        pieces = [piece async for piece in bundle.export(store, tmp_path, bundle.Exported())]
        assert max(map(len, pieces[1:-1])) <= 50
        assert len(records(b"".join(pieces))) == 200 + 7
    assert [path.name for path in tmp_path.iterdir()] == ["rooms.db"]


async def test_what_is_damaged_is_left_out_and_told_of(tmp_path):
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        for name in ("a", "b", "c"):
            await fill(store, name)
    db = sqlite3.connect(tmp_path / "rooms.db")
    with db:
        db.execute('UPDATE log SET "update" = zeroblob(length("update")) WHERE seq = 3 AND room_id = 2')  # history
        db.execute("UPDATE snapshot_states SET state = zeroblob(length(state)) WHERE id = 1")
    db.close()
    told = bundle.Exported()
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        found = records(await exported(store, told))
    assert [said["name"] for said, _ in found if said["record"] in ("room", "damaged")] == ["a", "b", "c"]
    (damaged,) = [said for said, _ in found if said["record"] == "damaged"]
    assert damaged["name"] == "b" and "3" in damaged["what"]
    assert (told.rooms, told.damaged, told.damaged_snapshots) == (2, 1, 1)
    end = found[-1][0]
    assert (end["rooms"], end["damaged"], end["damaged_snapshots"]) == (2, 1, 1)


async def test_a_file_is_whole_or_not(tmp_path: Path):
    async with MemoryStore() as store:
        await fill(store, "a")
        stream = await exported(store)
        empty = tmp_path / "empty"
    file = tmp_path / "all"
    file.write_bytes(stream)
    assert bundle.checked(file) == {"rooms": 1, "damaged": 0, "damaged_snapshots": 0}
    altered = stream[:500] + bytes([stream[500] ^ 1]) + stream[501:]
    for half in (b"", stream[:-1][: len(stream) // 2], stream[:-5], stream + b"\n", altered, b"x" * 1_000_000):
        empty.write_bytes(half)
        with pytest.raises(Unavailable, match=f"{len(half)} bytes came"):
            bundle.checked(empty)
