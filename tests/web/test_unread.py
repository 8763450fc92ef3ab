"""Answers that come before the request was read, of a real server."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

import pytest

from tests.support.server import Server

ADMIN = "an-admin-token-of-32-characters!"
BEARER = {"Authorization": f"Bearer {ADMIN}"}
BODY = b"x" * 1_000_000


@pytest.fixture(scope="module")
def server():
    with Server(env={"COLLAB_ADMIN__TOKEN": ADMIN}) as server:
        yield server


@pytest.fixture
def connection(server):
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=10)) as connection:
        yield connection


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/import?existing=perhaps", {}, 422),
        ("/import", {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_who_is_answered_early_is_told_that_the_connection_ends(connection, path, headers, status):
    connection.putrequest("POST", f"/api/v1{path}")
    for name, value in {**BEARER, "Content-Length": str(len(BODY)), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(BODY[:10])  # the rest may come when the answer is there
    answer = connection.getresponse()
    assert answer.status == status and answer.getheader("connection") == "close", answer.read()


def test_who_was_heard_out_may_go_on(connection):
    for _ in range(3):
        connection.request("POST", "/api/v1/unsign", json.dumps({"user": "nobody"}), BEARER)
        answer = connection.getresponse()
        assert answer.read() and answer.status < 500 and answer.getheader("connection") != "close"
    connection.request("GET", "/health")
    answer = connection.getresponse()
    assert answer.read() and answer.status == 200 and answer.getheader("connection") != "close"
