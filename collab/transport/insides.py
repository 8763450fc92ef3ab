"""What is known of hypercorn's insides, in one place. Each answer may be None: then there is another ASGI server.

The `send` that hypercorn 0.18 gives to an app is a method of its `WSStream`, whose own `send` is one of the
`H11Protocol`, whose own is one of the `TCPServer`, which holds the asyncio transport. A wrapped `send` hides all that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import h11
import hypercorn.protocol
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WebsocketBuffer, WSStream


def stream(send: Callable[..., Any]) -> WSStream | None:
    """The WebSocket stream behind an ASGI `send`."""
    owner = getattr(send, "__self__", None)
    return owner if isinstance(owner, WSStream) else None


def tcp_transport(send: Callable[..., Any]) -> asyncio.Transport | None:
    """The TCP (or TLS) transport under an ASGI `send`, if nobody else shares it, as over HTTP/2."""
    owner: Any = stream(send)
    for _ in range(2):
        owner = getattr(getattr(owner, "send", None), "__self__", None)
    if not isinstance(owner, TCPServer):
        return None
    return cast(asyncio.Transport, owner.writer.transport)  # uvloop's are no subclass of asyncio's


def refuse_compression(send: Callable[..., Any]) -> None:
    """Before a WebSocket is accepted: no permessage-deflate, to which hypercorn would agree with all who offer it.

    It takes 60 KB and more for each client, and 200 KB could inflate to 200 MB before their size is looked at.
    """
    owner = stream(send)
    if owner is not None:
        owner.handshake.extensions = None


class Http1Protocol(H11Protocol):
    """HTTP/1.1 on a connection, whatever the client would rather have.

    hypercorn answers `Upgrade: h2c` with 101, and `PRI * HTTP/2.0` by speaking HTTP/2. A proxy that forwards upgrades
    then no longer sees what its client asks for, and its rules are passed by (request smuggling); and the WebSockets
    of such a client could not be taken over.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        """No other protocol: RFC 9110, 7.8 lets a server ignore the upgrade and answer in HTTP/1.1."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in (b"1.1", b"1.0"):
            await self._send_error_response(505)
            await self.send(Closed())
        else:
            await super()._create_stream(request)


def http1_only() -> None:
    """From now on every connection of this process that did not agree on HTTP/2 by ALPN is HTTP/1.1 and stays so."""
    hypercorn.protocol.H11Protocol = Http1Protocol  # type: ignore[attr-defined]


class BoundedBuffer(WebsocketBuffer):
    """Holds one message while its frames come in, up to a limit.

    hypercorn's own closes with 1009 when it is full, which y-websocket answers by sending the same bytes again for
    ever. This one lets go of the message, says so once, and swallows the rest of it.
    """

    def __init__(self, limit: int, too_large: Callable[[int], None]) -> None:
        super().__init__(limit)
        self._too_large = too_large
        self._over = False

    def extend(self, event: Any) -> None:
        if self._over:
            return
        if self.length + len(event.data) > self.max_length:
            self._over = True
            self._too_large(self.length + len(event.data))
            self.value, self.length = None, 0
            return
        super().extend(event)

    def to_message(self) -> dict[str, Any]:
        if self._over:
            return {"type": "websocket.receive", "bytes": b"", "text": None}
        return super().to_message()

    def clear(self) -> None:
        if not self._over:
            super().clear()
