"""Snapshots through the API, and ways back beside editors who type on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pycrdt import Doc, Text

from tests.support.raw import Message, Peer
from tests.support.raw.hocuspocus import Attached
from tests.support.server import Server
from tests.support.waiting import until
from tests.web.api.conftest import BEARER, is_problem


def rooms(room: str, rest: str = "") -> str:
    return f"/rooms/{quote(room, safe='')}{rest}"


def test_made_listed_named_and_deleted(http, room):
    http.put_text(room, "one")
    made = http.post(rooms(room, "/snapshots"), json={"label": "first", "note": "a note", "pinned": True})
    assert made.status_code == 201
    first = made.json()
    assert (first["room"], first["label"], first["note"], first["author"]) == (room, "first", "a note", "admin")
    assert (first["reason"], first["pinned"], first["covers"]) == ("manual", True, 1)
    http.put_text(room, "two")
    ids = [first["id"]] + [http.post(rooms(room, "/snapshots")).json()["id"] for _ in range(4)]
    found, cursor = [], None
    while True:
        page = http.get(rooms(room, "/snapshots"), params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert 0 < len(page["items"]) <= 2
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [one["id"] for one in found] == ids[::-1] and found[-1] == first
    path = rooms(room, f"/snapshots/{first['id']}")
    assert http.get(path).json() == first
    update = http.get(f"{path}/content", params={"format": "yjs"}).content
    assert hashlib.sha256(update).hexdigest() == first["checksum"] and len(update) == first["size"]
    assert http.get(f"{path}/content", params={"format": "text"}).text == "one\n"
    assert http.get(f"{path}/content").json() == {"text": "one"}
    changed = http.patch(path, json={"label": "renamed", "pinned": False}).json()
    assert changed == first | {"label": "renamed", "pinned": False} == http.get(path).json()
    assert http.delete(path).status_code == 204
    assert is_problem(http.get(path), 404) and is_problem(http.delete(path), 404)
    whats = [one["what"] for one in http.get("/audit", params={"room": room, "limit": 3}).json()["items"]]
    assert whats == ["snapshot.delete", "snapshot.change", "snapshot.create"]


def test_restored_and_taken_back(http, room):
    http.put_text(room, "old text")
    id = http.post(rooms(room, "/snapshots")).json()["id"]
    http.put_text(room, "newer text, and longer")
    done = http.post(rooms(room, "/restore"), json={"to": {"snapshot": id}}).json()
    assert http.text(room) == "old text"
    assert done["before"]["reason"] == "before restore" and done["room"] == room and done["bytes"] > 0
    row = http.get(rooms(room, "/activity")).json()["items"][-1]
    assert (row["author"], row["last"]) == ("admin", done["seq"])
    back = http.post(rooms(room, "/restore"), json={"to": {"snapshot": done["before"]["id"]}}).json()
    assert http.text(room) == "newer text, and longer"
    again = http.post(rooms(room, "/restore"), json={"to": {"snapshot": done["before"]["id"]}}).json()
    assert (again["bytes"], again["before"], again["seq"]) == (0, None, None), "there was nothing to change"
    http.post(rooms(room, "/restore"), json={"to": {"seq": back["seq"] - 1}})
    assert http.text(room) == "old text"
    http.post(rooms(room, "/restore"), json={"to": {"seq": 0}})
    assert http.text(room) == ""


def test_by_time(http, room):
    http.put_text(room, "early")
    time.sleep(0.05)
    moment = time.time()
    time.sleep(0.05)
    http.put_text(room, "late")
    assert http.post(rooms(room, "/restore"), json={"to": {"time": moment}}).status_code == 200
    assert http.text(room) == "early"


def test_the_same_key_is_one_restore(http, room):
    http.put_text(room, "old")
    id = http.post(rooms(room, "/snapshots")).json()["id"]
    http.put_text(room, "new")
    key = {"idempotency-key": "once"}
    first = http.post(rooms(room, "/restore"), json={"to": {"snapshot": id}}, headers=key)
    http.put_text(room, "written after it")
    second = http.post(rooms(room, "/restore"), json={"to": {"snapshot": id}}, headers=key)
    assert first.json() == second.json() and second.status_code == 200
    assert http.text(room) == "written after it"
    assert is_problem(http.post(rooms(room, "/restore"), json={"to": {"seq": 0}}, headers=key), 409)
    assert http.text(room) == "written after it"


def test_into_another_room(http, room):
    http.put_text(room, "old")
    id = http.post(rooms(room, "/snapshots")).json()["id"]
    http.put_text(room, "new")
    body = {"to": {"snapshot": id}, "into": f"{room}/copy"}
    done = http.post(rooms(room, "/restore"), json=body)
    assert done.status_code == 200 and done.json()["room"] == f"{room}/copy"
    assert (http.text(room), http.text(f"{room}/copy")) == ("new", "old")
    assert is_problem(http.post(rooms(room, "/restore"), json=body), 409)
    assert http.text(f"{room}/copy") == "old"


@pytest.mark.parametrize(
    ("method", "rest", "body", "status"),
    [
        ("POST", "/restore", {"to": {}}, 422),
        ("POST", "/restore", {"to": {"snapshot": 1, "seq": 1}}, 422),
        ("POST", "/restore", {"to": {"snapshot": -1}}, 422),
        ("POST", "/restore", {"to": {"snapshot": 2**70}}, 422),
        ("POST", "/restore", {"to": {"snapshot": 2**50}}, 404),
        ("POST", "/restore", {"to": {"seq": 999}}, 400),
        ("POST", "/restore", {"to": {"time": "yesterday"}}, 422),
        ("POST", "/restore", {"to": {"time": "2026-11-25T09:30:00"}}, 422),
        ("POST", "/restore", {"to": {"seq": 1}, "into": ""}, 400),
        ("POST", "/restore", {"to": {"seq": 1}, "into": "\ud800"}, (400, 422)),
        ("POST", "/restore", ["to"], 422),
        ("POST", "/snapshots", {"label": "x" * 201}, 422),
        ("POST", "/snapshots", {"label": "\ud800"}, 422),
        ("PATCH", "/snapshots/999999", {"label": "x"}, 404),
        ("DELETE", "/snapshots/999999", None, 404),
        ("DELETE", "/snapshots/abc", None, 422),
        ("GET", "/snapshots/999999/content", None, 404),
        ("GET", "/snapshots?cursor=abc", None, 400),
        ("GET", "/snapshots?limit=0", None, 422),
    ],
)  # fmt: skip
def test_bad_input_changes_nothing(http, room, method, rest, body, status):
    http.put_text(room, "what was there")
    etag = http.get(http.document(room)).headers["etag"]
    content = None if body is None else json.dumps(body)
    answer = http.request(method, rooms(room, rest), content=content, headers={"content-type": "application/json"})
    statuses = status if isinstance(status, tuple) else (status,)
    assert answer.status_code in statuses and is_problem(answer, answer.status_code)
    assert http.get(http.document(room)).headers["etag"] == etag
    assert http.get(rooms(room, "/snapshots")).json()["items"] == []


def test_who_may_not(http, server, room):
    for method, rest in [("POST", "/snapshots"), ("GET", "/snapshots"), ("POST", "/restore"), ("POST", "/undo")]:
        answer = httpx.request(method, f"{server.http_url}/api/v1{rooms(room, rest)}", headers={"authorization": "x"})
        assert is_problem(answer, 401)


def test_rooms_that_were_never_written(http, room):
    assert is_problem(http.post(rooms(room, "/snapshots")), 404)
    assert is_problem(http.post(rooms(room, "/restore"), json={"to": {"seq": 0}}), 404)
    assert is_problem(http.post(rooms(room, "/undo"), json={"author": "ana"}), 404)
    assert is_problem(http.get(rooms(room, "/diff"), params={"from": "now"}), 404)
    assert http.get(rooms(room, "/snapshots")).json() == {"items": [], "next": None}


@pytest.mark.anyio
async def test_while_three_editors_type(server, room, figure):
    """Issue 6: all show it within a second, what is typed on is kept, and it can be taken back."""
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as http:
        peers = [await Peer.open(server.url, room) for _ in range(3)]
        for peer in peers:
            await peer.synced.wait()
        await peers[0].write("The plan as we agreed on it. ")
        for peer in peers:
            await peer.text_is("The plan as we agreed on it. ")
        offline = await Peer.open(server.url, room)
        await offline.synced.wait()
        await offline.text_is(peers[0].text())
        id = (await http.post(rooms(room, "/snapshots"), json={"label": "agreed"})).json()["id"]
        await peers[1].write("LATER ")
        for peer in [*peers, offline]:
            await peer.until(partial(has, peer, "LATER"), "the later text")
        await offline.leave()  # it has seen the newer text, and nothing of what follows

        typed: dict[int, list[str]] = {number: [] for number in range(3)}
        shown: dict[int, float] = {}
        after: dict[int, list[str]] = {number: [] for number in range(3)}
        ended = False

        async def type_on(number: int, peer: Peer) -> None:
            turn = 0
            while not ended:
                word = f"<{number}.{turn}>"
                await peer.write(word)
                (after if number in shown else typed)[number].append(word)
                turn += 1
                await asyncio.sleep(0.01)

        def look(number: int, peer: Peer, _message: Message) -> None:
            if number not in shown and began and "LATER" not in peer.text():
                shown[number] = time.perf_counter() - began

        began = 0.0
        for number, peer in enumerate(peers):
            peer.on_message = partial(look, number, peer)
        tasks = [asyncio.create_task(type_on(number, peer)) for number, peer in enumerate(peers)]
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        answer = await http.post(rooms(room, "/restore"), json={"to": {"snapshot": id}})
        answered = time.perf_counter() - began
        assert answer.status_code == 200, answer.text
        await until(lambda: len(shown) == 3, "all three to show it", 5.0)
        await asyncio.sleep(0.5)
        ended = True
        await asyncio.gather(*tasks)
        await until(lambda: len({peer.text() for peer in peers}) == 1, "the editors to agree", 5.0)
        final = peers[0].text()
        assert final.startswith("The plan as we agreed on it. ") and "LATER" not in final
        words = [word for number in range(3) for word in after[number]]
        assert all(final.count(word) == 1 for word in words), "what they typed after they received it"
        assert (await http.get(rooms(room, "/document"), params={"format": "text"})).text.strip() == final.strip()
        times = ", ".join(f"{1000 * one:.0f}" for one in sorted(shown.values()))
        figure(
            f"shown to three editors who type after {times} ms, "
            f"answered after {1000 * answered:.0f} ms; {len(words)} words typed after it, all kept"
        )
        assert max(shown.values()) < 1.0

        await offline.reconnect()  # it brings what it has: nothing that undoes the restore
        await offline.synced.wait()
        await offline.text_is(final)
        await asyncio.sleep(0.2)
        assert {peer.text() for peer in peers} == {final}

        before = answer.json()["before"]["id"]
        kept = (await http.get(rooms(room, f"/snapshots/{before}/content"), params={"format": "text"})).text
        assert "LATER" in kept
        assert (await http.post(rooms(room, "/restore"), json={"to": {"snapshot": before}})).status_code == 200
        for peer in [*peers, offline]:
            await peer.text_is(kept.removesuffix("\n"))
            await peer.leave()


@pytest.mark.anyio
async def test_two_at_once_leave_one_result(server, room, figure):
    async with (
        httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as http,
        await Peer.open(server.url, room) as peer,
    ):
        await peer.synced.wait()
        await peer.write("one ")
        same = (await http.post(rooms(room, "/snapshots"))).json()["id"]
        await peer.write("two ")
        other = (await http.post(rooms(room, "/snapshots"))).json()["id"]
        rounds = 10
        for turn in range(rounds):
            await peer.write(f"and {turn} ")
            await until(partial(shows, server, room, f"and {turn}"), "the edit")
            ids = [same, same] if turn % 2 else [same, other]
            answers = await asyncio.gather(
                *(http.post(rooms(room, "/restore"), json={"to": {"snapshot": id}}) for id in ids)
            )
            assert [answer.status_code for answer in answers] == [200, 200]
            text = server_text(server, room)
            assert text in (["one"] if ids[0] == ids[1] else ["one", "one two"]), text
            if ids[0] == ids[1]:
                assert sorted(answer.json()["bytes"] > 0 for answer in answers) == [False, True]
            await until(partial(is_text, peer, text), "the editor to show it")
        figure(f"two restores at once, {rounds} times: one result each time")


def has(peer: Peer, word: str) -> bool:
    return word in peer.text()


def is_text(peer: Peer, text: str) -> bool:
    return peer.text().strip() == text


def shows(server: Server, room: str, word: str) -> bool:
    return word in server_text(server, room)


def server_text(server: Server, room: str) -> str:
    path = f"{server.http_url}/api/v1{rooms(room, '/document')}"
    return httpx.get(path, params={"format": "text"}, headers=BEARER).text.strip()


@pytest.mark.anyio
async def test_editors_are_told(server, room):
    async with (
        httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as http,
        await Attached.open(server.url, room) as provider,
        await Peer.open(server.url, room) as peer,
    ):
        await peer.synced.wait()
        await provider.write("key", "old")
        await provider.saved()
        id = (await http.post(rooms(room, "/snapshots"))).json()["id"]
        await provider.write("key", "new")
        await provider.saved()
        done = (await http.post(rooms(room, "/restore"), json={"to": {"snapshot": id}})).json()
        heard = await provider.hears("stateless")
        assert json.loads(heard.text) == {"event": "restored", "snapshot": id, "before": done["before"]["id"]}
        await provider.until(lambda: provider.map["key"] == "old")
        await peer.until(lambda: peer.doc.get("map", type=type(provider.map)).get("key") == "old", "the old value")
        assert "other" not in peer.received, "y-websocket has no word for it"


def test_a_large_document(http, room, figure):
    doc: Doc[Any] = Doc()
    text = doc.get("text", type=Text)
    for line in range(2_000):
        text += f"line {line} of a document that is large enough to be worked on beside the event loop\n"
    http.post(rooms(room, "/updates"), content=doc.get_update(), headers={"content-type": "application/octet-stream"})
    id = http.post(rooms(room, "/snapshots")).json()["id"]
    http.put_text(room, "all gone")
    began = time.perf_counter()
    assert http.post(rooms(room, "/restore"), json={"to": {"snapshot": id}}).status_code == 200
    seconds = time.perf_counter() - began
    assert http.text(room) == str(text)
    figure(f"a document of {len(doc.get_update()) >> 10} KiB restored in {1000 * seconds:.0f} ms")
