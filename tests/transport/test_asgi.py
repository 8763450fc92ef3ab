"""The socket over a real hypercorn: order, pressure, ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import psutil
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

from collab.transport.asgi import AsgiSocket
from tests.support.raw import BINARY, TEXT, Raw
from tests.support.server import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

LIMIT = 100_000


class Recorder:
    """A receiver that writes everything down, and may act on what comes."""

    def __init__(self) -> None:
        self.socket: Any = None
        self.frames: list[bytes | str] = []
        self.sizes: list[int] = []
        self.drains = 0
        self.ended: list[int] = []
        self.on_frame: Callable[[bytes | str], None] = lambda frame: None

    def received(self, frame: bytes | str) -> None:
        self.frames.append(frame)
        self.on_frame(frame)

    def too_large(self, size: int) -> None:
        self.sizes.append(size)
        self.socket.close(4413, "too large")

    def drained(self) -> None:
        self.drains += 1

    def closed(self, code: int) -> None:
        self.ended.append(code)


class Host:
    """An app of nothing but sockets; each gets the next of `recorders`."""

    def __init__(self) -> None:
        self.recorders: list[Recorder] = []
        self.done = 0
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise RuntimeError("no lifespan here")
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None})
        recorder = Recorder()
        recorder.socket = AsgiSocket(receive, send, message_bytes=LIMIT)
        self.recorders.append(recorder)
        await recorder.socket.run(recorder)
        self.done += 1

    async def open(self, **options: Any) -> tuple[Raw, Recorder]:
        client = await Raw.open(self.url, "/", **options)
        await until(lambda: self.recorders, "the app has it")
        return client, self.recorders[-1]


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop that the server runs on, and the one that everybody else has: their transports differ."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    config = Config()
    config.bind = [f"127.0.0.1:{host.port}"]
    config.accesslog = config.errorlog = None
    config.websocket_max_message_size = 10 * LIMIT
    stop = asyncio.Event()
    before = _tasks()
    serving = asyncio.create_task(serve(host, config, shutdown_trigger=stop.wait, mode="asgi"))
    await until(lambda: _listens(host.port), "listening")
    yield host
    stop.set()
    await serving
    assert host.done == len(host.recorders), "an app call did not end"
    assert not _tasks() - before, "a task is left"


def _tasks() -> set[asyncio.Task[Any]]:
    """All that run, but for the test runner's own."""
    return {task for task in asyncio.all_tasks() if "TestRunner" not in repr(task.get_coro())}


def _listens(port: int) -> bool:
    return any(c.laddr.port == port and c.status == "LISTEN" for c in psutil.Process().net_connections("tcp"))


async def test_frames_keep_their_order_both_ways(host):
    client, recorder = await host.open()
    wanted = [f"{nth}".encode() for nth in range(500)]
    for frame in wanted:
        await client.send(frame)
    await until(lambda: len(recorder.frames) == 500, "all received")
    assert recorder.frames == wanted
    for frame in wanted:
        recorder.socket.send(frame)
    assert recorder.socket.buffered == sum(map(len, wanted)), "send returns at once"
    assert [await client.recv() for _ in wanted] == wanted
    await until(lambda: recorder.socket.buffered == 0, "all written")
    assert recorder.socket.written == sum(map(len, wanted))
    assert recorder.drains
    await client.close(1001)
    await until(lambda: recorder.ended, "told of the end")
    client.fin()
    await until(lambda: host.done == 1, "the app's call has ended")
    assert len(recorder.ended) == 1


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
    monkeypatch.setattr("collab.transport.asgi.GOODBYE_SECONDS", 0.3)
    client, recorder = await host.open()
    client.answer_close = False
    recorder.socket.close(1012, "")
    await until(lambda: recorder.ended, "cut", within=2)
    client.fin()


async def test_a_client_that_takes_nothing_is_not_waited_for_when_it_is_told_to_go(host, monkeypatch):
    """The goodbye stands behind what it does not read: it would never come to that."""
    monkeypatch.setattr("collab.transport.asgi.GOODBYE_SECONDS", 0.3)
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


async def test_told_to_go_before_it_is_served(host):
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    socket = AsgiSocket(asyncio.Event().wait, send, message_bytes=LIMIT)  # type: ignore[arg-type]
    socket.close(4400, "early")
    recorder = Recorder()
    running = asyncio.create_task(socket.run(recorder))
    await until(lambda: said, "told")
    assert said == [{"type": "websocket.close", "code": 4400, "reason": "early"}]
    socket.abort()
    await asyncio.wait_for(running, 5)
    assert recorder.ended == [1006]


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


async def test_another_server_may_let_a_large_message_through():
    """Where hypercorn's insides are not there, the limit is looked at when the message has come."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        said.append(message)
        if message["type"] == "websocket.close":
            queue.put_nowait({"type": "websocket.disconnect", "code": message["code"]})

    recorder = Recorder()
    recorder.socket = AsgiSocket(queue.get, send, message_bytes=LIMIT)
    queue.put_nowait({"type": "websocket.receive", "bytes": b"x" * (LIMIT + 1)})
    await asyncio.wait_for(recorder.socket.run(recorder), 5)
    assert recorder.sizes == [LIMIT + 1] and recorder.frames == [] and recorder.ended == [4413]
    assert said == [{"type": "websocket.close", "code": 4413, "reason": "too large"}]


async def test_abort_on_another_server_ends_the_call():
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    stuck = asyncio.Event()

    async def send(message: Any) -> None:
        stuck.set()
        await asyncio.Event().wait()

    recorder = Recorder()
    recorder.socket = AsgiSocket(queue.get, send, message_bytes=LIMIT)
    recorder.socket.send(b"x")
    running = asyncio.create_task(recorder.socket.run(recorder))
    await asyncio.wait_for(stuck.wait(), 5)
    recorder.socket.abort()
    await asyncio.wait_for(running, 5)
    assert recorder.ended == [1006]
