"""`collab rooms`: what the store holds."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ..store import RoomInfo, Store
from .app import AsJson, StoreURL, app, console, existing_store, print_json


@app.command()
def rooms(store: StoreURL = None, as_json: AsJson = False) -> None:
    """List the rooms in the store, by name. A running server has its store to itself: stop it first."""
    found = asyncio.run(_list(existing_store(store)))
    if as_json:
        print_json([asdict(room) for room in found])
        return
    table = Table("room", "epoch", "changed (UTC)", "updates", "checkpoint", "log", title=f"{len(found)} rooms")
    for column in table.columns[1:]:
        column.justify = "right"
    for room in found:
        changed = datetime.fromtimestamp(room.changed, UTC).strftime("%Y-%m-%d %H:%M:%S")
        name = room.name if room.name.isprintable() else ascii(room.name)
        log = f"{room.log_rows} rows, {decimal(room.log_bytes)}"
        table.add_row(Text(name), str(room.epoch), changed, str(room.seq), decimal(room.checkpoint_bytes), log)
    console().print(table)


async def _list(store: Store) -> list[RoomInfo]:
    async with store:
        return [room async for room in store.rooms()]
