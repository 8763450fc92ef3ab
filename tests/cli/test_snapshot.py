"""`collab snapshot`: on the store when no server runs, through the server when one does, with the same words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Text

from collab.store import Entry, open_store
from tests.support.server import Server

URL = "sqlite:///rooms.db"
TOKEN = "a token that opens the admin interface"
ROOM = "team/minutes ü"


class Typist:
    """Writes rows into the store, of one document."""

    def __init__(self) -> None:
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("text", type=Text)

    def types(self, text: str, author: str = "ana") -> None:
        before = self.doc.get_state()
        self.text += text

        async def keep() -> None:
            async with open_store(URL) as store:
                await store.append([Entry(ROOM, self.doc.get_update(before), 1000.0, author)])

        anyio.run(keep)


@pytest.fixture
def typist() -> Typist:
    typist = Typist()
    typist.types("first")
    return typist


@pytest.fixture(params=["store", "server"])
def ask(request, collab, typist) -> Iterator[Any]:
    """A command, on the store or through a server that has it; its answer as JSON."""

    def run(*arguments: str) -> Any:
        done = collab(*arguments, "--store", URL, "--json", **env)
        assert done.exit_code == 0, done.output + done.stderr
        return json.loads(done.stdout)

    if request.param == "store":
        env: dict[str, str] = {}
        yield run
        return
    typist.types(" second")
    with Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        env = {"COLLAB_SERVER__PORT": str(server.port), "COLLAB_ADMIN__TOKEN": TOKEN}
        yield run
        assert not server.complaints()


def test_all_of_it(ask, collab):
    made = ask("snapshot", "create", ROOM, "--label", "before the talk", "--note", "n")
    assert made["id"] == 1 and made["label"] == "before the talk" and made["room"] == ROOM
    assert ask("snapshot", "show", ROOM, "1") == made
    assert ask("snapshot", "list", ROOM) == [made]
    assert ask("snapshot", "pin", ROOM, "1")["pinned"] is True
    assert ask("snapshot", "pin", ROOM, "1", "--off")["pinned"] is False
    assert ask("snapshot", "restore", ROOM, "1", "--yes")["bytes"] == 0, "it is what is there"
    into = ask("snapshot", "restore", ROOM, "1", "--into", "another")
    assert into["room"] == "another" and into["bytes"] > 0
    difference = ask("snapshot", "diff", ROOM, "seq:0", "1")
    assert difference["text"]["text"][0]["insert"].startswith("first")
    assert ask("snapshot", "diff", ROOM, "1") == {"text": {}, "nodes": {}}
    second = ask("snapshot", "create", ROOM)["id"]
    assert [one["id"] for one in ask("snapshot", "list", ROOM)] == [second, 1]
    ask("snapshot", "delete", ROOM, "1", "--yes")
    assert [one["id"] for one in ask("snapshot", "list", ROOM)] == [second]


def test_restored_on_the_store(collab, typist):
    """What was typed after the snapshot goes, stays in another snapshot, and comes back from there."""
    assert collab("snapshot", "create", ROOM, "--label", "L", "--store", URL).stdout.startswith("snapshot 1 of team/")
    typist.types(", then more")
    done = collab("snapshot", "restore", ROOM, "1", "--yes", "--store", URL)
    assert done.exit_code == 0 and "what it was before is snapshot 2" in done.stdout, done.output
    assert collab("export", ROOM, "--format", "text", "--store", URL).stdout == "first\n"
    assert "-[, then more]" in collab("snapshot", "diff", ROOM, "2", "now", "--store", URL).stdout
    shown = collab("snapshot", "show", ROOM, "2", "--format", "text", "--store", URL)
    assert shown.stdout == "first, then more\n"
    assert collab("snapshot", "restore", ROOM, "2", "--yes", "--store", URL).exit_code == 0
    assert collab("export", ROOM, "--format", "text", "--store", URL).stdout == "first, then more\n"
    assert collab("snapshot", "restore", ROOM, "seq:1", "--yes", "--store", URL).exit_code == 0
    assert collab("export", ROOM, "--format", "text", "--store", URL).stdout == "first\n"
    table = collab("snapshot", "list", ROOM, "--store", URL).stdout
    assert "before restore" in table and "L" in table
    assert not list(Path().glob("*-wal"))


def test_what_asks_wants_an_answer(collab, typist):
    assert collab("snapshot", "create", ROOM, "--store", URL).exit_code == 0
    for command in (("restore", ROOM, "1"), ("delete", ROOM, "1")):
        asked = collab("snapshot", *command, "--store", URL)
        assert asked.exit_code == 2 and "say --yes" in asked.stderr
    assert len(json.loads(collab("snapshot", "list", ROOM, "--store", URL, "--json").stdout)) == 1


def test_what_there_is_not(collab, typist):
    for command in (
        ("show", ROOM, "7"),
        ("delete", ROOM, "7", "--yes"),
        ("restore", ROOM, "7", "--yes"),
        ("create", "nowhere"),
        ("pin", "nowhere", "1"),
        ("diff", ROOM, "nonsense"),
        ("restore", ROOM, "seq:99", "--yes"),
    ):
        done = collab("snapshot", *command, "--store", URL)
        assert done.exit_code == 1 and len(done.stderr.strip().splitlines()) == 1, (command, done.output, done.stderr)
    assert collab("snapshot", "restore", ROOM, "now", "--yes", "--store", URL).exit_code == 2
    assert collab("snapshot", "list", ROOM, "--store", "sqlite:///nowhere.db").exit_code == 2
    assert not Path("nowhere.db").exists()
