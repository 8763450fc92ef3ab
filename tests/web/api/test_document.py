"""Documents over HTTP: read in every format, written as edits among editors, on conditions, and never half."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pycrdt import Doc, Map, Text

from tests.support.raw import Peer
from tests.support.waiting import until
from tests.web.api.conftest import BEARER, is_problem

PAGE: dict[str, Any] = {
    "type": "doc",
    "content": [{"type": "paragraph", "content": [{"type": "text", "text": "a < ü"}]}],
}
YJS = {"content-type": "application/octet-stream"}
TEXT = {"content-type": "text/plain"}


def updates(room: str) -> str:
    return f"/rooms/{quote(room, safe='')}/updates"


def template(room: str) -> str:
    return f"/rooms/{quote(room, safe='')}/template"


def doc_of(answer: httpx.Response) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    doc.apply_update(answer.content)
    return doc


def test_every_format(http, room):
    path = http.document(room)
    assert http.put(path, json=PAGE).status_code == 200
    wanted = {
        "json": '{"default":"<paragraph>a < ü</paragraph>"}',
        "prosemirror": json.dumps(PAGE, ensure_ascii=False, separators=(",", ":")),
        "html": "<p>a &lt; ü</p>",
        "markdown": "a \\< ü",
        "text": "a < ü",
    }
    accepted = {
        "json": "application/json",
        "prosemirror": "application/vnd.collab.prosemirror+json",
        "html": "text/html",
        "markdown": "text/markdown",
        "text": "text/plain",
    }
    for format, body in wanted.items():
        for answer in (
            http.get(path, params={"format": format}),
            http.get(path, headers={"accept": f"image/png, {accepted[format]};q=0.8"}),
        ):
            found = answer.text.strip()
            if format in ("json", "prosemirror"):
                found = json.dumps(json.loads(found), ensure_ascii=False, separators=(",", ":"))
            assert found == body
            assert answer.headers["content-type"].startswith(accepted[format])
            assert answer.headers["content-security-policy"].startswith("sandbox")
    answer = http.get(path, params={"format": "yjs"})
    assert answer.headers["content-type"] == "application/octet-stream"
    doc_of(answer)
    assert http.get(path).headers["content-type"] == "application/json"
    assert http.get(path, headers={"accept": "text/html;q=0.1, */*"}).headers["content-type"] == "application/json"
    assert is_problem(http.get(path, headers={"accept": "image/png"}), 406)
    assert is_problem(http.get(path, params={"format": "docx"}), 422)


def test_another_root(http, room):
    http.put(http.document(room), params={"field": "page"}, json=PAGE)
    http.put(http.document(room), params={"field": "notes"}, content="plain", headers=TEXT)
    assert http.get(http.document(room)).json() == {"notes": "plain", "page": "<paragraph>a < ü</paragraph>"}
    assert http.text(room, field="notes") == "plain"
    answer = http.put(http.document(room), params={"field": "page"}, content="x", headers=TEXT)
    assert is_problem(answer, 409)


def test_append(http, room):
    for _ in range(2):
        assert http.post(http.document(room), json=PAGE).status_code == 200
    found = http.get(http.document(room), params={"format": "prosemirror"}).json()
    assert found["content"] == 2 * PAGE["content"]
    other: Doc[Any] = Doc({"map": Map({"k": 1})})
    assert http.post(http.document(room), content=other.get_update(), headers=YJS).status_code == 200
    assert http.get(http.document(room)).json()["map"] == {"k": 1}


def test_yjs_replaces_as_an_edit(http, room):
    http.put(http.document(room), json=PAGE)
    whole = http.get(http.document(room), params={"format": "yjs"}).content
    http.post(http.document(room), json=PAGE)
    assert http.put(http.document(room), content=whole, headers=YJS).status_code == 200
    assert http.get(http.document(room), params={"format": "prosemirror"}).json() == PAGE


@pytest.mark.anyio
async def test_among_editors(server, room):
    """Who is connected sees the edit, and what is typed meanwhile stays."""
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER) as http:
        path = f"/rooms/{quote(room, safe='')}/document"
        await http.put(path, content="The quick brown fox", headers=TEXT)
        peers = [await Peer.open(server.url, room) for _ in range(3)]
        try:
            for peer in peers:
                await peer.synced.wait()
            typed = [peer.change(lambda doc: doc.get("text", type=Text).insert(4, "very ")) for peer in peers]
            answer = await http.put(path, content="The quick red fox", headers=TEXT)
            for peer, update in zip(peers, typed, strict=True):  # what was on its way when the edit was made
                await peer.send_update(update)
            assert answer.status_code == 200
            wanted = "The very very very quick red fox"
            await until(lambda: all(peer.text() == wanted for peer in peers), lambda: str([p.text() for p in peers]))
        finally:
            for peer in peers:
                await peer.leave()


def test_acknowledged_means_committed(server, room, http):
    for number in range(5):
        assert http.put_text(room, f"version {number}").status_code == 200
        server.kill()
        server.start()
        assert http.text(room) == f"version {number}"


def test_conditions(http, room):
    path = http.document(room)
    assert is_problem(http.put_text(room, "x", **{"if-match": "*"}), 412)
    first = http.put_text(room, "one", **{"if-none-match": "*"})
    assert first.status_code == 200 and first.json()["etag"] == first.headers["etag"]
    assert is_problem(http.put_text(room, "two", **{"if-none-match": "*"}), 409)
    tag = http.get(path).headers["etag"]
    assert tag == first.headers["etag"]
    assert http.get(path, headers={"if-none-match": tag}).status_code == 304
    assert http.put_text(room, "two", **{"if-match": f'"other", {tag}'.replace('"other"', '"AA"')}).status_code == 200
    for answer in (
        http.put_text(room, "three", **{"if-match": tag}),
        http.post(path, content="three", headers=TEXT | {"if-match": tag}),
        http.post(updates(room), content=Doc({"t": Text("x")}).get_update(), headers={"if-match": tag}),
    ):
        assert is_problem(answer, 412, type="urn:collab:error:Stale")
    assert is_problem(http.put_text(room, "three", **{"if-match": "garbage"}), 400)
    assert http.text(room) == "two"


def test_a_deletion_moves_the_tag(http, room):
    """A state vector alone does not tell."""
    tag = http.put_text(room, "abc").headers["etag"]
    shorter = http.put_text(room, "ab").headers["etag"]
    assert tag.partition(".")[0] == shorter.partition(".")[0] and tag != shorter
    assert is_problem(http.put_text(room, "x", **{"if-match": tag}), 412)
    assert http.put_text(room, "x", **{"if-match": tag.partition(".")[0] + '"'}).status_code == 200


def test_one_of_many_on_one_condition(http, room, server):
    tag = http.put_text(room, "start").headers["etag"]

    async def all_at_once() -> list[int]:
        async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as client:
            answers = await asyncio.gather(
                *(
                    client.put(http.document(room), content=f"<{n}>", headers=TEXT | {"if-match": tag})
                    for n in range(20)
                )
            )
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(all_at_once()) == [200] + [412] * 19


@pytest.mark.anyio
async def test_a_template_is_there_once(server, figure, full):
    """However many arrive at once, each of whom asks for it."""
    arrivals, rounds = (50, 10) if full else (15, 3)
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as http:
        for number in range(rounds):
            room = f"seeded/{number}"
            seeded = 0
            peers: list[Peer] = []

            async def arrive(room: str = room, peers: list[Peer] = peers) -> bool:
                asked = http.put(template(room), content="Dear reader,\n", headers=TEXT)
                peer, answer = await asyncio.gather(Peer.open(server.url, room), asked)
                peers.append(peer)
                assert answer.status_code == 200, answer.text
                return bool(answer.json()["seeded"])

            try:
                seeded = sum(await asyncio.gather(*(arrive() for _ in range(arrivals))))
                for peer in peers:
                    await peer.synced.wait()
                    await peer.text_is("Dear reader,\n")
                assert seeded == 1
                await peers[0].edit(lambda doc: doc["text"].clear())
                for peer in peers:
                    await peer.text_is("")
                assert not (await http.put(template(room), content="again", headers=TEXT)).json()["seeded"]
                assert peers[0].text() == ""
            finally:
                for peer in peers:
                    await peer.leave()
    figure(f"rooms with {arrivals} arriving at once in which the template stood exactly once: {rounds} of {rounds}")


def test_templates_of_every_kind(http, room):
    assert http.put(template(f"{room}1"), json=PAGE).json()["seeded"]
    whole = Doc({"map": Map({"k": 1})}).get_update()
    assert http.put(template(f"{room}2"), content=whole, headers=YJS).json()["seeded"]
    assert http.get(http.document(f"{room}2")).json() == {"map": {"k": 1}}
    assert is_problem(http.put(template(f"{room}3"), content=b"garbage", headers=YJS), 400)
    assert is_problem(http.get(http.document(f"{room}3")), 404)


def test_updates(http, room):
    doc: Doc[Any] = Doc({"text": Text("one")})
    answer = http.post(updates(room), content=doc.get_update())
    assert answer.status_code == 200 and http.text(room) == "one"
    again = http.post(updates(room), content=doc.get_update())
    assert again.status_code == 200 and again.headers["etag"] == answer.headers["etag"]
    before = doc.get_state()
    doc["text"].insert(3, " two")
    ahead = doc.get_state()
    doc["text"].insert(7, " three")
    assert is_problem(http.post(updates(room), content=doc.get_update(ahead)), 409)
    assert http.post(updates(room), content=doc.get_update(before)).status_code == 200
    assert http.text(room) == "one two three"


def garbage() -> list[bytes]:
    whole = Doc({"text": Text("a document")}).get_update()
    foreign = [b"%PDF-1.7 garbage", b"\x89PNG\r\n\x1a\n", b"<html></html>", b"{}", bytes(range(256)), b"\xff" * 1000]
    return [b"", b"\x00", b"\x01", *foreign, *(whole[:cut] for cut in range(1, len(whole))), whole + b"\x00"]


def test_bad_uploads_change_nothing(http, room, figure):
    before = http.put_text(room, "as it was").headers["etag"]
    refused = 0
    for body in garbage():
        for method, path, type in (
            ("POST", updates(room), "application/octet-stream"),
            ("PUT", http.document(room), "application/octet-stream"),
            ("POST", http.document(room), "application/octet-stream"),
            ("PUT", template(f"{room}/new"), "application/octet-stream"),
            ("PUT", http.document(room), "application/json"),
        ):
            answer = http.request(method, path, content=body, headers={"content-type": type})
            assert 400 <= answer.status_code < 500 and len(answer.json()["detail"]) > 10, (body, answer.text)
            refused += 1
    assert http.get(http.document(room)).headers["etag"] == before and http.text(room) == "as it was"
    assert is_problem(http.get(http.document(f"{room}/new")), 404)
    figure(f"bad uploads refused with a reason and without effect: {refused} of {refused}")


def test_what_cannot_be_written(http, room):
    for type in ("text/html", "text/markdown", "image/png", "application/x-www-form-urlencoded", ""):
        answer = http.put(http.document(room), content=b"x", headers={"content-type": type})
        assert is_problem(answer, 415)
    assert is_problem(http.put(http.document(room), params={"format": "html"}, content=b"x"), 415)
    assert http.put(http.document(room), params={"format": "text"}, content=b"x").status_code == 200
    http.get("/server")


def test_there_is_no_such_room(http, room):
    assert is_problem(http.get(http.document(room)), 404)
    assert is_problem(http.get(f"/rooms/{quote(room, safe='')}"), 404)
    assert all(one["name"] != room for one in http.get("/rooms", params={"search": room}).json()["items"])


def test_patches(http, room):
    path = http.document(room)
    operations = [
        {"op": "map.set", "path": ["m"], "key": "k", "value": {"a": 1}},
        {"op": "text.insert", "path": ["t"], "index": 0, "text": "😀b"},
        {"op": "text.insert", "path": ["t"], "index": 1, "text": "a"},
    ]
    answer = http.patch(path, json={"operations": operations})
    assert answer.status_code == 200
    assert http.get(path).json() == {"m": {"k": {"a": 1}}, "t": "😀ab"}
    tag = answer.headers["etag"]
    bad = [
        ({"op": "text.delete", "path": ["t"], "index": 0, "count": 9}, 400),
        ({"op": "map.set", "path": ["t"], "key": "k", "value": 1}, 409),
        ({"op": "map.explode", "path": ["t"]}, 422),
        ({"op": "text.insert", "path": ["t"], "index": 0}, 422),
        ({"op": "text.insert", "path": ["t"], "index": "0", "text": None}, 422),
    ]
    for operation, status in bad:
        assert is_problem(http.patch(path, json={"operations": [*operations, operation]}), status)
    bodies: list[Any] = [{}, {"operations": []}, {"operations": operations * 40}, [], None]
    for body in bodies:
        assert is_problem(http.patch(path, json=body), 422)
    assert http.get(path).headers["etag"] == tag
    stale = http.patch(path, json={"operations": operations}, headers={"if-match": '"AA"'})
    assert is_problem(stale, 412)


@pytest.mark.anyio
async def test_large_documents_beside_somebody_who_types(server, figure, full):
    """They are read and written on another thread. What is left on the loop is one tick, as for anybody's paste."""
    paragraphs = 50_000 if full else 3_000
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": "word " * 40}]}
    whole, one = (json.dumps({"type": "doc", "content": [paragraph] * n}).encode() for n in (paragraphs, 1))
    worst = 0.0

    async def press(writer: Peer, reader: Peer, number: int) -> None:
        nonlocal worst
        began = time.perf_counter()
        await writer.put("k", number)
        await reader.until(lambda: reader.doc.get("map", type=Map).get("k") == number, "the keystroke", 30)
        worst = max(worst, time.perf_counter() - began)

    async def type_on(writer: Peer, reader: Peer) -> None:
        for number in itertools.count(1):
            await press(writer, reader, number)

    async with (
        await Peer.open(server.url, "typing") as writer,
        await Peer.open(server.url, "typing") as reader,
        httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=60) as http,
    ):
        await writer.synced.wait()
        await reader.synced.wait()
        typing = asyncio.create_task(type_on(writer, reader))
        headers = {"content-type": "application/json"}
        for what, method, query, content in (
            ("replaced", "PUT", {}, whole),
            ("read as HTML", "GET", {"format": "html"}, None),
            ("appended to", "POST", {}, one),
        ):
            worst, began = 0.0, time.perf_counter()
            answer = await http.request(method, "/rooms/large/document", params=query, content=content, headers=headers)
            assert answer.status_code == 200, answer.text
            seconds = time.perf_counter() - began
            figure(
                f"{paragraphs} paragraphs {what}: {seconds:.2f} s, slowest keystroke meanwhile {1000 * worst:.0f} ms"
            )
            assert worst < 10
        typing.cancel()
        (outcome,) = await asyncio.gather(typing, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome
