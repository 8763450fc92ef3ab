"""An app of nothing but sockets, on a hypercorn of its own, and a receiver that writes down what it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from hypercorn.asyncio import serve
from hypercorn.config import Config

from collab.transport.carriers import Carriers
from tests.support.raw import Raw
from tests.support.server import free_port
from tests.support.waiting import until

LIMIT = 100_000


class Recorder:
    """A receiver that writes everything down, and may act on what comes."""

    def __init__(self) -> None:
        self.socket: Any = None
        self.frames: list[bytes | str] = []
        self.sizes: list[int] = []
        self.begun: list[int] = []
        self.counts_begun = True
        self.drains = 0
        self.pongs = 0
        self.overworks = 0
        self.ended: list[int] = []
        self.on_frame: Callable[[bytes | str], None] = lambda frame: None

    def received(self, frame: bytes | str) -> None:
        self.frames.append(frame)
        self.on_frame(frame)

    def too_large(self, size: int) -> None:
        self.sizes.append(size)
        self.socket.close(4413, "too large")

    def unfinished(self, size: int) -> bool:
        self.begun.append(size)
        return self.counts_begun

    def ponged(self) -> None:
        self.pongs += 1

    def overworked(self) -> None:
        self.overworks += 1
        self.socket.close(1013, "enough")

    def drained(self) -> None:
        self.drains += 1

    def closed(self, code: int) -> None:
        self.ended.append(code)


class Host:
    """Each socket gets the next of `recorders`.

    Args:
        fast, compress: As `Carriers` has them.

    Attributes:
        done: Calls of the app that have ended.
        gone: Sockets that have.
        carried: What they were carried by.
        decide: Awaited before a socket is accepted.
        subprotocol: What it is accepted as.
        left_to_hypercorn: Whether a connection that could not be taken over was to be expected.
        logged: What hypercorn logged: its access log and its error log.
    """

    def __init__(self, *, fast: bool, compress: bool = False) -> None:
        self.carriers = Carriers(message_bytes=LIMIT, fast=fast, compress=compress)
        self.recorders: list[Recorder] = []
        self.done = 0
        self.gone = 0
        self.carried: set[str] = set()
        self.port = free_port()
        self.scheme = "ws"
        self.decide: Callable[[], Any] | None = None
        self.subprotocol: str | None = None
        self.left_to_hypercorn = False
        self.logged: list[str] = []
        self.stop = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise RuntimeError("no lifespan here")
        await receive()
        if self.decide is not None:
            await self.decide()
        recorder = Recorder()
        recorder.socket = self.carriers.carry(scope, receive, send, gone=self._gone)
        self.carried.add(recorder.socket.name)
        await recorder.socket.accept(self.subprotocol)
        self.recorders.append(recorder)
        await recorder.socket.run(recorder)
        self.done += 1

    def _gone(self) -> None:
        self.gone += 1

    async def open(self, **options: Any) -> tuple[Raw, Recorder]:
        have = len(self.recorders)
        client = await Raw.open(self.url, "/", **options)
        await until(lambda: len(self.recorders) > have, "the app has it")
        return client, self.recorders[-1]


@asynccontextmanager
async def hosted(host: Host, *, certificate: tuple[Path, Path] | None = None) -> AsyncIterator[Host]:
    """Serve `host`; at the end no call, no task and no file descriptor may be left of what it served."""
    config = Config()
    if certificate is not None:
        config.certfile, config.keyfile = map(str, certificate)
        config.alpn_protocols = ["http/1.1"]
        host.scheme = "wss"
    config.bind = [f"127.0.0.1:{host.port}"]
    config.accesslog = _logger(host.logged, "access")
    config.errorlog = _logger(host.logged, "error")
    config.websocket_max_message_size = 10 * LIMIT
    before = _tasks()
    serving = asyncio.create_task(serve(host, config, shutdown_trigger=host.stop.wait, mode="asgi"))
    await until(lambda: _sockets(host.port), "listening")
    yield host
    await until(lambda: host.gone == len(host.recorders), "all sockets have ended")
    host.stop.set()
    await serving
    assert host.done == len(host.recorders), "an app call did not end"
    assert not _tasks() - before, "a task is left"
    await until(lambda: not _sockets(host.port), "all file descriptors are closed")


def _logger(lines: list[str], name: str) -> logging.Logger:
    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{name}: {self.format(record)}")

    logger = logging.Logger(name)
    logger.addHandler(Lines())
    return logger


def _tasks() -> set[asyncio.Task[Any]]:
    """All that run, but for the test runner's own."""
    return {task for task in asyncio.all_tasks() if "TestRunner" not in repr(task.get_coro())}


def _sockets(port: int) -> list[str]:
    """The state of each socket of this process that is the server's end of something."""
    return [c.status for c in psutil.Process().net_connections("tcp") if c.laddr and c.laddr.port == port]
