"""`collab hooks`: on the store when no server runs, through the server when one does."""

from __future__ import annotations

import json
import time

import anyio
import pytest

from collab.store import Entry, open_store
from collab.store.outbox import Event, Outcome, outbox_of
from tests.support.receiver import SECRET, Receiver
from tests.support.server import Server

URL = "sqlite:///rooms.db"
TOKEN = "a token that opens the admin interface"


@pytest.fixture(autouse=True)
def dead() -> None:
    """A store in which one event waits, and one is dead."""

    async def keep() -> None:
        async with open_store(URL) as store:
            outbox = outbox_of(store)
            assert outbox is not None
            await outbox.want(tuple(Event), 1, 0.0)
            await store.append([Entry("one\n", b"\0\0", 1000.0), Entry("two", b"\0\0", 1000.0)])
            first = (await outbox.due(0, 1.0, 1))[0]
            await outbox.settle([Outcome(first.seq, "status 410")], time.time())

    anyio.run(keep)


def test_without_a_server(collab):
    done = collab("hooks", "list", "--store", URL)
    assert done.exit_code == 0 and "1 waiting" in done.output and "two" in done.output
    done = collab("hooks", "list", "--dead", "--store", URL)
    assert "1 dead" in done.output and r"one\n" in done.output and "status 410" in done.output
    (found,) = json.loads(collab("hooks", "list", "--dead", "--json", "--store", URL).stdout)
    assert collab("hooks", "replay", "--store", URL).exit_code == 2
    assert collab("hooks", "replay", "1", "--all", "--store", URL).exit_code == 2
    done = collab("hooks", "replay", str(found["id"]), "--store", URL)
    assert done.exit_code == 0 and "1 events wait again" in done.output
    assert [one["room"] for one in json.loads(collab("hooks", "list", "--json", "--store", URL).stdout)] == [
        *("one\n", "two")
    ], "a command without the settings of the server gives nothing up"
    assert collab("hooks", "test", "--store", URL).exit_code == 1


def test_a_command_tells_nobody_by_itself(collab):
    with Receiver() as receiver:
        env = {"COLLAB_HOOKS__URLS": receiver.url, "COLLAB_HOOKS__SECRET": SECRET}
        assert json.loads(collab("hooks", "test", "--json", "--store", URL, **env).stdout)["event_id"]
        assert len(json.loads(collab("hooks", "list", "--json", "--store", URL, **env).stdout)) == 2
        assert receiver.asked == 0


def test_through_a_server(collab, tmp_path):
    with Receiver() as receiver:
        env = {"COLLAB_HOOKS__URLS": receiver.url, "COLLAB_HOOKS__SECRET": SECRET, "COLLAB_ADMIN__TOKEN": TOKEN}
        with Server(store=f"sqlite:///{tmp_path}/rooms.db", env=env) as server:
            there = {"COLLAB_SERVER__PORT": str(server.port), "COLLAB_ADMIN__TOKEN": TOKEN}
            assert "1 events wait again" in collab("hooks", "replay", "--all", "--store", URL, **there).output
            assert "on its way" in collab("hooks", "test", "--store", URL, **there).output
            for _ in range(100):
                if len(receiver.first()) == 5:
                    break
                anyio.run(anyio.sleep, 0.1)
            assert {(one["event"], one["room"]) for one in receiver.first()} == {
                *(("room.created", "one\n"), ("document.changed", "one\n")),
                *(("room.created", "two"), ("document.changed", "two"), ("test", "")),
            }
