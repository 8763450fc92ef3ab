"""What carries a WebSocket, chosen for each connection: the fast path where it can be had, else plain ASGI."""

from __future__ import annotations

from collections.abc import Callable

from . import REFUSED_BYTES, Carrier, deflate, insides
from .asgi import AsgiSocket, Message, Receive, Send
from .frames import Parsers
from .takeover import TakeoverSocket


class Carriers:
    """Makes the sockets of one app.

    Args:
        message_bytes: The largest message that is let through.
        fast: Whether connections are taken over where that can be done.
        compress: Whether to agree to compression, on connections that were.
    """

    def __init__(self, *, message_bytes: int, fast: bool = True, compress: bool = True) -> None:
        self.message_bytes = message_bytes
        self.fast = fast
        self.compress = compress
        self._parsers = Parsers(message_bytes, refused=Parsers(min(REFUSED_BYTES, message_bytes)))
        self._wires = deflate.Wires()

    def carry(
        self, scope: Message, receive: Receive, send: Send, *, gone: Callable[[], None] = lambda: None
    ) -> Carrier:
        """What is to carry this WebSocket, which is not accepted yet; no task switch may come before `accept`.

        Args:
            scope, receive, send: As the ASGI server gave them.
            gone: Called once, after the socket's receiver was told of the end.
        """
        line = insides.line(send) if self.fast else None
        if line is None:
            return AsgiSocket(receive, send, message_bytes=self.message_bytes, gone=gone)
        agreed = None
        if self.compress:
            offers = (value for name, value in scope["headers"] if name.lower() == b"sec-websocket-extensions")
            agreed = deflate.negotiate(offers)
        return TakeoverSocket(line, parsers=self._parsers, wires=self._wires, agreed=agreed, gone=gone)
