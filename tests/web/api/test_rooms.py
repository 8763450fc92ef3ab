"""Rooms: lists in pages and orders, what is known of one, copies."""

from __future__ import annotations

import time
from urllib.parse import quote

import anyio
import httpx
import pytest

from collab.settings import Settings
from collab.store import Entry
from collab.store.memory import MemoryStore
from collab.web.app import App
from tests.support.raw import Peer
from tests.support.waiting import until
from tests.web.api.conftest import BEARER, TOKEN, is_problem

UPDATE = bytes.fromhex("01010700040104746578740568656c6c6f00")


@pytest.mark.anyio
@pytest.mark.parametrize("sort", ["name", "-changed", "-bytes"])
@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_pages(sort, limit):
    store = MemoryStore()
    names = [f"room {number:03}" for number in range(60)] + ["é", "日本", "a/b"]
    async with App(Settings(store={"url": "memory:"}, admin={"token": TOKEN}), store=store) as app:
        for number, name in enumerate(names):
            await store.append([Entry(name, UPDATE, 1000.0 + number % 7)] * (1 + number % 5))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server/api/v1", headers=BEARER)
        found, cursor = [], None
        while True:
            query = {"sort": sort, "limit": limit} | ({"cursor": cursor} if cursor else {})
            page = (await http.get("/rooms", params=query)).json()
            assert 0 < len(page["items"]) <= limit
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        assert sorted(one["name"] for one in found) == sorted(names)
        keys = {
            "name": lambda one: one["name"],
            "-changed": lambda one: (-int(one["changed"][17:19]), one["name"]),
            "-bytes": lambda one: (-one["bytes"], one["name"]),
        }
        assert found == sorted(found, key=keys[sort])
        page = (await http.get("/rooms", params={"search": "m 00", "limit": 4})).json()
        assert [one["name"] for one in page["items"]] == names[:4] and page["next"]
        assert page["total"] == sum("m 00" in name for name in names)
        page = (await http.get("/rooms", params={"search": "日"})).json()
        assert [one["name"] for one in page["items"]] == ["日本"] and page["next"] is None and page["total"] == 1
        other = "name" if sort != "name" else "-bytes"
        first = (await http.get("/rooms", params={"limit": 1, "sort": sort})).json()
        assert is_problem(await http.get("/rooms", params={"cursor": first["next"], "sort": other}), 409)
        await http.aclose()


def test_ten_thousand_rooms(figure):
    async def main() -> None:
        store = MemoryStore()
        async with App(Settings(store={"url": "memory:"}, admin={"token": TOKEN}), store=store) as app:
            await store.append([Entry(f"room {number}", UPDATE, 1.0) for number in range(10_000)])
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server/api/v1", headers=BEARER) as http:
                began = time.perf_counter()
                page = (await http.get("/rooms", params={"sort": "-changed", "limit": 100})).json()
                seconds = time.perf_counter() - began
        assert len(page["items"]) == 100 and page["next"]
        figure(f"a page of 10,000 rooms, newest first: {1000 * seconds:.0f} ms")
        assert seconds < 5

    anyio.run(main)


@pytest.mark.anyio
async def test_one_with_somebody_in_it(server, room):
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER) as http:
        path = f"/rooms/{quote(room, safe='')}"
        async with await Peer.open(server.url, room) as peer:
            await peer.synced.wait()
            await peer.write("hello")
            await until(lambda: httpx.get(f"{server.http_url}/api/v1{path}", headers=BEARER).status_code == 200, "room")
            answer = await http.get(path)
            found = answer.json()
            assert (found["name"], found["epoch"], found["seq"], found["connections"]) == (room, 1, 1, 1)
            assert found["live"]["writers"] == 1 and found["live"]["bytes"] > 0
            assert answer.headers["etag"] == (await http.get(f"{path}/document")).headers["etag"]


def test_one_that_is_not_in_memory(server, http, room):
    http.put_text(room, "a")
    server.kill()
    server.start()
    answer = http.get(f"/rooms/{quote(room, safe='')}")
    assert answer.json()["live"] is None and answer.json()["seq"] == 1 and "etag" not in answer.headers


def test_copies(http, room):
    http.put_text(room, "original")
    path = f"/rooms/{quote(room, safe='')}/duplicate"
    answer = http.post(path, json={"to": f"{room}/copy"})
    assert answer.status_code == 201 and answer.json()["name"] == f"{room}/copy"
    http.put_text(f"{room}/copy", "changed")
    assert (http.text(room), http.text(f"{room}/copy")) == ("original", "changed")
    assert is_problem(http.post(path, json={"to": f"{room}/copy"}), 409)
    assert is_problem(http.post(path, json={"to": room}), 409)
    assert http.text(f"{room}/copy") == "changed"
    for name in ("", " ", "\x00", "x" * 513, "\ud800"):
        content = '{"to": "' + "".join(f"\\u{ord(c):04x}" for c in name) + '"}'
        answer = http.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422) and answer.json()["status"] == answer.status_code
    assert is_problem(http.post("/rooms/nothing/duplicate", json={"to": "x"}), 404)


@pytest.mark.anyio
async def test_deleted_for_good(server, room):
    """Whoever sits in it is sent away, and who was offline does not bring it back; until an admin allows it."""
    path = f"/rooms/{quote(room, safe='')}"
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as http:
        assert is_problem(await http.delete(path), 404)
        here, away = await Peer.open(server.url, room), await Peer.open(server.url, room)
        for peer in (here, away):
            await peer.synced.wait()
        await here.write("secret")
        await away.text_is("secret")
        await away.leave()
        assert (await http.post(f"{path}/snapshots")).status_code == 201
        await here.write(", typed last")
        answer = await http.delete(path)
        assert answer.json() == {"name": room, "rows": 2, "snapshots": 1}
        assert (await here.closed()).code == 4404
        await away.reconnect()
        await away.until(lambda: away.received["auth"] == 1, "the refusal")  # and it is held, or it would come for ever
        assert is_problem(await http.get(path), 404) and is_problem(await http.get(f"{path}/document"), 404)
        assert is_problem(await http.put(f"{path}/document", content="x", headers={"content-type": "text/plain"}), 404)
        assert (await http.get(f"{path}/snapshots")).json()["items"] == []
        assert is_problem(await http.delete(path), 404)
        assert (await http.put(path)).status_code == 204
        async with await Peer.open(server.url, room) as peer:
            await peer.synced.wait()
            assert peer.text() == ""
            await peer.write("anew")
        await until(lambda: httpx.get(f"{server.http_url}/api/v1{path}", headers=BEARER).status_code == 200, "room")
        records = (await http.get("/audit", params={"room": room, "limit": 2})).json()["items"]
        assert [one["what"] for one in records] == ["room.allow", "room.delete"]
        await here.leave()
        await away.leave()
