"""What the other tests rely on: that errors in stock clients are seen, and that the hand-made client is right."""

from __future__ import annotations

import asyncio
import time

import pytest
import websockets

from tests.support import raw
from tests.support.node import VERSIONS, NodeError
from tests.support.proxy import Proxy

pytestmark = pytest.mark.anyio


def test_frames_are_what_other_implementations_write():
    # Recorded from y-websocket clients and servers.
    assert raw.sync1() == bytes.fromhex("00000100")
    assert raw.sync2() == bytes.fromhex("0001020000")
    assert raw.update(bytes.fromhex("010107000401017402c3a900")) == bytes.fromhex("00020c010107000401017402c3a900")
    assert raw.awareness([(7, 2, None)]) == bytes.fromhex("010801070204") + b"null"
    assert raw.awareness([(7, 1, {})]) == bytes.fromhex("0106010701027b7d")
    assert raw.awareness([]) == bytes.fromhex("010100")
    assert raw.query() == b"\x03"


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32 - 1, 2**53])
def test_varuint(number):
    assert raw.read_var(raw.var(number)) == (number, len(raw.var(number)))


def test_a_parsed_frame_is_the_one_that_was_built():
    assert raw.parse(raw.awareness([(1, 2, {"ü": [1]}), (300, 4, None)])).entries == (
        (1, 2, {"ü": [1]}),
        (300, 4, None),
    )
    assert raw.parse(raw.update(b"abc")) == raw.Message("update", b"abc")
    with pytest.raises(AssertionError, match="trailing"):
        raw.parse(raw.sync1() + b"\0")


def test_room_target():
    assert raw.room_target("a b/ü?#%") == "/a%20b/%C3%BC%3F%23%25"


async def test_a_large_frame_survives_masking_and_length_forms():
    """Against another WebSocket implementation, all three forms of the length."""

    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with await raw.Raw.open(f"ws://127.0.0.1:{port}") as client:
            for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
                content = bytes(range(256)) * (size // 256) + bytes(size % 256)
                await client.send(content)
                assert await client.recv() == content
            await client.close(4321, "enough")
            assert (await client.closed()).code == 4321


@pytest.mark.parametrize(
    ("frame", "kind"),
    [(b"\x00\x07", "uncaughtException"), (b"\x63", "console.error"), (raw.update(b"\x01\x01\xff"), "console.error")],
    ids=["unknown sync message", "unknown message", "broken update"],
)
async def test_errors_in_stock_clients_are_seen(_node, frame, kind):
    """A server that answers nonsense: this is what `node` fails a test for."""
    done = asyncio.Event()

    async def nonsense(connection):
        await connection.send(frame)
        await done.wait()

    async with websockets.serve(nonsense, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        editors = [await _node.client(url, "room", version=version) for version in VERSIONS]
        for _ in range(250):
            if len(await _node.js_errors()) >= len(editors):
                break
            await asyncio.sleep(0.02)
        errors = await _node.reset()
        done.set()
    assert sorted((error["client"], error["kind"]) for error in errors) == sorted((e.name, kind) for e in editors)
    assert await _node.js_errors() == []


async def test_a_failed_command_raises(node):
    with pytest.raises(NodeError, match="no client"):
        await node.call("read", client="nobody", type="text", name="text")
    with pytest.raises(NodeError, match="no command"):
        await node.call("jump")


async def test_a_faulty_network(server, node, room):
    direct = await node.client(server.url, room)
    async with Proxy(server.port) as network:
        editor = await node.client(network.url, room)
        await node.all_synced([direct, editor])

        network.pause("up")
        await editor.insert("text", 0, "a")
        await asyncio.sleep(0.2)
        assert await direct.text() == ""
        network.heal()
        await direct.text_is("a")

        network.delay(0.3, "up")
        began = time.monotonic()
        await editor.insert("text", 1, "b")
        await direct.text_is("ab")
        assert time.monotonic() - began >= 0.3
        network.heal()

        network.blackhole("up")
        await editor.insert("text", 2, "c")
        await asyncio.sleep(0.2)
        network.heal()
        assert await direct.text() == "ab"
        assert network.cut() == 1
        await editor.opened(2)
        await direct.text_is("abc")
        assert [close["code"] for close in (await editor.counters())["closes"]] == [1006]
        assert network.connections == 2
