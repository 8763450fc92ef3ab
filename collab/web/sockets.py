"""Every WebSocket that comes in: refused before the handshake when the server is full or going, else served."""

from __future__ import annotations

import time
from urllib.parse import quote

import anyio

from ..connection import Connection
from ..errors import BadRoomName, CollabError, Draining
from ..hub import Hub
from ..limits import Gauge, Refusals
from ..log import get_logger
from ..transport import insides
from ..transport.asgi import AsgiSocket, Message, Receive, Send
from .names import room_name

log = get_logger(__name__)


class Sockets:
    """The sockets of one server.

    Attributes:
        connections: Everyone who is not done yet.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.connections: dict[Connection, None] = {}
        self._open = Gauge("connections", hub.settings.limits.connections)
        self._none_left = anyio.Event()
        self._refusals = Refusals(3 * hub.settings.limits.hold_seconds)

    async def serve(self, scope: Message, receive: Receive, send: Send) -> None:
        """One WebSocket, from its request to its end."""
        await receive()  # websocket.connect
        metrics = self.hub.metrics
        try:
            if self.hub.draining:
                raise Draining
            self._open.take()
        except CollabError as error:
            # Before the handshake: clients of every age back off from a refused upgrade.
            metrics.attempts["refused"].inc()
            metrics.count_error(error)
            metrics.refused[str(error.close_code)].inc()
            await _refuse_upgrade(scope, send, error)
            return
        metrics.attempts["accepted"].inc()
        gauge = metrics.connections["asgi"]
        gauge.inc()
        try:
            await self._serve(scope, receive, send)
        finally:
            gauge.dec()
            self._open.give_back()

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        settings = self.hub.settings
        refused: BadRoomName | None = None
        name = ""
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()  # so that it is decoded once here, too
        try:
            name = room_name(raw_path, scope.get("root_path", ""), max_bytes=settings.rooms.name_bytes)
        except BadRoomName as error:
            refused = error
        socket = AsgiSocket(receive, send, message_bytes=settings.limits.message_bytes)
        client = scope.get("client")
        connection = Connection(
            self.hub,
            socket,
            name,
            address=client[0] if client else "unknown",
            path=raw_path[:1024],
            refusals=self._refusals,
            clock=time.monotonic,
            ended=self._ended,
        )
        # Before the next await: whoever got past the look at `draining` is waited for when the server goes.
        self.connections[connection] = None
        offered = scope.get("subprotocols") or [None]
        try:
            insides.refuse_compression(send)
            await send({"type": "websocket.accept", "subprotocol": offered[0]})
        except BaseException:
            connection.closed(1006)
            raise
        connection.begin(refused)
        await socket.run(connection)

    def _ended(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        if not self.connections:
            self._none_left.set()

    async def gone(self) -> None:
        """Returns when the last connection has ended."""
        while self.connections:
            self._none_left = anyio.Event()
            await self._none_left.wait()


async def _refuse_upgrade(scope: Message, send: Send, error: CollabError) -> None:
    """Answer the request for an upgrade with a status instead; a plain 403 where the server cannot do more."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": error.close_code, "reason": str(error)})
        return
    body = str(error).encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"2"),
        (b"connection", b"close"),
    ]
    await send({"type": "websocket.http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
