"""`collab compact` and `collab verify`, on stores that are sound and on stores that are not."""

from __future__ import annotations

import json
import sqlite3

import anyio
import pytest
from pycrdt import Doc, Text

from collab.store import Entry, open_store

URL = "sqlite:///rooms.db"


@pytest.fixture
def rooms() -> dict[str, str]:
    """Three rooms with twenty rows each, and what they say."""
    entries, texts = [], {}
    for name in ("one", "two", "three ü"):
        doc: Doc = Doc()
        text = doc.get("t", type=Text)
        doc.observe(lambda event, name=name: entries.append(Entry(name, event.update, 1.0, "ana")))
        for nth in range(20):
            text += f"{nth} "
        texts[name] = str(text)

    async def keep() -> None:
        async with open_store(URL) as store:
            await store.append(entries)

    anyio.run(keep)
    return texts


def spoil(room: str, seq: int) -> None:
    """Change one stored update behind the store's back."""
    db = sqlite3.connect("rooms.db")
    with db:
        changed = db.execute(
            'UPDATE log SET "update" = zeroblob(length("update")) '
            "WHERE seq = ? AND room_id = (SELECT id FROM rooms WHERE name = ?)",
            [seq, room],
        ).rowcount
    db.close()
    assert changed == 1


def stored(room: str) -> tuple[int, int, str]:
    """Checkpoint's number, rows of the log, text."""

    async def read() -> tuple[int, int, str]:
        async with open_store(URL) as store:
            found = await store.load(room)
            doc: Doc = Doc()
            for update in filter(None, [found.checkpoint, *(row.update for row in found.rows)]):
                doc.apply_update(update)
            return found.covers, len(found.rows), str(doc.get("t", type=Text))

    return anyio.run(read)


def test_compact_all(collab, rooms):
    result = collab("compact", "--store", URL)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 rooms compacted, 60 rows" in result.stdout
    for name, text in rooms.items():
        assert stored(name) == (20, 0, text)
    again = collab("compact", "--store", URL, "--json")
    assert [line["compacted"] for line in json.loads(again.stdout)] == [False] * 3


def test_compact_one(collab, rooms):
    assert collab("compact", "two", "--store", URL).exit_code == 0
    assert stored("two") == (20, 0, rooms["two"])
    assert stored("one") == (0, 20, rooms["one"])
    assert collab("compact", "missing", "--store", URL).exit_code == 1


def test_a_damaged_room_is_left_alone(collab, rooms):
    spoil("two", 7)
    result = collab("compact", "--store", URL, "--json")
    assert result.exit_code == 4
    lines = {line["room"]: line for line in json.loads(result.stdout)}
    assert lines["one"]["compacted"] and lines["three ü"]["compacted"]
    assert not lines["two"]["compacted"] and "7" in lines["two"]["problem"]


def test_verify_sound(collab, rooms):
    result = collab("verify", "--store", URL)
    assert result.exit_code == 0
    assert "3 rooms, 60 rows: none damaged" in result.stdout


def test_verify_says_which_room_is_damaged(collab, rooms):
    spoil("two", 7)
    result = collab("verify", "--store", URL, "--json")
    assert result.exit_code == 4
    report = json.loads(result.stdout)
    assert report["rooms"] == 3
    assert [line["room"] for line in report["damaged"]] == ["two"]
    shown = collab("verify", "--store", URL)
    assert shown.exit_code == 4 and "room 'two'" in shown.stdout


def test_verify_finds_what_the_checksum_cannot(collab, rooms):
    """A row that is whole, but no update: whoever wrote it had the checksum right."""

    async def keep() -> None:
        async with open_store(URL) as store:
            await store.append([Entry("one", b"not an update", 1.0)])

    anyio.run(keep)
    report = json.loads(collab("verify", "--store", URL, "--json").stdout)
    assert [line["room"] for line in report["damaged"]] == ["one"]
    assert "21" in report["damaged"][0]["problem"]
