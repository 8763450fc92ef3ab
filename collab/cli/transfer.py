"""`collab export-all` and `import-all`: all rooms as one file that any store takes, and any program can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.filesize import decimal

from .. import bundle
from ..bundle import Existing
from ..errors import DamagedRoom, SettingsError, StoreLocked
from ..settings import load_settings
from ..store import Store, open_store
from ..store.copies import discard, put
from .admin import AdminToken, AdminURL, admin_anywhere, admin_of
from .app import AsJson, StoreURL, agreed, app, console, existing_store, print_json, progress, store_file

PIECE = 256 << 10
ROOM = b'{"record":"end of room"'


@app.command("export-all")
def export_all(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    yes: Annotated[bool, typer.Option("--yes", help="Replace the file without asking.")] = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Write all rooms into a file, with history and snapshots, out of the store or from the server that has it.

    `collab import-all` takes it, whatever its store is. Damaged rooms are not in it, and told of (exit code 4).
    """
    began = time.monotonic()
    file = file.absolute()
    if file.exists():
        agreed(f"{file} is there already. Replace it?", yes)
    draft = file.with_name(f"{file.name}.part")
    discard(draft)
    try:
        with progress() as bar:
            task = bar.add_task("Exporting", total=None)
            _export(draft, store, server, token, lambda done, of: bar.update(task, completed=done, total=of))
        found = bundle.checked(draft)
        size = draft.stat().st_size
        put(draft, file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}); name another file") from None
    finally:
        discard(draft)
    if as_json:
        print_json({"file": str(file), **found, "bytes": size, "seconds": round(time.monotonic() - began, 3)})
    else:
        console().print(
            f"{found['rooms']} rooms saved in {file}: {decimal(size)}, {time.monotonic() - began:.1f} s",
            markup=False,
            soft_wrap=True,
        )
        if found["damaged"] or found["damaged_snapshots"]:
            console().print(
                f"{found['damaged']} rooms and {found['damaged_snapshots']} snapshots of others are damaged, and not "
                "in it: `collab verify` tells which",
                style="red",
                markup=False,
                soft_wrap=True,
            )
    if found["damaged"] or found["damaged_snapshots"]:
        raise typer.Exit(DamagedRoom.exit_code)


def _export(
    draft: Path, url: str | None, server: str | None, token: str | None, told: Callable[[int, int | None], None]
) -> None:
    locked: StoreLocked | None = None
    store = None if server else existing_store(url)
    if store is not None and store_file(store) is not None:
        try:
            anyio.run(_exported, store, draft, told)
            return
        except StoreLocked as error:
            locked = error
    count = _Count(told)
    with admin_of(server=server, token=token, locked=locked) as admin:
        admin.save("/export", draft, count)


async def _exported(store: Store, draft: Path, told: Callable[[int, int | None], None]) -> None:
    done = bundle.Exported()
    async with store, aclosing(bundle.export(store, draft.parent, done)) as pieces:
        with draft.open("xb") as stream:
            async for piece in pieces:
                stream.write(piece)
                told(done.rooms + done.damaged, done.of)


class _Count:
    """How many rooms there are in what comes: for a bar, so documents that look like one do no harm."""

    def __init__(self, told: Callable[[int, int | None], None]) -> None:
        self._told = told
        self._rooms = 0
        self._end = b""

    def __call__(self, piece: bytes) -> None:
        self._rooms += (self._end + piece).count(ROOM)
        self._end = piece[1 - len(ROOM) :]
        self._told(self._rooms, None)


@app.command("import-all")
def import_all(
    file: Annotated[Path, typer.Argument(help="What `collab export-all` wrote, or GET /api/v1/export answered.")],
    existing: Annotated[
        Existing,
        typer.Option(
            help="What becomes of a room that is here already: the import ends there, it is left out, or the document "
            "is merged into it after a snapshot."
        ),
    ] = Existing.refuse,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Take in all rooms of an export, with history and snapshots, into the store or through the server that has it.

    Each room is looked at in full first, and is in as a whole or not at all. When something is wrong, the rooms before
    it stay; `--existing skip` goes on after them.
    """
    began = time.monotonic()
    if store is not None and not server:
        anyio.run(_made, open_store(load_settings({"store": {"url": store}}).store.url))
    try:
        size = file.stat().st_size
        with progress() as bar, file.open("rb") as stream, admin_anywhere(store, server=server, token=token) as admin:
            task = bar.add_task("Importing", total=size)

            def pieces() -> Iterator[bytes]:
                while piece := stream.read(PIECE):
                    bar.advance(task, len(piece))
                    yield piece

            found = admin.send("/import", pieces(), existing=existing.value)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read ({error.strerror}); name another file") from None
    if as_json:
        print_json(found | {"file": str(file), "seconds": round(time.monotonic() - began, 3)})
        return
    console().print(
        f"{found['rooms']} rooms taken, with {found['rows']} edits and {found['snapshots']} snapshots; "
        f"{found['merged']} merged, {found['skipped']} skipped; {decimal(size)}, {time.monotonic() - began:.1f} s",
        markup=False,
        soft_wrap=True,
    )
    if found["damaged"]:
        console().print(
            f"{found['damaged']} rooms were damaged where it was made, and are not in it", style="red", markup=False
        )


async def _made(store: Store) -> None:
    """What is named and not there yet is made, and empty."""
    path = store_file(store)
    if path is not None and not path.exists():
        async with store:
            pass
