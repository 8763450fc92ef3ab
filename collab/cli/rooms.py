"""`collab rooms`: which rooms there are."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from .admin import AdminToken, AdminURL, admin_anywhere
from .app import AsJson, StoreURL, app, console, print_json, shown


@app.command()
def rooms(
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Only names that contain this.")] = None,
    sort: Annotated[str, typer.Option(metavar="ORDER", help="`name`, `-changed` or `-bytes`.")] = "name",
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """List the rooms that hold something, by name, or the newest or the largest first."""
    with admin_anywhere(store, server=server, token=token) as admin:
        found = list(admin.pages("/rooms", search=search, sort=sort))
    if as_json:
        print_json(found)
        return
    table = Table("room", "changed (UTC)", "edits", "size", "clients", title=f"{len(found)} rooms")
    for column in table.columns[1:]:
        column.justify = "right"
    for room in found:
        name, changed = room["name"], room["changed"][:19].replace("T", " ")
        table.add_row(Text(shown(name)), changed, str(room["seq"]), decimal(room["bytes"]), str(room["connections"]))
    console().print(table)
