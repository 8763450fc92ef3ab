"""Permanent refusals. 3.1 hears a 44xx code once and stays away; older providers know none and are not let hammer.

Who comes back is told by address, and all clients here have the same one: so each generation has a server to itself.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from tests.support.node import VERSIONS
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def servers():
    """One for each generation of y-websocket."""
    with ExitStack() as stack:
        yield {v: stack.enter_context(Server(env={"COLLAB_LIMITS__MESSAGE_BYTES": "64KiB"})) for v in VERSIONS}


@pytest.fixture
def seconds(full) -> int:
    """How long to watch; unheld, an old provider connects nine times a second."""
    return 30 if full else 8


async def watch(editors, seconds: int, figure, what: str, code: int) -> None:
    """Watch, then judge how often each provider connected and what it was told."""
    await asyncio.sleep(seconds)
    for editor in editors:
        counted = await editor.counters()
        version, sockets, ended = counted["version"], counted["sockets"], counted["ended"]
        told = [close["code"] for close in counted["closes"]]
        figure(f"{what}, y-websocket {version}: {sockets} connections in {seconds} s, closed by {told}")
        assert told and set(told) == {code}, f"{version} was told {told}, not {code}"
        assert counted["closes"][0]["reason"], "a reason is missing"
        if version == "3.1":
            assert sockets == 1
            assert [end["code"] for end in ended] == [code]
            assert not counted["shouldConnect"]
        else:  # refused at once, then held
            assert sockets <= 2 + seconds // 10, f"{version} hammers: {sockets} connections in {seconds} s"


@pytest.mark.parametrize("name", ["n" * 600, ""], ids=["over-long", "empty"])
async def test_refused_room_names(servers, node, seconds, figure, name, request):
    editors = [await node.client(servers[version].url, name, version=version) for version in VERSIONS]
    await watch(editors, seconds, figure, request.node.callspec.id, 4400)
    reasons = [one["text"] for one in await node.js_warnings()]
    assert sum("Permission denied" in reason for reason in reasons) >= len(VERSIONS), "clients are not told why"


async def test_an_update_that_is_too_large(servers, node, room, seconds, figure):
    """4413, not the 1009 that all retry for ever. The sender's document stays too large; the others are well."""
    bystanders = [await node.client(servers[version].url, room) for version in VERSIONS]
    editors = [await node.client(servers[version].url, room, version=version) for version in VERSIONS]
    await node.all_synced([*bystanders, *editors])
    for editor in editors:
        await editor.insert_long("text", 0, "0123456789abcdef", 8 << 10)  # 128 KiB
    await watch(editors, seconds, figure, "too large", 4413)
    for bystander, version in zip(bystanders, VERSIONS, strict=True):
        await bystander.insert("text", 0, "still here")
        late = await node.client(servers[version].url, room)
        await late.text_is("still here")
        assert len((await bystander.counters())["opens"]) == 1


async def test_just_below_the_limit(servers, node, room):
    anna = await node.client(servers["3.1"].url, room)
    ben = await node.client(servers["3.1"].url, room)
    await node.all_synced([anna, ben])
    await anna.insert_long("text", 0, "x", 60 << 10)
    await ben.until("length", name="text", equals=60 << 10)
    assert len((await anna.counters())["opens"]) == 1
