"""Deleted rooms stay deleted, over restarts, until somebody lifts it."""

from __future__ import annotations

import pytest

from collab.errors import NoSuchRoom, SettingsError
from collab.hub import Hub
from collab.settings import Settings
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore
from collab.tombs import Tombs

pytestmark = pytest.mark.anyio
NAMES = ["a room", "日本/\n", "x" * 512]


async def test_kept_beside_the_store(tmp_path):
    for turn in range(2):
        async with Hub(Settings(), store=SQLiteStore(tmp_path / "rooms.db")) as hub:
            for name in NAMES:
                if not turn:
                    await hub.dismiss(name)
                with pytest.raises(NoSuchRoom):
                    await hub.open(name)
            if turn:
                assert await hub.tombs.lift(NAMES[0]) and not await hub.tombs.lift(NAMES[0])
                hub.release(await hub.open(NAMES[0]))
    tombs = Tombs()
    tombs.open(SQLiteStore(tmp_path / "rooms.db"))
    assert [name in tombs for name in NAMES] == [False, True, True]


async def test_without_a_file():
    tombs = Tombs()
    tombs.open(MemoryStore())
    await tombs.add("room")
    assert "room" in tombs and await tombs.lift("room") and "room" not in tombs


async def test_a_note_that_cannot_be_read(tmp_path):
    store = SQLiteStore(tmp_path / "rooms.db")
    tombs = Tombs()
    tombs.open(store)
    await tombs.add("room")
    (note,) = (tmp_path / "rooms.db.deleted").iterdir()
    for content in ("", "[]", "{}", "null"):
        note.write_text(content)
        with pytest.raises(SettingsError):
            Tombs().open(store)
