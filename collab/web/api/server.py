"""The server itself: how it is, what it is set to, and its end."""

from __future__ import annotations

import logging
import os
import time
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from ... import __version__
from ...log import get_logger, set_level
from ...settings import explain
from .access import Served
from .asked import Asks
from .audit import Audit

log = get_logger(__name__)

Level = Literal["debug", "info", "warning", "error"]


class Stats(BaseModel):
    """How the server is."""

    version: str
    process: int = Field(description="Process id.")
    uptime_seconds: float
    draining: bool
    store_up: bool
    connections: int
    rooms_open: int = Field(description="Rooms in memory with someone in them.")
    rooms_idle: int = Field(description="Rooms that are kept warm.")
    uncommitted_updates: int
    uncommitted_bytes: int
    log_level: Level


class Setting(BaseModel):
    """One setting as it is in effect."""

    name: str
    value: str = Field(description="Secrets and passwords are masked.")
    source: str = Field(description="Where it was set, or `default`.")
    description: str


class LogLevel(BaseModel):
    """What is logged, from now on and until the process ends."""

    level: Level


class Server:
    """The operations on one server."""

    def __init__(self, served: Served, audit: Audit) -> None:
        self._served = served
        self._audit = audit
        self._started = time.monotonic()
        self.router = APIRouter(tags=["server"])
        add = self.router.add_api_route
        add("/server", self.stats, methods=["GET"], summary="How the server is")
        add("/server/settings", self.settings, methods=["GET"], summary="All settings, without secrets")
        add("/server/log-level", self.log_level, methods=["PUT"], summary="What is logged from now on")
        add("/server/drain", self.drain, methods=["POST"], summary="Send everybody away", status_code=202)

    async def stats(self) -> Stats:
        """For people; machines read `/metrics`."""
        hub = self._served.hub
        lagging = hub.commits.lagging
        value = hub.metrics.registry.get_sample_value
        return Stats(
            version=__version__,
            process=os.getpid(),
            uptime_seconds=round(time.monotonic() - self._started, 1),
            draining=hub.draining,
            store_up=hub.commits.store_up,
            connections=len(self._served.sockets.connections),
            rooms_open=int(value("collab_rooms", {"state": "open"}) or 0),
            rooms_idle=int(value("collab_rooms", {"state": "idle"}) or 0),
            uncommitted_updates=sum(journal.lag for journal in lagging),
            uncommitted_bytes=sum(journal.lag_bytes for journal in lagging),
            log_level=_level(),
        )

    async def settings(self) -> list[Setting]:
        """As `collab doctor` shows them."""
        return [Setting(**one._asdict()) for one in explain(self._served.settings)]

    async def log_level(self, wanted: LogLevel, admin: Asks) -> LogLevel:
        """`debug` tells a lot: set it back."""
        before = _level()
        set_level(wanted.level)
        await self._audit.note(admin, "server.log_level", to=wanted.level, before=before)
        return wanted

    async def drain(self, admin: Asks) -> Response:
        """All clients are told to go elsewhere (1012), all is saved, and `/ready` answers 503. It does not end the
        process, and cannot be undone: follow it in `GET /server`, then stop the server."""
        await self._audit.note(admin, "server.drain")
        self._served.hub.start_soon(self._served.drain)
        return Response(status_code=202)


def _level() -> Level:
    found = logging.getLevelName(logging.getLogger("collab").getEffectiveLevel()).lower()
    levels: dict[str, Level] = {"debug": "debug", "info": "info", "warning": "warning"}
    return levels.get(found, "error")
