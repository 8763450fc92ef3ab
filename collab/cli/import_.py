"""`collab import`: a document from a file into a room, through the store or through the server that has it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pycrdt import Doc

from .. import recovery
from ..content import build
from ..content.edits import as_prosemirror, merge, noted
from ..content.plain import to_json
from ..content.prosemirror import MAX_DEPTH, find_field, has_xml
from ..errors import BadMessage, BadUpdate, SettingsError, StoreLocked, TooDeep
from ..fence import fenced
from ..names import checked_name
from ..settings import load_settings
from ..store import Entry, Row, Store, Stored
from ..wire import vet
from .app import AsJson, StoreURL, app, console, existing_store, print_json, store_file
from .live import ServerURL, Token, live_room


@dataclass(frozen=True, slots=True)
class Import:
    """What is to be put where.

    Args:
        room: The room's name.
        found: The file's content: ProseMirror JSON (a dict), or a Yjs update.
        field: The root that JSON goes to; None for the one that is there, else TipTap's.
        append: Whether it goes behind what the room has.
        replace: Whether it takes the place of that.
    """

    room: str
    found: dict[str, Any] | bytes
    field: str | None
    append: bool
    replace: bool


@app.command("import")
def import_(
    room: Annotated[str, typer.Argument(help="The room's exact name.")],
    file: Annotated[Path, typer.Argument(help="ProseMirror JSON (TipTap's getJSON()), or one Yjs update (v1).")],
    field: Annotated[str | None, typer.Option(metavar="NAME", help="Root that ProseMirror JSON goes to.")] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Put it behind what the room has; a Yjs update is merged.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of what the root has.")] = False,
    store: StoreURL = None,
    server: ServerURL = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Put a document into a room: into the store, or through the running server that has it. Editors may go on typing.

    A room that has content already is left alone, unless told what to do with it.
    """
    if append and replace:
        raise SettingsError("--append and --replace exclude each other: give one of them")
    settings = load_settings({"store": {"url": store}})
    checked_name(room.encode(errors="surrogateescape"), max_bytes=settings.rooms.name_bytes)
    task = Import(room, _read(file), field, append, replace)
    through, size = "store", 0
    locked: StoreLocked | None = None
    here = None if server else existing_store(store)
    if here is not None and store_file(here) is not None:
        try:
            size = anyio.run(_into_store, here, task)
        except StoreLocked as error:
            locked = error
    if here is None or store_file(here) is None or locked is not None:
        with live_room(settings, room, server=server, token=token, locked=locked) as live:
            through = live.url
            update = update_for(live.doc, task)
            if update != vet.EMPTY:
                live.edit(update)
                size = len(update)
    if as_json:
        print_json({"room": room, "through": through, "bytes": size})
    elif size:
        console().print(f"room {room!r}: {size} bytes saved (through {through})", markup=False)
    else:
        console().print(f"room {room!r} has it already", markup=False)


def _read(file: Path) -> dict[str, Any] | bytes:
    """The content of a file, told apart by what it is. An update is never text that is JSON as well.

    Raises:
        SettingsError: It cannot be read.
        BadMessage: It is neither.
        TooDeep: It is JSON that nests too deep.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read ({error.strerror}); name another file") from None
    try:
        found = json.loads(raw.decode("utf-8-sig"))
    except RecursionError:
        raise TooDeep("its nodes", MAX_DEPTH) from None
    except ValueError:  # also what is no UTF-8
        try:
            vet.parse(raw)
        except BadUpdate as error:
            raise BadMessage(f"{file} is neither JSON nor a Yjs update (v1): {error}") from None
        return raw
    if not isinstance(found, dict):
        raise BadMessage(f'{file} is JSON, but no ProseMirror document: it should be an object with "type": "doc"')
    build.checked(found)
    return found


async def _into_store(store: Store, task: Import) -> int:
    """The size in bytes of what was written."""
    async with store:
        stored = await store.load(task.room)
        loaded = await recovery.build(task.room, stored)
        update = update_for(loaded.doc, task)
        if update == vet.EMPTY:
            return 0
        entry = Entry(task.room, update, time.time())
        row = Row(stored.seq + 1, update, entry.time, None, entry.kind)
        proof = await recovery.build(
            task.room, Stored(stored.epoch, stored.checkpoint, stored.covers, (*stored.rows, row))
        )
        if row.seq in proof.poison:
            raise BadUpdate("the document library does not take this update")
        await store.append([entry])
        return len(update)


def update_for(doc: Doc[Any], task: Import) -> bytes:
    """The update that does `task` in a room with `doc`, which changes accordingly.

    Raises:
        BadMessage: The room has content and nothing is said about it, or it is of another kind.
        BadUpdate: The update builds on what the room does not have.
        TooDeep: Something nests too deep.
        Panic: The document library failed.
    """
    if not (task.append or task.replace):
        full = [name for name, content in to_json(doc).items() if content is not None]
        if full:
            raise BadMessage(
                f"room {task.room!r} has content already (in {', '.join(map(repr, full))}): "
                "say --append or --replace, or name another room"
            )
    if isinstance(task.found, bytes):
        if not task.replace:
            return merge(doc, task.found)
        return _write(doc, build.replace, *as_prosemirror(task.found, task.field))
    field = task.field or find_field(doc)
    return _write(doc, build.replace if task.replace else build.append, task.found, field)


def _write(doc: Doc[Any], how: Callable[[Doc[Any], Any, str], None], found: dict[str, Any], field: str) -> bytes:
    if not fenced(has_xml, doc, field) and to_json(doc).get(field) is not None:
        raise BadMessage(f"root {field!r} of the room holds no XML: name another one with --field")
    return noted(doc, lambda: how(doc, found, field))
