"""Rooms that were deleted and are to stay so: an editor that was offline would bring its copy back.

Kept in a folder beside the store. A store without a file has none: there it lasts as long as the process, as the rooms
themselves do.
"""

from __future__ import annotations

import time
from pathlib import Path

import anyio.to_thread

from .errors import SettingsError
from .notes import files, folder_beside, name_of, read, write
from .store import Store

KIND = "room"


class Tombs:
    """The names of the rooms that nobody may open."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._folder: Path | None = None

    def __contains__(self, room: str) -> bool:
        return room in self._names

    def open(self, store: Store) -> None:
        """Take in what is kept beside `store`.

        Raises:
            SettingsError: A note cannot be read.
        """
        self._folder = folder_beside(store, "deleted")
        for file in files(self._folder, [KIND]) if self._folder is not None else ():
            try:
                self._names.add(read(file)["name"])
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise SettingsError(
                    f"{file} cannot be read ({error}): delete it, and its room may be made again"
                ) from None

    async def add(self, room: str) -> None:
        """From now on nobody opens `room`; on the disk when this returns."""
        self._names.add(room)
        if self._folder is not None:
            await anyio.to_thread.run_sync(self._note, self._folder, room)

    async def lift(self, room: str) -> bool:
        """Whoever may, may make the room again; whether it was in here."""
        if self._folder is not None:
            await anyio.to_thread.run_sync(lambda file: file.unlink(missing_ok=True), self._folder / _file(room))
        found = room in self._names
        self._names.discard(room)
        return found

    def _note(self, folder: Path, room: str) -> None:
        folder.mkdir(exist_ok=True)
        write(folder / _file(room), {"name": room, "at": time.time()})


def _file(room: str) -> str:
    return name_of(KIND, room)
