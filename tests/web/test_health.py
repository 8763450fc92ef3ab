"""What load balancers, orchestrators and Prometheus are told."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pycrdt import Text

from collab.errors import Unavailable
from collab.settings import Settings
from collab.store import Entry
from collab.store.memory import MemoryStore
from collab.web import health
from collab.web.app import App
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Moody(MemoryStore):
    """A store that can be told to be down, and counts how often it is asked."""

    down = False
    broken = False
    checks = 0

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        if self.broken:
            raise Unavailable("the store")
        return await super().append(entries)

    async def check(self) -> None:
        self.checks += 1
        if self.down:
            raise Unavailable("the store")
        await super().check()


@pytest.fixture
async def store() -> Moody:
    return Moody()


@pytest.fixture
async def app(store):
    async with App(Settings(store={"url": "memory:"}), store=store) as app:
        await anyio.wait_all_tasks_blocked()  # what is in the outbox has been counted
        store.checks = 0
        yield app


@pytest.fixture
async def http(app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        yield http


@pytest.mark.parametrize("path", ["/ready", "/health"])
async def test_ready(http, path):
    answer = await http.get(path)
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok" and body["problems"] == [] and body["store"] == "up"
    assert answer.headers["cache-control"] == "no-store"


async def test_store_down_and_up_again(http, store, monkeypatch):
    monkeypatch.setattr(health, "CHECK_SECONDS", 0)
    store.down = True
    answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["store"] == "down" and answer.json()["problems"]
    assert (await http.get("/live")).status_code == 200, "a restart would not help"
    store.down = False
    assert (await http.get("/ready")).status_code == 200


async def test_a_write_that_failed_counts_although_the_check_passes(app, http, store):
    assert (await http.get("/ready")).status_code == 200
    store.broken = True
    async with app.hub.room("room") as room:
        room.ydoc["text"] = Text("typed")
        await until(lambda: not app.hub.commits.store_up, "the failed write noticed")
        assert (await http.get("/ready")).status_code == 503
        store.broken = False
        await until(lambda: app.hub.commits.store_up, "the write tried again")
    assert (await http.get("/ready")).status_code == 200
    assert (await store.load("room")).seq == 1


@pytest.mark.parametrize("error", [OSError("EIO"), ZeroDivisionError()])
async def test_a_store_that_fails_as_nobody_foresaw_is_down_too(http, store, monkeypatch, error):
    async def check() -> None:
        raise error

    monkeypatch.setattr(store, "check", check)
    answer = await http.get("/ready")
    assert answer.status_code == 503 and answer.json()["store"] == "down"


async def test_a_store_that_does_not_answer(app, http, store, monkeypatch):
    """Nobody who polls hangs with it, and one question at a time is enough."""
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.1)

    async def check() -> None:
        store.checks += 1
        await anyio.sleep_forever()

    monkeypatch.setattr(store, "check", check)
    with anyio.fail_after(2):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(http.get, "/ready")
    assert store.checks == 1
    assert (await http.get("/ready")).status_code == 503
    assert b"collab_store_up 0.0" in app.hub.metrics.render()[0]


async def test_draining(app, http):
    app.hub.draining = True
    answer = await http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["draining"] is True
    assert (await http.get("/live")).status_code == 200


async def test_the_store_is_not_asked_at_every_poll(http, store):
    for _ in range(20):
        await http.get("/ready")
    assert store.checks == 1


async def test_metrics_page(http):
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["collab_store_up"].samples[0].value == 1
    assert "process_resident_memory_bytes" in families and "process_cpu_seconds" in families
    assert not any("room" in sample.labels for family in families.values() for sample in family.samples)


def client(app: App, port: int = 80) -> httpx.AsyncClient:
    """Somebody who asks at that port."""

    async def asked(scope, receive, send):
        await app({**scope, "server": ("127.0.0.1", port)}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(asked), base_url="http://server")


async def test_a15_metrics_with_a_token():
    async with App(Settings(store={"url": "memory:"}, server={"metrics_token": "hush"})) as app:
        async with client(app) as http:
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic hush"}):
                answer = await http.get("/metrics", headers=headers)
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
                assert "collab_" not in answer.text
            answer = await http.get("/metrics", headers={"authorization": "Bearer hush"})
            assert answer.status_code == 200 and "collab_rooms" in answer.text
            for path in ("/live", "/ready", "/health"):
                assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("token", [None, "hush"])
async def test_a15_metrics_at_the_internal_port(token):
    server = {"port": 1234, "internal_port": 9090} | ({"metrics_token": token} if token else {})
    shown = {"authorization": "Bearer hush"}
    async with App(Settings(store={"url": "memory:"}, server=server)) as app:
        async with client(app, 1234) as outside, client(app, 9090) as inside:
            answer = await outside.get("/metrics", headers=shown)
            assert answer.status_code == 404 and "collab_" not in answer.text
            assert (await inside.get("/metrics", headers=shown)).status_code == 200
            assert (await inside.get("/metrics")).status_code == (401 if token else 200)
            for path in ("/live", "/ready", "/health"):
                assert (await outside.get(path)).status_code == (await inside.get(path)).status_code == 200


async def test_other_paths_say_what_this_is(http):
    answer = await http.get("/some-room")
    assert answer.status_code == 404
    assert "WebSocket" in answer.text and "/health" in answer.text
