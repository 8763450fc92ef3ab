"""`collab history`, `attribution`, `undo` and `erase`: who edited a room when and what of it; and that it is gone."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ..errors import SettingsError
from .admin import AdminToken, AdminURL, admin_anywhere, of_room
from .app import AsJson, RoomName, StoreURL, Yes, agreed, app, console, print_json, shown

MOMENT = "2026-11-25T09:30:00Z"


@app.command()
def history(
    room: RoomName,
    gap: Annotated[float, typer.Option(metavar="MINUTES", help="Time without an edit that ends a session.")] = 10.0,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Show who edited a room when, as far as its edits are kept, oldest first."""
    with admin_anywhere(store, server=server, token=token) as admin:
        found = list(admin.pages(f"{of_room(room)}/activity", gap=str(gap)))
    if as_json:
        print_json(found)
        return
    table = Table("from (UTC)", "to", "who", "edits", "numbers", "size", title=f"{len(found)} sessions")
    for one in found:
        times, numbers = (_time(one["begin"]), _time(one["end"])), f"{one['first']} to {one['last']}"
        table.add_row(*times, Text(_who(one["author"])), str(one["edits"]), numbers, decimal(one["bytes"]))
    console().print(table)


@app.command()
def attribution(
    room: RoomName,
    deleted: Annotated[bool, typer.Option("--deleted", help="Show what was deleted instead, and by whom.")] = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Show who wrote what stands in a room, and who deleted what does not any more, as far as its edits are kept."""
    with admin_anywhere(store, server=server, token=token) as admin:
        found = admin.ask("GET", f"{of_room(room)}/attribution")
    if as_json:
        print_json(found)
        return
    parts = found["deleted" if deleted else "runs"]
    columns = ["in", "who", "written (UTC)", "what", *(["deleted by", "deleted (UTC)"] if deleted else [])]
    table = Table(*columns, title=f"{len(parts)} parts")
    for part in parts:
        line = [shown(part["root"]), _who(part["author"]), _time(part["last"]), shown(part["shown"])]
        if deleted:
            line += [_who(part["deleted_by"]), _time(part["deleted"])]
        table.add_row(*map(Text, line))
    console().print(table)


@app.command()
def undo(
    room: RoomName,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whose edits.")],
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"From when on, such as {MOMENT}.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Until when.")] = None,
    yes: Yes = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Take back what one user did in a room, as one edit on top of what came since; people may go on typing.

    A snapshot of what is there is made before, so that it can be taken back in turn.
    """
    agreed(f"Take back what {shown(user)} did in {shown(room)}?", yes)
    with admin_anywhere(store, server=server, token=token) as admin:
        body = {"author": user, "since": since, "until": until}
        found = admin.ask("POST", f"{of_room(room)}/undo", body=body)
    if as_json:
        print_json(found)
    elif not found["bytes"]:
        console().print("nothing had to change")
    else:
        before = f"; what it was before is snapshot {found['before']['id']}" if found["before"] else ""
        console().print(f"done in {shown(room)}{before}", markup=False, soft_wrap=True)


@app.command()
def erase(
    room: Annotated[str | None, typer.Argument(help="The room's exact name; with --user, all without it.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="Forget only that this user made what he made.")
    ] = None,
    yes: Yes = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Delete all there is of a room, its history and snapshots too; or the name of a user. Nothing of it is left in the
    store. Backups keep what they hold.

    From a room that is erased editors are sent away, and none brings it back: the name is refused until an admin allows
    it again. What a user wrote stays; what he types afterwards bears his name again, so revoke his access first.
    """
    if user is not None:
        _unsign(user, room, yes, store, server, token, as_json)
        return
    if room is None:
        raise SettingsError("say what is to be erased: a room, or `--user NAME`")
    agreed(f"Erase {shown(room)}, its history and its snapshots for good?", yes)
    with admin_anywhere(store, server=server, token=token) as admin:
        found = admin.ask("DELETE", of_room(room))
    if as_json:
        print_json(found)
    else:
        line = f"{shown(room)} is gone: {found['rows']} edits, {found['snapshots']} snapshots"
        console().print(line, markup=False, soft_wrap=True)


def _unsign(
    user: str, room: str | None, yes: bool, store: str | None, server: str | None, token: str | None, as_json: bool
) -> None:
    where = "all rooms" if room is None else shown(room)
    agreed(f"Forget for good what {shown(user)} made in {where}?", yes)
    with admin_anywhere(store, server=server, token=token) as admin:
        path = "/unsign" if room is None else f"{of_room(room)}/unsign"
        found = admin.ask("POST", path, body={"author": user})
    if as_json:
        print_json(found)
    else:
        line = f"{found['rows']} edits and {found['snapshots']} snapshots in {where} name {shown(user)} no more"
        console().print(line, markup=False, soft_wrap=True)


def _who(author: str | None) -> str:
    return "not known" if author is None else shown(author)


def _time(moment: str | None) -> str:
    return "" if moment is None else moment[:19].replace("T", " ")
