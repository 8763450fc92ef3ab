"""The ASGI app. WebSockets are told apart first, before anything wraps them; HTTP goes to a few routes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from inspect import isawaitable
from typing import Self

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from .. import __version__
from ..auth import Authorize
from ..auth.modes import Authorizer, authorizer
from ..errors import Draining
from ..history.archive import Archive
from ..history.schedule import Schedule
from ..hooks.telling import Hooks
from ..hub import Hub
from ..letters import Letter
from ..log import get_logger
from ..metrics import Metrics
from ..revoked import LASTS_SECONDS, Entry, Revoked
from ..seat import Seat
from ..settings import Settings
from ..store import Store
from ..transport.asgi import Message, Receive, Send
from .api.access import admin_token
from .api.app import Api, Beside
from .edge import Hardened, asked_at, with_cors
from .health import Health
from .pages import Pages
from .sockets import Sockets
from .unread import Unread

log = get_logger(__name__)

GOODBYE_SECONDS = 1.5
"""How long clients have to go by themselves once all were told; then their sockets are cut."""


Listener = Callable[[Letter], object]
"""Hears what editors say to the application; may be a coroutine function."""


class App(anyio.AsyncContextManagerMixin):
    """An ASGI 3 app. `hub` is open while the lifespan runs."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store | None = None,
        authorize: Authorize | None = None,
        on_stateless: Listener | None = None,
    ) -> None:
        self.settings = settings
        self.hub = Hub(settings, metrics=Metrics(version=__version__), store=store)
        if on_stateless is not None:
            self.hub.stateless = partial(self._hear, on_stateless)
        self.access: Authorizer | None = None
        if authorize is None:
            authorize = self.access = authorizer(settings.auth, host=settings.server.host)
        self.revoked = Revoked()
        self.archive = Archive(self.hub)
        self.hooks = Hooks(self.hub)
        self.sockets = Sockets(self.hub, authorize, self.revoked.covers)
        self._running = False
        self._api = Api(self, authorize)
        pages = Pages(
            demo=not settings.server.production,
            console=admin_token(settings.admin) is not None,
            console_port=settings.server.internal_port,
        )
        routes = Health(self.hub).routes + pages.routes
        http = Starlette(routes=routes, exception_handlers={404: _not_found, Exception: self._failed})
        both = Beside(self._api, http)
        self._http = Unread(Hardened(with_cors(both, settings.server.allowed_origins)))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and asked_at(scope, self.settings.server.internal_port):
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": 1008, "reason": "no editors here"})
        elif scope["type"] == "websocket":
            await self.sockets.serve(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self.access or nullcontext(), self.hub:
            self.revoked.open(self.hub.store)
            self.archive.start()
            Schedule(self.hub, self.archive).start()
            await self._api.open()
            await self.hooks.open()
            self.hub.start_soon(self.revoked.follow, self.sockets.look_after)
            await self.sockets.try_out()
            self._running = True
            try:
                yield self
            finally:
                self._running = False
                await self.sockets.cut()
                await self.hooks.close()
                self._api.close()

    def _hear(self, listener: Listener, room: str, text: str, seat: Seat) -> None:
        """Hand what an editor said to the application, whose trouble is not the room's."""

        async def wait(answer: Awaitable[object]) -> None:
            try:
                await answer
            except Exception:
                log.exception("stateless message not handled", room=room)

        try:
            answer = listener(Letter(room, text, seat.author, seat.may_write, seat))
        except Exception:
            log.exception("stateless message not handled", room=room)
        else:
            if isawaitable(answer):
                self.hub.start_soon(wait, answer)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol: opens the hub, unless whoever runs this app has done so (`async with app:`)."""
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            if not self._running:
                try:
                    await stack.enter_async_context(self)
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            await self.drain()
        await send({"type": "lifespan.shutdown.complete"})

    async def revoke(
        self, *, subject: str | None = None, token_id: str | None = None, seconds: float = LASTS_SECONDS
    ) -> None:
        """End the access of a subject, or of one token, before its time: who came with it is cut off now.

        Of a subject, grants that were `issued` up to now count no more, and those that do not say when they were.

        Args:
            subject: Whose grants (`Grant.subject`).
            token_id: Which token's (`Grant.token_id`).
            seconds: How long those could still count; so long it is remembered, over a restart too, where the store is
                a file.

        Raises:
            TooMany: The list is full.
        """
        now = time.time()
        for kind, name in (("subject", subject), ("token", token_id)):
            if name is not None:
                await self.revoked.add(Entry(kind, name, now, now + seconds))
        self.sockets.look_after()

    async def drain(self) -> None:
        """Send everybody away, spread over some seconds, and save all that they typed.

        Clients have no jitter of their own: told at once, they would all come back at once, to the next instance.
        """
        if self.hub.draining:
            return
        self.hub.draining = True
        connections = list(self.sockets.connections)
        log.info("draining", connections=len(connections), seconds=self.settings.server.drain_seconds)
        started = time.monotonic()
        spread = self.settings.server.drain_seconds / max(len(connections), 1)
        for number, connection in enumerate(connections):
            ahead = started + number * spread - time.monotonic()
            if ahead > 0.01:
                await anyio.sleep(ahead)
            connection.close(Draining())
        with anyio.move_on_after(GOODBYE_SECONDS):
            await self.sockets.gone()
        stalled = await self.sockets.cut()
        await self.hub.flush()
        log.info("drained", stalled=stalled, seconds=round(time.monotonic() - started, 2))

    async def _failed(self, request: Request, error: Exception) -> Response:
        self.hub.metrics.count_error(error)
        log.error("request failed", path=request.url.path, exc_info=error)
        return JSONResponse({"error": "something went wrong here; the log says what"}, status_code=500)


async def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse(
        "This is a collab server. Editors connect here over WebSocket; see /health, /ready, /live, /metrics "
        "and /api/docs.\n",
        status_code=404,
    )


def create_app(
    settings: Settings | None = None,
    *,
    store: Store | None = None,
    authorize: Authorize | None = None,
    on_stateless: Listener | None = None,
) -> App:
    """An ASGI app that serves rooms at every path.

    Args:
        settings: All settings; read from the environment when left out.
        store: Another store than the one the settings name.
        authorize: Decides who may do what; what the settings say of access is not asked then.
        on_stateless: Hears what editors say to the application (`provider.sendStateless`).

    Raises:
        SettingsError: A setting is wrong; the text says which, and what to change.
    """
    return App(
        Settings() if settings is None else settings, store=store, authorize=authorize, on_stateless=on_stateless
    )
