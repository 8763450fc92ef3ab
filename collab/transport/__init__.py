"""One WebSocket, whatever carries it. A connection is written against these two promises and knows nothing else."""

from __future__ import annotations

from typing import Protocol

REFUSED_BYTES = 8192
"""The largest message that is still taken of a client that was refused."""
GOODBYE_SECONDS = 5.0
"""How long a client has to take what was sent and to answer the close frame, before the connection is cut."""


class Receiver(Protocol):
    """Who is told what comes in over a socket. Nothing here may raise, block or take long."""

    def received(self, frame: bytes | str) -> None:
        """One whole message came, text or binary, of at most the size that the socket lets through."""

    def too_large(self, size: int) -> None:
        """A message grew past the limit (`size` bytes so far) and was thrown away; so is all that follows it."""

    def unfinished(self, size: int) -> bool:
        """`size` bytes are here of a message whose end is not; whether this is to be told again, each time it changes.

        Told from the first read on. Where the ASGI server keeps what is not whole to itself, it is told of nothing.
        """

    def ponged(self) -> None:
        """The client gave the sign of life that `Socket.ping` asks for."""

    def overworked(self) -> None:
        """The client sends frames that say nothing (pings, pongs, empty pieces) and goes on, though slowed."""

    def drained(self) -> None:
        """The socket wrote enough of what it had that it can take more."""

    def closed(self, code: int) -> None:
        """The socket is gone. Told once, last of all."""


class Socket(Protocol):
    """What a connection can do with its socket. Every call returns at once and never raises.

    Nothing is promised about when a frame arrives, or whether it does: only that frames keep their order.
    """

    @property
    def buffered(self) -> int:
        """Bytes that were accepted and are not yet handed to the network."""

    @property
    def written(self) -> int:
        """Bytes that were handed to the network since the socket opened: it stands still when the client takes none."""

    def send(self, frame: bytes) -> None:
        """Send one binary message; ignored after `close`."""

    def ping(self) -> bool:
        """Ask the client for a sign of life that its program does not see; False where none would be heard."""

    def pause(self) -> None:
        """Take no more from the network until `resume`; what was taken may still come."""

    def resume(self) -> None:
        """Go on reading."""

    def distrust(self) -> None:
        """The client was refused: messages of more than a few KiB are passed over from here on, and not told of. What
        is here of one whose end is not is let go of, at once."""

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after what was sent (RFC 6455, 7.1.2); `reason` is cut to the 123 bytes that fit."""

    def abort(self) -> None:
        """Cut the connection without a goodbye; what was not written is lost."""


class Carrier(Socket, Protocol):
    """A socket, from the request for it to its end: what the edge does with it.

    Attributes:
        name: What it is counted as.
    """

    name: str

    async def accept(self, subprotocol: str | None) -> None:
        """Let the client in, in the name of one of the subprotocols that it offered, if any."""

    async def run(self, receiver: Receiver) -> None:
        """Tell `receiver` what happens. Returns once the ASGI server is not needed any more, which may be at once: the
        end is where `closed` is told."""


def fitting_reason(reason: str) -> str:
    """`reason`, cut so that a close frame holds it: 123 bytes of UTF-8 (RFC 6455, 5.5)."""
    return reason.encode()[:123].decode(errors="ignore")
