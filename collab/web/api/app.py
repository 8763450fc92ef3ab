"""The API as one ASGI app: its parts, their errors, its description."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ... import __version__, telemetry
from ...auth import Authorize
from ...desk import Desk
from ...errors import CollabError
from ...history.arrivals import Arrivals
from ...history.returns import Returns
from ...history.travel import Travel
from . import problems
from .access import Door, Gate, Served
from .audit import Audit
from .backup import Backup
from .connections import Connections
from .document import Document
from .history import History
from .hooks import Hooks
from .numbers import Count
from .page import POLICY, page
from .presence import Here
from .quarantine import Quarantine
from .rooms import Rooms
from .server import Server
from .snapshots import Snapshots
from .transfer import Transfer

PREFIX = "/api"
VERSION = "/v1"
ABOUT = (
    "For administrators: the token of COLLAB_ADMIN__TOKEN, or a signed token with the level admin, as a bearer. "
    "Errors are problem+json (RFC 9457). A room's name is one segment of a path, percent-encoded, every / as %2F."
)


class Beside:
    """The API under `/api`, and `others` for all else.

    Not by a mount of Starlette's, which takes no path in which a line feed is encoded, as a room's name may have it.
    """

    def __init__(self, api: ASGIApp, others: ASGIApp) -> None:
        self._api = api
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root: str = scope.get("root_path", "").rstrip("/")
        if not scope["path"].startswith(f"{root}/"):  # some servers leave it out of the path
            root = ""
        path = scope["path"].removeprefix(root)
        if path == PREFIX or path.startswith(PREFIX + "/"):
            await self._api({**scope, "root_path": root + PREFIX}, receive, send)
        else:
            await self._others(scope, receive, send)


class Traced:
    """`app` with a span around each request of who was let in: strangers make none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not telemetry.is_traced() or "admin" not in scope.get("state", {}):
            await self._app(scope, receive, send)
            return
        status = 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method: str = scope["method"]
        with telemetry.request(method) as span:
            try:
                await self._app(scope, receive, seen)
            finally:
                path = getattr(scope.get("route"), "path", "")  # without the prefix, from some FastAPI on
                prefix = scope.get("root_path", "") + ("" if path.startswith(VERSION) else VERSION)
                span.answered(method, path and prefix + path, status)


class Api:
    """What answers under `/api`.

    Args:
        served: The server.
        authorize: Decides about editors.

    Raises:
        SettingsError: The admin token could be found by trying.
    """

    def __init__(self, served: Served, authorize: Authorize) -> None:
        self._desk = Desk(served.hub, served.settings.admin.write_seconds)
        self._audit = Audit(served.hub.store)
        travel = Travel(served.archive, self._desk)
        self._arrivals = Arrivals(served.hub, served.archive, self._desk)
        returns = Returns(served.hub, served.archive, travel, self._desk)
        app = FastAPI(
            title="collab admin API",
            version=__version__,
            description=ABOUT,
            openapi_url=None,  # both are ours: FastAPI's page loads its parts from elsewhere
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            exception_handlers={
                CollabError: problems.on_error,
                HTTPException: problems.on_http,
                RequestValidationError: problems.on_invalid,
                Exception: problems.on_failure,
            },
            responses=problems.RESPONSES,
            # Shown in the description; who asks was looked at before (access.py).
            dependencies=[Depends(HTTPBearer(auto_error=False))],
        )
        app.state.name_bytes = served.settings.rooms.name_bytes
        for part in (
            Rooms(served, self._desk, self._audit),
            Here(served.hub),
            Document(self._desk, self._audit),
            Snapshots(served.archive, travel, returns, self._desk, self._audit),
            History(served.archive, travel, returns, self._desk, self._audit),
            Connections(served, self._audit),
            Quarantine(served, self._audit),
            Hooks(served, self._audit),
            Server(served, self._audit),
            Count(served),
            Backup(served, self._audit),
            Transfer(served, self._arrivals, self._audit),
            self._audit,
        ):
            app.include_router(part.router, prefix=VERSION)
        app.add_route("/openapi.json", self._description, include_in_schema=False)
        app.add_route("/docs", self._page, include_in_schema=False)
        self._describe(app)
        self._app = app
        self._gate = Gate(Traced(app), served, Door(served, authorize))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gate(scope, receive, send)

    async def open(self) -> None:
        """Read what was kept, and clear away what was left half. The store is open, and nobody is let in yet."""
        self._audit.open()
        await self._arrivals.open()

    def close(self) -> None:
        """Let go of what was opened."""
        self._desk.close()

    def description(self, prefix: str) -> dict[str, object]:
        """The OpenAPI document; `prefix` is where the API is."""
        return self._app.openapi() | {"servers": [{"url": prefix}]}

    def _describe(self, app: FastAPI) -> None:
        """FastAPI writes down what is wrong as JSON of its own, beside ours."""
        schema = app.openapi()
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                for status in ("4XX", "5XX"):
                    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
                    operation["responses"][status]["content"] = content
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)

    async def _description(self, request: Request) -> Response:
        return JSONResponse(self.description(request.scope["root_path"]))

    async def _page(self, request: Request) -> Response:
        prefix = request.scope["root_path"]
        html = page(self.description(prefix), f"{prefix}/openapi.json")
        return HTMLResponse(html, headers={"content-security-policy": POLICY})
