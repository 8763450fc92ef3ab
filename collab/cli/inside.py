"""The admin API in the process of a command, over a store that no server has.

So a command does the same, and says the same, whether a server runs or not; and what it did is on record beside the
store either way.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from pydantic import SecretStr

from ..auth import Grant, Knock
from ..errors import Unauthorized
from ..settings import Settings
from ..settings.access import AdminSettings
from ..store import Store
from ..web.app import App

HERE = "http://127.0.0.1"


@contextmanager
def inside(settings: Settings, store: Store) -> Iterator[httpx.Client]:
    """Asks the API of an app that nobody else reaches, which is there while inside.

    Raises:
        StoreLocked: A server has the store.
        SettingsError, Unavailable: As when a server starts.
    """
    token = secrets.token_urlsafe(48)
    own = settings.model_copy(
        update={
            "admin": AdminSettings(token=SecretStr(token)),
            "server": settings.server.model_copy(update={"internal_port": None}),
            "history": settings.history.model_copy(update={"snapshot_at": ""}),  # a command does what it was asked to
        }
    )
    app = App(own, store=store, authorize=_nobody)
    app.hooks.asleep = True  # what a command does is written down, and told when a server starts
    trouble: BaseException | None = None
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app):
        try:
            with httpx.Client(
                base_url=f"{HERE}/api/v1",
                headers={"authorization": f"Bearer {token}"},
                transport=_Inside(portal, app),
                timeout=None,  # noqa: S113  # there is nobody else to wait for
            ) as http:
                yield http
        except BaseException as error:  # what goes through the app's tasks comes out as a group of errors
            trouble = error
    if trouble is not None:
        raise trouble


class _Inside(httpx.BaseTransport):
    def __init__(self, portal: BlockingPortal, app: App) -> None:
        self._portal = portal
        self._app = httpx.ASGITransport(app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._answer, request)

    async def _answer(self, asked: httpx.Request) -> httpx.Response:
        request = httpx.Request(asked.method, asked.url, headers=asked.headers, content=_pieces(asked.stream))
        answer = await self._app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


async def _pieces(stream: httpx.AsyncByteStream | httpx.SyncByteStream) -> AsyncIterator[bytes]:
    assert isinstance(stream, httpx.SyncByteStream)  # the client is none of asyncio
    for piece in stream:
        yield piece


def _nobody(knock: Knock) -> Grant:
    raise Unauthorized("nobody comes in here")
