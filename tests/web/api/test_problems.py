"""Whatever goes wrong is told as problem+json, and nothing of what was sent is repeated."""

from __future__ import annotations

import json

import httpx
import pytest

from collab.errors import DamagedRoom, Draining, NoSuchRoom, TooMany
from collab.settings import Settings
from collab.store.memory import MemoryStore
from collab.web.api import problems
from collab.web.app import App
from tests.web.api.conftest import BEARER, TOKEN, is_problem


@pytest.mark.parametrize(
    ("error", "status"),
    [(NoSuchRoom("a"), 404), (TooMany("rooms", 1), 429), (DamagedRoom("a", "x"), 423), (Draining(), 503)],
)
def test_errors_of_ours(error, status):
    answer = problems.of(error)
    assert answer.status_code == status
    found = json.loads(bytes(answer.body))
    assert found["type"] == f"urn:collab:error:{type(error).__name__}" and found["detail"] == str(error)
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_half_of_a_character():
    assert "\\udc80" in json.loads(bytes(problems.of(NoSuchRoom("a\udc80")).body))["detail"]


def test_routing(http):
    assert is_problem(http.get("/nothing"), 404)
    answer = http.patch("/rooms")
    assert is_problem(answer, 405) and answer.headers["allow"] == "GET"


def test_forms(http):
    answer = http.get("/rooms", params={"limit": "secret"})
    assert is_problem(answer, 422)
    assert answer.json()["errors"][0]["where"] == ["query", "limit"] and "secret" not in answer.text
    for body in (b"", b"{", b"\xff", b"[]", b'{"level": "secret"}', b'{"level": NaN}', b"[" * 100_000):
        answer = http.put("/server/log-level", content=body, headers={"content-type": "application/json"})
        assert is_problem(answer, 400 if body == b"\xff" or len(body) > 1000 else 422) and "secret" not in answer.text


@pytest.mark.anyio
async def test_what_nobody_foresaw(caplog):
    class Broken(MemoryStore):
        def rooms(self):
            raise ZeroDivisionError("with a secret")

    async with App(Settings(store={"url": "memory:"}, admin={"token": TOKEN}), store=Broken()) as app:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server/api/v1") as client:
            answer = await client.get("/rooms", headers=BEARER)
            assert is_problem(answer, 500) and "secret" not in answer.text
            metrics = app.hub.metrics
            assert metrics.registry.get_sample_value("collab_api_requests_total", {"outcome": "failed"}) == 1
    assert "request failed" in caplog.text
