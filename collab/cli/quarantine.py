"""`collab quarantine`: what ended the server twice and was set aside. Works beside a running server."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from ..deaths import Entry, entries, folder_of
from ..deaths import release as released
from ..errors import NoSuchRoom, SettingsError
from .app import AsJson, RoomName, StoreURL, app, console, existing_store, print_json, shown

quarantine = typer.Typer(help="What ended the server twice and was set aside.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")


@quarantine.command("list")
def list_(store: StoreURL = None, as_json: AsJson = False) -> None:
    """List what is set aside, oldest first."""
    found = entries(_folder(store))
    if as_json:
        print_json([_plain(entry) for entry in found])
        return
    table = Table("what", "room", "since (UTC)", "why", title=f"{len(found)} set aside")
    for entry in found:
        table.add_row(entry.kind, Text(shown(entry.room)), _time(entry), Text(entry.why))
    console().print(table)


@quarantine.command()
def show(room: RoomName, store: StoreURL = None, as_json: AsJson = False) -> None:
    """Show all that is known of what is set aside of one room, the update included (in hexadecimal)."""
    found = [entry for entry in entries(_folder(store)) if entry.room == room]
    if not found:
        raise NoSuchRoom(room)
    if as_json:
        print_json([_plain(entry) for entry in found])
        return
    for entry in found:
        lines = {
            "what": entry.kind,
            "room": shown(entry.room),
            "since": f"{_time(entry)} UTC",
            "why": entry.why,
            "author": entry.author or "not known",
            "structs": ", ".join(f"{client}: {start} to {end - 1}" for client, start, end in entry.ranges),
            "update": entry.update or "",
        }
        for name, value in lines.items():
            if value:
                console().print(f"{name}: {value}", markup=False, soft_wrap=True)


@quarantine.command()
def release(room: RoomName, store: StoreURL = None, as_json: AsJson = False) -> None:
    """Serve a room again, and take in what was refused. A running server follows within a second."""
    found = released(_folder(store), room)
    if not found:
        raise NoSuchRoom(room)
    if as_json:
        print_json([_plain(entry) for entry in found])
    else:
        console().print(f"{shown(room)} released: {', '.join(entry.kind for entry in found)}", markup=False)


def _folder(url: str | None) -> Path:
    folder = folder_of(existing_store(url))
    if folder is None:
        raise SettingsError("this store has no place for a quarantine: name one in a file with --store")
    return folder


def _plain(entry: Entry) -> dict[str, Any]:
    return asdict(entry)


def _time(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
