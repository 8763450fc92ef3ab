"""Who may use the API, and what comes before any of it: the port, the token, how much is taken in at once.

It stands before FastAPI, which reads a body before it looks at anything else; and it undoes what ASGI does to paths, so
that the name of a room is one segment, percent-encoded, and is decoded once, by us.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol
from urllib.parse import quote, unquote_to_bytes

import anyio
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...auth import Authorize, Grant, Knock, Level
from ...auth.modes import NOT_BY_NAME, Authorizer, long_enough
from ...auth.where import find_token
from ...errors import CollabError, Forbidden, TooLarge, TooMany, Unauthorized
from ...history.archive import Archive
from ...hooks.telling import Hooks
from ...hub import Hub
from ...log import get_logger
from ...names import checked_name
from ...revoked import Revoked
from ...settings import Settings
from ...settings.access import AdminSettings, is_loopback
from ...settings.values import parse_networks, read_secret
from ..edge import Origins, asked_at, client_address
from ..sockets import Sockets
from . import problems

log = get_logger(__name__)

CLOSED = (
    "the admin API is closed: set COLLAB_ADMIN__TOKEN (or COLLAB_ADMIN__TOKEN_FILE) to at least 32 bytes, for example "
    "from `openssl rand -base64 48`, and show it as `Authorization: Bearer ...`"
)
NEEDED = "the admin API needs its token: Authorization: Bearer ..."
THIS = "this room"
EVERY = "every room, which this needs: the rule `**`, and none that says less"
ROOMS = ("v1", "rooms")
STREAMED = ("POST", ["v1", "import"])
"""What takes a body of any size, piece by piece, and looks at each."""
UNGUARDED = ("docs", "openapi.json")
"""They tell what this software can do, and nothing about this server."""


class Served(Protocol):
    """The server, as far as the API knows it."""

    settings: Settings
    hub: Hub
    archive: Archive
    sockets: Sockets
    revoked: Revoked
    hooks: Hooks
    access: Authorizer | None

    async def revoke(self, *, subject: str | None = None, token_id: str | None = None, seconds: float = ...) -> None:
        """End the access of a subject, or of one token."""

    async def drain(self) -> None:
        """Send everybody away, and save."""


@dataclass(frozen=True, slots=True)
class Admin:
    """Who asks, and from where.

    Attributes:
        name: The subject of a token; `admin` with the server's own one, `local` without any.
        address: Where from, after trusted proxies.
        allowed: Raises `Forbidden` unless the same token covers another room, too.
    """

    name: str
    address: str
    allowed: Callable[[str], Awaitable[object]] = field(repr=False, compare=False)


def admin_token(settings: AdminSettings) -> str | None:
    """The token of the settings; None when there is none.

    Raises:
        SettingsError: It could be found by trying.
    """
    token = read_secret(settings.token, settings.token_file)
    if token is not None:
        long_enough("COLLAB_ADMIN__TOKEN" + ("_FILE" if settings.token_file else ""), token)
    return token


class Door:
    """Decides who may ask what.

    Args:
        served: The server.
        authorize: Decides about editors; who is an admin of a room there may ask about that room.

    Raises:
        SettingsError: The token could be found by trying.
    """

    def __init__(self, served: Served, authorize: Authorize) -> None:
        self._served = served
        self._authorize = authorize
        token = admin_token(served.settings.admin)
        self._digest = None if token is None else _digest(token)
        self._own_pages = Origins(["same"])

    async def admit(self, scope: Scope, room: str | None, address: str) -> Admin:
        """Whoever asks, when they may ask about this room, or about the whole server (None).

        Raises:
            Unauthorized, Forbidden: They may not.
        """
        name = await self._name(scope, room, address)
        return Admin(name, address, lambda other: self._name(scope, other, address))

    async def _name(self, scope: Scope, room: str | None, address: str) -> str:
        """What they are called."""
        token = find_token(b"", scope["headers"]).token
        if token is None:
            if self._digest is None and self._is_own(scope):
                return "local"
            raise Unauthorized(CLOSED if self._digest is None and not self._knows_tokens else NEEDED)
        if self._digest is not None and hmac.compare_digest(self._digest, _digest(token)):
            return "admin"
        if not self._knows_tokens:
            raise Unauthorized(CLOSED if self._digest is None else "this is not the token of the admin API")
        answer = self._everywhere(token) if room is None else self._authorize(Knock(room, token, address))
        grant = await answer if isinstance(answer, Awaitable) else answer
        if self._served.revoked.covers(grant):
            raise Unauthorized("the token is not valid any more")
        if grant.level < Level.ADMIN:
            raise Forbidden(f"the token has not the level `admin` for {THIS if room is not None else EVERY}")
        return grant.subject or "unnamed"

    def _everywhere(self, token: str) -> Grant | Awaitable[Grant]:
        """What a token allows for the whole server. No room stands for the others: some rule may be for it alone."""
        access = self._served.access
        if access is None:  # the application's own `authorize`
            raise Forbidden(NOT_BY_NAME)
        return access.everywhere(token)

    @property
    def _knows_tokens(self) -> bool:
        access = self._served.access
        return access is None or access.mode != "open"

    def _is_own(self, scope: Scope) -> bool:
        """Whether somebody at this very machine asks, of a server that is for trying out: then no token is needed.

        Not a page of another site in a browser that runs here, nor one that calls itself by a name that leads here;
        nor anybody beyond a proxy that runs here.
        """
        settings, headers = self._served.settings, Headers(raw=scope["headers"])
        access = self._served.access
        open_here = access is not None and access.mode == "open" and is_loopback(settings.server.host)
        if not open_here or settings.server.production or settings.server.trusted_proxies is not None:
            return False
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        peer = scope.get("client")
        return (
            is_loopback(host.strip("[]"))
            and (peer is None or is_loopback(peer[0]))
            and not any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))
            and self._own_pages.refusal(scope["headers"], secure=scope.get("scheme") == "https") is None
        )


def _digest(token: str) -> bytes:
    """So that a comparison does not even tell how long the right one is."""
    return blake2b(token.encode("utf-8", "replace")).digest()


class Gate:
    """The ASGI app that lets requests through to `app`: counted, bounded, and with `request.state.admin`.

    Args:
        app: What answers.
        served: The server.
        door: Decides.
    """

    def __init__(self, app: ASGIApp, served: Served, door: Door) -> None:
        self._app = app
        self._served = served
        self._door = door
        self._turns = anyio.Semaphore(served.settings.admin.concurrency)
        server = served.settings.server
        self._trusted = parse_networks(server.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics = self._served.hub.metrics
        try:
            await self._let_in(scope, receive, counted)
        except (CollabError, HTTPException) as error:
            if isinstance(error, CollabError):
                metrics.count_error(error)
                await problems.of(error)(scope, receive, counted)
            else:
                await problems.answer(error.status_code, error.detail)(scope, receive, counted)
        except Exception as error:
            metrics.count_error(error)
            log.error("request failed", path=_path(scope)[:200], exc_info=error)
            if not status:
                await problems.unforeseen()(scope, receive, counted)
        finally:
            outcome = "unauthorized" if status in (401, 403) else "refused" if status < 500 else "failed"
            metrics.api_requests["done" if 0 < status < 400 else outcome if status else "failed"].inc()

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._served.settings
        port = settings.server.internal_port
        if port is not None and not asked_at(scope, port):
            raise HTTPException(404, "the admin API is asked at the internal port (COLLAB_SERVER__INTERNAL_PORT)")
        root, path = quote(scope.get("root_path", "")), _path(scope)
        scope = {**scope, "path": path, "root_path": root}
        segments = path.removeprefix(root).strip("/").split("/")
        if "/".join(segments) in UNGUARDED:
            await self._app(scope, _nothing, send)  # whatever body there is, nobody reads it
            return
        peer = scope.get("client")
        address = client_address(peer[0] if peer else None, scope["headers"], self._trusted)
        await self._admit(scope, segments, address)
        with anyio.move_on_after(settings.admin.write_seconds) as patience:
            await self._turns.acquire()  # nothing of the body is here yet, so waiting costs little
        if patience.cancelled_caught:
            raise TooMany("requests to the admin API", settings.admin.concurrency)
        try:
            streamed = (scope["method"], segments) == STREAMED
            receive = self._in_time(receive) if streamed else await self._whole(scope, receive)
            await self._app(scope, receive, send)
        finally:
            self._turns.release()

    async def _admit(self, scope: Scope, segments: list[str], address: str) -> None:
        room = None
        if tuple(segments[:2]) == ROOMS and len(segments) > 2:
            room = checked_name(unquote_to_bytes(segments[2]), max_bytes=self._served.settings.rooms.name_bytes)
        try:
            admin = await self._door.admit(scope, room, address)
        except (Unauthorized, Forbidden) as error:
            self._served.hub.floods.log(
                "warning", "admin refused", key=(address, str(error)), client=address, reason=str(error)
            )
            raise
        scope["state"] = {**scope.get("state", {}), "admin": admin}

    def _in_time(self, receive: Receive) -> Receive:
        """The body, of which each piece has to come in time."""

        async def piece() -> Message:
            with anyio.move_on_after(self._served.settings.admin.write_seconds):
                return await receive()
            raise HTTPException(408, "a part of the body did not come in time")

        return piece

    async def _whole(self, scope: Scope, receive: Receive) -> Receive:
        """The body, bounded in size and time, before anybody works on it."""
        limit = self._served.settings.admin.body_bytes
        length = Headers(scope=scope).get("content-length", "0")
        if length.isascii() and length.isdecimal() and int(length[:20]) > limit:
            raise TooLarge("the body", int(length[:20]), limit)
        parts: list[bytes] = []
        size = 0
        with anyio.move_on_after(self._served.settings.admin.write_seconds) as scope_of_time:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    break
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise TooLarge("the body", size, limit)
                parts.append(part)
                if not message.get("more_body", False):
                    break
        if scope_of_time.cancelled_caught:
            raise HTTPException(408, "the body did not come in time")
        given = iter([{"type": "http.request", "body": b"".join(parts), "more_body": False}])

        async def again() -> Message:
            found = next(given, None)
            return await receive() if found is None else found

        return again


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _path(scope: Scope) -> str:
    """The path as it was sent: what is percent-encoded in it still is."""
    raw = scope.get("raw_path")
    return raw.decode("latin-1") if raw else quote(scope["path"])
