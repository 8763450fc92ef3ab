"""permessage-deflate: what is agreed to, and that no message inflates beyond its limit."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
import zlib
from pathlib import Path

import psutil
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import BadMessage, TooLarge
from collab.transport import deflate
from tests.support.carried import LIMIT, Host, hosted
from tests.support.node import INTEROP, node_binary
from tests.support.raw import Raw
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

AGREED = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
MiB = 1024 * 1024


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", AGREED),
        (b"permessage-deflate; client_max_window_bits", AGREED),  # Chromium, ws
        (b"permessage-deflate; client_max_window_bits=15", AGREED),
        (b'permessage-deflate; client_max_window_bits="12"', AGREED),
        (b"permessage-deflate ; server_no_context_takeover;client_no_context_takeover", AGREED),
        (
            b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            AGREED + b"; server_max_window_bits=12",
        ),
        (b"x-webkit-deflate-frame, permessage-deflate", AGREED),
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", AGREED),
        (b"permessage-deflate; mystery, permessage-deflate; client_max_window_bits", AGREED),
        (b"permessage-deflate; server_max_window_bits=8", None),  # zlib cannot
        (b"permessage-deflate; server_max_window_bits", None),
        (b"permessage-deflate; server_max_window_bits=7", None),
        (b"permessage-deflate; server_max_window_bits=16", None),
        (b"permessage-deflate; server_max_window_bits=010", None),
        (b"permessage-deflate; client_max_window_bits=x", None),
        (b"permessage-deflate; client_max_window_bits=", None),
        (b"permessage-deflate; server_no_context_takeover=1", None),
        (b"permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        (b"permessage-deflate; mystery", None),
        (b"permessage-bzip2", None),
        (b"", None),
        (b";;,,=", None),
        (b"permessage-deflate;", None),
        (b"\xff", None),
    ],
)
def test_what_is_agreed_to(offer, answer):
    agreed = deflate.negotiate([offer])
    assert (None if agreed is None else agreed.answer) == answer
    assert deflate.negotiate([b"other", offer]) == agreed, "in two headers"
    if agreed is not None:
        assert agreed.bits == (12 if b"server_max_window_bits=12" in offer else 15)


@given(st.lists(st.binary(max_size=3000), max_size=4), st.integers(9, 15))
def test_every_message_inflates_by_itself(messages, bits):
    for message in messages:
        packed = deflate.squeeze(message, bits)
        assert deflate.inflate(packed, 3000) == message
        assert zlib.decompressobj(-bits).decompress(packed + b"\x00\x00\xff\xff") == message


def test_messages_of_other_compressors():
    """RFC 7692, 7.2.3: stored, with two blocks, and with a last block that the sender marked as such."""
    assert deflate.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 5) == b"Hello"
    assert deflate.inflate(b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 5) == b"Hello"
    assert deflate.inflate(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 5) == b"Hello"
    assert deflate.inflate(b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 5) == b"Hello"
    assert deflate.inflate(b"\x02\x00", 5) == b""


@pytest.mark.parametrize("broken", [b"\xff\xff", b"\xf3\x48\xcd\xc9\xc9\x07\x00and more", b"\x07"])
def test_what_is_not_compressed(broken):
    with pytest.raises(BadMessage):
        deflate.inflate(broken, 100)


def bomb(size: int) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(engine.compress(bytes(MiB)) for _ in range(size // MiB))
    return (packed + engine.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def test_a_bomb_is_bounded(figure):
    packed = bomb(60 * MiB)
    tracemalloc.start()
    with pytest.raises(TooLarge) as refused:
        deflate.inflate(packed, 4 * MiB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 4 * MiB < refused.value.size <= 5 * MiB
    assert peak < 7 * MiB
    figure(f"{len(packed) // 1024} KB that would be 60 MiB, limit 4 MiB: peak {peak / MiB:.1f} MiB")


def test_exactly_as_large_as_may_be():
    for size in (0, 1, deflate.STEP_BYTES - 1, deflate.STEP_BYTES, deflate.STEP_BYTES + 1, 3 * deflate.STEP_BYTES):
        packed = deflate.squeeze(bytes(size), 15)
        assert deflate.inflate(packed, size) == bytes(size)
        if size:
            with pytest.raises(TooLarge):
                deflate.inflate(packed, size - 1)


def test_compressed_once_for_all(monkeypatch):
    squeezed: list[bytes] = []
    squeeze = deflate.squeeze

    def counted(frame: bytes, bits: int) -> bytes:
        squeezed.append(frame)
        return squeeze(frame, bits)

    monkeypatch.setattr(deflate, "squeeze", counted)
    wires = deflate.Wires()
    frames = [bytes([nth]) * 2000 for nth in range(deflate.KEPT)]
    first = [wires.wire(frame, 15) for frame in frames]
    assert all(wire[0] == deflate.COMPRESSED for wire in first)
    for frame, wire in zip(frames, first, strict=True):
        assert wires.wire(frame, 15) is wire and wires.wire(bytes(bytearray(frame)), 15) is wire
    assert squeezed == frames
    assert wires.wire(frames[0], deflate.PLAIN) == b"\x82\x7e\x07\xd0" + frames[0]
    assert wires.wire(frames[0], 9) is not first[0] and len(squeezed) == deflate.KEPT + 1
    for nth in range(100):
        wires.wire(b"other" + bytes([nth]) * 2000, 15)
    assert len(wires._made[15]) == deflate.KEPT, "and let go again"


def test_what_does_not_get_shorter_is_sent_as_it_is():
    noise = zlib.compress(bytes(range(256)) * 400, 0)[:10]
    frame = b"".join(zlib.crc32(noise + bytes([nth])).to_bytes(4, "big") for nth in range(256)) * 1
    assert deflate.Wires().wire(frame, 15) == deflate.head(deflate.BINARY, 1024) + frame


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


async def test_a_client_in_python():
    async with hosted(Host(fast=True, compress=True)) as host:
        async with websockets.connect(host.url, compression="deflate", max_size=None) as client:
            assert client.protocol.extensions, "agreed"
            await until(lambda: host.recorders, "the app has it")
            recorder = host.recorders[0]
            sizes = [0, 10, 1023, 1024, 5000, 70_000, deflate.MOST_BYTES, deflate.MOST_BYTES + 1, 300_000]
            for size in sizes:
                recorder.socket.send(b"abcdefgh" * (size // 8))
                assert await client.recv() == b"abcdefgh" * (size // 8)
            assert recorder.socket.written < sum(sizes) - 150_000, "compressed"
            sent: list[bytes | str] = [b"x" * 50, b"y" * 90_000, "text" * 1000, b""]
            for message in sent:
                await client.send(message)
            await client.send([b"in ", b"pieces ", b"z" * 50_000])
            await until(lambda: len(recorder.frames) == 5, "all received")
            assert recorder.frames == [*sent, b"in pieces " + b"z" * 50_000]


NODE_CLIENT = """
import { WebSocket } from "ws"
const options = JSON.parse(process.argv[2])
const socket = new WebSocket(process.argv[1], { perMessageDeflate: options, maxPayload: 0 })
const heard = []
socket.on("message", (data) => { heard.push(data.length); socket.send(data) })
socket.on("close", (code) => { console.log(JSON.stringify({ code, heard, extensions })); })
let extensions
socket.on("open", () => { extensions = socket.extensions })
"""


@pytest.mark.parametrize(
    "options",
    [
        True,
        {"threshold": 0},
        {"serverNoContextTakeover": True, "clientNoContextTakeover": True, "threshold": 10},
        {"serverMaxWindowBits": 10, "clientMaxWindowBits": 11, "threshold": 0},
        False,
    ],
)
async def test_a_client_in_node(options):
    node = node_binary()
    async with hosted(Host(fast=True, compress=True)) as host:
        script = NODE_CLIENT
        process = await asyncio.create_subprocess_exec(
            node, "--input-type=module", "-e", script, host.url, json.dumps(options), cwd=INTEROP,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await until(lambda: host.recorders, "the client is there", within=15)
        recorder = host.recorders[0]
        wanted = [b"0123456789" * (size // 10) for size in (10, 1500, 30_000, 90_000)]
        for frame in wanted:
            recorder.socket.send(frame)
        await until(lambda: len(recorder.frames) == len(wanted), "echoed", within=10)
        assert recorder.frames == wanted
        assert (recorder.socket.written < 20_000) == bool(options)
        recorder.socket.close(4321, "done")
        said = json.loads((await process.communicate())[0])
        assert said["heard"] == [len(frame) for frame in wanted] and said["code"] == 4321
        assert ("permessage-deflate" in said["extensions"]) == bool(options)


@pytest.mark.parametrize("pieces", [1, 5])
async def test_a_bomb_is_refused(pieces):
    async with hosted(Host(fast=True, compress=True)) as host:
        client, recorder = await host.open(headers=[("Sec-WebSocket-Extensions", "permessage-deflate")])
        packed = bomb(60 * MiB)
        step = len(packed) // pieces + 1
        for nth in range(pieces):
            part = packed[nth * step : (nth + 1) * step]
            await client.send(part, opcode=0 if nth else 2, fin=nth == pieces - 1, rsv=0 if nth else 4)
        assert (await client.closed()).code == 4413
        assert len(recorder.sizes) == 1 and LIMIT < recorder.sizes[0] <= 2 * MiB
        client.fin()


@pytest.mark.parametrize(
    "broken", [{"opcode": 0, "rsv": 4}, {"opcode": 9, "rsv": 4}, {"opcode": 2, "rsv": 2}, {"opcode": 2, "rsv": 4}]
)
async def test_compressed_where_it_may_not_be(broken):
    async with hosted(Host(fast=True, compress=True)) as host:
        client, recorder = await host.open(headers=[("Sec-WebSocket-Extensions", "permessage-deflate")])
        if broken["opcode"] == 0:
            await client.send(b"x", fin=False)
        await client.send(b"\xff\xff", **broken)
        assert (await client.closed()).code in (1002, 1007)
        assert recorder.frames == []
        client.fin()


async def test_a_bomb_at_the_server(figure):
    """The defaults: 16 MiB a message."""
    with Server() as server:
        async with await Raw.open(server.url, headers=[("Sec-WebSocket-Extensions", "permessage-deflate")]) as client:
            await client.expect("sync1")
            process = psutil.Process(server.pid)
            before = process.memory_info().rss
            packed = bomb(60 * MiB)
            await client.send(packed, rsv=4)
            assert (await client.closed()).code == 4413
            status = await asyncio.to_thread(Path(f"/proc/{server.pid}/status").read_text)
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 - before
            figure(f"{len(packed) // 1024} KB that would be 60 MiB: closed with 4413, peak {peak / MiB:.0f} MiB more")
            assert peak < 40 * MiB
