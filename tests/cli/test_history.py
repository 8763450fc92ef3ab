"""`collab history` and `collab erase`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from pycrdt import Doc, Text

from collab.store import Entry, Reason, open_store
from tests.support.server import Server

URL = "sqlite:///rooms.db"
TOKEN = "a token that opens the admin interface"
MARK = b"what nobody may find again"


@pytest.fixture(autouse=True)
def _rooms() -> None:
    async def keep() -> None:
        async with open_store(URL) as store:
            doc: Doc = Doc()
            text = doc.get("t", type=Text)
            for at, author in ((1000.0, "ana"), (1010.0, "ana"), (1020.0, None), (9000.0, "ben")):
                before = doc.get_state()
                text += MARK.decode()
                await store.append([Entry("minutes", doc.get_update(before), at, author)])
            await store.add_snapshot("minutes", doc.get_update(), covers=4, time=1.0, reason=Reason.MANUAL)
            await store.append([Entry("other", Doc({"t": Text("kept")}).get_update(), 1.0)])

    anyio.run(keep)


def test_activity(collab):
    found = json.loads(collab("history", "minutes", "--store", URL, "--json").stdout)
    assert [(one["author"], one["edits"], one["first"], one["last"]) for one in found] == [
        ("ana", 2, 1, 2),
        (None, 1, 3, 3),
        ("ben", 1, 4, 4),
    ]
    shown = collab("history", "minutes", "--store", URL)
    assert "3 sessions" in shown.stdout and "not known" in shown.stdout and "1970-01-01 00:16:40" in shown.stdout
    assert collab("history", "nowhere", "--store", URL).exit_code == 1


def test_activity_through_the_server(collab):
    here = json.loads(collab("history", "minutes", "--gap", "1000", "--store", URL, "--json").stdout)
    with Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        there = collab("history", "minutes", "--gap", "1000", "--server", server.http_url, "--token", TOKEN, "--json")
        assert json.loads(there.stdout) == here


@pytest.mark.parametrize("running", [False, True])
def test_erase(collab, running):
    assert MARK in Path("rooms.db").read_bytes()
    assert collab("erase", "minutes", "--store", URL).exit_code == 2, "it asks"
    assert MARK in Path("rooms.db").read_bytes()
    with ExitStack() as stack:
        env = {"COLLAB_ADMIN__TOKEN": TOKEN}
        if running:
            server = stack.enter_context(Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env=env))
            env |= {"COLLAB_SERVER__PORT": str(server.port)}
        done = collab("erase", "minutes", "--yes", "--store", URL, "--json", **env)
        assert json.loads(done.stdout) == {"name": "minutes", "rows": 4, "snapshots": 1}, done.stderr
        again = collab("erase", "minutes", "--yes", "--store", URL, **env)
        assert again.exit_code == 1 and "there is no room" in again.stderr
    assert not [path for path in Path().rglob("rooms.db*") if path.is_file() and MARK in path.read_bytes()]
    assert [room["name"] for room in json.loads(collab("rooms", "--store", URL, "--json").stdout)] == ["other"]
