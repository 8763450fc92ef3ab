"""Snapshots of a room: made, listed, read, named, deleted, and brought back."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field

from ...content.edits import of_state
from ...content.formats import Format
from ...desk import Desk
from ...history.archive import Archive
from ...history.returns import Outcome, Returns
from ...history.travel import Travel
from ...names import checked_name
from ...store import State
from .asked import Asks, Cursor, Limit, RoomName, cursor_of, place_of
from .audit import Audit
from .document import INERT, TYPES, Field_, Format_
from .moments import LARGEST, Id, Snapshot, To

LABEL = 200
NOTE = 10_000
"""Characters."""

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Asked twice with the same one, it is done once, and answered as the first time.",
    ),
]


class New(BaseModel):
    """What a new snapshot is called."""

    label: str = Field("", max_length=LABEL)
    note: str = Field("", max_length=NOTE)
    pinned: bool = False


class Named(BaseModel):
    """What of a snapshot is changed; what is not said stays."""

    label: str | None = Field(None, max_length=LABEL)
    note: str | None = Field(None, max_length=NOTE)
    pinned: bool | None = None


class Page(BaseModel):
    """A page of snapshots, newest first."""

    items: list[Snapshot]
    next: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last one.")


class Wanted(BaseModel):
    """Where a room goes back to."""

    to: To
    into: str | None = Field(None, description="Another room's exact name; it has to be empty.")


class Done(BaseModel):
    """What became of it. It is committed."""

    room: str = Field(description="Where it was written.")
    bytes: int = Field(description="Size of the edit as an update; 0 when nothing had to change.")
    before: Snapshot | None = Field(None, description="What was there before: restore it to take this back.")
    seq: int | None = Field(None, description="Number of the edit: `seq - 1` is what was there.")

    @classmethod
    def of(cls, room: str, outcome: Outcome) -> Done:
        """What is told of a way back."""
        before = None if outcome.before is None else Snapshot.of(outcome.before)
        return cls(room=room, bytes=outcome.bytes, before=before, seq=outcome.seq)


class Snapshots:
    """The operations on snapshots of one server."""

    def __init__(self, archive: Archive, travel: Travel, returns: Returns, desk: Desk, audit: Audit) -> None:
        self._archive = archive
        self._travel = travel
        self._returns = returns
        self._desk = desk
        self._audit = audit
        self.router = APIRouter(tags=["snapshots"])
        add = self.router.add_api_route
        path = "/rooms/{name}/snapshots"
        add(path, self.create, methods=["POST"], summary="Make a snapshot", status_code=201)
        add(path, self.list, methods=["GET"], summary="List snapshots")
        add(path + "/{id}", self.get, methods=["GET"], summary="One snapshot, without its content")
        add(path + "/{id}", self.change, methods=["PATCH"], summary="Change label, note and pin")
        add(path + "/{id}", self.delete, methods=["DELETE"], summary="Delete a snapshot", status_code=204)
        add(path + "/{id}/content", self.read, methods=["GET"], summary="What it holds", response_class=Response)
        add("/rooms/{name}/restore", self.restore, methods=["POST"], summary="Go back to what the room was")

    async def create(self, name: RoomName, admin: Asks, new: New | None = None) -> Snapshot:
        """It holds every edit that the room had taken in when this was asked for."""
        new = new or New(label="", note="")
        info = await self._archive.create(name, label=new.label, note=new.note, author=admin.name, pinned=new.pinned)
        await self._audit.note(admin, "snapshot.create", name, snapshot=info.id)
        return Snapshot.of(info)

    async def list(self, name: RoomName, limit: Limit = 100, cursor: Cursor = None) -> Page:
        """Newest first; empty for a room that has none."""
        before = min(place_of(cursor, (int,))[0], LARGEST) if cursor is not None else None
        found = await self._archive.snapshots(name, before=before, limit=limit + 1)
        more = len(found) > limit
        return Page(
            items=[Snapshot.of(info) for info in found[:limit]],
            next=cursor_of([found[limit - 1].id]) if more else None,
        )

    async def get(self, name: RoomName, id: Id) -> Snapshot:
        """Its state is read, too, and compared with its checksum."""
        info, _ = await self._archive.snapshot(name, id)
        return Snapshot.of(info)

    async def read(self, name: RoomName, id: Id, format: Format_ = Format.json, field: Field_ = None) -> Response:
        """In any format of documents; `yjs` is one update (v1), the whole state."""
        info, update = await self._archive.snapshot(name, id)
        return await content(self._desk, State(update, info.covers), format, field)

    async def change(self, name: RoomName, id: Id, named: Named, admin: Asks) -> Snapshot:
        """What a snapshot holds never changes."""
        info = await self._archive.change(name, id, label=named.label, note=named.note, pinned=named.pinned)
        changed = sorted(named.model_dump(exclude_none=True))
        await self._audit.note(admin, "snapshot.change", name, snapshot=id, changed=changed)
        return Snapshot.of(info)

    async def delete(self, name: RoomName, id: Id, admin: Asks) -> Response:
        """For good. Pinned ones, too: whoever says so means it."""
        await self._archive.delete(name, id)
        await self._audit.note(admin, "snapshot.delete", name, snapshot=id)
        return Response(status_code=204)

    async def restore(self, request: Request, name: RoomName, wanted: Wanted, admin: Asks, key: Key = None) -> Done:
        """As an edit, beside what people type meanwhile; a snapshot is made before it. Or into another, empty room."""
        to = wanted.to.moment
        asked = wanted.to.model_dump(exclude_none=True, mode="json")
        if wanted.into is not None:
            into = checked_name(wanted.into.encode(errors="surrogatepass"), max_bytes=request.app.state.name_bytes)
            await admin.allowed(into)
            size = await self._returns.restore_into(name, to, into, author=admin.name)
            await self._audit.note(admin, "room.restore_into", name, into=into, to=asked)
            return Done(room=into, bytes=size, before=None, seq=None)
        outcome = await self._returns.restore(name, to, author=admin.name, key=key)
        await self._audit.note(admin, "room.restore", name, to=asked, before=outcome.before and outcome.before.id)
        return Done.of(name, outcome)


async def content(desk: Desk, state: State, format: Format | None, field: str | None) -> Response:
    """A document as a response."""
    format, whole = format or Format.json, state.whole
    if format is Format.yjs:
        body = whole
    else:
        body = await desk.aside(len(whole), partial(of_state, whole, format, field))
    headers = {"content-security-policy": INERT, "cache-control": "no-store"}
    return Response(body, media_type=TYPES[format], headers=headers)
