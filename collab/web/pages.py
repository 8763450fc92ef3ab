"""The demo editor and the console: two pages and what they load, all from `collab/console/dist`, where Vite puts it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .edge import asked_at

BUILT = Path(__file__).parents[1] / "console" / "dist"

_CLOSED = "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
POLICY = f"default-src 'self'; connect-src 'self' ws: wss:; {_CLOSED}"
"""Nothing from elsewhere, nothing inline."""
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    f"require-trusted-types-for 'script'; trusted-types 'none'; {_CLOSED}"
)
"""For the page that has the token: it talks to this server alone, and cannot make markup or scripts out of text."""

FOREVER = "public, max-age=31536000, immutable"
"""For names that hold a hash of what is in the file."""

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>collab</title>
<h1>This page is not built here</h1>
<p>The server runs, and editors may connect. The demo editor and the console are made with Node 20.19 or newer
and npm:</p>
<pre>make install</pre>
<p>or, without make:</p>
<pre>cd collab/console
npm ci
npm run build</pre>
<p>Then load this page again.</p>
</html>
"""

_HASHED = re.compile(r"-[\w-]{8}\.\w+$")


@dataclass(frozen=True)
class Asset:
    """One file, as it is sent."""

    body: bytes
    media_type: str
    cache: str

    @cached_property
    def zipped(self) -> bytes:
        """The body in gzip; made once, when first asked for."""
        return gzip.compress(self.body, mtime=0)


def read_assets(folder: Path) -> dict[str, Asset]:
    """All files of a build that a browser may ask for, by name: `demo.html`, and those in `assets`."""
    return {
        path.name: Asset(path.read_bytes(), TYPES[path.suffix], FOREVER if _HASHED.search(path.name) else "no-cache")
        for path in (*folder.glob("*.html"), *folder.glob("assets/*"))
        if path.suffix in TYPES
    }


class Pages:
    """The routes of the pages.

    Args:
        demo: Whether there is `/demo`.
        console: Whether there is `/console`.
        console_port: The port at which alone the console is shown; None: at all.
        built: Where Vite has put them. It is read when it is first asked for; until they are there, each says how to
            get it.
    """

    def __init__(
        self, *, demo: bool = False, console: bool = False, console_port: int | None = None, built: Path = BUILT
    ) -> None:
        self._demo = demo
        self._console = console
        self._port = console_port
        self._built = built
        self._assets: Mapping[str, Asset] = {}

    @property
    def routes(self) -> list[Route]:
        """`/demo`, `/console` and `/assets/...`, as far as they are wanted."""
        routes = [Route("/demo", self.demo)] if self._demo else []
        routes += [Route("/console", self.console)] if self._console else []
        return [*routes, Route("/assets/{name}", self.asset)] if routes else []

    async def demo(self, request: Request) -> Response:
        """The editor; 503 with an explanation where it is not built."""
        return await self._page(request, "demo.html", POLICY)

    async def console(self, request: Request) -> Response:
        """The console. It shows nothing before somebody has given it the token, and that is not asked for here."""
        if self._port is not None and not asked_at(request.scope, self._port):
            raise HTTPException(404)
        return await self._page(request, "console.html", CONSOLE_POLICY)

    async def asset(self, request: Request) -> Response:
        """A file that a page loads."""
        name = request.path_params["name"]
        found = (await self._read()).get(name)
        if found is None or name.endswith(".html"):
            raise HTTPException(404)
        return _answer(request, found, POLICY)

    async def _page(self, request: Request, name: str, policy: str) -> Response:
        page = (await self._read()).get(name)
        if page is None:
            return _answer(request, Asset(NOT_BUILT.encode(), TYPES[".html"], "no-store"), policy, status=503)
        return _answer(request, page, policy)

    async def _read(self) -> Mapping[str, Asset]:
        if not self._assets:
            self._assets = await anyio.to_thread.run_sync(read_assets, self._built)
        return self._assets


def _answer(request: Request, asset: Asset, policy: str, *, status: int = 200) -> Response:
    headers = {
        "content-type": asset.media_type,
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": asset.cache,
        "vary": "accept-encoding",
    }
    body = asset.body
    if len(body) > 1000 and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = asset.zipped
    return Response(body, status_code=status, headers=headers)
