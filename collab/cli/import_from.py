"""`collab import-from`: every document out of the store of another server, into ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import anyio
import typer

from .. import recovery
from ..bundle import Existing
from ..errors import BadMessage, BadRoomName, Conflict, DamagedRoom
from ..names import checked_name
from ..settings import load_settings
from ..store import Entry, Kind, Row, Store, Stored, foreign, open_store
from .app import AsJson, StoreURL, app, console, print_json


@app.command("import-from")
def import_from(
    kind: Annotated[foreign.Kind, typer.Argument(help="Whose store it is.")],
    path: Annotated[Path, typer.Argument(help="The file, or the folder of pycrdt-files. It is never written to.")],
    existing: Annotated[
        Existing,
        typer.Option(
            help="What becomes of a room that is here already: nothing is imported, it is left out, or it takes in "
            "what it lacks."
        ),
    ] = Existing.refuse,
    strip: Annotated[
        str, typer.Option(metavar="TEXT", help="What to take away from the front of names, where it stands there.")
    ] = "",
    decode: Annotated[
        bool,
        typer.Option("--decode", help="Names are percent-encoded, as in a URL; y-websocket's server keeps them so."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check all of it, and write nothing.")] = False,
    store: StoreURL = None,
    as_json: AsJson = False,
) -> None:
    """Take in all documents of another server's store, while no server runs on ours.

    Each is read back before it counts. One that is damaged there, or has a name that no room can have, is told of and
    left out (exit code 4).
    """
    settings = load_settings({"store": {"url": store}})
    names = _Names(strip, decode, settings.rooms.name_bytes)
    report = anyio.run(_import, open_store(settings.store.url), kind, path, names, existing, dry_run)
    problems = [line for line in report if line["problem"]]
    if as_json:
        print_json(report)
    else:
        taken = [line for line in report if line["taken"]]
        said = "could be imported" if dry_run else "imported"
        console().print(
            f"{len(taken)} of {len(report)} documents {said}, {sum(line['bytes'] for line in taken)} bytes; "
            f"{len(report) - len(taken) - len(problems)} left as they are"
        )
        for line in problems:
            console().print(f"{line['document']!r}: {line['problem']}", style="red", markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(DamagedRoom.exit_code)


class _Names:
    """What rooms are called after the documents of another server."""

    def __init__(self, strip: str, decode: bool, max_bytes: int) -> None:
        self._strip, self._decode, self._max_bytes = strip, decode, max_bytes

    def __call__(self, name: str) -> str:
        name = name.removeprefix(self._strip)
        if self._decode:
            try:
                name = unquote(name, errors="strict")
            except UnicodeDecodeError:
                raise BadRoomName("the room's name is not UTF-8") from None
        return checked_name(name.encode(errors="surrogateescape"), max_bytes=self._max_bytes)


def _documents(kind: foreign.Kind, path: Path) -> Iterator[tuple[str, list[foreign.Written]]]:
    for name, written in groupby(foreign.read(kind, path), key=lambda one: one.room):
        yield name, list(written)


async def _import(
    store: Store, kind: foreign.Kind, path: Path, names: _Names, existing: Existing, dry_run: bool
) -> list[dict[str, Any]]:
    first = _taken_names(kind, path, names)
    async with store:
        if existing is Existing.refuse:
            for room in first:
                if (await store.reach(room)).seq:
                    raise Conflict(f"room {room!r} is here already; say --existing skip or merge. Nothing was imported")
        report = []
        for name, written in _documents(kind, path):
            line: dict[str, Any] = {"document": name, "taken": False, "updates": len(written), "bytes": 0}
            line |= {"room": None, "problem": None}
            try:
                line["room"] = names(name)
                line["bytes"] = await _take(store, line["room"], written, existing, dry_run)
                line["taken"] = line["bytes"] > 0
            except (BadRoomName, DamagedRoom) as error:
                line["problem"] = error.what if isinstance(error, DamagedRoom) else str(error)
            report.append(line)
        return report


def _taken_names(kind: foreign.Kind, path: Path, names: _Names) -> list[str]:
    """The rooms that there will be. Reads everything once, so that a store cut off at its end is not half imported.

    Raises:
        BadMessage: Two documents would become one room.
    """
    rooms: dict[str, str] = {}
    for name, _ in _documents(kind, path):
        try:
            room = names(name)
        except BadRoomName:
            continue  # told when its turn comes
        if room in rooms:
            raise BadMessage(f"documents {rooms[room]!r} and {name!r} would both become room {room!r}; import none")
        rooms[room] = name
    return list(rooms)


async def _take(store: Store, room: str, written: list[foreign.Written], existing: Existing, dry_run: bool) -> int:
    """The bytes of the updates that were added; 0 when the room is left as it is."""
    stored = await store.load(room)
    if stored.seq and existing is not Existing.merge:
        return 0
    now = time.time()
    rows = tuple(
        Row(stored.seq + number, one.update, now if one.time is None else one.time, None, Kind.RAW)
        for number, one in enumerate(written, 1)
    )
    before = await recovery.build(room, stored)
    proof = await recovery.build(room, Stored(stored.epoch, stored.checkpoint, stored.covers, (*stored.rows, *rows)))
    if bad := [seq - stored.seq for seq in proof.poison if seq > stored.seq]:
        raise DamagedRoom(room, f"its updates {', '.join(map(str, bad))} are none that Yjs would take")
    if stored.seq and proof.doc.get_update() == before.doc.get_update():
        return 0
    if not dry_run:
        await store.append([Entry(room, row.update, row.time) for row in rows])
        again = await recovery.build(room, await store.load(room))
        if again.doc.get_update() != proof.doc.get_update():
            raise DamagedRoom(room, "it is another when it is read back")
    return sum(len(row.update) for row in rows)
