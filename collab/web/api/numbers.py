"""The server in numbers, for whoever draws them: what `/metrics` knows, as far as the console shows it."""

from __future__ import annotations

import time

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ...metrics import value
from .access import Served


class Spread(BaseModel):
    """How often a time fell between which bounds, since the server started."""

    bounds: list[float] = Field(description="Upper bounds in seconds.")
    counts: list[int] = Field(description="One for each bound, and one for all above the last.")


class Numbers(BaseModel):
    """Now, and since the server started. Rates are differences between two answers."""

    time: float = Field(description="Seconds of a clock that only goes forward.")
    connections: int
    rooms_open: int = Field(description="Rooms in memory with someone in them.")
    rooms_idle: int = Field(description="Rooms that are kept warm.")
    uncommitted_updates: int = Field(description="Edits that the store does not have yet.")
    uncommitted_bytes: int
    edits: int = Field(description="Edits that editors sent.")
    errors: int = Field(description="Errors of all kinds.")
    refused: int = Field(description="Clients that were refused or cut off.")
    quarantined: int = Field(description="What is set aside.")
    store_up: bool
    ack: Spread = Field(description="From taking an edit in until it was acknowledged as saved.")


class Count:
    """The numbers of one server."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.router = APIRouter(tags=["server"])
        self.router.add_api_route("/server/numbers", self.numbers, methods=["GET"], summary="The server in numbers")

    async def numbers(self) -> Numbers:
        """Cheap enough to be asked every second."""
        hub = self._served.hub
        metrics, lagging = hub.metrics, hub.commits.lagging
        spread = metrics.ack_seconds
        return Numbers(
            time=time.monotonic(),
            connections=len(self._served.sockets.connections),
            rooms_open=value(metrics.rooms["open"]),
            rooms_idle=value(metrics.rooms["idle"]),
            uncommitted_updates=sum(journal.lag for journal in lagging),
            uncommitted_bytes=sum(journal.lag_bytes for journal in lagging),
            edits=metrics.received["update"].messages,
            errors=sum(map(value, metrics.errors.values())),
            refused=sum(map(value, metrics.refused.values())),
            quarantined=sum(map(value, metrics.quarantined.values())),
            store_up=hub.commits.store_up,
            ack=Spread(bounds=list(spread.bounds), counts=list(spread.counts)),
        )
