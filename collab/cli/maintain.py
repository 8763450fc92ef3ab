"""`collab compact` and `collab verify`: the store, looked after while no server runs."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
import typer

from .. import recovery
from ..errors import DamagedRoom, NoSuchRoom
from ..store import RoomInfo, Store
from .app import AsJson, StoreURL, app, console, existing_store, print_json, progress

DAMAGED_EXIT_CODE = DamagedRoom.exit_code


@app.command()
def compact(
    room: Annotated[str | None, typer.Argument(help="One room; all of them without.")] = None,
    store: StoreURL = None,
    as_json: AsJson = False,
) -> None:
    """Make checkpoints, so that rooms open faster. What was edited stays as their history."""
    report = anyio.run(_compact, existing_store(store), room)
    damaged = [line for line in report if line["problem"]]
    if as_json:
        print_json(report)
    else:
        compacted = [line for line in report if line["compacted"]]
        rows = sum(line["rows"] for line in compacted)
        console().print(f"{len(compacted)} of {len(report)} rooms compacted, {rows} rows are behind checkpoints now")
        _complain(damaged)
    if damaged:
        raise typer.Exit(DAMAGED_EXIT_CODE)


async def _compact(store: Store, room: str | None) -> list[dict[str, Any]]:
    async with store:
        report = []
        with progress() as bar:
            for info in bar.track(await _rooms(store, room), description="Compacting"):
                line: dict[str, Any] = {"room": info.name, "rows": info.log_rows, "compacted": False, "problem": None}
                try:
                    line["compacted"] = bool(await recovery.compact(store, info.name))
                except DamagedRoom as error:
                    line["problem"] = error.what
                report.append(line)
        return report


@app.command()
def verify(store: StoreURL = None, as_json: AsJson = False) -> None:
    """Read every row of every room, build every document, and say which room is damaged (exit code 4)."""
    report = anyio.run(_verify, existing_store(store))
    damaged = [line for line in report if line["problem"]]
    if as_json:
        print_json({"rooms": len(report), "damaged": damaged})
    else:
        rows = sum(line["rows"] for line in report)
        console().print(f"{len(report)} rooms, {rows} rows: {len(damaged) or 'none'} damaged")
        _complain(damaged)
    if damaged:
        raise typer.Exit(DAMAGED_EXIT_CODE)


async def _verify(store: Store) -> list[dict[str, Any]]:
    async with store:
        report = []
        with progress() as bar:
            for info in bar.track(await _rooms(store, None), description="Verifying"):
                line: dict[str, Any] = {"room": info.name, "rows": info.log_rows, "problem": None}
                try:
                    loaded = await recovery.verify(store, info.name)
                except DamagedRoom as error:
                    line["problem"] = error.what
                else:
                    if loaded.poison:
                        line["problem"] = f"rows {', '.join(map(str, loaded.poison))} cannot be read"
                report.append(line)
        return report


async def _rooms(store: Store, only: str | None) -> list[RoomInfo]:
    rooms = [info async for info in store.rooms() if only is None or info.name == only]
    if only is not None and not rooms:
        raise NoSuchRoom(only)
    return rooms


def _complain(damaged: list[dict[str, Any]]) -> None:
    for line in damaged:
        console().print(f"room {line['room']!r}: {line['problem']}", style="red", markup=False)
