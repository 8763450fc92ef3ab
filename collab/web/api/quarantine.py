"""What ended the server twice and was set aside: listed, and released."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter
from pydantic import BaseModel, Field

from ... import deaths
from ...errors import NoSuchRoom
from .access import Served
from .asked import Asks, RoomName
from .audit import Audit


class Aside(BaseModel):
    """One thing that is set aside."""

    room: str
    kind: str = Field(description="`room`, `update` or `compaction`.")
    why: str
    since: datetime
    author: str | None = Field(description="Who sent the update, if that is known.")

    @classmethod
    def of(cls, entry: deaths.Entry) -> Aside:
        """What is told of an entry; the update itself is shown by `collab quarantine show`."""
        since = datetime.fromtimestamp(entry.at, UTC)
        return cls(room=entry.room, kind=entry.kind, why=entry.why, since=since, author=entry.author)


class Quarantined(BaseModel):
    """All that is set aside, oldest first."""

    items: list[Aside]


class Quarantine:
    """The operations on what is set aside."""

    def __init__(self, served: Served, audit: Audit) -> None:
        self._served = served
        self._audit = audit
        self.router = APIRouter(tags=["quarantine"])
        add = self.router.add_api_route
        add("/quarantine", self.list, methods=["GET"], summary="What is set aside")
        add("/rooms/{name}/quarantine", self.release, methods=["DELETE"], summary="Serve a room again")

    @property
    def _folder(self) -> Path | None:
        return deaths.folder_of(self._served.hub.store)

    async def list(self) -> Quarantined:
        """What ended the server twice. Nothing, where the store is no file."""
        folder = self._folder
        found = [] if folder is None else await anyio.to_thread.run_sync(deaths.entries, folder)
        return Quarantined(items=[Aside.of(entry) for entry in found])

    async def release(self, name: RoomName, admin: Asks) -> Quarantined:
        """All of it that concerns this room; it is served again within a second. Answers with what was set aside."""
        folder = self._folder
        found = [] if folder is None else await anyio.to_thread.run_sync(deaths.release, folder, name)
        if not found:
            raise NoSuchRoom(name)
        await self._audit.note(admin, "quarantine.release", name, kinds=[entry.kind for entry in found])
        return Quarantined(items=[Aside.of(entry) for entry in found])
