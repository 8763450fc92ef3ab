"""F16, F17, F18, F20: what a WebSocket may carry, and what presence may say."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import zlib
from collections import Counter

import pytest

from tests.faults.bystander import Bystander
from tests.faults.writers import percentile
from tests.support.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Closed,
    Raw,
    encode_frame,
    query,
    sync1,
    var,
    var_bytes,
)
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

KiB, MiB = 1 << 10, 1 << 20
LIMIT = 64 * KiB
ENV = {"COLLAB_LOG__LEVEL": "error", "COLLAB_LIMITS__HOLD_SECONDS": "0.1", "COLLAB_LIMITS__MESSAGE_BYTES": "64KiB"}


@pytest.fixture(scope="module")
def server():
    with Server(env=ENV) as running:
        yield running
        assert running.running


def head(opcode: int, length: int, *, fin: bool = True) -> bytes:
    """The head of a masked frame that announces so many bytes; the mask is zero: they can follow as they are."""
    return bytes([0x80 * fin | opcode, 0x80 | 127]) + struct.pack("!Q", length) + bytes(4)


BAD = {
    "reserved bit 1": encode_frame(query(), rsv=4),
    "reserved bit 2": encode_frame(query(), rsv=2),
    "reserved bit 3": encode_frame(query(), rsv=1),
    "unmasked": encode_frame(query(), mask=False),
    **{f"opcode {code}": encode_frame(query(), opcode=code) for code in (3, 7, 11, 15)},
    "a ping in two parts": encode_frame(b"x", opcode=PING, fin=False) + encode_frame(b"", opcode=CONTINUATION),
    "a ping of 126 bytes": bytes([0x80 | PING, 0x80 | 126]) + struct.pack("!H", 126) + bytes(4 + 126),
    "a length with its highest bit": head(BINARY, 1 << 63),
    "text that is no UTF-8": encode_frame(b"\xff\xfe", opcode=TEXT),
    "the end of nothing": encode_frame(query(), opcode=CONTINUATION),
    "a message in a message": encode_frame(b"\x00", fin=False) + encode_frame(query()),
    "closed with 1005": encode_frame(struct.pack("!H", 1005), opcode=CLOSE),
    "closed with 999": encode_frame(struct.pack("!H", 999), opcode=CLOSE),
    "closed with one byte": encode_frame(b"\x03", opcode=CLOSE),
    "closed with no UTF-8": encode_frame(struct.pack("!H", 1000) + b"\xff", opcode=CLOSE),
}


@pytest.mark.case("F16")
async def test_frames_that_break_the_protocol(server, figure):
    """RFC 6455: the connection ends, and nothing else."""
    ends, survivors, took = Counter[str](), list[str](), list[float]()
    async with Bystander(server.url) as bystander:
        await bystander.idle()
        for name, content in BAD.items():
            async with await Raw.open(server.url, room="frames") as raw:
                raw.answer_close = False
                await raw.send(sync1())
                await raw.expect("sync2")
                await raw.send_bytes(content)
                began = time.monotonic()
                try:
                    ended = await raw.closed(5)
                    ends[str(ended.code)] += 1
                    await raw.gone(5)
                    took.append(time.monotonic() - began)
                except TimeoutError:
                    survivors.append(name)
    figure(
        f"F16: {len(BAD)} kinds of frame that RFC 6455 forbids: survivors {len(survivors)}, closed with {dict(ends)}, "
        f"gone after at most {max(took):.2f} s; {bystander}"
    )
    assert survivors == [] and bystander.errors == 0


def deflated(size: int) -> bytes:
    """So many zeros as permessage-deflate sends them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.case("F17")
async def test_compressed_bombs(server, figure):
    """A small message that becomes 60 MB: it is not negotiated, or not inflated past the limit; one, 16, many small."""
    bomb, small = deflated(60 * MiB), deflated(LIMIT + 1)
    offers = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]
    negotiated = 0

    async def throw(content: bytes, times: int) -> None:
        nonlocal negotiated
        async with await Raw.open(server.url, room="bomb", headers=offers) as raw:
            raw.answer_close = False
            negotiated += "sec-websocket-extensions" in raw.headers
            try:
                for _ in range(times):
                    await raw.send(content, rsv=4)
            except OSError:
                pass
            await raw.closed(10)

    await throw(small, 1)
    before = server.peak(anew=True)
    async with Bystander(server.url) as bystander:
        await bystander.idle()
        await throw(bomb, 1)
        await asyncio.gather(*(throw(bomb, 1) for _ in range(16)))
        await asyncio.gather(*(throw(small, 50) for _ in range(16)))
    grown = server.peak() - before
    figure(
        f"F17: 33 clients with bombs of {len(bomb) / KiB:.0f} KiB for 60 MiB: negotiated {negotiated} times, "
        f"all closed; peak memory {server.peak() / MiB:.0f} MiB, grown by {grown / MiB:.1f} MiB; {bystander}"
    )
    assert grown < 24 * MiB and bystander.errors == 0


