"""When a room in memory has nothing that the store lacks."""

from __future__ import annotations

import pytest
from pycrdt import Text

from collab.hub import Hub
from collab.settings import Settings

pytestmark = pytest.mark.anyio


async def test_a_room_is_clean_once_the_store_has_all_of_it():
    async with Hub(Settings(store={"url": "memory:"})) as hub:
        opened = await hub.open("room")
        assert opened.clean and opened.core is opened.room.core
        opened.room.ydoc["text"] = Text("typed")
        assert not opened.clean
        await hub.flush()
        assert opened.clean
        opened.reloading = True
        assert not opened.clean
        opened.reloading = False
        hub.release(opened)
