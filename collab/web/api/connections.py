"""Clients: who is connected, and the end of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field, model_validator
from starlette.exceptions import HTTPException

from ...auth.tokens import TEXT_BYTES
from ...connection import Connection
from ...errors import Draining, Forbidden
from ...revoked import LASTS_SECONDS
from .access import Served
from .asked import Asks, Cursor, Limit, cursor_of, place_of
from .audit import Audit


class Seated(BaseModel):
    """A client's place in one room."""

    room: str
    subject: str | None
    token_id: str | None = Field(description="`jti` of its token.")
    level: str | None = Field(description="What it may do; null while that is being decided.")
    seated: bool = Field(description="Whether it has its seat.")
    behind: bool = Field(description="Whether it reads too slowly, and is owed a difference.")
    since: datetime


class Client(BaseModel):
    """One socket."""

    id: int
    address: str
    origin: str | None
    transport: str
    buffered: int = Field(description="Bytes that it has not taken yet.")
    silent_seconds: float = Field(description="How long it has said nothing.")
    places: list[Seated]

    @classmethod
    def of(cls, connection: Connection, now: float, wall: float) -> Client:
        """What is told of a connection at `now` (monotonic seconds), which is `wall` (since the epoch)."""
        return cls(
            id=connection.number,
            address=connection.address,
            origin=connection.origin,
            transport=getattr(connection.socket, "name", "unknown"),
            buffered=connection.socket.buffered,
            silent_seconds=round(max(0.0, now - connection.liveness.heard_at), 1),
            places=[
                Seated(
                    room=place.name,
                    subject=place.grant.subject if place.grant else None,
                    token_id=place.grant.token_id if place.grant else None,
                    level=place.grant.level.name.lower() if place.grant else None,
                    seated=place.seat is not None,
                    behind=place.seat is not None and place.seat.behind,
                    since=datetime.fromtimestamp(wall - (now - place.began), UTC),
                )
                for place in connection.places.values()
            ],
        )


class Page(BaseModel):
    """A page of clients, oldest first."""

    items: list[Client]
    next: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last one.")


class Revocation(BaseModel):
    """What counts no more: one of both, or both."""

    subject: str | None = Field(
        None, min_length=1, max_length=TEXT_BYTES, description="Whose tokens, of those that were issued up to now."
    )
    token_id: str | None = Field(None, min_length=1, max_length=TEXT_BYTES, description="`jti` of one token.")
    seconds: float = Field(
        LASTS_SECONDS,
        gt=0,
        le=LASTS_SECONDS,
        allow_inf_nan=False,
        description="How long such tokens could still count: so long it is remembered.",
    )

    @model_validator(mode="after")
    def _something(self) -> Revocation:
        if self.subject is None and self.token_id is None:
            raise ValueError("say `subject` or `token_id`")
        return self


class Connections:
    """The operations on the clients of one server."""

    def __init__(self, served: Served, audit: Audit) -> None:
        self._served = served
        self._audit = audit
        self.router = APIRouter(tags=["connections"])
        add = self.router.add_api_route
        add("/connections", self.list, methods=["GET"], summary="List clients")
        add("/connections/{id}", self.end, methods=["DELETE"], summary="Disconnect a client", status_code=204)
        add("/revocations", self.revoke, methods=["POST"], summary="End access before its time", status_code=204)

    async def list(
        self,
        room: Annotated[str | None, Query(description="Only those in this room.")] = None,
        subject: Annotated[str | None, Query(description="Only those of this user.")] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Page:
        """Everyone who is connected to this server."""
        after = place_of(cursor, (int,))[0] if cursor is not None else 0
        now, wall = time.monotonic(), time.time()
        found = [
            connection
            for connection in sorted(self._served.sockets.connections, key=lambda connection: connection.number)
            if connection.number > after
            and (room is None or any(place.name == room for place in connection.places.values()))
            and (
                subject is None
                or any(place.grant and place.grant.subject == subject for place in connection.places.values())
            )
        ]
        items = [Client.of(connection, now, wall) for connection in found[:limit]]
        return Page(items=items, next=cursor_of([items[-1].id]) if len(found) > limit else None)

    async def end(
        self,
        id: Annotated[int, Path(ge=1)],
        admin: Asks,
        stay_away: Annotated[
            bool, Query(description="Close with 4403 (editors stay away) instead of 1012 (they come back at once).")
        ] = False,
    ) -> Response:
        """What it sent until then is saved. It may come back as long as its access lasts: see `revocations`."""
        found = next((one for one in self._served.sockets.connections if one.number == id), None)
        if found is None:
            raise HTTPException(404, f"there is no connection {id}")
        if stay_away:
            found.refuse(Forbidden("an administrator has ended this connection"))
        else:
            found.close(Draining())
        rooms = [place.name for place in found.places.values()][:10]
        await self._audit.note(
            admin, "connection.end", rooms[0] if len(rooms) == 1 else None, connection=id, of=found.address
        )
        return Response(status_code=204)

    async def revoke(self, revocation: Revocation, admin: Asks) -> Response:
        """Who came with it is cut off when this returns, and nobody comes in with it again."""
        await self._served.revoke(subject=revocation.subject, token_id=revocation.token_id, seconds=revocation.seconds)
        await self._audit.note(admin, "access.revoke", subject=revocation.subject, jti=revocation.token_id)
        return Response(status_code=204)
