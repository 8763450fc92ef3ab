"""`collab rooms`: the same list, whether a server has the store or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from collab.store import Entry, open_store
from tests.support.server import Server

URL = "sqlite:///rooms.db"
TOKEN = "a token that opens the admin interface"


async def _fill(entries: Sequence[Entry]) -> None:
    async with open_store(URL) as store:
        await store.append(entries)


@pytest.fixture
def _filled():
    names = ["b", "a/b c", "a", "\x1b[2J[red]x"]
    asyncio.run(_fill([Entry(name, b"\0\0", 1_700_000_000.0) for name in [*names, "b"]]))


@pytest.mark.usefixtures("_filled")
def test_json(collab):
    result = collab("rooms", "--store", URL, "--json")
    assert result.exit_code == 0
    rooms = json.loads(result.stdout)
    assert [room["name"] for room in rooms] == ["\x1b[2J[red]x", "a", "a/b c", "b"]
    assert rooms[3] == {
        "name": "b",
        "epoch": 1,
        "seq": 2,
        "log_rows": 2,
        "bytes": 4,
        "changed": "2023-11-14T22:13:20Z",
        "connections": 0,
    }
    found = json.loads(collab("rooms", "--search", "a", "--sort", "-bytes", "--store", URL, "--json").stdout)
    assert [room["name"] for room in found] == ["a", "a/b c"]
    assert collab("rooms", "--sort", "whim", "--store", URL).exit_code == 1


@pytest.mark.usefixtures("_filled")
def test_table(collab):
    result = collab("rooms", COLLAB_STORE__URL=URL)
    assert result.exit_code == 0
    assert "4 rooms" in result.stdout
    assert "a/b c" in result.stdout
    assert "[red]x" in result.stdout
    assert "\x1b[2J" not in result.stdout


def test_no_store(collab):
    result = collab("rooms", "--store", URL)
    assert result.exit_code == 2
    assert "rooms.db does not exist" in result.stderr


@pytest.mark.usefixtures("_filled")
def test_through_the_server_that_has_the_store(collab):
    here = json.loads(collab("rooms", "--store", URL, "--json").stdout)
    with Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        env = {"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_SERVER__PORT": str(server.port)}
        assert json.loads(collab("rooms", "--store", URL, "--json", **env).stdout) == here


@pytest.mark.usefixtures("_filled")
def test_a_store_in_use_by_nobody_who_answers(collab):
    async def hold() -> int:
        async with open_store(URL):
            result = await asyncio.to_thread(collab, "rooms", "--store", URL, COLLAB_SERVER__PORT="1")
            assert "where the server that has" in result.stderr
            return int(result.exit_code)

    assert asyncio.run(hold()) == 3
