"""A recorded session of two people, typed once more by two real editors; nothing may be missing or out of place."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.node import VERSIONS
from tests.support.raw import Peer
from tests.support.replay import end_content, replay
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

PAIRS = [("3.1", "2.1"), ("2.1", "3.0"), ("3.0", "3.1")]


async def holds(node, server: Server, room: str, wanted: str) -> None:
    """Fresh clients of every kind read exactly this."""
    for version in VERSIONS:
        fresh = await node.client(server.url, room, version=version)
        await fresh.text_is(wanted, within=20)
        await fresh.destroy()
    async with await Peer.open(server.url, room) as peer:
        await peer.text_is(wanted, within=20)


async def test_everybody_holds_the_end_content_also_after_kill_9(node, full, figure):
    wanted = end_content()
    with Server() as server:
        for pair in PAIRS if full else PAIRS[:1]:
            room = f"replay {'+'.join(pair)}"
            result = await replay(server.url, room, versions=pair)
            await holds(node, server, room, wanted)
            waits = sum(agent["waits"] for agent in result["agents"])
            figure(f"{result['edits']} edits by y-websocket {pair} in {result['seconds']:.1f} s, {waits} waits: exact")
        await asyncio.sleep(0.5)
        server.kill()
        server.start()
        for pair in PAIRS if full else PAIRS[:1]:
            await holds(node, server, f"replay {'+'.join(pair)}", wanted)
    figure(f"after kill -9 and restart: {len(wanted)} characters, exact")
