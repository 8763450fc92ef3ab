"""Clients: who is connected, sending one away, and the end of a token."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from collab.auth.keys import from_secret
from collab.auth.tokens import mint
from collab.metrics import TRANSPORTS
from tests.support.raw import Peer
from tests.support.server import Server
from tests.support.waiting import until
from tests.web.api.conftest import BEARER, TOKEN, is_problem

pytestmark = pytest.mark.anyio

SECRET = "a secret that signs the tokens of editors"


def target(room: str, subject: str, **claims: Any) -> str:
    token = mint(
        {"sub": subject, "iat": int(time.time()) - 1, "exp": time.time() + 600, "rooms": {"**": "write"}} | claims,
        from_secret(SECRET, None),
    )
    return f"/{room}?token={token}"


async def joined(server: Server, room: str, subject: str, **claims: Any) -> Peer:
    peer = await Peer.open(server.url, room, target=target(room, subject, **claims))
    await peer.synced.wait()
    return peer


@pytest.fixture(scope="module")
def guarded():
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_AUTH__JWT_SECRET": SECRET}) as server:
        yield server
        assert not server.complaints()


@pytest.fixture
async def http(guarded):
    async with httpx.AsyncClient(base_url=f"{guarded.http_url}/api/v1", headers=BEARER) as client:
        yield client


async def test_who_is_there(guarded, http):
    peers = [await joined(guarded, f"list/{n % 2}", f"user {n}", jti=f"id {n}") for n in range(5)]
    try:
        items, cursor = [], None
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await http.get("/connections", params=query)).json()
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        assert [one["places"][0]["subject"] for one in items] == [f"user {n}" for n in range(5)]
        first = items[0]
        assert first["address"] == "127.0.0.1" and first["transport"] in TRANSPORTS
        place = first["places"][0]
        assert (place["room"], place["token_id"], place["level"], place["seated"]) == ("list/0", "id 0", "write", True)
        assert not any(TOKEN in str(one) or "eyJ" in str(one) for one in items)
        [found] = (await http.get("/connections", params={"room": "list/1", "subject": "user 3"})).json()["items"]
        assert found["places"][0]["subject"] == "user 3"
        assert (await http.get("/connections", params={"room": "list"})).json()["items"] == []
    finally:
        for peer in peers:
            await peer.leave()


@pytest.mark.parametrize(("query", "code"), [({}, 1012), ({"stay_away": "true"}, 4403)])
async def test_one_is_sent_away(guarded, http, query, code):
    peer, other = await joined(guarded, f"away/{code}", "ana"), await joined(guarded, f"away/{code}", "ben")
    await peer.write("typed")
    await other.text_is("typed")
    [found] = (await http.get("/connections", params={"room": f"away/{code}", "subject": "ana"})).json()["items"]
    answer = await http.delete(f"/connections/{found['id']}", params=query)
    assert answer.status_code == 204 and answer.content == b""
    assert (await peer.closed()).code == code
    await peer.leave()
    await other.write("!")
    assert other.text() == "typed!"
    await until(
        lambda: httpx.get(f"{guarded.http_url}/api/v1/rooms/away%2F{code}", headers=BEARER).json()["connections"] == 1,
        "one is left",
    )
    assert is_problem(await http.delete(f"/connections/{found['id']}"), 404)
    await other.leave()


async def test_nobody(http):
    assert is_problem(await http.delete("/connections/999999"), 404)
    for number in ("0", "-1", "x", "1.5", "9" * 5000):
        assert is_problem(await http.delete(f"/connections/{number}"), 422)


async def test_revoked(guarded, http):
    """In rooms of their own: who is refused where another one was a moment ago is held, and hears of it later."""
    ana = await joined(guarded, "revoked/1", "ana")
    ben = await joined(guarded, "revoked/2", "ben", jti="one")
    other = await joined(guarded, "revoked/3", "ben", jti="two")
    assert (await http.post("/revocations", json={"subject": "ana"})).status_code == 204
    assert (await ana.closed()).code == 4401
    assert (await http.post("/revocations", json={"token_id": "one", "seconds": 600})).status_code == 204
    assert (await ben.closed()).code == 4401
    await other.write("still here")
    guarded.kill()
    guarded.start()
    again = await Peer.open(guarded.url, "revoked/4", target=target("revoked/4", "ben", jti="one"))
    assert (await again.closed()).code == 4401
    for peer in (ana, ben, other, again):
        await peer.leave()


async def test_bad_revocations(http):
    for body in (
        {},
        {"subject": ""},
        {"subject": "x" * 513},
        {"subject": 1},
        {"subject": "a", "seconds": -1},
        {"seconds": 1},
    ):
        assert is_problem(await http.post("/revocations", json=body), 422)
