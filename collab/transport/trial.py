"""Does the fast path work with what is installed here? One connection is taken over and tried, before it matters."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import ConnectionState

from . import Carrier
from .carriers import Carriers

TRIAL_SECONDS = 2.0
_REQUEST = (
    b"GET /trial HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_FRAME, _ECHO = b"\x82\x84\x00\x00\x00\x00here", b"\x82\x04here"
_GOODBYE, _ANSWER = b"\x88\x82\x00\x00\x00\x00\x03\xe8", b"\x88\x02\x03\xe8"


class _Echo:
    """Sends back what it receives."""

    def __init__(self, socket: Carrier) -> None:
        self.socket = socket
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def received(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            self.socket.send(frame)

    def too_large(self, size: int) -> None:
        self.socket.abort()

    def ponged(self) -> None:
        """Nobody asked."""

    def unfinished(self, size: int) -> bool:
        return False

    def overworked(self) -> None:
        """Nobody is."""

    def drained(self) -> None:
        """It never has much to send."""

    def closed(self, code: int) -> None:
        self.ended.set_result(code)


async def trouble(carriers: Carriers) -> str | None:
    """Take a connection over and use it, on a port of this machine; returns what went wrong, None when nothing did."""
    echoes: list[_Echo] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        socket = carriers.carry(scope, receive, send)
        echoes.append(_Echo(socket))
        await socket.accept(None)
        await socket.run(echoes[0])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wrapped = ASGIWrapper(app)
        await TCPServer(wrapped, loop, config, WorkerContext(None), ConnectionState({}), reader, writer)
        served.set()

    loop = asyncio.get_running_loop()
    config = Config()
    config.errorlog = None  # its own would have a handler and a level from then on, for all who log there
    served = asyncio.Event()
    step = "there is no loopback network"
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            try:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(_REQUEST)
                step = "a connection was not accepted"
                head = await reader.readuntil(b"\r\n\r\n")
                if b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" not in head:  # RFC 6455, 1.3 has this answer to this key
                    return step
                step = "a connection was not taken over"
                if echoes[0].socket.name != "takeover":
                    return step
                await served.wait()
                step = "a frame did not come back"
                writer.write(_FRAME)
                if await reader.readexactly(len(_ECHO)) != _ECHO:
                    return step
                step = "a goodbye was not answered"
                writer.write(_GOODBYE)
                if await reader.read() != _ANSWER or await echoes[0].ended != 1000:
                    return step
                return None
            finally:
                server.close()
                with suppress(UnboundLocalError):
                    writer.close()
    except (OSError, EOFError, TimeoutError) as error:
        return f"{step} ({type(error).__name__})"
