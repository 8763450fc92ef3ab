"""What a room was, and who made it so; and the way back from what one user did."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from ...auth.tokens import TEXT_BYTES
from ...content.formats import Format
from ...desk import Desk
from ...errors import Conflict
from ...history.activity import Session
from ...history.archive import Archive
from ...history.attribution import Attribution, Run
from ...history.returns import Returns
from ...history.travel import Travel
from .access import Admin
from .asked import Asks, Cursor, Limit, RoomName, cursor_of, place_of
from .audit import Audit
from .document import Field_, Format_
from .moments import At, Time, moment_of
from .snapshots import Done, Key, content


class Edits(BaseModel):
    """Edits of one author between which no long time went by."""

    author: str | None = Field(description="null when nobody is known.")
    begin: datetime
    end: datetime
    first: int = Field(description="Number of the first.")
    last: int = Field(description="Number of the last; those of others may lie between.")
    edits: int
    bytes: int

    @classmethod
    def of(cls, session: Session) -> Edits:
        """What is told of a session."""
        return cls(
            author=session.author,
            begin=datetime.fromtimestamp(session.begin, UTC),
            end=datetime.fromtimestamp(session.end, UTC),
            first=session.first,
            last=session.last,
            edits=session.edits,
            bytes=session.bytes,
        )


class Activity(BaseModel):
    """A page of sessions, oldest first."""

    items: list[Edits]
    next: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last one.")


class Part(BaseModel):
    """Neighbouring parts of one author."""

    root: str
    kind: str = Field(description="`text`, `value` (of a list), `embed`, `node` or `key`.")
    shown: str
    at: int = Field(description="How many characters of text stand before it in its root.")
    author: str | None = Field(description="null when nobody is known, or it was there before what is kept.")
    first: datetime | None = Field(description="When the first of it was written.")
    last: datetime | None

    @classmethod
    def of(cls, run: Run, **more: Any) -> Any:
        """What is told of a run."""
        return cls(
            root=run.root,
            kind=run.kind,
            shown=_printable(run.shown),
            at=run.at,
            author=run.author,
            first=_moment(run.first),
            last=_moment(run.last),
            **more,
        )


class Gone(Part):
    """A part that was deleted."""

    deleted_by: str | None
    deleted: datetime | None


class Writers(BaseModel):
    """Who wrote what stands there, and who deleted what does not any more, as far as edits are kept."""

    runs: list[Part]
    deleted: list[Gone]

    @classmethod
    def of(cls, found: Attribution) -> Writers:
        """What is told of it."""
        return cls(
            runs=[Part.of(run) for run in found.runs],
            deleted=[Gone.of(one.run, deleted_by=one.by, deleted=_moment(one.time)) for one in found.deleted],
        )


class Difference(BaseModel):
    """What has to change (docs/howto/snapshots.md)."""

    text: dict[str, Any] = Field(description="By root: keep, delete and insert, in characters.")
    nodes: dict[str, Any] = Field(description="By root: keys and content of all shared types.")


class Period(BaseModel):
    """Whose edits, and of when; both ends included."""

    author: str = Field(min_length=1, max_length=TEXT_BYTES)
    since: Time | None = None
    until: Time | None = None


class Author(BaseModel):
    """Somebody who is to be named no more."""

    author: str = Field(min_length=1, max_length=TEXT_BYTES)


class Unsigned(BaseModel):
    """What does not say any more that he made it."""

    rows: int = Field(description="Edits.")
    snapshots: int


class History:
    """The operations on what rooms were."""

    def __init__(self, archive: Archive, travel: Travel, returns: Returns, desk: Desk, audit: Audit) -> None:
        self._archive = archive
        self._travel = travel
        self._returns = returns
        self._desk = desk
        self._audit = audit
        self.router = APIRouter(tags=["history"])
        add = self.router.add_api_route
        add("/rooms/{name}/at", self.at, methods=["GET"], summary="The document at a moment", response_class=Response)
        add("/rooms/{name}/diff", self.diff, methods=["GET"], summary="What differs between two moments")
        add("/rooms/{name}/activity", self.activity, methods=["GET"], summary="Who edited when")
        add("/rooms/{name}/attribution", self.attribution, methods=["GET"], summary="Who wrote and deleted what")
        add("/rooms/{name}/unsign", self.unsign, methods=["POST"], summary="Forget what one user made in a room")
        add("/unsign", self.unsign_everywhere, methods=["POST"], summary="Forget what one user made in all rooms")
        add("/rooms/{name}/undo", self.undo, methods=["POST"], summary="Take back what one user did in a period")

    async def at(self, name: RoomName, at: At, format: Format_ = Format.json, field: Field_ = None) -> Response:
        """As far as the history reaches back."""
        state, _ = await self._travel.at(name, at)
        return await content(self._desk, state, format, field)

    async def diff(
        self,
        name: RoomName,
        from_: Annotated[str, Query(alias="from", max_length=100, description="As `at` of `GET /at`.")],
        to: Annotated[str, Query(max_length=100)] = "now",
    ) -> Difference:
        """Texts first, then all that shared types hold."""
        return Difference(**await self._travel.diff(name, moment_of(from_), moment_of(to)))

    async def activity(
        self,
        name: RoomName,
        gap: Annotated[float, Query(ge=0, le=1e6, description="Minutes without an edit that end a session.")] = 10.0,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Activity:
        """From the first edit that is kept on."""
        after = place_of(cursor, (int,))[0] if cursor is not None else 0
        found = [one for one in await self._travel.activity(name, gap) if one.first > after]
        more = len(found) > limit
        return Activity(
            items=[Edits.of(one) for one in found[:limit]], next=cursor_of([found[limit - 1].first]) if more else None
        )

    async def attribution(self, name: RoomName) -> Writers:
        """A restore's copies are their restorer's, until their originals are looked at."""
        return Writers.of(await self._travel.attribution(name))

    async def undo(self, name: RoomName, period: Period, admin: Asks, key: Key = None) -> Done:
        """As one edit, on top of all that came since; a snapshot is made before it."""
        since = None if period.since is None else period.since.timestamp()
        until = None if period.until is None else period.until.timestamp()
        if since is not None and until is not None and since > until:
            raise Conflict("`since` is later than `until`")
        outcome = await self._returns.undo(name, period.author, since, until, author=admin.name, key=key)
        asked = period.model_dump(exclude_none=True, mode="json")
        await self._audit.note(admin, "room.undo", name, of=asked, before=outcome.before and outcome.before.id)
        return Done.of(name, outcome)

    async def unsign(self, name: RoomName, author: Author, admin: Asks) -> Unsigned:
        """What he wrote stays. Nothing in the store names him as its author afterwards, nor does this on record."""
        return await self._unsign(author.author, name, admin)

    async def unsign_everywhere(self, author: Author, admin: Asks) -> Unsigned:
        """The same in all rooms. It takes as long as it takes to read the whole log; people go on typing, but wait
        while the file is rewritten at the end. Revoke his access first: what he types now bears his name."""
        return await self._unsign(author.author, None, admin)

    async def _unsign(self, author: str, room: str | None, admin: Admin) -> Unsigned:
        done = await self._archive.unsign(author, room)
        whose = sha256(author.encode(errors="surrogatepass")).hexdigest()
        await self._audit.note(
            admin, "history.unsign", room, author_sha256=whose, rows=done.rows, snapshots=done.snapshots
        )
        return Unsigned(**done._asdict())


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _printable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
