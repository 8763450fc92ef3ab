"""A backup over HTTP: the whole store, its checksum, who may have it, and nothing left behind."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import anyio
import httpx
import pytest

from collab import backup
from tests.support.server import Server
from tests.web.api.conftest import BEARER, is_problem


def test_it_is_the_store(server, http, tmp_path):
    assert http.put_text("backup", "hello").status_code in (200, 201)
    answer = http.post("/server/backup")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/vnd.sqlite3"
    assert answer.headers["content-disposition"].startswith('attachment; filename="collab-')
    digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    (tmp_path / "copy.db").write_bytes(answer.content)
    found = anyio.run(backup.verify, tmp_path / "copy.db")
    assert found.rooms >= 1 and not found.damaged
    assert http.get("/audit").json()["items"][0]["what"] == "server.backup"
    assert not [name for name in os.listdir(server.folder) if "backup" in name]


def test_who_goes_away_leaves_nothing(server, http):
    for _ in range(3):
        with http.stream("POST", "/server/backup") as answer:
            assert answer.status_code == 200
    assert http.post("/server/backup").status_code == 200
    assert not [name for name in os.listdir(server.folder) if "backup" in name]


def test_what_a_server_left_that_died_is_no_hindrance(server, http):
    Path(f"{server.store.removeprefix('sqlite:///')}.backup").write_bytes(b"half")
    assert http.post("/server/backup").content.startswith(b"SQLite format 3")


@pytest.mark.anyio
async def test_one_at_a_time(server):
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=30) as http:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await http.post("/server/backup"))

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ask)
        statuses = {answer.status_code for answer in answers}
        assert 200 in statuses and statuses <= {200, 409}
        assert all(is_problem(one, 409) for one in answers if one.status_code == 409)
        assert (await http.post("/server/backup")).status_code == 200


def test_a_store_without_a_file():
    env = {"COLLAB_ADMIN__TOKEN": BEARER["authorization"].removeprefix("Bearer ")}
    with Server(store="memory:", env=env) as server:
        answer = httpx.post(f"{server.http_url}/api/v1/server/backup", headers=BEARER)
        assert is_problem(answer, 501)
        assert is_problem(httpx.post(f"{server.http_url}/api/v1/server/backup"), 401)
