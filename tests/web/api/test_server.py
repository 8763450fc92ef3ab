"""The server itself: how it is, its settings without secrets, what it logs, and how it is drained."""

from __future__ import annotations

import httpx
import pytest

from tests.support.raw import Peer
from tests.support.server import Server
from tests.support.waiting import until
from tests.web.api.conftest import BEARER, TOKEN, is_problem


def test_stats(server, http):
    found = http.get("/server").json()
    assert found["process"] == server.pid and found["store_up"] and not found["draining"]
    assert found["version"] and found["uptime_seconds"] >= 0 and found["connections"] == 0


def test_settings_without_secrets(server, http):
    answer = http.get("/server/settings")
    found = {one["name"]: one for one in answer.json()}
    assert found["admin.token"]["value"] == "********" and found["admin.token"]["source"] == "COLLAB_ADMIN__TOKEN"
    assert found["server.port"]["value"] == str(server.port)
    assert TOKEN not in answer.text


def test_log_level(server, http):
    assert http.get("/server").json()["log_level"] == "info"
    assert http.put("/server/log-level", json={"level": "warning"}).json() == {"level": "warning"}
    assert http.get("/server").json()["log_level"] == "warning"
    lines = len(server.logs().splitlines())
    http.put_text("quiet", "a")
    assert len(server.logs().splitlines()) == lines
    assert http.put("/server/log-level", json={"level": "info"}).status_code == 200
    http.put_text("quiet", "b")
    assert len(server.logs().splitlines()) > lines
    for level in ("loud", "", None, 3, "INFO"):
        assert is_problem(http.put("/server/log-level", json={"level": level}), 422)


@pytest.mark.anyio
async def test_drain():
    env = {"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_SERVER__DRAIN_SECONDS": "0.2"}
    with Server(env=env) as server:
        async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER) as http:
            peer = await Peer.open(server.url, "room")
            await peer.synced.wait()
            await peer.write("typed")
            assert (await http.post("/server/drain")).status_code == 202
            assert (await peer.closed()).code == 1012
            await peer.leave()
            await until(lambda: server.get("/ready")[0] == 503, "it is not ready")
            assert (await http.get("/server")).json()["draining"]
            assert (await http.get("/rooms/room/document")).json() == {"text": "typed"}
            headers = {"content-type": "text/plain"}
            assert is_problem(await http.put("/rooms/room/document", content="x", headers=headers), 503)
            assert (await http.post("/server/drain")).status_code == 202
        server.terminate()
        assert server.wait(10).code == 0
