"""Who is in a room: what editors say of themselves."""

from __future__ import annotations

import pytest

from tests.support.raw import Peer
from tests.support.waiting import until


def test_nobody(http, room):
    assert http.get(f"/rooms/{room.replace('/', '%2F')}/presence").json() == {"total": 0, "items": []}


@pytest.mark.anyio
async def test_what_they_say_until_they_leave(server, http, room):
    path = f"/rooms/{room.replace('/', '%2F')}/presence"
    peers = [await Peer.open(server.url, room) for _ in range(3)]
    for number, peer in enumerate(peers):
        await peer.synced.wait()
        await peer.show(peer.doc.client_id, 1, {"user": {"name": f"Ü {number}", "color": "#0a6391"}})
    await until(lambda: http.get(path).json()["total"] == 3, "not all three are there")
    found = http.get(path).json()["items"]
    assert {one["state"]["user"]["name"] for one in found} == {"Ü 0", "Ü 1", "Ü 2"}
    assert [one["client"] for one in found] == sorted(one["client"] for one in found)
    short = http.get(path, params={"limit": 2}).json()
    assert (short["total"], len(short["items"])) == (3, 2)
    for peer in peers:
        await peer.leave()
    await until(lambda: http.get(path).json()["total"] == 0, "somebody stayed")
