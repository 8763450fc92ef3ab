"""Webhooks: what waits to be told, what was given up, and another try."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator

from ...errors import Conflict
from ...store.outbox import Notice, Outbox
from .access import Served
from .asked import PAGE, Asks, Cursor, Limit, cursor_of, place_of
from .audit import Audit


class State(StrEnum):
    """Which events."""

    waiting = "waiting"
    dead = "dead"


class Told(BaseModel):
    """An event for one URL."""

    id: int = Field(description="Its number in the outbox; another one after a replay.")
    event_id: str = Field(description="What the receiver knows it by: `id` in the body.")
    event: str
    room: str = Field(description="Empty when none is meant.")
    url: str | None = Field(description="null when it is not set any more.")
    time: datetime = Field(description="When it happened.")
    details: dict[str, Any]
    attempts: int
    tried: datetime | None = Field(description="When it was first tried in vain.")
    dead: datetime | None = Field(description="When it was given up.")
    error: str = Field(description="Why it failed last; empty when it did not.")

    @classmethod
    def of(cls, notice: Notice, url: str | None) -> Told:
        """What is told of a notice."""
        return cls(
            id=notice.seq,
            event_id=notice.id,
            event=notice.event.value,
            room=notice.room,
            url=url,
            time=datetime.fromtimestamp(notice.time, UTC),
            details=dict(notice.details),
            attempts=notice.attempts,
            tried=_moment(notice.tried),
            dead=_moment(notice.dead),
            error=notice.error,
        )


class Page(BaseModel):
    """A page of events, newest first, and how many there are in all."""

    items: list[Told]
    next: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last one.")
    waiting: int
    dead: int


class Again(BaseModel):
    """Which dead events are tried again."""

    ids: list[int] | None = Field(None, max_length=PAGE, description="Their numbers.")
    all: bool = Field(False, description="All of them.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Again:
        if (self.ids is None) == (not self.all):
            raise ValueError("say `ids`, or `all`: true")
        return self


class Replayed(BaseModel):
    """How many events wait again."""

    replayed: int


class Posted(BaseModel):
    """An event that was posted."""

    event_id: str


class Hooks:
    """The operations on the webhooks of one server."""

    def __init__(self, served: Served, audit: Audit) -> None:
        self._hooks = served.hooks
        self._audit = audit
        self.router = APIRouter(tags=["hooks"])
        add = self.router.add_api_route
        add("/hooks", self.list, methods=["GET"], summary="Events that wait, or were given up")
        add("/hooks/replay", self.replay, methods=["POST"], summary="Try dead events again")
        add("/hooks/test", self.test, methods=["POST"], summary="Send a test event to every URL", status_code=202)

    @property
    def _outbox(self) -> Outbox:
        if self._hooks.outbox is None:
            raise Conflict("this store has no outbox")
        return self._hooks.outbox

    async def list(
        self,
        state: Annotated[State, Query(description="Those that wait, or those that were given up.")] = State.waiting,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Page:
        """Newest first."""
        before = None if cursor is None else place_of(cursor, (int,))[0]
        found = await self._outbox.notices(dead=state is State.dead, before=before, limit=limit + 1)
        tally = await self._outbox.tally()
        items = [Told.of(notice, self._hooks.url_of(notice)) for notice in found[:limit]]
        more = len(found) > limit
        return Page(
            items=items,
            next=cursor_of([items[-1].id]) if more else None,
            waiting=tally.waiting,
            dead=tally.dead,
        )

    async def replay(self, again: Again, admin: Asks) -> Replayed:
        """They wait behind what waits for their rooms. What is not dead is passed over."""
        count = await self._outbox.replay(None if again.all else again.ids)
        self._hooks.wake()
        await self._audit.note(admin, "hooks.replay", events=count)
        return Replayed(replayed=count)

    async def test(self, admin: Asks) -> Posted:
        """It is delivered as all events are: look for it in the list until it is gone."""
        if not self._hooks.urls:
            raise Conflict("no URL is set (COLLAB_HOOKS__URLS)")
        posted = Posted(event_id=await self._hooks.test())
        await self._audit.note(admin, "hooks.test", event_id=posted.event_id)
        return posted


def _moment(time: float | None) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(time, UTC)
