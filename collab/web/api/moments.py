"""How moments of a room, and the snapshots of it, are written in requests and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import Depends, Path, Query
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError, model_validator

from ...errors import BadMessage
from ...history.travel import NOW, Moment
from ...store import Reason, SnapshotInfo

LARGEST = 2**53 - 1
"""The largest whole number that JSON means the same everywhere."""
_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)

Id = Annotated[int, Path(ge=1, le=LARGEST, description="The snapshot's number.")]
Time = Annotated[
    AwareDatetime, Field(description="ISO 8601 with a time zone (`2026-11-25T09:30:00Z`), or seconds since 1970.")
]


class To(BaseModel):
    """A moment of a room: exactly one of these."""

    snapshot: int | None = Field(None, ge=1, le=LARGEST, description="The state that a snapshot holds.")
    seq: int | None = Field(None, ge=0, le=LARGEST, description="The state after this edit.")
    time: Time | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.snapshot, self.seq, self.time].count(None) != 2:
            raise ValueError("say one of `snapshot`, `seq` and `time`")
        return self

    @property
    def moment(self) -> Moment:
        """The moment that is meant."""
        return Moment(self.snapshot, self.seq, None if self.time is None else self.time.timestamp())


class Snapshot(BaseModel):
    """A snapshot, without its content."""

    id: int = Field(description="Grows with each snapshot of the store, and is never used again.")
    room: str
    covers: int = Field(description="Number of the last edit in it.")
    time: datetime
    label: str
    note: str
    author: str | None = Field(description="Who made it; null when the server did by itself.")
    reason: Reason
    pinned: bool = Field(description="Whether it stays until somebody deletes it.")
    size: int = Field(description="Bytes.")
    checksum: str = Field(description="SHA-256 of its state (`format=yjs`), in hex.")

    @classmethod
    def of(cls, info: SnapshotInfo) -> Snapshot:
        """What is told of a snapshot of the store."""
        return cls(
            id=info.id,
            room=info.room,
            covers=info.covers,
            time=datetime.fromtimestamp(info.time, UTC),
            label=info.label,
            note=info.note,
            author=info.author,
            reason=info.reason,
            pinned=info.pinned,
            size=info.size,
            checksum=info.checksum,
        )


def moment_of(text: str) -> Moment:
    """The moment that a query names: `now`, `snapshot:3`, `seq:120`, `time:2026-11-25T09:30:00Z`.

    Raises:
        BadMessage: It names none.
    """
    kind, _, value = text.partition(":")
    try:
        match kind:
            case "now" if text == kind:
                return NOW
            case "snapshot" | "seq" if value.isascii() and value.isdecimal() and len(value) < 20:
                return To.model_validate({kind: int(value)}).moment
            case "time":
                return Moment(time=_TIME.validate_python(value).timestamp())
    except (ValidationError, OverflowError):
        pass
    raise BadMessage("a moment should be `now`, `snapshot:3`, `seq:120` or `time:2026-11-25T09:30:00Z`")


async def _at(
    at: Annotated[
        str, Query(max_length=100, description="`now`, `snapshot:3`, `seq:120` or `time:2026-11-25T09:30:00Z`.")
    ],
) -> Moment:
    return moment_of(at)


At = Annotated[Moment, Depends(_at)]
"""The query `at`."""
