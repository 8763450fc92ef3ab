"""What is set aside: listed and released while the server runs."""

from __future__ import annotations

from dataclasses import asdict

import anyio
import httpx
import pytest

from collab.deaths import Entry
from collab.notes import write
from tests.support.server import Server
from tests.web.api.conftest import BEARER, TOKEN, is_problem

ROOM = Entry("room", "minutes/ü", "load", "the server ended 2 times while it read it from the store (SIGSEGV)", 0.0)
UPDATE = Entry("update", "plan", "tick", "the server ended", 60.0, "ana", ("aa",), ((7, 0, 3),), "0102")


@pytest.fixture
def aside():
    """A server that finds two things set aside."""
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        server.terminate()
        server.wait()
        folder = server.folder / "rooms.sqlite3.crashes"
        for entry in (UPDATE, ROOM):
            write(folder / entry.file, asdict(entry))
        server.start()
        yield server


def test_nothing(http):
    assert http.get("/quarantine").json() == {"items": []}
    assert is_problem(http.delete("/rooms/plan/quarantine"), 404)


@pytest.mark.anyio
async def test_listed_and_released(aside):
    async with httpx.AsyncClient(base_url=f"{aside.http_url}/api/v1", headers=BEARER) as http:
        first, second = (await http.get("/quarantine")).json()["items"]
        assert (first["room"], first["kind"], first["why"], first["author"]) == ("minutes/ü", "room", ROOM.why, None)
        assert (second["room"], second["author"], second["since"]) == ("plan", "ana", "1970-01-01T00:01:00Z")
        assert (await http.get("/server/numbers")).json()["quarantined"] == 2
        room = "/rooms/minutes%2F%C3%BC"
        http.headers["content-type"] = "text/plain"
        assert is_problem(await http.put(f"{room}/document", content="a"), 423)

        assert (await http.delete(f"{room}/quarantine")).json() == {"items": [first]}
        assert (await http.get("/quarantine")).json() == {"items": [second]}
        await anyio.sleep(1.2)  # a running server looks once a second
        assert (await http.put(f"{room}/document", content="a")).is_success
        records = (await http.get("/audit")).json()["items"]
        record = next(one for one in records if one["what"] == "quarantine.release")
        assert (record["room"], record["details"]) == ("minutes/ü", {"kinds": ["room"]})
        assert is_problem(await http.delete(f"{room}/quarantine"), 404)
