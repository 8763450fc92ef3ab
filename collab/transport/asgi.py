"""A WebSocket over plain ASGI: works on every ASGI server, and over HTTP/2."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup

from . import GOODBYE_SECONDS, REFUSED_BYTES, Receiver, fitting_reason, insides

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiSocket:
    """One accepted WebSocket.

    `send` puts a frame into a queue that one task writes, so the order is kept and nobody waits; the ASGI server's own
    `send` waits until the network takes the bytes, so the queue is what the client has not taken.

    Args:
        receive, send: As the ASGI server gave them.
        message_bytes: The largest message that is let through.
        gone: Called once, after its receiver was told of the end.
    """

    name = "asgi"

    def __init__(
        self, receive: Receive, send: Send, *, message_bytes: int, gone: Callable[[], None] = lambda: None
    ) -> None:
        self.buffered = 0
        self.written = 0
        self._receive = receive
        self._send = send
        self._limit = message_bytes
        self._gone = gone
        self._frames: deque[bytes] = deque()
        self._work = anyio.Event()
        self._reading: anyio.Event | None = None
        self._goodbye: tuple[int, str] | None = None
        self._scope = anyio.CancelScope()
        self._tasks: TaskGroup | None = None

    async def accept(self, subprotocol: str | None) -> None:
        insides.refuse_compression(self._send)
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol})

    def send(self, frame: bytes) -> None:
        if self._goodbye is None:
            self._frames.append(frame)
            self.buffered += len(frame)
            self._work.set()

    def ping(self) -> bool:
        return False  # ASGI servers keep the answers to themselves

    def pause(self) -> None:
        if self._reading is None:
            self._reading = anyio.Event()

    def resume(self) -> None:
        if self._reading is not None:
            self._reading.set()
            self._reading = None

    def distrust(self) -> None:
        self._limit = min(self._limit, REFUSED_BYTES)
        stream = insides.stream(self._send)
        if stream is not None and isinstance(stream.buffer, insides.BoundedBuffer):
            stream.buffer.distrust(self._limit)

    def close(self, code: int, reason: str) -> None:
        if self._goodbye is None:
            self._goodbye = code, fitting_reason(reason)
            self._work.set()
            self.resume()  # so that the client's goodbye is heard
            if self._tasks is not None:
                self._tasks.start_soon(self._cut)

    def abort(self) -> None:
        transport = insides.tcp_transport(self._send)
        if transport is not None:
            transport.abort()
        self._goodbye = self._goodbye or (1006, "")
        self._scope.cancel()

    async def run(self, receiver: Receiver) -> None:
        """Serve the socket until it is gone; `receiver` is told what happens."""
        stream = insides.stream(self._send)
        if stream is not None and stream.closed:
            # hypercorn has answered with 400, to a frame that came before it could be accepted, and would leave us
            # waiting for an end that it tells nobody of, and the client with a connection for as long as it likes.
            transport = insides.tcp_transport(self._send)
            if transport is not None:
                transport.close()
            self._end(receiver, 1006)
            return
        if stream is not None:
            stream.buffer = insides.BoundedBuffer(self._limit, receiver.too_large, receiver.unfinished)
        code = 1006
        try:
            with self._scope:
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._write, receiver)
                    if self._goodbye is not None:
                        self._tasks.start_soon(self._cut)
                    code = await self._read(receiver)
                    self._tasks.cancel_scope.cancel()
        finally:
            self._end(receiver, code)

    def _end(self, receiver: Receiver, code: int) -> None:
        self._goodbye = self._goodbye or (code, "")
        self._tasks = None
        try:
            receiver.closed(code)
        finally:
            self._gone()

    async def _read(self, receiver: Receiver) -> int:
        while True:
            if self._reading is not None:
                await self._reading.wait()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or 1005)
            frame = message.get("bytes")
            if frame is None:
                frame = message.get("text") or ""
            if len(frame) > self._limit:
                receiver.too_large(len(frame))
            else:
                receiver.received(frame)

    async def _write(self, receiver: Receiver) -> None:
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            while self._frames:
                frame = self._frames.popleft()
                try:
                    await self._send({"type": "websocket.send", "bytes": frame})
                except Exception:  # the client is gone: the reading side hears of it too, and says so
                    self._frames.clear()
                self.buffered -= len(frame)
                self.written += len(frame)
            self.buffered = 0
            if self._goodbye is not None:
                break
            receiver.drained()
        code, reason = self._goodbye
        with suppress(Exception):  # it may have gone first
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _cut(self) -> None:
        await anyio.sleep(GOODBYE_SECONDS)
        self.abort()
