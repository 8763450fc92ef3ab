"""Backups: whether one can be relied on, and bringing it back."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from . import recovery
from .errors import DamagedRoom, DamagedSnapshot, SettingsError
from .store import RoomInfo, Store
from .store.copies import count_snapshots, discard, examine, put, set_aside
from .store.sqlite import SQLiteStore

ROWS = 10_000
"""Of a room's history, read at once."""
PAGE = 1_000

Told = Callable[[int, int], None]
"""Called with how much is done, and how much there is to do."""


@dataclass(slots=True)
class Verified:
    """What a backup holds.

    Attributes:
        rooms: How many rooms.
        rows: How many edits are kept, those before checkpoints included.
        snapshots: How many snapshots.
        damaged: What is wrong with a room, by its name.
        bytes: The size of the file.
        sha256: Its checksum, in hex.
    """

    rooms: int = 0
    rows: int = 0
    snapshots: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    sha256: str = ""


async def verify(file: Path, told: Told = lambda done, total: None) -> Verified:
    """Look at all pages of a store that nobody has open, read each row and each snapshot, and build each document.

    Raises:
        SettingsError: The file as a whole is damaged, or is no store.
    """
    found = Verified()
    await anyio.to_thread.run_sync(examine, file)
    async with SQLiteStore(file) as store:
        infos = [info async for info in store.rooms()]
        for done, info in enumerate(infos):
            told(done, len(infos))
            try:
                rows, snapshots = await _read(store, info)
            except (DamagedRoom, DamagedSnapshot) as error:
                found.damaged[info.name] = str(error)
            else:
                found.rows += rows
                found.snapshots += snapshots
            found.rooms += 1
    there = await anyio.to_thread.run_sync(count_snapshots, file)
    if there != found.snapshots and not found.damaged:
        raise SettingsError(f"{file} has {there} snapshots, of which {found.snapshots} can be read; use another backup")
    found.bytes = (await anyio.Path(file).stat()).st_size
    found.sha256 = await anyio.to_thread.run_sync(digest, file)
    return found


async def _read(store: Store, info: RoomInfo) -> tuple[int, int]:
    """How many rows and snapshots the room has, all of them read."""
    loaded = await recovery.verify(store, info.name)
    if loaded.poison:
        raise DamagedRoom(info.name, f"rows {', '.join(map(str, loaded.poison))} cannot be read")
    reach = await store.reach(info.name)
    for after in range(reach.forgotten, reach.seq, ROWS):
        rows = await store.history(info.name, after, min(after + ROWS, reach.seq))
        if len(rows) != min(ROWS, reach.seq - after):
            raise DamagedRoom(info.name, f"rows are missing after {after}")
    snapshots, before = 0, None
    while page := await store.snapshots(info.name, before=before, limit=PAGE):
        for one in page:
            await store.snapshot(info.name, one.id)
        snapshots, before = snapshots + len(page), page[-1].id
    return reach.seq - reach.forgotten, snapshots


async def restore(
    file: Path, place: Path, *, replace: bool, damaged: bool = False, told: Told = lambda done, total: None
) -> Verified:
    """Verify a copy of a backup beside the place of a store, then put it there. `file` itself is not touched.

    Args:
        file: The backup.
        place: The store's file; no server may have it.
        replace: Whether a store that is there may go. It is kept beside it, as `.replaced-` and a number (the time).
        damaged: Whether a backup will do in which rooms are damaged.
        told: Called with how many rooms are verified.

    Raises:
        SettingsError: There is a store already, or the backup is not whole.
        DamagedRoom: Rooms of the backup are damaged.
        StoreLocked: A server has the store.
    """
    there = await anyio.Path(place).exists()
    if there:
        if not replace:
            raise SettingsError(f"{place} is there already: --yes sets it aside")
        await _closed(place)
    draft = place.with_name(f"{place.name}.restoring")
    discard(draft)
    try:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            await anyio.to_thread.run_sync(shutil.copyfile, file, draft)
        except OSError as error:
            raise SettingsError(f"{error.filename}: {error.strerror}") from None
        found = await verify(draft, told)
        if found.damaged and not damaged:
            room, what = next(iter(found.damaged.items()))
            raise DamagedRoom(room, f"{what}; {len(found.damaged)} rooms of {file} are damaged, nothing was restored")
        if there:
            await anyio.to_thread.run_sync(set_aside, place, f"{place.name}.replaced-{time.time_ns()}")
        put(draft, place)
    finally:
        discard(draft)
    return found


async def _closed(place: Path) -> None:
    """Returns when the file holds all of its store, and no server has it."""
    with contextlib.suppress(SettingsError):  # a damaged one cannot be opened: that is why a backup is brought back
        async with SQLiteStore(place):
            pass


def digest(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
