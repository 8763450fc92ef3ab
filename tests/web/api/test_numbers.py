"""The server in numbers: they move with what happens."""

from __future__ import annotations

import pytest

from tests.support.raw import Peer
from tests.support.waiting import until
from tests.web.api.conftest import is_problem


@pytest.mark.anyio
async def test_numbers_move_with_what_happens(server, http, room):
    before = http.get("/server/numbers").json()
    assert before["store_up"] and before["quarantined"] == 0
    peer = await Peer.open(server.url, room)
    await peer.synced.wait()
    for number in range(5):
        await peer.write(f"{number}")

    def all_came() -> bool:
        now = http.get("/server/numbers").json()
        return bool(now["edits"] == before["edits"] + 5 and not now["uncommitted_updates"])

    await until(all_came, "five edits are not counted and committed")
    now = http.get("/server/numbers").json()
    assert now["connections"] == before["connections"] + 1 and now["rooms_open"] == before["rooms_open"] + 1
    assert now["time"] > before["time"] and now["uncommitted_bytes"] == 0
    await peer.leave()


def test_times_have_their_bounds(server, http):
    spread = http.get("/server/numbers").json()["ack"]
    assert len(spread["counts"]) == len(spread["bounds"]) + 1 and spread["bounds"] == sorted(spread["bounds"])
    assert sum(spread["counts"]) == server.metrics().get("collab_ack_seconds_count")


def test_they_are_those_of_the_metrics(server, http):
    assert is_problem(http.get("/rooms/a%01b"), 400)  # a BadRoomName
    metrics, found = server.metrics(), http.get("/server/numbers").json()
    assert found["errors"] == metrics.get("collab_errors_total") > 0
    assert found["refused"] == metrics.get("collab_refused_total")
    assert found["rooms_idle"] == metrics.get("collab_rooms", state="idle")
