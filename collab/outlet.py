"""What a seat knows of the socket behind it: how its client speaks, where frames go, and what they are counted as."""

from __future__ import annotations

from typing import Protocol

from .wire.messages import (
    Auth,
    Awareness,
    Close,
    Denied,
    Echo,
    Granted,
    Message,
    QueryAwareness,
    Saved,
    Stateless,
    SyncStep1,
    SyncStep2,
    TokenWanted,
    Update,
)

HIGH_WATER = 64 * 1024
"""Bytes that an outlet may have accepted and not written before frames wait in the seat instead."""

KINDS: dict[type[Message], str] = {
    SyncStep1: "sync_step1",
    SyncStep2: "sync_step2",
    Update: "update",
    Awareness: "awareness",
    QueryAwareness: "query_awareness",
    Auth: "auth",
    TokenWanted: "auth",
    Granted: "auth",
    Denied: "denied",
    Saved: "saved",
    Stateless: "stateless",
    Close: "close",
    Echo: "echo",
}
"""What messages are counted as, in either direction."""


class Dialect(Protocol):
    """A module of `collab.wire`, or an object of one, that turns frames into messages and back.

    Attributes:
        NAME: Seats whose dialects have the same name share their frames.
        ACKNOWLEDGES: Whether each update is answered with `Saved`, and each sync step 1 with one of ours, too: these
            clients upload what they have in answer to it, and say nothing on their own.
    """

    NAME: str
    ACKNOWLEDGES: bool

    def decode(self, frame: bytes, /) -> Message:
        """The message of a frame; raises `BadMessage`."""

    def typed(self, frame: bytes, /) -> bytes | None:
        """The update in a frame whose message is a short one, as nine of ten are; None of any other."""

    def encode(self, message: Message, /) -> bytes | None:
        """The frame that says `message`; None when there is no word for it."""


class Outlet(Protocol):
    """Where a seat's frames go."""

    @property
    def buffered(self) -> int:
        """Bytes that were accepted and are not yet on their way."""

    def send(self, frame: bytes) -> None:
        """Take one frame; returns at once and never raises."""

    def expect(self, size: int) -> None:
        """The client was told `size` bytes of what others show, and will repeat them."""
