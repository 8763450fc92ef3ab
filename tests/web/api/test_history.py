"""What rooms were and who made them so, through the API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote

import jwt
import pytest

from collab.history.diff import apply_text
from tests.support.raw import Peer
from tests.support.server import Server
from tests.support.waiting import until
from tests.web.api.conftest import BEARER, TOKEN, Client, is_problem
from tests.web.api.test_snapshots import rooms

KEY = "a secret that signs the tokens of editors"


@pytest.fixture(scope="module")
def named() -> Iterator[Server]:
    """A server that knows who types."""
    env = {"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_AUTH__MODE": "jwt", "COLLAB_AUTH__JWT_SECRET": KEY}
    with Server(env=env) as running:
        yield running
        assert not running.complaints()


def token(who: str) -> str:
    return jwt.encode({"sub": who, "rooms": {"**": "write"}, "exp": time.time() + 600}, KEY, "HS256")


async def editor(server: Server, room: str, who: str) -> Peer:
    peer = await Peer.open(server.url, room, target=f"/{quote(room)}?token={token(who)}")
    await peer.synced.wait()
    return peer


def test_the_document_at_a_moment(http, room):
    for turn in range(5):
        http.put_text(room, "x" * turn or "-")
    for seq, text in enumerate(["", "-", "x", "xx", "xxx", "xxxx"]):
        answer = http.get(rooms(room, "/at"), params={"at": f"seq:{seq}", "format": "text"})
        assert answer.text.strip() == text
    assert http.get(rooms(room, "/at"), params={"at": "now"}).json() == {"text": "xxxx"}
    assert http.get(rooms(room, "/at"), params={"at": "time:1"}).json() == {}
    assert is_problem(http.get(rooms(room, "/at"), params={"at": "seq:6"}), 400)
    assert is_problem(http.get(rooms(room, "/at"), params={"at": "snapshot:999999"}), 404)
    assert is_problem(http.get(rooms(room, "/at"), params={"at": "yesterday"}), 400)
    assert is_problem(http.get(rooms(room, "/at")), 422)


def test_diff(http, room):
    http.put_text(room, "The old text stays.")
    id = http.post(rooms(room, "/snapshots")).json()["id"]
    http.put_text(room, "The new text stays, too.")
    delta = http.get(rooms(room, "/diff"), params={"from": f"snapshot:{id}", "to": "now"}).json()
    assert apply_text("The old text stays.", delta["text"]["text"]) == "The new text stays, too."
    assert http.get(rooms(room, "/diff"), params={"from": "now"}).json() == {"text": {}, "nodes": {}}
    for query in ({"from": "snapshot:x"}, {"from": "seq:1", "to": "seq:99"}, {"from": "now", "to": "later"}):
        assert is_problem(http.get(rooms(room, "/diff"), params=query), 400)
    assert is_problem(http.get(rooms(room, "/diff")), 422)


@pytest.mark.anyio
async def test_who_wrote_and_deleted_what(named, room):
    with Client(base_url=f"{named.http_url}/api/v1", headers=BEARER, timeout=30) as http:
        ana, bob = await editor(named, room, "ana"), await editor(named, room, "bob")
        await ana.write("Ana wrote this. ")
        await bob.text_is("Ana wrote this. ")
        await bob.write("Bob wrote that. ")
        await ana.text_is("Ana wrote this. Bob wrote that. ")
        await bob.edit(lambda doc: doc["text"].__delitem__(slice(0, 4)))
        await ana.text_is("wrote this. Bob wrote that. ")
        await until(lambda: http.get(rooms(room)).json()["seq"] == 3, "the store to have it")
        found = http.get(rooms(room, "/attribution")).json()
        assert [(run["author"], run["shown"]) for run in found["runs"]] == [
            ("ana", "wrote this. "), ("bob", "Bob wrote that. "),
        ]  # fmt: skip
        (gone,) = found["deleted"]
        assert (gone["author"], gone["shown"], gone["deleted_by"]) == ("ana", "Ana ", "bob")
        assert abs(datetime.fromisoformat(gone["deleted"]).timestamp() - time.time()) < 60
        sessions = http.get(rooms(room, "/activity")).json()["items"]
        assert [(one["author"], one["edits"], one["first"], one["last"]) for one in sessions] == [
            ("ana", 1, 1, 1), ("bob", 2, 2, 3),
        ]  # fmt: skip
        page = http.get(rooms(room, "/activity"), params={"limit": 1}).json()
        rest = http.get(rooms(room, "/activity"), params={"limit": 1, "cursor": page["next"]}).json()
        assert page["items"] + rest["items"] == sessions and rest["next"] is None

        done = http.post(rooms(room, "/undo"), json={"author": "bob"}).json()
        for peer in (ana, bob):
            await peer.text_is("Ana wrote this. ")
        assert done["before"]["author"] == "admin" and done["bytes"] > 0
        assert http.get(rooms(room, "/activity")).json()["items"][-1]["author"] == "admin"
        record = http.get("/audit", params={"room": room, "limit": 1}).json()["items"][0]
        assert (record["who"], record["what"], record["details"]["of"]) == ("admin", "room.undo", {"author": "bob"})
        http.post(rooms(room, "/restore"), json={"to": {"snapshot": done["before"]["id"]}})
        await ana.text_is("wrote this. Bob wrote that. ")
        await ana.leave()
        await bob.leave()


@pytest.mark.anyio
async def test_a_token_covers_its_rooms(named, room):
    grants = {f"{room}": "admin", "other": "write"}
    mine = jwt.encode({"sub": "root", "rooms": grants, "exp": time.time() + 600}, KEY, "HS256")
    with Client(base_url=f"{named.http_url}/api/v1", headers={"authorization": f"Bearer {mine}"}) as http:
        http.put_text(room, "mine")
        made = http.post(rooms(room, "/snapshots")).json()
        assert made["author"] == "root"
        assert is_problem(http.post(rooms("other", "/snapshots")), 403)
        body = {"to": {"snapshot": made["id"]}, "into": "other"}
        assert is_problem(http.post(rooms(room, "/restore"), json=body), 403)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"author": ""}, 422),
        ({"author": "admin", "since": "yesterday"}, 422),
        ({"author": "admin", "since": 20, "until": 10}, 409),
        (["admin"], 422),
    ],
)
def test_bad_undo_changes_nothing(http, room, body, status):
    http.put_text(room, "what was there")
    answer = http.post(rooms(room, "/undo"), content=json.dumps(body), headers={"content-type": "application/json"})
    assert is_problem(answer, status)
    assert http.text(room) == "what was there" and http.get(rooms(room, "/snapshots")).json()["items"] == []


@pytest.mark.anyio
async def test_a_user_is_forgotten(named, room):
    """What he typed a moment ago is committed first; the record of it does not name him either."""
    with Client(base_url=f"{named.http_url}/api/v1", headers=BEARER, timeout=30) as http:
        here = [f"{room} {number} ü" for number in (1, 2)]
        for name in here:
            ana, ben = await editor(named, name, "ana"), await editor(named, name, "ben")
            await ana.write("ana was here. ")
            await ben.text_is("ana was here. ")
            await ben.write("ben, too. ")
            await ana.text_is("ana was here. ben, too. ")
            await ana.leave()
            await ben.leave()
        assert http.post(rooms(here[0], "/unsign"), json={"author": "ana"}).json() == {"rows": 1, "snapshots": 0}
        assert [writers(http, name) for name in here] == [{None, "ben"}, {"ana", "ben"}]
        assert http.post("/unsign", json={"author": "ana"}).json()["rows"] >= 1
        assert [writers(http, name) for name in here] == [{None, "ben"}] * 2
        assert [http.text(name) for name in here] == ["ana was here. ben, too. "] * 2
        records = [one for one in http.get("/audit").json()["items"] if one["what"] == "history.unsign"]
        assert len(records) >= 2 and all(
            set(one["details"]) == {"author_sha256", "rows", "snapshots"} for one in records
        )
        assert is_problem(http.post("/unsign", json={"author": ""}), 422)


def writers(http: Client, room: str) -> set[str | None]:
    return {one["author"] for one in http.get(rooms(room, "/activity")).json()["items"]}
