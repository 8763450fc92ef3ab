"""Rooms: which there are, how they are, and copies of them."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from ...desk import Desk
from ...errors import Conflict, DamagedRoom, NoSuchRoom
from ...names import checked_name
from ...room import RoomCore
from ...store import RoomInfo
from ...wire import vet
from .access import Served
from .asked import Asks, Cursor, Limit, RoomName, cursor_of, place_of
from .audit import Audit
from .tags import tag


class Listed(BaseModel):
    """A room, as the store has it."""

    name: str
    epoch: int = Field(description="The room's generation.")
    seq: int = Field(description="Number of its last update.")
    log_rows: int = Field(description="Updates since the last checkpoint.")
    bytes: int = Field(description="Size of checkpoint and log.")
    changed: datetime
    connections: int = Field(description="Clients in it now.")

    @classmethod
    def of(cls, info: RoomInfo, connections: int) -> Listed:
        """What is told of a line of the store's listing."""
        return cls(
            name=info.name,
            epoch=info.epoch,
            seq=info.seq,
            log_rows=info.log_rows,
            bytes=info.checkpoint_bytes + info.log_bytes,
            changed=datetime.fromtimestamp(info.changed, UTC),
            connections=connections,
        )


class Page(BaseModel):
    """A page of rooms."""

    items: list[Listed]
    next: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last one.")
    total: int = Field(description="How many rooms the search finds, on all pages.")


class Live(BaseModel):
    """How a room is in memory."""

    bytes: int = Field(description="About how large the document is.")
    writers: int = Field(description="Client ids that ever wrote.")
    present: int = Field(description="Client ids that presence is kept for.")
    uncommitted: int = Field(description="Updates that the store does not have yet.")
    held_updates: int = Field(description="Updates that wait for earlier ones.")


class Stats(Listed):
    """A room with all that is known of it."""

    live: Live | None = Field(None, description="null when it is not in memory.")


class Copy(BaseModel):
    """Where a copy goes."""

    to: str = Field(description="The new room's exact name; it has to be empty.")


class Copied(BaseModel):
    """A copy that was made."""

    name: str
    bytes: int


class Gone(BaseModel):
    """What there was of a room that is deleted."""

    name: str
    rows: int = Field(description="Edits that were kept.")
    snapshots: int


class Order(StrEnum):
    """What a list is sorted by."""

    name = "name"
    changed = "-changed"
    bytes = "-bytes"


