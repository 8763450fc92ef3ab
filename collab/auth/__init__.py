"""Who may do what in which room. The pure part: values in, values out; no I/O, no clock.

`Knock` is what a client says of itself at the door, `Grant` is the answer. An `Authorize` turns one into the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """What a client may do in a room; each level includes the ones below it."""

    NONE = 0
    READ = 1
    """See the document and who is here."""
    COMMENT = 2
    """Be seen, too: presence is shown to others."""
    WRITE = 3
    """Change the document."""
    ADMIN = 4
    """Whatever the admin API offers for the room."""


@dataclass(frozen=True, slots=True)
class Knock:
    """One client at the door of one room.

    Attributes:
        room: The exact name.
        token: What it shows; None when it shows nothing. Never logged.
        address: Where it is, after trusted proxies.
        origin: The page it comes from, if a browser says so.
    """

    room: str
    token: str | None = None
    address: str = "unknown"
    origin: str | None = None

    def __repr__(self) -> str:  # a token must not get into a log by way of a traceback
        return f"Knock(room={self.room!r}, token={'...' if self.token else None}, address={self.address!r})"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one client may do in one room, and until when.

    Attributes:
        level: What it may do.
        subject: Who it is, for the log of edits and for limits per user; None when nobody says.
        token_id: Which token said so (`jti`), so that it can be revoked.
        expires: Seconds since the epoch after which it counts no more; None for never.
        issued: Seconds since the epoch when the token was made (`iat`): a revocation of a subject covers what is older.
        user: What is stamped into the `user` field of the client's presence; None leaves the field alone.
        may_create: Whether a room that does not exist yet may be made by entering it.
    """

    level: Level
    subject: str | None = None
    token_id: str | None = None
    expires: float | None = None
    issued: float | None = None
    user: Mapping[str, object] | None = None
    may_create: bool = True


Authorize = Callable[[Knock], Grant | Awaitable[Grant]]
"""Decides about one client. Returns a grant, at once or later, or raises `Unauthorized`, `Forbidden`, `TooMany` or
`Unavailable`; the text of the error is shown to the client."""


def everyone(knock: Knock) -> Grant:
    """The mode `open`: whoever reaches the server may read and write every room."""
    return Grant(Level.WRITE)
