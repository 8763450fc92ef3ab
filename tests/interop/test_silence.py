"""Clients that say nothing for long, and one that has vanished: the first are left alone, the second is noticed."""

from __future__ import annotations

import asyncio
import time

import pytest
from pycrdt import Doc, Text

from tests.support.channels import over_httpx, over_websockets, synced
from tests.support.node import VERSIONS
from tests.support.proxy import Proxy
from tests.support.raw import Peer
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


async def silent_editor(server, node, room, version, seconds) -> None:
    """Presence off, nothing typed, nobody else there: 30 s without a word and the provider would reconnect."""
    silent = await node.client(server.url, room, version=version, awareness=False, quiet=True)
    await silent.synced()
    await asyncio.sleep(seconds)
    counted = await silent.counters()
    assert counted["sent"]["awareness"] == 0, "it was not silent"
    assert len(counted["opens"]) == 1 and counted["closes"] == [], f"{version} had to reconnect: {counted}"
    # It is still part of the room.
    other = await node.client(server.url, room)
    await other.insert("text", 0, "hello")
    await silent.text_is("hello")


async def silent_observer(server, node, room, version, seconds) -> None:
    """Reads along and never writes, beside somebody who types now and then."""
    writer = await node.client(server.url, room, version=version, quiet=True)
    observer = await node.client(server.url, room, version=version, awareness=False, quiet=True)
    await node.all_synced([writer, observer])
    for _ in range(3):
        await asyncio.sleep(seconds / 3)
        await writer.insert("text", -1, ".")
    for counted in await node.each([writer, observer], "counters"):
        assert len(counted["opens"]) == 1 and counted["closes"] == [], f"{version} had to reconnect: {counted}"
    await node.converged([writer, observer])


async def silent_provider(server, channel, room, seconds) -> None:
    """pycrdt's Provider has no presence and passes over the server's questions about it."""
    doc: Doc = Doc()
    text = doc.get("text", type=Text)
    async with synced(channel(server.url, room, pings=False), doc):
        await asyncio.sleep(seconds)
        async with await Peer.open(server.url, room) as peer:
            await peer.write("from outside")
            await until(lambda: str(text) == "from outside", "the edit in the silent provider's document")
            text.insert(len(text), ", and back")
            await peer.text_is("from outside, and back")


async def vanished(server, node, room) -> tuple[float, float]:
    """A laptop lid closes: no FIN, no RST, nothing. Seconds until its presence is gone, and until it is cut off."""
    async with Proxy(server.port) as network, await Peer.open(server.url, room) as bystander:
        gone = await node.client(network.url, room, version=VERSIONS[-1], awareness={"name": "gone"}, quiet=True)
        await gone.synced()
        await bystander.until(lambda: gone.client_id in bystander.presence, "the other's presence")
        network.blackhole()
        network.refuse = True  # it would try again after 30 s
        began = time.monotonic()
        await bystander.until(lambda: gone.client_id not in bystander.presence, "the ghost to be removed", 60)
        unseen = time.monotonic() - began
        await until(lambda: network.server_ends == 1, "the server to close the dead connection", 60)
        cut = time.monotonic() - began
        await gone.destroy()
        return unseen, cut


async def test_silence(server, node, room, full, figure):
    """All at once, because each of them waits. 62 s are past every watchdog (30 s) and our own patience (42 s)."""
    seconds = 90 if full else 62
    async with asyncio.TaskGroup() as group:
        for version in VERSIONS:
            group.create_task(silent_editor(server, node, f"{room}-alone-{version}", version, seconds))
            group.create_task(silent_observer(server, node, f"{room}-observer-{version}", version, seconds))
        for channel in (over_httpx, over_websockets):
            group.create_task(silent_provider(server, channel, f"{room}-{channel.__name__}", seconds))
        noticed = group.create_task(vanished(server, node, f"{room}-vanished"))
    unseen, cut = noticed.result()
    figure(f"silent for {seconds} s: nobody had to reconnect")
    figure(f"a vanished client: its presence is gone after {unseen:.1f} s, it is cut off after {cut:.1f} s")
    assert cut <= 45
