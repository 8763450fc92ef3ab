"""What every carrier promises, and what fits into its goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator

import psutil
import pytest

from collab.connection import Connection
from collab.metrics import TRANSPORTS
from collab.transport import Carrier, Receiver, fitting_reason, insides
from collab.transport.asgi import AsgiSocket
from collab.transport.takeover import TakeoverSocket
from tests.support.carried import LIMIT, Host, hosted
from tests.support.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, Refused, encode_frame
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop that the server runs on, and the one that everybody else has: their transports differ."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=["asgi", "takeover"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    """Every test of this file runs over both carriers."""
    async with hosted(Host(fast=request.param == "takeover")) as host:
        yield host
    assert host.carried == {request.param} or host.carried == {"asgi"} and host.left_to_hypercorn


def test_sockets_promise_the_same():
    kinds: list[type[Carrier]] = [AsgiSocket, TakeoverSocket]  # what mypy looks at
    assert [kind.name for kind in kinds] == list(TRANSPORTS)


def test_a_connection_can_be_told_everything():
    told: type[Receiver] = Connection
    for name in ("received", "too_large", "unfinished", "ponged", "drained", "closed"):
        assert callable(getattr(told, name))


@pytest.mark.parametrize(
    ("reason", "fits"),
    [
        ("", ""),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("😀" * 31, "😀" * 30),
        ("x" * 121 + "é" * 2, "x" * 121 + "é"),
    ],
)
def test_reasons_fit_into_a_close_frame(reason, fits):
    assert fitting_reason(reason) == fits
    assert len(fits.encode()) <= 123


def _patience(monkeypatch) -> None:
    """Of a client that does not answer a goodbye."""
    for module in ("asgi", "takeover"):
        monkeypatch.setattr(f"collab.transport.{module}.GOODBYE_SECONDS", 0.3)


async def test_frames_keep_their_order_both_ways(host):
    client, recorder = await host.open()
    wanted = [f"{nth}".encode() for nth in range(500)]
    for frame in wanted:
        await client.send(frame)
    await until(lambda: len(recorder.frames) == 500, "all received")
    assert recorder.frames == wanted
    for frame in wanted:
        recorder.socket.send(frame)
    assert [await client.recv() for _ in wanted] == wanted
    await until(lambda: recorder.socket.buffered == 0, "all written")
    assert recorder.socket.written >= sum(map(len, wanted))
    await client.close(1001)
    await until(lambda: recorder.ended, "told of the end")
    client.fin()
    await until(lambda: host.done == 1, "the app's call has ended")
    assert len(recorder.ended) == 1


async def test_told_when_it_can_take_more(host):
    client, recorder = await host.open(receive_buffer=4096)
    frame = b"x" * 90_000
    for _ in range(100):
        recorder.socket.send(frame)
    assert recorder.socket.buffered > 1_000_000, "send returns at once"
    assert recorder.drains == 0
    for _ in range(100):
        assert await client.recv() == frame
    await until(lambda: recorder.drains, "told")
    assert recorder.socket.written >= 100 * len(frame)
    client.fin()


async def test_text_and_fragments(host):
    client, recorder = await host.open()
    await client.send(b"hello", opcode=TEXT)
    await client.send(b"one ", opcode=BINARY, fin=False)
    await client.send(b"message", opcode=0)
    await until(lambda: len(recorder.frames) == 2, "both received")
    assert recorder.frames == ["hello", b"one message"]
    client.fin()
    await until(lambda: recorder.ended, "told of the end")


async def test_close_says_goodbye_after_what_was_sent(host):
    client, recorder = await host.open()
    recorder.socket.send(b"last words")
    recorder.socket.close(4403, "ü" * 200)
    recorder.socket.send(b"after that")
    recorder.socket.close(1000, "twice")
    assert await client.recv() == b"last words"
    ended = await client.closed()
    assert ended.code == 4403
    assert ended.reason == "ü" * 61, "cut where a character ends"
    await until(lambda: recorder.ended, "told of the end")
    client.fin()


async def test_a_client_that_does_not_answer_a_goodbye_is_cut(host, monkeypatch):
    _patience(monkeypatch)
    client, recorder = await host.open()
    client.answer_close = False
    recorder.socket.close(1012, "")
    await until(lambda: recorder.ended, "cut", within=2)
    client.fin()


async def test_a_client_that_takes_nothing_is_not_waited_for_when_it_is_told_to_go(host, monkeypatch):
    """The goodbye stands behind what it does not read: it would never come to that."""
    _patience(monkeypatch)
    client, recorder = await host.open(receive_buffer=4096)
    for _ in range(200):
        recorder.socket.send(b"x" * 90_000)
    await asyncio.sleep(0.1)
    assert recorder.socket.buffered > 1_000_000
    recorder.socket.close(4400, "")
    await until(lambda: recorder.ended and host.done == 1, "cut", within=2)
    assert recorder.ended == [1006]
    recorder.socket.close(4400, "")  # harmless, as all of it
    recorder.socket.send(b"x")
    recorder.socket.abort()
    client.fin()


async def test_pausing_holds_the_client_up(host):
    """What it sends then stays on its side of the network, but for what the buffers in between take."""
    client, recorder = await host.open()
    recorder.socket.pause()
    frame = b"x" * 50_000
    sending = asyncio.create_task(_flood(client, frame, 1000))
    await asyncio.sleep(0.5)
    assert not sending.done()
    taken = len(recorder.frames)
    assert taken <= 1
    recorder.socket.resume()
    await asyncio.wait_for(sending, 20)
    await until(lambda: len(recorder.frames) == 1000, "all received after all", within=20)
    client.fin()
    await until(lambda: recorder.ended, "told of the end")


async def _flood(client: Raw, frame: bytes, times: int) -> None:
    for _ in range(times):
        await client.send(frame)


async def test_a_slow_reader_is_seen_and_can_be_cut(host):
    client, recorder = await host.open(receive_buffer=4096)
    for _ in range(200):
        recorder.socket.send(b"x" * 90_000)
    await asyncio.sleep(0.3)
    stuck, written = recorder.socket.buffered, recorder.socket.written
    assert stuck > 5_000_000
    await asyncio.sleep(0.3)
    assert recorder.socket.written == written, "it stands still"
    began = asyncio.get_running_loop().time()
    recorder.socket.abort()
    await until(lambda: recorder.ended and host.done == 1, "cut")
    assert asyncio.get_running_loop().time() - began < 1
    assert recorder.ended == [1006]
    with contextlib.suppress(OSError, AssertionError):
        await client.gone(within=5)
    client.fin()


async def test_a_reset_is_an_end(host):
    client, recorder = await host.open()
    recorder.socket.send(b"to nobody")
    client.reset()
    await until(lambda: recorder.ended == [1006], "told of the end once")
    recorder.socket.send(b"still to nobody")
    recorder.socket.close(1000, "")
    recorder.socket.abort()
    await until(lambda: host.done == 1, "the app's call has ended")


@pytest.mark.parametrize("pieces", [1, 3, 300])
async def test_a_message_that_is_too_large_is_told_once_and_not_kept(host, pieces):
    client, recorder = await host.open()
    size = 40 * LIMIT
    before = psutil.Process().memory_info().rss
    part = b"x" * (size // pieces)
    with contextlib.suppress(OSError):  # the server may have cut before the end of it
        await client.send(part, fin=pieces == 1)
        for nth in range(1, pieces):
            await client.send(part, opcode=0, fin=nth == pieces - 1)
    ended = await client.closed()
    assert ended.code == 4413
    assert len(recorder.sizes) == 1 and recorder.sizes[0] > LIMIT
    assert not any(recorder.frames)
    assert psutil.Process().memory_info().rss - before < 20_000_000
    client.fin()
    await until(lambda: recorder.ended, "told of the end")


async def test_a_message_just_as_large_as_may_be(host):
    client, recorder = await host.open()
    await client.send(b"x" * LIMIT)
    await until(lambda: recorder.frames, "received")
    assert recorder.frames == [b"x" * LIMIT] and recorder.sizes == []
    client.fin()
    await until(lambda: recorder.ended, "told of the end")


@pytest.mark.parametrize("in_pieces", [False, True], ids=["one frame", "pieces"])
async def test_what_is_here_of_a_message_is_told_until_nobody_wants_to_know(host, in_pieces):
    client, recorder = await host.open()
    half = encode_frame(b"x" * 30_000, opcode=BINARY, fin=False) if in_pieces else encode_frame(b"x" * 60_000)[:30_000]
    await client.send_bytes(half)
    await until(lambda: recorder.begun and recorder.begun[-1] >= 29_900, "told")
    await client.send_bytes(
        encode_frame(b"x" * 30_000, opcode=CONTINUATION) if in_pieces else encode_frame(b"x" * 60_000)[30_000:]
    )
    await until(lambda: recorder.frames, "whole")
    await until(lambda: recorder.begun[-1] == 0, "nothing is unfinished")
    recorder.counts_begun = False
    await client.send(b"one more")
    await until(lambda: len(recorder.frames) == 2, "heard")
    told = len(recorder.begun)
    await client.send_bytes(half)
    await asyncio.sleep(0.1)
    assert len(recorder.begun) <= told + 1
    client.fin()


@pytest.mark.parametrize("in_pieces", [False, True], ids=["one frame", "pieces"])
async def test_of_a_client_that_is_refused_nothing_unfinished_is_kept(host, in_pieces):
    """Whether more of it comes or not; and its goodbye is heard behind the rest."""
    client, recorder = await host.open()
    whole = encode_frame(b"x" * 90_000, opcode=BINARY, fin=not in_pieces)
    await client.send_bytes(whole if in_pieces else whole[:-100])
    await until(lambda: recorder.begun and recorder.begun[-1] > 89_000, "half of it is here")
    socket = recorder.socket
    socket.distrust()
    await asyncio.sleep(0.05)
    if isinstance(socket, TakeoverSocket):
        assert socket._parser is None and not socket._parts
    else:
        stream = insides.stream(socket._send)
        assert stream is not None and not stream.buffer.length
    await client.send_bytes(encode_frame(b"y" * 100, opcode=CONTINUATION) if in_pieces else whole[-100:])
    socket.close(4413, "too large")  # if it was not told of it, which closes as well
    assert (await client.closed()).code == 4413
    await until(lambda: recorder.ended, "its goodbye was heard", within=2)
    assert not any(len(frame) > 8192 for frame in recorder.frames)
    client.fin()


async def test_the_subprotocol_is_said(host):
    host.subprotocol = "token.abc"
    client, _ = await host.open(headers=[("Sec-WebSocket-Protocol", "token.abc, other")])
    assert client.headers["sec-websocket-protocol"] == "token.abc"
    assert client.headers["upgrade"].lower() == "websocket"
    client.fin()


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "after a slow decision"])
@pytest.mark.parametrize("glued", [encode_frame(b"too early"), encode_frame(b"x" * 90_000), b"\x00"])
async def test_frames_glued_to_the_request_are_refused(host, glued, slow):
    """Nothing may be sent before the answer; one that does must not find both a 400 and a live session."""
    if slow:
        host.decide = lambda: asyncio.sleep(0.2)
    with pytest.raises((Refused, OSError)) as refused:
        await Raw.open(host.url, "/", glue=glued)
    if isinstance(refused.value, Refused):
        assert refused.value.status == 400
    await until(lambda: host.recorders, "the app was asked")
    assert host.recorders[0].frames == []
    host.left_to_hypercorn = True


async def test_a_frame_that_comes_while_it_is_decided_is_refused(host):
    deciding, decided = asyncio.Event(), asyncio.Event()

    async def decide() -> None:
        deciding.set()
        await decided.wait()

    host.decide = decide
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(UPGRADE)
    await deciding.wait()
    writer.write(encode_frame(b"too early"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    decided.set()
    await until(lambda: host.recorders, "the app went on")
    writer.write_eof()
    assert await reader.read() == b"", "and nothing after that"
    writer.close()
    assert host.recorders[0].frames == []
    host.left_to_hypercorn = True


def cut_short(size: int, form: int) -> bytes:
    """The head of a masked binary frame whose length is said in `form` (126 or 127), with four bytes after it."""
    return bytes((0x82, 0x80 | form)) + size.to_bytes(2 if form == 126 else 8, "big") + b"keysdata"


@pytest.mark.parametrize(
    "broken",
    [
        encode_frame(b"x", rsv=1),
        encode_frame(b"x", rsv=2),
        encode_frame(b"x", rsv=4),
        encode_frame(b"x", rsv=4, opcode=PING),
        encode_frame(b"x", mask=False),
        encode_frame(b"x", opcode=3),
        encode_frame(b"x", opcode=11),
        encode_frame(b"x", opcode=PING, fin=False),
        encode_frame(b"x" * 126, opcode=PING),
        encode_frame(b"x", opcode=CONTINUATION),
        encode_frame(b"x", fin=False) + encode_frame(b"y"),
        encode_frame(b"x", fin=False) + encode_frame(b"y", opcode=TEXT),
        encode_frame(b"\xff\xfe", opcode=TEXT),
        encode_frame(b"\xe2\x82", opcode=TEXT),
        encode_frame(b"\xe2", opcode=TEXT, fin=False) + encode_frame(b"x", opcode=CONTINUATION),
        encode_frame(b"x", opcode=CLOSE),
        encode_frame(b"\x03\xed", opcode=CLOSE),
        encode_frame(b"\x03\xe8\xff", opcode=CLOSE),
        cut_short(4, 126),
        cut_short(4, 127),
        cut_short(1 << 63, 127),
    ],
)
async def test_a_client_that_breaks_the_protocol_is_closed(host, broken):
    """That, and nothing else: nothing of it is taken in, and nobody else notices."""
    client, recorder = await host.open()
    other, others = await host.open()
    await client.send_bytes(broken + encode_frame(b"after that"))
    ended = await client.closed()
    assert ended.code in (1002, 1007, None)
    await client.gone()
    client.fin()
    await until(lambda: recorder.ended, "told of the end", within=7)
    assert recorder.frames == [] and recorder.sizes == []
    await other.send(b"all well")
    await until(lambda: others.frames == [b"all well"], "the other is served")
    other.fin()


@pytest.mark.parametrize("size", [1 << 20, 1 << 32, (1 << 63) - 1])
async def test_a_frame_is_refused_by_its_head(host, size):
    client, recorder = await host.open()
    await client.send_bytes(cut_short(size, 127))
    if host.carriers.fast:
        assert (await client.closed()).code == 4413
        assert recorder.sizes == [size]
    else:  # hypercorn hears of it piece by piece
        await asyncio.sleep(0.1)
        assert recorder.sizes == []
    client.fin()


async def test_what_follows_a_message_that_was_too_large(host):
    """It is not taken, but the goodbye is heard behind it."""
    client, recorder = await host.open()
    big = encode_frame(b"x" * 3 * LIMIT)
    await client.send_bytes(encode_frame(b"before") + big[: LIMIT // 2])
    await client.send_bytes(big[LIMIT // 2 :] + encode_frame(b"after"))
    assert (await client.closed()).code == 4413  # and its answer
    await until(lambda: recorder.ended, "told of the end", within=2)
    assert recorder.frames[0] == b"before" and b"after" not in recorder.frames
    assert len(recorder.sizes) == 1
    client.fin()


async def test_pings_are_answered_between_the_pieces_of_a_message(host):
    client, recorder = await host.open()
    await client.send(b"one ", fin=False)
    await client.send(b"are you there", opcode=PING)
    await client.send(b"message", opcode=CONTINUATION)
    fin, opcode, said = await client._read_frame()
    assert (fin, opcode, said) == (True, PONG, b"are you there")
    await until(lambda: recorder.frames == [b"one message"], "and the message is whole")
    client.fin()


async def test_half_closed(host):
    """What a client was sent before it said that it has no more to say still reaches it."""
    client, recorder = await host.open()
    for _ in range(50):
        recorder.socket.send(b"x" * 10_000)
    client.eof()
    for _ in range(50):
        assert await client.recv() == b"x" * 10_000
    await client.gone()
    await until(lambda: recorder.ended, "told of the end")
    client.fin()


@pytest.mark.parametrize("pieces", [1, 7])
async def test_frames_cut_anywhere(host, pieces):
    """The network keeps no borders."""
    client, recorder = await host.open()
    wanted = [bytes([nth % 256]) * nth for nth in [*range(300), 5_000, 70_000, 125, 126, 127, 65_535, 65_536]]
    sent = b"".join(map(encode_frame, wanted))
    for at in range(0, len(sent), pieces * 1000):
        await client.send_bytes(sent[at : at + pieces * 1000])
        if at < 20_000:
            await asyncio.sleep(0)
    await until(lambda: len(recorder.frames) == len(wanted), "all received")
    assert recorder.frames == wanted
    client.fin()


async def test_the_goodbye_of_a_client(host):
    client, recorder = await host.open()
    await client.close(4321, "bye")
    await client.send(b"after that")
    ended = await client.closed()
    assert ended.code == 4321
    await client.gone()
    client.fin()
    await until(lambda: recorder.ended, "told of the end")
    assert recorder.frames == []


async def test_what_comes_before_a_goodbye_is_heard_still_counts(host):
    client, recorder = await host.open()
    recorder.socket.close(1012, "come back")
    await client.send(b"on its way")
    assert (await client.closed()).code == 1012
    await until(lambda: recorder.ended, "told of the end", within=2)
    assert recorder.frames == [b"on its way"]
    client.fin()


async def test_a_reader_that_stops_and_goes_on_misses_nothing(host):
    client, recorder = await host.open(receive_buffer=4096)
    sizes = [100, 2_000, 70_000, 200_000, 126, 65_536]
    for nth in range(60):
        recorder.socket.send(bytes([nth]) * sizes[nth % len(sizes)])
    await asyncio.sleep(0.1)
    recorder.socket.ping()
    for nth in range(60):
        assert await client.recv() == bytes([nth]) * sizes[nth % len(sizes)]
    client.fin()


@pytest.mark.parametrize("how", ["goodbye", "fin", "reset", "abort", "close"])
async def test_nothing_is_left_of_many(host, how):
    """The fixture looks at tasks and file descriptors; here, at objects."""
    before = _sockets()
    clients = [(await host.open())[0] for _ in range(60)]
    recorders = list(host.recorders)
    for client, recorder in zip(clients, recorders, strict=True):
        await client.send(b"one")
        if how not in ("goodbye", "close"):
            await client.send_bytes(encode_frame(b"half of it")[:3])
        recorder.socket.send(b"two")
        match how:
            case "goodbye":
                await client.close()
            case "fin":
                client.fin()
            case "reset":
                client.reset()
            case "abort":
                recorder.socket.abort()
            case "close":
                recorder.socket.close(1000, "")
                await client.closed()
    await until(lambda: all(recorder.ended for recorder in recorders), "all told", within=10)
    for client in clients:
        client.fin()
    assert _sockets() >= before + 60
    for recorder in recorders:
        recorder.socket = None
    await until(lambda: host.done == 60, "all calls have ended")
    await asyncio.sleep(0.1)
    assert _sockets() <= before


def _sockets() -> int:
    """How many there are, of any test."""
    gc.collect()
    return sum(isinstance(found, AsgiSocket | TakeoverSocket) for found in gc.get_objects())
