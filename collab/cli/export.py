"""`collab export`: one room's document, out of the store."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer

from .. import recovery
from ..content.plain import to_json
from ..errors import NoSuchRoom, SettingsError
from ..fence import fenced
from ..store import Store
from .app import StoreURL, app, existing_store


class Format(StrEnum):
    """How a document is written."""

    yjs = "yjs"
    json = "json"


@app.command()
def export(
    room: Annotated[str, typer.Argument(help="The room's exact name.")],
    format: Annotated[Format, typer.Option(help="One Yjs update (v1), or JSON.")] = Format.json,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output without.")
    ] = None,
    store: StoreURL = None,
) -> None:
    """Write a room's document: as JSON, or as the Yjs update that makes it."""
    body = anyio.run(_read, existing_store(store), room, format)
    if output is None:
        sys.stdout.buffer.write(body)
    else:
        try:
            output.write_bytes(body)
        except OSError as error:
            raise SettingsError(
                f"{output} cannot be written ({error.strerror}); name another file with --output"
            ) from None


async def _read(store: Store, room: str, format: Format) -> bytes:
    async with store:
        stored = await store.load(room)
        if not stored.seq:
            raise NoSuchRoom(room)
        doc = (await recovery.build(room, stored)).doc
        if format is Format.yjs:
            return fenced(doc.get_update)
        return json.dumps(to_json(doc), ensure_ascii=False, indent=2).encode() + b"\n"
