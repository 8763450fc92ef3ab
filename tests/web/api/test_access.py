"""Who may use the admin API: the token, signed tokens, this machine, the port; and how much it takes in."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from collab.auth import Grant, Knock, Level
from collab.auth.keys import from_secret
from collab.auth.tokens import mint
from collab.errors import SettingsError
from collab.settings import Settings
from collab.store.memory import MemoryStore
from collab.web.api.access import admin_token
from collab.web.app import App
from tests.support.server import Server, free_port
from tests.web.api.conftest import BEARER, TOKEN, is_problem

SECRET = "a secret that signs the tokens of editors"


def asked(server: Server, path: str = "/rooms", method: str = "GET", **headers: str) -> httpx.Response:
    return httpx.request(method, f"{server.http_url}/api/v1{path}", headers=headers)


def signed(rooms: dict[str, str], **claims: Any) -> dict[str, str]:
    token = mint({"sub": "ana", "exp": time.time() + 600, "rooms": rooms} | claims, from_secret(SECRET, None))
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff"],
)
def test_only_with_the_token(server, header):
    before = server.metrics()
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    answer = httpx.get(f"{server.http_url}/api/v1/rooms", headers=headers)
    assert is_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    after = server.metrics()
    for name, labels in (
        ("collab_api_requests_total", {"outcome": "unauthorized"}),
        ("collab_errors_total", {"kind": "Unauthorized"}),
    ):
        assert after.get(name, **labels) == before.get(name, **labels) + 1


def test_nowhere_else_than_in_the_header(server):
    assert is_problem(httpx.get(f"{server.http_url}/api/v1/rooms?token={TOKEN}"), 401)
    assert is_problem(httpx.get(f"{server.http_url}/api/v1/rooms", cookies={"token": TOKEN}), 401)
    twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    assert is_problem(httpx.get(f"{server.http_url}/api/v1/rooms", headers=twice), 401)


def test_nothing_happens_without_it(server, http, room):
    for method, path in (("PUT", f"{http.document(room)}"), ("POST", "/server/drain"), ("DELETE", "/connections/1")):
        assert is_problem(asked(server, path, method), 401)
    assert http.get(http.document(room)).status_code == 404
    assert http.get("/server").json()["draining"] is False


def test_the_token_is_never_logged(server):
    asked(server, **BEARER)
    asked(server, authorization="Bearer another token that is as long as that")
    assert TOKEN not in server.logs() and "as long as that" not in server.logs()


def test_a_body_is_not_even_read_without_it(server):
    with socket.create_connection((server.host, server.port), timeout=5) as plain:
        plain.sendall(b"PUT /api/v1/rooms/a/document HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 401 ")


def test_signed_tokens():
    with Server(env={"COLLAB_AUTH__JWT_SECRET": SECRET}) as server:
        admin = signed({"**": "admin"}, jti="one")
        assert asked(server, **admin).status_code == 200
        for rooms in ({"**": "write"}, {"*": "admin"}, {"*/**": "admin"}, {"**": "admin", "a/secret": "none"}):
            for path in ("/rooms", "/connections", "/audit", "/export"):
                assert is_problem(asked(server, path, **signed(rooms)), 403)
        own = signed({"a/*": "admin"})
        assert is_problem(asked(server, "/rooms/a%2Fb", **own), 404)  # let in, and there is no such room
        assert is_problem(asked(server, "/rooms/b%2Fb", **own), 403)
        assert is_problem(asked(server, "/rooms/a%252Fb", **own), 403)  # a room called "a%2Fb"
        url = f"{server.http_url}/api/v1/rooms/a%2Fb"
        httpx.put(f"{url}/document", content="x", headers=own | {"content-type": "text/plain"})
        for to, status in (("a/c", 201), ("b/c", 403), ("a/b/c", 403)):
            answer = httpx.post(f"{url}/duplicate", json={"to": to}, headers=own)
            assert answer.status_code == status, "a copy goes to rooms of the same token alone"
        assert [one["name"] for one in asked(server, **admin).json()["items"]] == ["a/b", "a/c"]
        assert is_problem(asked(server, **signed({"**": "admin"}, exp=time.time() - 60)), 401)
        assert is_problem(asked(server), 401)
        answer = httpx.post(f"{server.http_url}/api/v1/revocations", json={"token_id": "one"}, headers=admin)
        assert answer.status_code == 204
        assert is_problem(asked(server, **admin), 401)
        audit = asked(server, "/audit", **signed({"**": "admin"})).json()["items"]
        assert [(one["who"], one["what"]) for one in audit] == [
            ("ana", what) for what in ("access.revoke", "room.duplicate", "document.put")
        ]
        assert not server.complaints()


def test_both_kinds_of_tokens():
    with Server(env={"COLLAB_AUTH__JWT_SECRET": SECRET, "COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        assert asked(server, **BEARER).status_code == 200
        assert asked(server, **signed({"**": "admin"})).status_code == 200


def test_who_tries_it_out_needs_none():
    with Server() as server:
        assert asked(server).status_code == 200
        assert asked(server, host="localhost:1").status_code == 200
        for headers in (
            {"host": "evil.example"},  # a name that leads here
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"x-forwarded-for": "203.0.113.7"},  # a proxy that runs here
            {"authorization": "Bearer guess"},
        ):
            answer = asked(server, **headers)
            assert is_problem(answer, 401)
            assert "COLLAB_ADMIN__TOKEN" in answer.json()["detail"]


def test_who_means_it_needs_one():
    with Server(env={"COLLAB_SERVER__TRUSTED_PROXIES": "10.0.0.0/8"}) as server:
        assert "COLLAB_ADMIN__TOKEN" in asked(server).json()["detail"]


def test_at_the_internal_port_alone():
    port = free_port()
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_SERVER__INTERNAL_PORT": str(port)}) as server:
        for path in ("/v1/rooms", "/docs", "/openapi.json"):
            assert is_problem(httpx.get(f"{server.http_url}/api{path}", headers=BEARER), 404)
            assert httpx.get(f"http://127.0.0.1:{port}/api{path}", headers=BEARER).status_code == 200
        assert is_problem(httpx.get(f"http://127.0.0.1:{port}/api/v1/rooms"), 401)


def test_a_token_in_a_file(tmp_path):
    (tmp_path / "token").write_text(f"  {TOKEN}\n")
    with Server(env={"COLLAB_ADMIN__TOKEN_FILE": str(tmp_path / "token")}) as server:
        assert asked(server, **BEARER).status_code == 200


def test_short_tokens_are_refused_at_start(tmp_path):
    (tmp_path / "token").write_text("short")
    for section, name in (
        ({"token": "short"}, "COLLAB_ADMIN__TOKEN has"),
        ({"token_file": tmp_path / "token"}, "_FILE has"),
    ):
        with pytest.raises(SettingsError, match=name) as caught:
            admin_token(Settings(admin=section).admin)
        assert "short one" in str(caught.value) and "'short'" not in str(caught.value)


def test_large_bodies(http, room):
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_ADMIN__BODY_BYTES": "1000"}) as small:
        url = f"{small.http_url}/api/v1{http.document(room)}"
        headers = BEARER | {"content-type": "text/plain"}
        assert is_problem(httpx.put(url, content="x" * 1001, headers=headers), 413)
        in_parts = (b"x" * 100 for _ in range(11))  # without a length
        assert is_problem(httpx.put(url, content=in_parts, headers=headers), 413)
        assert is_problem(httpx.get(url, headers=BEARER), 404)
        assert httpx.put(url, content="x" * 1000, headers=headers).status_code == 200


def test_slow_bodies():
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_ADMIN__WRITE_SECONDS": "0.3"}) as server:
        with socket.create_connection((server.host, server.port), timeout=5) as plain:
            head = f"PUT /api/v1/rooms/a/document HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
            plain.sendall(f"{head}Content-Length: 10\r\n\r\nabc".encode())
            said = b""
            while b"\r\n\r\n" not in said or b"}" not in said:
                said += plain.recv(1000)
            assert said.startswith(b"HTTP/1.1 408 ")


def test_too_many_at_once():
    """They wait for their turn, but not for ever."""
    env = {"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_ADMIN__CONCURRENCY": "1", "COLLAB_ADMIN__WRITE_SECONDS": "1"}
    with Server(env=env) as server, ExitStack() as sockets:
        head = f"PUT /api/v1/rooms/a/document HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
        for _ in range(3):  # each holds its turn for a second, with a body that never comes
            plain = sockets.enter_context(socket.create_connection((server.host, server.port), timeout=5))
            plain.sendall(f"{head}Content-Length: 10\r\n\r\nabc".encode())
            time.sleep(0.1)
        answer = asked(server, **BEARER)
        assert is_problem(answer, 429) and answer.headers["retry-after"]
        deadline = time.monotonic() + 10
        while asked(server, **BEARER).status_code != 200:  # they have gone, and there is a turn again
            assert time.monotonic() < deadline


@pytest.mark.anyio
async def test_an_application_that_decides_itself():
    """`create_app(authorize=...)`: its word counts for rooms; for the whole server there is the token."""

    def authorize(knock: Knock) -> Grant:
        return Grant(Level.ADMIN if knock.token == "boss" else Level.WRITE, "boss")

    settings = Settings(store={"url": "memory:"}, admin={"token": TOKEN})
    async with App(settings, store=MemoryStore(), authorize=authorize) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server/api/v1") as client:
            boss = {"authorization": "Bearer boss"}
            assert is_problem(await client.get("/rooms/a", headers=boss), 404)
            assert is_problem(await client.get("/rooms/a", headers={"authorization": "Bearer x"}), 403)
            assert is_problem(await client.get("/rooms", headers=boss), 403)
            assert (await client.get("/rooms", headers=BEARER)).json() == {"items": [], "next": None, "total": 0}


def test_the_token_is_kept_as_a_digest():
    """Compared as such, so that the time tells nothing, not even its length."""
    app = App(Settings(store={"url": "memory:"}, admin={"token": TOKEN}), store=MemoryStore())
    door = app._api._gate._door
    assert door._digest is not None and len(door._digest) == 64
    assert TOKEN not in repr(vars(door)) and TOKEN not in repr(app.settings)
