"""`collab export`: one room's document, out of the store, or from the server that has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pycrdt import Doc

from .. import recovery
from ..content.formats import Format, written
from ..errors import NoSuchRoom, SettingsError, StoreLocked
from ..fence import fenced
from ..settings import load_settings
from ..store import Store
from .app import StoreURL, app, existing_store, store_file
from .live import ServerURL, Token, live_room


@app.command()
def export(
    room: Annotated[str, typer.Argument(help="The room's exact name.")],
    format: Annotated[
        Format,
        typer.Option(
            help="One Yjs update (v1); JSON of all roots; or one root as ProseMirror, HTML, text or Markdown."
        ),
    ] = Format.json,
    field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Root that holds the text, for all but yjs and json.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output without.")
    ] = None,
    store: StoreURL = None,
    server: ServerURL = None,
    token: Token = None,
) -> None:
    """Write a room's document, out of the store or from the running server that has it: as JSON, as a page, as text, or
    as the Yjs update that makes it."""
    body = written(_found(room, store, server, token), format, field)
    if output is None:
        sys.stdout.buffer.write(body)
    else:
        try:
            output.write_bytes(body)
        except OSError as error:
            raise SettingsError(
                f"{output} cannot be written ({error.strerror}); name another file with --output"
            ) from None


def _found(room: str, url: str | None, server: str | None, token: str | None) -> Doc[Any]:
    locked: StoreLocked | None = None
    store = None if server else existing_store(url)
    if store is not None and store_file(store) is not None:
        try:
            return anyio.run(_load, store, room)
        except StoreLocked as error:
            locked = error
    with live_room(load_settings(), room, server=server, token=token, locked=locked) as live:
        if fenced(live.doc.get_state) == b"\0":
            raise NoSuchRoom(room)
        return live.doc


async def _load(store: Store, room: str) -> Doc[Any]:
    async with store:
        stored = await store.load(room)
        if not stored.seq:
            raise NoSuchRoom(room)
        return (await recovery.build(room, stored)).doc
