"""The demo editor: one page and what it loads, all from `collab/console/dist`, where Vite puts it."""

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

BUILT = Path(__file__).parents[1] / "console" / "dist"

POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline."""

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
<h1>The demo editor is not built here</h1>
<p>The server runs, and editors may connect. The demo editor is made with Node 20.19 or newer and npm:</p>
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


class Demo:
    """The routes of the demo editor.

    Args:
        built: Where Vite has put it. It is read when it is first asked for; until it is there, `/demo` says how to
            get it.
    """

    def __init__(self, built: Path = BUILT) -> None:
        self._built = built
        self._assets: Mapping[str, Asset] = {}

    @property
    def routes(self) -> list[Route]:
        """`/demo` and `/assets/...`."""
        return [Route("/demo", self.page), Route("/assets/{name}", self.asset)]

    async def page(self, request: Request) -> Response:
        """The editor; 503 with an explanation where it is not built."""
        page = (await self._read()).get("demo.html")
        if page is None:
            missing = Asset(NOT_BUILT.encode(), TYPES[".html"], "no-store")
            return _answer(request, missing, status=503)
        return _answer(request, page)

    async def asset(self, request: Request) -> Response:
        """A file that the page loads."""
        name = request.path_params["name"]
        found = (await self._read()).get(name)
        if found is None or name.endswith(".html"):
            raise HTTPException(404)
        return _answer(request, found)

    async def _read(self) -> Mapping[str, Asset]:
        if not self._assets:
            self._assets = await anyio.to_thread.run_sync(read_assets, self._built)
        return self._assets


def _answer(request: Request, asset: Asset, *, status: int = 200) -> Response:
    headers = {
        "content-type": asset.media_type,
        "content-security-policy": POLICY,
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