PART = encode_frame(bytes(1_000), opcode=CONTINUATION, fin=False)
EMPTY = encode_frame(b"", opcode=CONTINUATION, fin=False)
ENDLESS = {
    "one frame of 60 MB": (head(BINARY, 60 * MiB), bytes(LIMIT)),
    "one of 2**62 bytes": (head(BINARY, 1 << 62), bytes(LIMIT)),
    "parts without end": (encode_frame(bytes(1_000), fin=False), PART),
    "empty parts without end": (encode_frame(b"", fin=False), 200 * EMPTY),
    "pings without end": (b"", 200 * encode_frame(b"", opcode=PING)),
    "pongs without end": (b"", 200 * encode_frame(b"", opcode=PONG)),
}


@pytest.mark.case("F18")
@pytest.mark.parametrize("what", ENDLESS)
async def test_frames_without_end(server, full, figure, what):
    """Against a limit of 64 KiB. What is no message and holds nothing is read slowly, and others have their turn."""
    first, rest = ENDLESS[what]
    seconds, sent = (30.0 if full else 2.0), len(first)
    async with Bystander(server.url) as bystander:
        await bystander.idle()
        before, began = server.peak(anew=True), time.monotonic()
        async with await Raw.open(server.url, room="long") as raw:
            raw.answer_close = False
            ending = asyncio.ensure_future(raw.closed(seconds))
            try:
                await raw.send_bytes(first)
                while not ending.done():
                    async with asyncio.timeout(max(0.1, seconds - (time.monotonic() - began))):
                        await raw.send_bytes(rest)
                    sent += len(rest)
                    await asyncio.sleep(0)
            except (OSError, TimeoutError):
                pass
            (ended,) = await asyncio.gather(ending, return_exceptions=True)
        how = f"closed with {ended.code}" if isinstance(ended, Closed) else "still read, slowly,"
        grown, took = server.peak() - before, time.monotonic() - began
        await asyncio.sleep(max(0.0, 1.0 - took))  # the bystander needs some edits to tell of
    figure(
        f"F18: {what}: {how} after {sent / KiB:,.0f} KiB and {took:.1f} s; peak memory grown by {grown / MiB:.1f} MiB; "
        f"{bystander}"
    )
    assert isinstance(ended, Closed) or "empty" in what or "ings" in what or "ongs" in what
    assert grown < 16 * MiB and bystander.errors == 0 and percentile(bystander.latencies, 0.99) < 1


STRANGE = {
    "10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "objects 10,000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a number of 5,000 digits": b'{"a":' + b"9" * 5_000 + b"}",
    "1e999": b'{"a":1e999}',
    "a key twice": b'{"user":1,"user":{"name":"b"}}',
    "half a character": b'{"a":"\\ud800"}',
    "no UTF-8": b'{"a":"\xed\xa0\x80"}',
    "NUL": b'{"a":"\x00"}',
    "a tail": b'{"a":1} {"b":2}',
    "single quotes": b"{'a':1}",
    "nothing": b"",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "__proto__": b'{"__proto__":{"x":1}}',
    "a comma too many": b'{"a":1,}',
}


def strictly(content: bytes) -> None:
    """Read presence as JavaScript's JSON.parse would; raises ValueError where that would throw."""

    def forbid(word: str) -> float:
        raise ValueError(word)

    count, at = content[0], 1
    for _ in range(count):
        for _ in range(2):
            while content[at] & 0x80:
                at += 1
            at += 1
        length = shift = 0
        while True:
            length |= (content[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not content[at - 1] & 0x80:
                break
        json.loads(content[at : at + length].decode(), parse_constant=forbid)
        at += length


@pytest.mark.case("F20")
async def test_presence_that_is_no_json(server, figure):
    """Others never see what their JSON.parse would throw at; rejected, or written anew."""
    errors, seen, closed = [], 0, 0
    async with Bystander(server.url) as bystander, await Raw.open(server.url, room="presence") as witness:
        await bystander.idle()
        await witness.send(sync1())
        await witness.expect("sync2")
        for number, (name, state) in enumerate(STRANGE.items()):
            async with await Raw.open(server.url, room="presence") as raw:
                await raw.send(sync1())
                await raw.expect("sync2")
                await raw.send(b"\x01" + var_bytes(b"\x01" + var(1_000 + number) + b"\x01" + var_bytes(state)))
                await raw.send(sync1())
                heard = await frames_of(raw, 0.1)
                closed += raw.ended is not None
                for frame in [*heard, *await frames_of(witness, 0.1)]:
                    if frame[0] == 1:
                        seen += 1
                        try:
                            strictly(content_of(frame))
                        except (ValueError, RecursionError) as error:
                            errors.append((name, error))
        assert witness.ended is None
    figure(
        f"F20: {len(STRANGE)} strange states: {closed} senders closed, {seen} frames of presence shown to others, "
        f"JSON errors there {len(errors)}; {bystander}"
    )
    assert errors == [] and bystander.errors == 0


async def frames_of(raw: Raw, seconds: float) -> list[bytes]:
    """All frames until nothing has come for so long."""
    found: list[bytes] = []
    while True:
        try:
            frame = await raw.recv(seconds)
        except TimeoutError:
            return found
        if frame is None:
            return found
        found.append(frame)


def content_of(frame: bytes) -> bytes:
    """The presence in a frame."""
    at = 1
    while frame[at] & 0x80:
        at += 1
    return frame[at + 1 :]
