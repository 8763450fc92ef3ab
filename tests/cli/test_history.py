"""`collab history` and `collab erase`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("running", [False, True])
def test_who_wrote_what_and_the_way_back(collab, running):
    with ExitStack() as stack:
        env = {"COLLAB_ADMIN__TOKEN": TOKEN}
        if running:
            server = stack.enter_context(Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env=env))
            env |= {"COLLAB_SERVER__PORT": str(server.port)}

        def ask(*arguments: str) -> Any:
            done = collab(*arguments, "--store", URL, "--json", **env)
            assert done.exit_code == 0, done.output + done.stderr
            return json.loads(done.stdout)

        found = ask("attribution", "minutes")
        assert {part["author"] for part in found["runs"]} == {"ana", None, "ben"}
        assert collab("undo", "minutes", "--user", "ben", "--store", URL, **env).exit_code == 2, "it asks"
        done = ask("undo", "minutes", "--user", "ben", "--since", "1970-01-01T00:00:00Z", "--yes")
        assert done["bytes"] and done["before"]["reason"] == "before restore"
        found = ask("attribution", "minutes")
        assert {part["author"] for part in found["runs"]} == {"ana", None}
        assert [one["author"] for one in found["deleted"]] == ["ben"]
        shown = collab("attribution", "minutes", "--deleted", "--store", URL, **env)
        assert "1 parts" in shown.stdout and "ben" in shown.stdout
        assert (
            "nothing had to change" in collab("undo", "other", "--user", "eva", "--yes", "--store", URL, **env).stdout
        )


@pytest.mark.parametrize("running", [False, True])
def test_a_user_is_erased(collab, running):
    name = b"ana whom nobody may find again"

    async def keep() -> None:
        async with open_store(URL) as store:
            for room in ("minutes", "other"):
                await store.append([Entry(room, Doc({"u": Text("x")}).get_update(), 2.0, name.decode())])

    anyio.run(keep)
    with ExitStack() as stack:
        env = {"COLLAB_ADMIN__TOKEN": TOKEN}
        if running:
            server = stack.enter_context(Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env=env))
            env |= {"COLLAB_SERVER__PORT": str(server.port)}
        assert collab("erase", "--yes", "--store", URL, **env).exit_code == 2, "what?"
        done = collab("erase", "other", "--user", name.decode(), "--yes", "--store", URL, "--json", **env)
        assert json.loads(done.stdout) == {"rows": 1, "snapshots": 0}, done.stderr
        done = collab("erase", "--user", name.decode(), "--yes", "--store", URL, **env)
        assert "1 edits and 0 snapshots in all rooms name ana" in done.stdout
    assert not [path for path in Path().rglob("*") if path.is_file() and name in path.read_bytes()]
    assert len(json.loads(collab("rooms", "--store", URL, "--json").stdout)) == 2


@pytest.mark.parametrize("running", [False, True])
def test_a_refusal_ends_with_the_same_code(collab, running):
    """Exit code 4 for what is damaged, whether a server says so or the command itself."""

    async def keep() -> None:
        async with open_store(URL) as store:
            await store.append([Entry("broken", b"no update", 1.0)])

    anyio.run(keep)
    with ExitStack() as stack:
        env = {"COLLAB_ADMIN__TOKEN": TOKEN}
        if running:
            server = stack.enter_context(Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env=env))
            env |= {"COLLAB_SERVER__PORT": str(server.port)}
        assert collab("snapshot", "create", "broken", "--store", URL, **env).exit_code == 4
        assert collab("snapshot", "create", "nowhere", "--store", URL, **env).exit_code == 1
