"""Every route of the API against tokens that open some rooms: the table is the app's own, so no route is left out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from collab.auth import Authorize, Grant, Knock, Level
from collab.auth.keys import from_secret
from collab.auth.tokens import mint
from collab.settings import Settings
from collab.store.memory import MemoryStore
from collab.web.app import App
from tests.web.api.conftest import BEARER, TOKEN, is_problem

pytestmark = pytest.mark.anyio

SECRET = "a secret that signs the tokens of editors"
PUBLIC = {"/docs", "/openapi.json"}

LESSER: list[tuple[dict[str, Any], bool]] = [
    ({"rooms": {"*/**": "admin"}}, False),
    ({"rooms": {"/".join("*" * 9): "admin"}}, False),
    ({"rooms": {"/".join("*" * depth): "admin" for depth in range(1, 100)}}, True),
    ({"rooms": {"*": "admin", "*/**": "admin"}}, True),
    ({"rooms": {"**": "admin", "secret": "none"}}, False),
    ({"rooms": {"**": "admin", "*/**": "admin", "secret": "write"}}, False),
    ({"rooms": {"**": "admin", "other": "write"}}, True),
    ({"rooms": {"**": "none", "*": "admin", "*/**": "admin"}}, True),
    ({"rooms": {"**": "write"}}, False),
    ({"rooms": {"**": "write", "secret": "admin"}}, True),
    ({"rooms": {"*": "admin"}}, True),
    ({"rooms": {"tenant/**": "admin"}}, False),
    ({"rooms": {}}, False),
    ({"allowedDocumentNames": ["*"]}, False),
    ({}, False),
]
"""Claims of tokens that leave out some room, each with whether it opens the room `secret`."""
FULL: list[dict[str, Any]] = [{"rooms": {"**": "admin"}}, {"rooms": {"**": "admin", "*": "admin", "secret": "admin"}}]


def signed(claims: dict[str, Any]) -> dict[str, str]:
    token = mint({"sub": "ana", "exp": time.time() + 600} | claims, from_secret(SECRET, None))
    return {"authorization": f"Bearer {token}"}


@asynccontextmanager
async def gate(authorize: Authorize | None = None, **auth: str) -> AsyncIterator[tuple[App, httpx.AsyncClient]]:
    """A server, and who asks it. Whoever gets past the gate is told 204, and nothing is done."""

    async def through(scope: Any, receive: Any, send: Any) -> None:
        await Response(status_code=204)(scope, receive, send)

    settings = Settings(store={"url": "memory:"}, auth=auth, admin={"token": TOKEN})
    async with App(settings, store=MemoryStore(), authorize=authorize) as app:
        app._api._gate._app = through
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            yield app, client


def operations(app: App, room: str = "secret") -> list[tuple[str, str, bool]]:
    """Method and path of each, and whether it concerns one room alone."""
    found = [
        (method.upper(), f"/api{path}".replace("{name}", room).replace("{id}", "1"), "/rooms/{name}" in path)
        for path, methods in app._api.description("/api")["paths"].items()  # type: ignore[attr-defined]
        for method in methods
    ]
    assert not any("{" in path for _, path, _ in found), "a new parameter: say here what stands for it"
    return found


def routes(of: Iterable[Any]) -> Iterator[Any]:
    """All there are, also in what was included, which FastAPI keeps as a whole from some version on."""
    for route in of:
        inner = getattr(route, "original_router", route)
        yield from routes(inner.routes) if hasattr(inner, "routes") else [route]


async def test_the_table_has_every_route():
    async with gate() as (app, _):
        found = list(routes(app._api._app.routes))
        hidden = {route.path for route in found if not route.include_in_schema}
        assert hidden == PUBLIC, "what is not described is not asked here, and has to be harmless"
        shown = sum(len(route.methods) for route in found if route.include_in_schema)
        table = operations(app)
        assert len(table) == shown > 40
        assert {path for _, path, one in table if not one} > {"/api/v1/rooms", "/api/v1/export", "/api/v1/audit"}


async def test_tokens_for_every_room():
    async with gate(jwt_secret=SECRET) as (app, client):
        for headers in (*map(signed, FULL), BEARER):
            for method, path, _ in operations(app):
                assert (await client.request(method, path, headers=headers)).status_code == 204, (method, path)


@pytest.mark.parametrize(("claims", "opens"), LESSER, ids=lambda value: str(value)[:70])
async def test_tokens_that_leave_out_a_room(claims, opens):
    """What concerns the server is refused, however like `**` the rules look; and a room as they say."""
    async with gate(jwt_secret=SECRET) as (app, client):
        headers = signed(claims)
        for room in ("secret", "%73ecret"):
            for method, path, one in operations(app, room):
                answer = await client.request(method, path, headers=headers)
                if one and opens:
                    assert answer.status_code == 204, (method, path)
                else:
                    assert is_problem(answer, 403), (method, path)
        for path in ("/api/v1/nothing", "/api/v1/rooms/", "/api/v1/rooms/secret/../../export", "/api/v1//export"):
            answer = await client.get(httpx.URL("http://server", raw_path=path.encode()), headers=headers)
            assert answer.status_code in (204, 403) and (answer.status_code == 403 or opens), path


async def test_who_is_asked_by_name_says_nothing_about_the_server():
    """A webhook or `authorize` that would let somebody into any room that it is asked about."""
    asked: list[str] = []

    def authorize(knock: Knock) -> Grant:
        asked.append(knock.room)
        return Grant(Level.ADMIN, "boss")

    async with gate(authorize) as (app, client):
        for method, path, one in operations(app):
            answer = await client.request(method, path, headers={"authorization": "Bearer boss"})
            assert answer.status_code == (204 if one else 403), (method, path)
        assert set(asked) == {"secret"}, "no room is made up"
    async with gate(webhook_url="http://127.0.0.1:1/", webhook_secret=SECRET) as (app, client):
        for method, path, one in operations(app):
            if not one:
                answer = await client.request(method, path, headers={"authorization": "Bearer boss"})
                assert is_problem(answer, 403) and "COLLAB_ADMIN__TOKEN" in answer.json()["detail"]


async def test_who_shows_nothing():
    async with gate(jwt_secret=SECRET) as (app, client):
        for method, path, _ in operations(app):
            assert is_problem(await client.request(method, path), 401), (method, path)
