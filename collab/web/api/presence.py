"""Who is in a room, as their editors say of themselves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from ...hub import Hub
from .asked import PAGE, RoomName


class Present(BaseModel):
    """One editor's presence."""

    client: int = Field(description="Its client id.")
    state: Any = Field(description="What it says of itself: by habit `user` with `name` and `color`, and `cursor`.")


class Presence(BaseModel):
    """Who is there."""

    total: int = Field(description="How many say something of themselves.")
    items: list[Present]


class Here:
    """The operation on presence."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.router = APIRouter(tags=["rooms"])
        self.router.add_api_route("/rooms/{name}/presence", self.list, methods=["GET"], summary="Who is in a room")

    async def list(
        self, name: RoomName, limit: Annotated[int, Query(ge=1, le=PAGE, description="Most items.")] = 100
    ) -> Presence:
        """Nobody, for a room that is not in memory. Nobody has looked into what they say."""
        opened = self._hub.find(name)
        states = {} if opened is None or opened.reloading else opened.core.presence.states()
        items = [Present(client=client, state=state) for client, state in sorted(states.items())[:limit]]
        return Presence(total=len(states), items=items)
