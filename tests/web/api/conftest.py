"""A real server with an admin token, and whoever asks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.server import Server

TOKEN = "a token that opens the admin interface"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN}) as running:
        yield running
        assert not running.complaints()


class Client(httpx.Client):
    """An administrator's program."""

    def document(self, room: str) -> str:
        return f"/rooms/{quote(room, safe='')}/document"

    def text(self, room: str, **query: str) -> str:
        answer = self.get(self.document(room), params={"format": "text"} | query)
        assert answer.status_code == 200, answer.text
        return answer.text.removesuffix("\n")

    def put_text(self, room: str, text: str, **headers: str) -> httpx.Response:
        return self.put(self.document(room), content=text, headers={"content-type": "text/plain"} | headers)


@pytest.fixture(scope="package")
def http(server: Server) -> Iterator[Client]:
    with Client(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as client:
        yield client


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return f"{request.module.__name__}/{request.node.name}"


def is_problem(answer: httpx.Response, status: int, **fields: Any) -> bool:
    """Whether an answer is a problem (RFC 9457) of this status that says so."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status and found["title"] and found["detail"] and found["type"]
    return fields.items() <= found.items()
