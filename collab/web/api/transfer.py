"""All rooms as one stream, out of the server and into it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, StreamingResponse

from ... import bundle
from ...bundle import Existing
from ...errors import CollabError, Conflict
from ...history.arrivals import Arrivals, Imported
from ...log import get_logger
from ...notes import folder_beside
from . import problems
from .access import Served
from .asked import Asks
from .audit import Audit

log = get_logger(__name__)

REST_BYTES = 64 << 20
REST_SECONDS = 10.0
"""So much of a stream that is refused is read on and thrown away: many clients read no answer before they have sent
everything."""


class Imports(BaseModel):
    """How far an import is, or what became of it."""

    running: bool
    of: int = Field(description="How many rooms the export has.")
    rooms: int = Field(description="How many were taken as they are.")
    merged: int = Field(description="How many were merged into a room that was here.")
    skipped: int = Field(description="How many were left out, because a room of that name was here.")
    damaged: int = Field(description="How many the export has not: nobody could read them when it was made.")
    rows: int = Field(description="Edits of the rooms that were taken.")
    snapshots: int = Field(description="Snapshots of the rooms that were taken.")
    bytes: int = Field(description="How much of the export was read.")
    problem: str | None = Field(description="Why it ended before the end of the export. What was taken stays.")

    @classmethod
    def of_import(cls, told: Imported) -> Imports:
        """As it is told."""
        return cls(**asdict(told))


BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Transfer:
    """The operations on all rooms."""

    def __init__(self, served: Served, arrivals: Arrivals, audit: Audit) -> None:
        self._served = served
        self._arrivals = arrivals
        self._audit = audit
        self.router = APIRouter(tags=["server"])
        add = self.router.add_api_route
        add(
            "/export",
            self.export,
            methods=["GET"],
            summary="All rooms as a stream",
            response_class=StreamingResponse,
            responses={200: {"content": {bundle.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}},
        )
        add("/import", self.take, methods=["POST"], summary="Rooms out of such a stream", openapi_extra=BODY)
        add("/import", self.progress, methods=["GET"], summary="How far the import is")

    async def export(self, admin: Asks) -> StreamingResponse:
        """Documents, history and snapshots of every room, while people type. Each room is of one moment, which lies
        after the request; not all of them of the same. The last record says that it is whole, and what could not be
        read. docs/reference/export.md describes the form; `collab export-all` asks for it and looks at it.
        """
        await self._audit.note(admin, "export")
        headers = {
            "content-disposition": f'attachment; filename="collab-{datetime.now(UTC):%Y%m%d-%H%M%S}.export"',
            "cache-control": "no-store",
        }
        return StreamingResponse(self._stream(), media_type=bundle.MEDIA_TYPE, headers=headers)

    async def _stream(self) -> AsyncIterator[bytes]:
        store = self._served.hub.store
        beside = folder_beside(store, "export")
        folder = beside.parent if beside is not None and beside.parent.is_dir() else None
        told = bundle.Exported()
        async with aclosing(bundle.export(store, folder, told, self._calm)) as pieces:
            async for piece in pieces:
                yield piece
        log.info(
            "rooms exported", of=told.of, rooms=told.rooms, damaged=told.damaged,
            damaged_snapshots=told.damaged_snapshots,
        )  # fmt: skip

    @asynccontextmanager
    async def _calm(self, room: str) -> AsyncIterator[None]:
        archive = self._served.archive
        await archive.settled(room)
        async with archive.alone(room):
            yield

    async def take(
        self,
        request: Request,
        admin: Asks,
        existing: Annotated[
            Existing,
            Query(
                description="What becomes of a room that is here already, was deleted here, or is open: the import "
                "ends there (409), or it is left out, or the document is merged into it after a snapshot."
            ),
        ] = Existing.refuse,
    ) -> Any:
        """Each room is looked at in full before it is in, as a whole; it comes with its history and snapshots. When
        something is wrong, the rooms before it stay, and the answer says how many they are. Give the same again with
        `existing=skip` to go on. One import at a time.
        """
        running = self._arrivals.last
        if running is not None and running.running:
            raise Conflict("another import is running: GET /import says how far it is")
        error: CollabError | HTTPException
        stream = _Stream(request)
        try:
            told = await self._arrivals.take(stream.pieces(), existing, admin.name)
        except (CollabError, HTTPException) as failed:
            error = failed
        else:
            await self._note(admin, told)
            return Imports.of_import(told)
        told = self._arrivals.last or Imported()
        await self._note(admin, told)
        await stream.drop()
        return _refusal(error, told)

    async def _note(self, admin: Asks, told: Imported) -> None:
        await self._audit.note(
            admin, "import", rooms=told.rooms, merged=told.merged, skipped=told.skipped, problem=told.problem
        )

    async def progress(self) -> Imports:
        """Of the one that runs, or that ended last; 404 before the first since the server started."""
        if self._arrivals.last is None:
            raise HTTPException(404, "nothing was imported since the server started")
        return Imports.of_import(self._arrivals.last)


def _refusal(error: CollabError | HTTPException, told: Imported) -> JSONResponse:
    taken = (
        f"{told.rooms} rooms were taken, {told.merged} merged, {told.skipped} skipped before that; nothing was changed "
        "of the room that it concerns, and of those after it"
    )
    if isinstance(error, CollabError):
        return problems.of(error, taken)
    return problems.answer(error.status_code, f"{error.detail}; {taken}")


class _Stream:
    """The body of a request, which may be of any size."""

    def __init__(self, request: Request) -> None:
        self._body = request.stream()
        self._gone = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """What comes, until all has come or whoever sends has gone."""
        try:
            async for piece in self._body:
                if piece:
                    yield piece
        except ClientDisconnect:
            self._gone = True

    async def drop(self) -> None:
        """Throw the rest away."""
        left = REST_BYTES
        with anyio.move_on_after(REST_SECONDS):
            async for piece in self.pieces():
                left -= len(piece)
                if left < 0:
                    return
