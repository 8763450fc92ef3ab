"""`collab history` and `collab erase`: who edited a room when; and that nothing of it is left."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from .admin import AdminToken, AdminURL, admin_anywhere, of_room
from .app import AsJson, StoreURL, Yes, agreed, app, console, print_json


@app.command()
def history(
    room: Annotated[str, typer.Argument(help="The room's exact name.")],
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
        begin, end = (str(one[name])[:19].replace("T", " ") for name in ("begin", "end"))
        who = one["author"] or "not known"
        numbers = f"{one['first']} to {one['last']}"
        table.add_row(
            begin,
            end,
            Text(who if who.isprintable() else ascii(who)),
            str(one["edits"]),
            numbers,
            decimal(one["bytes"]),
        )
    console().print(table)


@app.command()
def erase(
    room: Annotated[str, typer.Argument(help="The room's exact name.")],
    yes: Yes = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Delete all there is of a room, its history and snapshots too, so that nothing of it is left in the store.

    Editors are sent away, and none brings it back: the name is refused until an admin allows it again. Backups keep
    what they hold.
    """
    shown = room if room.isprintable() else ascii(room)
    agreed(f"Erase {shown}, its history and its snapshots for good?", yes)
    with admin_anywhere(store, server=server, token=token) as admin:
        found = admin.ask("DELETE", of_room(room))
    if as_json:
        print_json(found)
    else:
        line = f"{shown} is gone: {found['rows']} edits, {found['snapshots']} snapshots"
        console().print(line, markup=False, soft_wrap=True)
