"""`collab snapshot`: states of rooms that were kept, compared, and brought back."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ..content.formats import Format
from ..errors import SettingsError
from .admin import AdminToken, AdminURL, admin_anywhere, of_room
from .app import AsJson, RoomName, StoreURL, Yes, agreed, app, console, print_json, progress, shown

snapshot = typer.Typer(help="States of rooms that are kept, compared, and brought back.", no_args_is_help=True)
app.add_typer(snapshot, name="snapshot")

Id = Annotated[int, typer.Argument(min=1, help="The snapshot's number.")]
Label = Annotated[str, typer.Option("--label", metavar="TEXT", help="A name for people.")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="More about it.")]
MOMENT = "a snapshot's number, `seq:120` (after this edit) or `time:2026-11-25T09:30:00Z`"


@snapshot.command()
def create(
    room: RoomName,
    label: Label = "",
    note: Note = "",
    pinned: Annotated[bool, typer.Option("--pin", help="Keep it until somebody deletes it.")] = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Keep what a room holds now."""
    with _waiting("Making"), admin_anywhere(store, server=server, token=token) as admin:
        body = {"label": label, "note": note, "pinned": pinned}
        _say(admin.ask("POST", f"{of_room(room)}/snapshots", body=body), "made", as_json)


@snapshot.command("list")
def list_(
    room: RoomName, store: StoreURL = None, server: AdminURL = None, token: AdminToken = None, as_json: AsJson = False
) -> None:
    """List the snapshots of a room, newest first."""
    with _waiting("Listing"), admin_anywhere(store, server=server, token=token) as admin:
        found = list(admin.pages(f"{of_room(room)}/snapshots"))
    if as_json:
        print_json(found)
        return
    table = Table("id", "time (UTC)", "label", "why", "by", "edit", "size", "pinned", title=f"{len(found)} snapshots")
    for one in found:
        label, author = Text(shown(one["label"])), Text(shown(one["author"] or ""))
        size, pinned = decimal(one["size"]), "yes" if one["pinned"] else ""
        table.add_row(str(one["id"]), _time(one), label, one["reason"], author, str(one["covers"]), size, pinned)
    console().print(table)


@snapshot.command()
def show(
    room: RoomName,
    id: Id,
    format: Annotated[Format | None, typer.Option(help="Write what it holds instead, in this format.")] = None,
    field: Annotated[str | None, typer.Option(metavar="NAME", help="Root that holds the text, for a format.")] = None,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a snapshot, after its state was compared with its checksum; or what it holds."""
    path = f"{of_room(room)}/snapshots/{id}"
    with _waiting("Reading"), admin_anywhere(store, server=server, token=token) as admin:
        body = admin.read(f"{path}/content", format=format.value, field=field) if format else b""
        found = {} if format else admin.ask("GET", path)
    if format:
        sys.stdout.buffer.write(body)
    elif as_json:
        print_json(found)
    else:
        for name, value in found.items():
            console().print(f"{name}: {shown(str(value))}", markup=False, soft_wrap=True)


@snapshot.command()
def delete(
    room: RoomName,
    id: Id,
    yes: Yes = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Delete a snapshot for good, be it pinned."""
    agreed(f"Delete snapshot {id} of {shown(room)} for good?", yes)
    with _waiting("Deleting"), admin_anywhere(store, server=server, token=token) as admin:
        admin.ask("DELETE", f"{of_room(room)}/snapshots/{id}")
    if as_json:
        print_json({"room": room, "id": id, "deleted": True})
    else:
        console().print(f"snapshot {id} of {shown(room)} deleted", markup=False, soft_wrap=True)


@snapshot.command()
def pin(
    room: RoomName,
    id: Id,
    off: Annotated[bool, typer.Option("--off", help="Let it go again, when its time comes.")] = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Keep a snapshot until somebody deletes it."""
    with _waiting("Changing"), admin_anywhere(store, server=server, token=token) as admin:
        found = admin.ask("PATCH", f"{of_room(room)}/snapshots/{id}", body={"pinned": not off})
    _say(found, "let go" if off else "pinned", as_json)


@snapshot.command()
def diff(
    room: RoomName,
    before: Annotated[str, typer.Argument(metavar="FROM", help=f"A moment: {MOMENT}, or `now`.")],
    after: Annotated[str, typer.Argument(metavar="TO", help="Another one.")] = "now",
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed in a room between two moments: its texts; with --json, all that shared types hold, too."""
    query = {"from_": _moment(before), "to": _moment(after)}
    with _waiting("Comparing"), admin_anywhere(store, server=server, token=token) as admin:
        found = admin.ask("GET", f"{of_room(room)}/diff", **query)
    if as_json:
        print_json(found)
        return
    for root, steps in found["text"].items():
        line = Text(f"{shown(root)}: ")
        for step in steps:
            for what, value in step.items():
                if what == "keep":
                    line.append(f" … {value} … ", "dim")
                else:
                    line.append(f"{'-' if what == 'delete' else '+'}[{value}]", "red" if what == "delete" else "green")
        console().print(line, soft_wrap=True)
    others = sorted(found["nodes"].keys() - found["text"].keys())
    if others:
        console().print(f"not in the text of: {', '.join(map(shown, others))}", markup=False, soft_wrap=True)
    if not found["nodes"]:
        console().print("nothing changed")


@snapshot.command()
def restore(
    room: RoomName,
    to: Annotated[str, typer.Argument(metavar="ID", help=f"Where to: {MOMENT}.")],
    into: Annotated[
        str | None, typer.Option("--into", metavar="ROOM", help="Write it into this room instead, which is empty.")
    ] = None,
    yes: Yes = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Bring back what a room was, as an edit on top of what it is; people may go on typing.

    A snapshot of what is there is made before, so that it can be taken back in the same way.
    """
    kind, _, value = _moment(to).partition(":")
    if kind == "now" or not value:
        raise SettingsError(f"{to!r} is no moment of the past; say {MOMENT}")
    if into is None:
        agreed(f"Bring {shown(room)} back to {kind} {value}?", yes)
    body = {"to": {kind: int(value) if kind != "time" and value.isdecimal() else value}, "into": into}
    with _waiting("Restoring"), admin_anywhere(store, server=server, token=token) as admin:
        found = admin.ask("POST", f"{of_room(room)}/restore", body=body)
    if as_json:
        print_json(found)
    elif not found["bytes"]:
        console().print("nothing had to change")
    else:
        before = found["before"]
        console().print(
            f"{shown(found['room'])} restored" + (f"; what it was before is snapshot {before['id']}" if before else ""),
            markup=False,
            soft_wrap=True,
        )


def _moment(text: str) -> str:
    return f"snapshot:{text}" if text.isascii() and text.isdecimal() else text


def _waiting(what: str) -> Any:
    bar = progress()
    bar.add_task(what, total=None)
    return bar


def _say(found: dict[str, Any], done: str, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    line = f"snapshot {found['id']} of {shown(found['room'])} {done}: {decimal(found['size'])}, edit {found['covers']}"
    console().print(line, markup=False, soft_wrap=True)


def _time(found: dict[str, Any]) -> str:
    return str(found["time"])[:19].replace("T", " ")
