"""What is known of hypercorn's insides, in one place. Each answer may be None: then there is another ASGI server.

The `send` that hypercorn 0.18 gives to an app is a method of its `WSStream`, whose own `send` is one of the
`H11Protocol`, whose own is one of the `TCPServer`, which holds the asyncio transport. A wrapped `send` hides all that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import h11
import hypercorn.protocol
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WebsocketBuffer, WSStream
from wsproto.utilities import generate_accept_token

from .handshake import is_sound


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


class Line(NamedTuple):
    """The TCP (or TLS) connection of a WebSocket that waits to be accepted, and whom in hypercorn it belongs to."""

    stream: WSStream
    server: TCPServer
    transport: asyncio.Transport
    reading: asyncio.StreamReaderProtocol

    def answer(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The head that accepts the WebSocket (RFC 6455, 4.2.2), with these headers and hypercorn's own."""
        key = self.stream.handshake.key or b""
        headers = [
            (b"upgrade", b"WebSocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", generate_accept_token(key)),
            *headers,
            *self.stream.config.response_headers("h11"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        return b"HTTP/1.1 101 \r\n" + b"".join(lines) + b"\r\n"

    def take(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the transport to `protocol`, and let hypercorn's task for the connection come to its end.

        It must neither write to the transport any more (it would, when the process is stopped: a response in HTTP), nor
        close it, which its end and its writer's `__del__` do. The end of the app's call is no end without an answer
        either, which would be logged as status 500.
        """
        self.stream.closed = True
        self.server.writer._transport = _DEPARTED  # type: ignore[attr-defined]
        self.transport.set_protocol(protocol)
        self.reading.connection_lost(None)

    async def log(self) -> None:
        """The line that hypercorn writes to its access log, if there is one."""
        stream = self.stream
        status: Any = {"status": 101, "headers": []}
        await stream.config.log.access(stream.scope, status, time.time() - stream.start_time)


class _Departed(asyncio.Transport):
    """In the place of a transport that belongs to somebody else now."""

    def is_closing(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Not the old owner's business any more."""

    def close(self) -> None:
        """Likewise."""


_DEPARTED = _Departed()


def line(send: Callable[..., Any]) -> Line | None:
    """What can be taken over, right now, behind an ASGI `send`: HTTP/1.1, unanswered, and silent since the request.

    A client may not send frames before it is accepted. hypercorn answers those that do with 400; when it has not read
    them yet, it is left to deal with them.
    """
    owner = stream(send)
    http = getattr(getattr(owner, "send", None), "__self__", None)
    server = getattr(getattr(http, "send", None), "__self__", None)
    if owner is None or not isinstance(http, H11Protocol) or not isinstance(server, TCPServer):
        return None
    parser, reader, writer = http.connection, server.reader, server.writer
    transport = cast(asyncio.Transport, writer.transport)
    reading = transport.get_protocol()
    unanswered = (
        not owner.closed
        and owner.state is ASGIWebsocketState.HANDSHAKE
        and isinstance(parser, H11WSConnection)
        and parser.h11_connection.our_state is h11.SEND_RESPONSE
        and not server.send_lock.locked()
    )
    silent = not getattr(parser, "buffer", b"") and not reader._buffer and not reader.at_eof()  # type: ignore[attr-defined]
    if not unanswered or not silent or transport.is_closing() or not isinstance(reading, asyncio.StreamReaderProtocol):
        return None
    return Line(owner, server, transport, reading)


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
            await self._refuse(505)
        elif not is_sound(request.headers):
            await self._refuse(400)
        else:
            await super()._create_stream(request)

    async def _refuse(self, status: int) -> None:
        await self._send_error_response(status)
        await self.send(Closed())


def http1_only() -> None:
    """From now on every connection of this process that did not agree on HTTP/2 by ALPN is HTTP/1.1 and stays so."""
    hypercorn.protocol.H11Protocol = Http1Protocol  # type: ignore[attr-defined]


class BoundedBuffer(WebsocketBuffer):
    """Holds one message while its frames come in, up to a limit.

    hypercorn's own closes with 1009 when it is full, which y-websocket answers by sending the same bytes again for
    ever. This one lets go of the message, says so once, and swallows the rest of it.
    """

    def __init__(
        self, limit: int, too_large: Callable[[int], None], unfinished: Callable[[int], bool] = lambda size: False
    ) -> None:
        super().__init__(limit)
        self._too_large = too_large
        self._unfinished = unfinished
        self._telling = True
        self._over = False

    def extend(self, event: Any) -> None:
        if self._over:
            return
        if self.length + len(event.data) > self.max_length:
            self._too_large(self.length + len(event.data))
            self.let_go()
            return
        super().extend(event)
        self._tell()

    def _tell(self) -> None:
        if self._telling:
            self._telling = self._unfinished(self.length)

    def let_go(self) -> None:
        """Forget what is here of a message, and swallow all that follows."""
        self._over = True
        self.value, self.length = None, 0

    def distrust(self, limit: int) -> None:
        """From now on messages may be so long, and one that has begun is let go of."""
        self.max_length = limit
        if self.length:
            self.let_go()

    def to_message(self) -> dict[str, Any]:
        if self._over:
            return {"type": "websocket.receive", "bytes": b"", "text": None}
        return super().to_message()

    def clear(self) -> None:
        if not self._over:
            super().clear()
            self._tell()
