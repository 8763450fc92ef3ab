"""Webhooks over HTTP: what waits, what is dead, another try, a test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.receiver import SECRET, Receiver
from tests.support.server import Server
from tests.web.api.conftest import BEARER, TOKEN, Client, is_problem


def until(check: Any, within: float = 15.0) -> None:
    end = time.monotonic() + within
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


class Moody(Receiver):
    """Takes nothing of what is called `bad`, as long as it is cross."""

    cross = True

    def __init__(self) -> None:
        super().__init__(lambda event: 410 if self.cross and event["room"] == "bad" else 204)


@pytest.fixture
def receiver() -> Iterator[Moody]:
    with Moody() as there:
        yield there


@pytest.fixture
def told(receiver: Moody) -> Iterator[Client]:
    env = {"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_HOOKS__URLS": receiver.url, "COLLAB_HOOKS__SECRET": SECRET}
    with (
        Server(env=env | {"COLLAB_HOOKS__DEBOUNCE_SECONDS": "0"}) as server,
        Client(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as http,
    ):
        yield http
        assert not server.complaints()


def test_dead_ones_are_listed_and_tried_again(told, receiver):
    for name in ("good", "bad"):
        assert told.put_text(name, "x").is_success
    until(lambda: told.get("/hooks").json()["dead"] == 2)
    page = told.get("/hooks", params={"state": "dead", "limit": 1}).json()
    (last,) = page["items"]
    rest = told.get("/hooks", params={"state": "dead", "cursor": page["next"]}).json()
    (first,) = rest["items"]
    assert rest["next"] is None and first["id"] < last["id"]
    assert (first["event"], last["event"]) == ("room.created", "document.changed")
    assert (first["room"], first["url"], first["attempts"], first["error"]) == ("bad", receiver.url, 1, "status 410")
    assert first["dead"] and first["details"] == {"epoch": 1}
    receiver.cross = False
    assert told.post("/hooks/replay", json={"ids": [first["id"], 10**6]}).json() == {"replayed": 1}
    until(lambda: [event["id"] for event in receiver.first("bad")] == [first["event_id"]])
    assert told.post("/hooks/replay", json={"all": True}).json() == {"replayed": 1}
    until(lambda: len(receiver.first("bad")) == 2)
    until(lambda: told.get("/hooks").json() == {"items": [], "next": None, "waiting": 0, "dead": 0})
    audit = [(one["what"], one["details"]) for one in told.get("/audit").json()["items"]]
    assert audit[:2] == [("hooks.replay", {"events": 1})] * 2
    assert is_problem(told.post("/hooks/replay", json={}), 422)
    assert is_problem(told.post("/hooks/replay", json={"ids": [1], "all": True}), 422)


def test_a_test(told, receiver):
    answer = told.post("/hooks/test")
    assert answer.status_code == 202
    until(lambda: [event["id"] for event in receiver.first("")] == [answer.json()["event_id"]])
    assert receiver.first("")[0]["event"] == "test" and not receiver.wrong
    assert told.get("/audit").json()["items"][0]["what"] == "hooks.test"


def test_without_a_url(http):
    assert is_problem(http.post("/hooks/test"), 409)
    assert http.get("/hooks").json()["items"] == []
