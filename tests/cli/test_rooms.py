"""`collab rooms`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from collab.store import Entry, open_store

URL = "sqlite:///rooms.db"


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
        "covers": 0,
        "checkpoint_bytes": 0,
        "log_rows": 2,
        "log_bytes": 4,
        "changed": rooms[3]["changed"],
        "forgotten": 0,
    }


@pytest.mark.usefixtures("_filled")
def test_table(collab):
    result = collab("rooms", COLLAB_STORE__URL=URL)
    assert result.exit_code == 0
    assert "4 rooms" in result.stdout
    assert "a/b c" in result.stdout
    assert "[red]x" in result.stdout
    assert "\x1b[2J" not in result.stdout


def test_an_empty_store(collab):
    assert json.loads(collab("rooms", "--store", "memory:", "--json").stdout) == []
    assert "0 rooms" in collab("rooms", "--store", "memory:").stdout


def test_no_store(collab):
    result = collab("rooms", "--store", URL)
    assert result.exit_code == 2
    assert "rooms.db does not exist" in result.stderr


@pytest.mark.usefixtures("_filled")
def test_a_store_in_use(collab):
    async def hold() -> int:
        async with open_store(URL):
            result = await asyncio.to_thread(collab, "rooms", "--store", URL)
            assert "in use by another process" in result.stderr
            return int(result.exit_code)

    assert asyncio.run(hold()) == 3
