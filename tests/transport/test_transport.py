"""What every carrier promises, and what fits into its goodbye."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psutil
import pytest

from collab.connection import Connection
from collab.metrics import TRANSPORTS
from collab.transport import Carrier, Receiver, fitting_reason
from collab.transport.asgi import AsgiSocket
from collab.transport.takeover import TakeoverSocket
from tests.support.carried import LIMIT, Host, hosted
from tests.support.raw import BINARY, TEXT, Raw
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop that the server runs on, and the one that everybody else has: their transports differ."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=["asgi", "takeover"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    """Every test of this file runs over both carriers."""
    async with hosted(Host(fast=request.param == "takeover")) as host:
        yield host
    assert {recorder.socket.name for recorder in host.recorders} == {request.param}


def test_sockets_promise_the_same():
    kinds: list[type[Carrier]] = [AsgiSocket, TakeoverSocket]  # what mypy looks at
    assert [kind.name for kind in kinds] == list(TRANSPORTS)


def test_a_connection_can_be_told_everything():
    told: type[Receiver] = Connection
    for name in ("received", "too_large", "ponged", "drained", "closed"):
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
