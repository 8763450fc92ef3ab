"""`collab export`: one room's document, out of the store, or from the server that has it."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pycrdt import Doc

from .. import recovery
from ..content.html import to_html
from ..content.markdown import to_markdown
from ..content.plain import to_json
from ..content.prosemirror import to_prosemirror
from ..content.text import to_text
from ..errors import NoSuchRoom, SettingsError, StoreLocked
from ..fence import fenced
from ..settings import load_settings
from ..store import Store
from .app import StoreURL, app, existing_store, store_file
from .live import ServerURL, Token, live_room


class Format(StrEnum):
    """How a document is written."""

    yjs = "yjs"
    json = "json"
    prosemirror = "prosemirror"
    html = "html"
    text = "text"
    markdown = "markdown"


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
    body = _written(_found(room, store, server, token), format, field)
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


def _written(doc: Doc[Any], format: Format, field: str | None) -> bytes:
    match format:
        case Format.yjs:
            return fenced(doc.get_update)
        case Format.html:
            text = to_html(to_prosemirror(doc, field))
        case Format.markdown:
            text = to_markdown(to_prosemirror(doc, field))
        case Format.text:
            text = _text(doc, field)
        case Format.json | Format.prosemirror:
            found = to_json(doc) if format is Format.json else to_prosemirror(doc, field)
            text = json.dumps(found, ensure_ascii=False, indent=2)
    return text.encode() + b"\n"


def _text(doc: Doc[Any], field: str | None) -> str:
    """The text of a root; for a document without XML all the roots that are plain text."""
    roots = to_json(doc)
    plain = [text for name, text in roots.items() if isinstance(text, str) and field in (None, name)]
    whole = to_prosemirror(doc, field)
    return to_text(whole) if "content" in whole else "\n\n".join(plain)
