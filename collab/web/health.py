"""What load balancers, orchestrators and Prometheus ask."""

from __future__ import annotations

import time

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .. import __version__
from ..errors import CollabError
from ..hub import Hub
from ..settings.values import read_secret
from .edge import asked_at, shows_token

CHECK_SECONDS = 1.0
"""For how long an answer of the store counts; load balancers ask often."""
PATIENCE_SECONDS = 4.0
"""How long the store has to answer."""


class Health:
    """The health routes of one server."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._started = time.monotonic()
        self._checked = float("-inf")
        self._store_error: str | None = None
        server = hub.settings.server
        self._metrics_token = read_secret(server.metrics_token, server.metrics_token_file)
        hub.metrics.store_up.set_function(lambda: hub.commits.store_up and self._store_error is None)

    @property
    def routes(self) -> list[Route]:
        """`/live`, `/ready`, `/health` and `/metrics`."""
        return [
            Route("/live", self.live),
            Route("/ready", self.ready),
            Route("/health", self.ready),
            Route("/metrics", self.metrics),
        ]

    async def live(self, request: Request) -> Response:
        """200 as long as the process answers at all: restarting it would not help against a store that is down."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """200 when clients should be sent here; 503 while the store is down or the server is going."""
        problems = []
        if self._hub.draining:
            problems.append("the server is shutting down")
        store_error = await self._store_problem()
        if store_error is not None:
            problems.append(store_error)
        body = {
            "status": "unavailable" if problems else "ok",
            "problems": problems,
            "store": "down" if store_error else "up",
            "draining": self._hub.draining,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "version": __version__,
        }
        return JSONResponse(body, status_code=503 if problems else 200, headers={"cache-control": "no-store"})

    async def _store_problem(self) -> str | None:
        if not self._hub.commits.store_up:
            return "the store does not take writes"
        now = time.monotonic()
        if now - self._checked > CHECK_SECONDS:
            self._checked = now
            try:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await self._hub.store.check()
            except CollabError as error:
                self._store_error = str(error)
            except Exception as error:
                self._store_error = f"the store cannot be asked ({type(error).__name__})"
            else:
                self._store_error = None
        return self._store_error

    async def metrics(self, request: Request) -> Response:
        """Everything that is counted, in Prometheus' text format; at the internal port, and with the token, if set.

        From outside it tells how many rooms and editors there are, and when the store is in trouble.
        """
        port = self._hub.settings.server.internal_port
        if port is not None and not asked_at(request.scope, port):
            raise HTTPException(404)
        token = self._metrics_token
        if token is not None and not shows_token(request.scope["headers"], token):
            return PlainTextResponse(
                "/metrics asks for its token\n", status_code=401, headers={"www-authenticate": "Bearer"}
            )
        body, content_type = self._hub.metrics.render()
        return Response(body, headers={"content-type": content_type})