class Rooms:
    """The operations on rooms of one server."""

    def __init__(self, served: Served, desk: Desk, audit: Audit) -> None:
        self._served = served
        self._hub = served.hub
        self._desk = desk
        self._audit = audit
        self.router = APIRouter(tags=["rooms"])
        add = self.router.add_api_route
        add("/rooms", self.list, methods=["GET"], summary="List rooms")
        add("/rooms/{name}", self.get, methods=["GET"], summary="One room, with what is known of it")
        add("/rooms/{name}", self.delete, methods=["DELETE"], summary="Delete a room for good")
        add("/rooms/{name}", self.allow, methods=["PUT"], summary="Allow a deleted room again", status_code=204)
        add("/rooms/{name}/duplicate", self.duplicate, methods=["POST"], summary="Copy a room", status_code=201)

    def _seats(self, name: str) -> int:
        opened = self._hub.find(name)
        return 0 if opened is None else opened.seats

    async def list(
        self,
        search: Annotated[str | None, Query(max_length=512, description="Only names that contain this.")] = None,
        sort: Annotated[Order, Query(description="By name, or newest, or largest first.")] = Order.name,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Page:
        """Rooms that hold something. One that is new appears once it is committed."""
        after: tuple[Any, ...] | None = None
        if cursor is not None:
            word, *place = place_of(cursor, (str, (int, float), str))
            if word != sort:
                raise Conflict("the cursor is of a list in another order")
            after = tuple(place)
        found: list[tuple[tuple[Any, ...], RoomInfo]] = []
        total = 0
        async for info in self._hub.store.rooms():
            if not info.seq or (search is not None and search not in info.name):
                continue
            total += 1
            place_in_order = _place(info, sort)
            if after is None or place_in_order > after:
                found.append((place_in_order, info))
            if len(found) > 20 * limit:  # a hundred thousand rooms need not all be kept for a page of them
                found = _first(found, limit)
        page = _first(found, limit)
        items = [Listed.of(info, self._seats(info.name)) for _, info in page[:limit]]
        more = len(page) > limit
        return Page(items=items, next=cursor_of([sort, *page[limit - 1][0]]) if more else None, total=total)

    async def get(self, name: RoomName, response: Response) -> Stats:
        """Answers with the document's ETag when the room is in memory."""
        info = await self._info(name)
        opened = self._hub.find(name)
        listed = Listed.of(info, self._seats(name))
        if opened is None or opened.reloading:
            return Stats(**listed.model_dump())
        core = opened.core
        async with self._desk.room(name, new=True):
            response.headers["etag"] = tag(core)
        live = Live(
            bytes=core.bytes,
            writers=len(core.clocks),
            present=len(core.presence.ids()),
            uncommitted=opened.journal.lag,
            held_updates=len(core.gaps),
        )
        return Stats(**listed.model_dump(), live=live)

    async def _info(self, name: str) -> RoomInfo:
        info = await self._hub.store.room(name)
        if info is None or not info.seq:
            raise NoSuchRoom(name)
        return info

    async def delete(self, name: RoomName, admin: Asks) -> Gone:
        """All of it, history and snapshots, too. Editors are sent away (4404), and none brings it back, be it one that
        was offline, until it is allowed again with PUT."""
        try:
            reach = await self._hub.store.reach(name)
        except DamagedRoom:
            pass  # deleted all the same
        else:
            if not reach.seq:
                raise NoSuchRoom(name)
        erased = await self._served.archive.erase(name)
        await self._audit.note(admin, "room.delete", name, rows=erased.rows, snapshots=erased.snapshots)
        return Gone(name=name, rows=erased.rows, snapshots=erased.snapshots)

    async def allow(self, name: RoomName, admin: Asks) -> Response:
        """It is empty, and begins with whoever writes there first. Nothing happens to a room that was not deleted."""
        if await self._hub.tombs.lift(name):
            await self._audit.note(admin, "room.allow", name)
        return Response(status_code=204)

    async def duplicate(self, name: RoomName, copy: Copy, admin: Asks) -> Copied:
        """Writes the document as it is now into a room that is empty. Their histories are apart from then on."""
        to = checked_name(copy.to.encode(errors="surrogatepass"), max_bytes=self._served.settings.rooms.name_bytes)
        await admin.allowed(to)
        async with self._desk.room(name) as opened:
            state = opened.core.difference(b"\x00")

        def empty(core: RoomCore) -> None:
            if core.clocks:
                raise Conflict(f"room {to!r} holds something already")

        size = await self._desk.edit(
            to, partial(vet.as_it_is, state), author=admin.name, new=True, check=empty, size=len(state)
        )
        await self._audit.note(admin, "room.duplicate", name, to=to)
        return Copied(name=to, bytes=size)


def _place(info: RoomInfo, sort: Order) -> tuple[Any, ...]:
    match sort:
        case Order.name:
            return 0, info.name
        case Order.changed:
            return -info.changed, info.name
        case Order.bytes:
            return -(info.checkpoint_bytes + info.log_bytes), info.name


def _first(found: list[tuple[tuple[Any, ...], RoomInfo]], limit: int) -> list[tuple[tuple[Any, ...], RoomInfo]]:
    """The first `limit` of them, and one more to tell that there is more."""
    return sorted(found, key=lambda pair: pair[0])[: limit + 1]
