"""`collab backup`, `restore-backup` and `migrate-store`: the store as a whole, brought somewhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from rich.filesize import decimal
from rich.progress import Progress

from .. import backup as backups
from .. import migration
from ..backup import Verified
from ..errors import CollabError, DamagedRoom, SettingsError, StoreLocked
from ..settings import load_settings
from ..store import Store, open_store
from ..store.copies import discard, put
from ..store.sqlite import SQLiteStore
from .admin import AdminToken, AdminURL, admin_of
from .app import AsJson, StoreURL, agreed, app, console, existing_store, print_json, progress, store_file


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; a store of its own, which `--store` takes.")],
    yes: Annotated[bool, typer.Option("--yes", help="Replace the file without asking.")] = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole store into a file, out of it or from the running server that has it, while people type.

    The copy holds every edit that was saved when this began. It is read through before it takes its name. Rooms that
    are damaged are copied as they are, and told of (exit code 4).
    """
    began = time.monotonic()
    file = file.absolute()
    if file.exists():
        agreed(f"{file} is there already. Replace it?", yes)
    draft = file.with_name(f"{file.name}.part")
    discard(draft)
    try:
        with progress() as bar:
            _copy(draft, store, server, token, _told(bar, "Copying"))
            found = anyio.run(backups.verify, draft, _told(bar, "Verifying"))
        put(draft, file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}); name another file") from None
    finally:
        discard(draft)
    _say(found, file, time.monotonic() - began, as_json, "saved in")


def _copy(
    draft: Path, url: str | None, server: str | None, token: str | None, told: Callable[[int, int], None]
) -> None:
    locked: StoreLocked | None = None
    if server is None:
        store = existing_store(url)
        if isinstance(store, SQLiteStore):
            try:
                anyio.run(_copied, store, draft, told)
                return
            except StoreLocked as error:
                locked = error
        elif url is not None or store_file(store) is not None:
            raise SettingsError("this store is no file of ours: use its own tools, or `collab migrate-store`")
    with admin_of(server=server, token=token, locked=locked) as admin:
        admin.fetch("POST", "/server/backup", draft, told)


async def _copied(store: SQLiteStore, draft: Path, told: Callable[[int, int], None]) -> None:
    async with store:
        await store.copy_to(draft, told)


@app.command("restore-backup")
def restore_backup(
    file: Annotated[Path, typer.Argument(help="A backup; it is not changed.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Set aside, without asking, the store that is there; it is kept beside it.")
    ] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Take a backup in which rooms are damaged; all others are whole.")
    ] = False,
    store: StoreURL = None,
    as_json: AsJson = False,
) -> None:
    """Make a store of a backup, after all of it was read and compared with its checksums. Stop the server first.

    Editors that are still open bring back what they have; that is added, as always.
    """
    began = time.monotonic()
    place = _place(load_settings({"store": {"url": store}}).store.url)
    if place.exists():
        agreed(f"{place} is there already. Set it aside?", yes)
    with progress() as bar:
        found = anyio.run(_restored, file, place, damaged, _told(bar, "Verifying"))
    _say(found, place, time.monotonic() - began, as_json, "restored into")


async def _restored(file: Path, place: Path, damaged: bool, told: Callable[[int, int], None]) -> Verified:
    return await backups.restore(file, place, replace=True, damaged=damaged, told=told)


def _place(url: str) -> Path:
    store = open_store(url)
    if not isinstance(store, SQLiteStore):
        raise SettingsError(f"{url} is no file: bring a backup there with `collab migrate-store sqlite:///FILE {url}`")
    return store.path


def _told(bar: Progress, what: str) -> Callable[[int, int], None]:
    task = bar.add_task(what, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total or None)


def _say(found: Verified, file: Path, seconds: float, as_json: bool, done: str) -> None:
    if as_json:
        print_json({"file": str(file), **asdict(found), "seconds": round(seconds, 3)})
    else:
        console().print(
            f"{found.rooms} rooms, {found.rows} edits, {found.snapshots} snapshots {done} {file}: "
            f"{decimal(found.bytes)}, read and verified, {seconds:.1f} s",
            markup=False,
            soft_wrap=True,
        )
        for what in found.damaged.values():
            console().print(what, style="red", markup=False, soft_wrap=True)
    if found.damaged:
        raise typer.Exit(DamagedRoom.exit_code)


@app.command("migrate-store")
def migrate_store(
    source: Annotated[str, typer.Argument(metavar="FROM", help="URL of the store that has the rooms.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="URL of the store that gets them.")],
    as_json: AsJson = False,
) -> None:
    """Copy all rooms from one store into another, with history, checkpoints and snapshots, and compare what arrived.

    No server may have either. A room whose name the other store has already is left out and told of; so is one that is
    damaged. The first store is not changed. Snapshots get new numbers.
    """
    if source == target:
        raise SettingsError("both URLs name the same store")
    report = anyio.run(_migrate, existing_store(source), open_store(target))
    failed = [line for line in report if line["problem"]]
    if as_json:
        print_json(report)
    else:
        rows, snapshots = (sum(line[what] for line in report) for what in ("rows", "snapshots"))
        moved = len(report) - len(failed)
        console().print(f"{moved} of {len(report)} rooms, {rows} edits, {snapshots} snapshots copied and compared")
        for line in failed:
            console().print(line["problem"], style="red", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(max(line["exit_code"] for line in failed))


async def _migrate(source: Store, target: Store) -> list[dict[str, Any]]:
    async with source, target:
        infos = [info async for info in source.rooms()]
        report: list[dict[str, Any]] = []
        with progress() as bar:
            task = bar.add_task("Copying", total=sum(info.seq - info.forgotten for info in infos))
            for info in infos:
                line: dict[str, Any] = {"room": info.name, "rows": 0, "snapshots": 0, "problem": None, "exit_code": 0}
                try:
                    line["rows"], line["snapshots"] = await migration.move(
                        source, target, info, lambda rows: bar.advance(task, rows)
                    )
                except CollabError as error:
                    line |= {"problem": str(error), "exit_code": error.exit_code}
                report.append(line)
        return report
