"""Every WebSocket that comes in: refused before the handshake when the server is full or going, else served."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import anyio

from ..auth import Authorize, Grant, Knock, everyone
from ..auth.where import Shown, find_token
from ..connection import Connection
from ..errors import BadRoomName, CollabError, Draining, Unauthorized
from ..hub import Hub
from ..limits import Refusals
from ..log import get_logger
from ..names import room_name
from ..settings.values import parse_list
from ..transport import Carrier, trial
from ..transport.asgi import Message, Receive, Send
from ..transport.carriers import Carriers
from .admission import Admission, Admitted
from .edge import Origins

log = get_logger(__name__)


CUT_SECONDS = 0.5
"""How long connections that were cut have to end; one that waits for a decision about its access takes longer."""


class Sockets:
    """The sockets of one server.

    Attributes:
        connections: Everyone who is not done yet.
        carriers: What they are carried by.
    """

    def __init__(
        self, hub: Hub, authorize: Authorize = everyone, revoked: Callable[[Grant], bool] = lambda grant: False
    ) -> None:
        self.hub = hub
        self.authorize = authorize
        self._revoked = revoked
        self.connections: dict[Connection, None] = {}
        server = hub.settings.server
        self.carriers = Carriers(
            message_bytes=hub.settings.limits.message_bytes, fast=server.fast_path, compress=server.compression
        )
        cookies = hub.settings.auth.cookie is not None
        self.admission = Admission(hub.settings, hub.metrics, cookies=cookies)
        self._cookies = Origins(parse_list(hub.settings.server.allowed_origins), cookies=True)
        self._none_left = anyio.Event()
        self._refusals = Refusals(3 * hub.settings.limits.hold_seconds)

    async def try_out(self) -> None:
        """Leave the fast path alone if it does not work here: hypercorn's insides may have changed."""
        if self.carriers.fast:
            trouble = await trial.trouble(self.carriers)
            if trouble is None:
                log.info("fast path works")
            else:
                self.carriers.fast = False
                log.warning("fast path does not work here", reason=trouble, consequence="a slower one is used")
        self.hub.metrics.fast_path.set(self.carriers.fast)

    async def serve(self, scope: Message, receive: Receive, send: Send) -> None:
        """One WebSocket. Returns once its ASGI server is not needed any more, which may be long before its end."""
        await receive()  # websocket.connect
        metrics = self.hub.metrics
        try:
            if self.hub.draining:
                raise Draining
            admitted = self.admission.admit(scope)
        except CollabError as error:
            # Before the handshake: clients of every age back off from a refused upgrade.
            metrics.attempts["refused"].inc()
            metrics.count_error(error)
            metrics.refused[str(error.close_code)].inc()
            await _refuse_upgrade(scope, send, error)
            return
        metrics.attempts["accepted"].inc()

        def gone() -> None:
            gauge.dec()
            admitted.leave()

        socket = self.carriers.carry(scope, receive, send, gone=gone)
        gauge = metrics.connections[socket.name]
        gauge.inc()
        await self._serve(scope, socket, admitted, gone)

    async def _serve(self, scope: Message, socket: Carrier, admitted: Admitted, gone: Callable[[], None]) -> None:
        settings = self.hub.settings
        refused: CollabError | None = None
        name: str | None = None
        shown = Shown(None, None, next(iter(scope.get("subprotocols", ())), None))
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()  # so that it is decoded once here, too
        try:
            shown = self._shown(scope)
            if not self._names_no_room(raw_path, scope.get("root_path", "")):
                name = room_name(raw_path, scope.get("root_path", ""), max_bytes=settings.rooms.name_bytes)
        except (BadRoomName, Unauthorized) as error:
            refused = error
        connection = Connection(
            self.hub,
            socket,
            name,
            address=admitted.address,
            path=raw_path[:1024],
            refusals=self._refusals,
            clock=time.monotonic,
            ended=self._ended,
            authorize=lambda knock: self._decide(knock, admitted, connection),
            token=shown.token,
            origin=admitted.origin,
            wall=time.time,
            guest=admitted,
            visitor=self.admission.visitor(),
            pace=self.admission.pace(),
            revoked=self._revoked,
        )
        # Before the next await: whoever got past the look at `draining` is waited for when the server goes.
        self.connections[connection] = None
        try:
            await socket.accept(shown.subprotocol)
        except BaseException:
            connection.closed(1006)
            gone()
            raise
        connection.begin(refused)
        await socket.run(connection)

    def _shown(self, scope: Message) -> Shown:
        """The token that a request shows; a cookie counts only where its page may connect."""
        headers = scope.get("headers", ())
        allowed = self._cookies.refusal(headers, secure=scope.get("scheme") == "wss") is None
        return find_token(
            scope.get("query_string", b""),
            headers,
            scope.get("subprotocols", ()),
            cookie=self.hub.settings.auth.cookie,
            allowed=lambda origin: allowed,
        )

    def _decide(self, knock: Knock, admitted: Admitted, connection: Connection) -> Grant | Awaitable[Grant]:
        answer = self.authorize(knock)
        if isinstance(answer, Grant):
            return answer
        return self.admission.decide(lambda knock: answer, knock, block=admitted.block, deadline=connection.deadline)

    def _names_no_room(self, raw_path: bytes, root_path: str) -> bool:
        """Whether a path is one where Hocuspocus clients connect, whose frames name the documents."""
        path = raw_path.decode("latin-1").removeprefix(root_path.rstrip("/"))
        return path in ("", "/") or path.rstrip("/") == self.hub.settings.server.hocuspocus_path.rstrip("/")

    def _ended(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        if not self.connections:
            self._none_left.set()

    def look_after(self) -> None:
        """Look at all of them now, and not only at the next beat: something that gave access has ended."""
        now = time.monotonic()
        for connection in tuple(self.connections):
            try:
                connection.beat(now)
            except Exception:  # one client's trouble is not everybody's
                log.exception("access not looked at", connection=connection.number)

    async def gone(self) -> None:
        """Returns when the last connection has ended."""
        while self.connections:
            self._none_left = anyio.Event()
            await self._none_left.wait()

    async def cut(self) -> int:
        """End all connections that are left, which no ASGI server does for those that were taken over; how many."""
        left = list(self.connections)
        for connection in left:
            connection.socket.abort()
        with anyio.move_on_after(CUT_SECONDS):
            await self.gone()
        return len(left)


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
