"""The vocabulary. Frozen values that cross every layer; a dialect decides at the last moment how they look on the wire.

A dialect that has no word for a message encodes it as None, and it is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import BadMessage, BadUpdate
from . import vet
from .structs import Extent


@dataclass(frozen=True, slots=True)
class SyncStep1:
    """What the sender has, as a state vector; asks for the rest.

    Args:
        state_vector: Its bytes.
        vetted: The clocks in it, or what is wrong with it, if somebody has looked already.
    """

    state_vector: bytes
    vetted: Mapping[int, int] | BadMessage | None = field(default=None, compare=False, repr=False)

    def clocks(self) -> Mapping[int, int]:
        """The clocks in it: client id -> next clock; raises `BadMessage`."""
        if isinstance(self.vetted, BadMessage):
            raise self.vetted
        return vet.parse_state_vector(self.state_vector, vet.MAX_CLIENTS) if self.vetted is None else self.vetted


@dataclass(frozen=True, slots=True)
class Content:
    """What carries a Yjs update (v1).

    Args:
        update: Its bytes.
        vetted: What came of looking through it, if somebody has done that already.
        fits: The part of it that the document could take in when somebody looked, and what that covers, if it lacked
            something then.
    """

    update: bytes
    vetted: Extent | BadUpdate | None = field(default=None, compare=False, repr=False)
    fits: tuple[bytes, Extent] | None = field(default=None, compare=False, repr=False)

    def extent(self) -> Extent:
        """What it covers and needs; raises `BadUpdate`."""
        if isinstance(self.vetted, BadUpdate):
            raise self.vetted
        return self.vetted or vet.parse(self.update, vet.MOST)


@dataclass(frozen=True, slots=True)
class SyncStep2(Content):
    """The answer to `SyncStep1`: one update with all that the asker lacked, and all deletions."""


@dataclass(frozen=True, slots=True)
class Update(Content):
    """One change."""


@dataclass(frozen=True, slots=True)
class Awareness:
    """Presence: an awareness update (y-protocols/awareness.js): count, then (client id, clock, JSON state) each."""

    update: bytes


@dataclass(frozen=True, slots=True)
class QueryAwareness:
    """Asks for all awareness states that the other side knows."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Server to client: no access, and why, in words that leak nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Auth:
    """Client to server: its token. Hocuspocus says with it which version it is, from 4 on."""

    token: str
    version: str | None = None

    def __repr__(self) -> str:  # not in any log
        return f"Auth(version={self.version!r})"


@dataclass(frozen=True, slots=True)
class TokenWanted:
    """Server to client: show your token again."""


@dataclass(frozen=True, slots=True)
class Granted:
    """Server to client: come in, and may you write?"""

    may_write: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """Server to client: one of your updates is committed in the store, or will never be."""

    applied: bool


SAVED = Saved(True)
"""The one that is said all day."""


@dataclass(frozen=True, slots=True)
class Stateless:
    """Words of an application, for whoever is here now; never stored."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """This document is over for the client; its socket stays. Only the server says why."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Echo:
    """Client to server: say this again once all that I sent before is committed (y-sweet)."""

    data: bytes


Message = (
    SyncStep1
    | SyncStep2
    | Update
    | Awareness
    | QueryAwareness
    | Denied
    | Auth
    | TokenWanted
    | Granted
    | Saved
    | Stateless
    | Close
    | Echo
)
