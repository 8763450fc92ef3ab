"""A WebSocket (RFC 6455) that does nothing unasked."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

from .frames import Message, parse, room_target

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True)
class Closed:
    """How a connection ended: a close frame's code and reason, or `code=None` for an end without one."""

    code: int | None
    reason: str
    seconds: float
    """Since `Raw` was opened."""


class Refused(AssertionError):
    """The upgrade was answered with something else than 101."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"upgrade refused: {status} {body[:200]!r}")
        self.status = status
        self.headers = headers
        self.body = body


def encode_frame(content: bytes, *, opcode: int = BINARY, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """One WebSocket frame (RFC 6455 5.2). A client's must be masked; `mask=False` breaks that rule."""
    head = bytearray([fin << 7 | rsv << 4 | opcode])
    length = len(content)
    bit = 0x80 if mask else 0
    if length < 126:
        head.append(bit | length)
    elif length < 1 << 16:
        head.append(bit | 126)
        head += struct.pack("!H", length)
    else:
        head.append(bit | 127)
        head += struct.pack("!Q", length)
    if not mask:
        return bytes(head) + content
    key = os.urandom(4)
    keys = int.from_bytes((key * (length // 4 + 1))[:length], "big")
    masked = (int.from_bytes(content, "big") ^ keys).to_bytes(length, "big")
    return bytes(head) + key + masked


class Raw:
    """A WebSocket that does nothing unasked. Made by `Raw.open()`; use as `async with await Raw.open(...)`.

    `recv()` answers pings on the way unless `answer_pings` is False, and notes a close frame in `ended` (which it
    answers unless `answer_close` is False).
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.headers: dict[str, str] = {}
        self.ended: Closed | None = None
        self.answer_pings = True
        self.answer_close = True
        self.pings = 0
        self.received_bytes = 0
        self.opened_at = time.monotonic()
        self._buffer = bytearray()
        self._parts = bytearray()
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls,
        url: str,
        target: str | None = None,
        *,
        room: str = "room",
        headers: Iterable[tuple[str, str]] = (),
        glue: bytes = b"",
        receive_buffer: int | None = None,
        within: float = 10.0,
    ) -> Raw:
        """Connect to `url` ("ws://host:port") and upgrade.

        Args:
            target: the request target, sent as it is; by default made from `room`.
            headers: more request headers.
            glue: bytes sent in the same write as the upgrade request.
            receive_buffer: SO_RCVBUF in bytes, for slow readers.

        Raises:
            Refused: the answer is not 101.
            OSError: no connection, or it ended before an answer.
        """
        host, _, port = url.removeprefix("ws://").removeprefix("http://").rstrip("/").partition(":")
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw = cls(sock)
        try:
            async with asyncio.timeout(within):
                await raw._loop.sock_connect(sock, (host, int(port)))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                request = [
                    f"GET {room_target(room) if target is None else target} HTTP/1.1",
                    f"Host: {host}:{port}",
                    "Upgrade: websocket",
                    "Connection: Upgrade",
                    "Sec-WebSocket-Version: 13",
                    f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
                    *(f"{name}: {value}" for name, value in headers),
                ]
                await raw.send_bytes("\r\n".join(request).encode() + b"\r\n\r\n" + glue)
                await raw._read_answer()
        except BaseException:
            sock.close()
            raise
        raw.opened_at = time.monotonic()
        return raw

    async def _read_answer(self) -> None:
        while b"\r\n\r\n" not in self._buffer:
            await self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        self._buffer[:] = rest
        status = int(first.split()[1])
        if status == 101:
            return
        wanted = int(self.headers.get("content-length", "0"))
        while len(self._buffer) < wanted:
            await self._fill()
        raise Refused(status, self.headers, bytes(self._buffer))

    async def __aenter__(self) -> Raw:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.fin()

    # -- out

    async def send(self, content: bytes, *, opcode: int = BINARY, fin: bool = True, mask: bool = True, rsv: int = 0) -> None:  # fmt: skip  # noqa: E501
        await self.send_bytes(encode_frame(content, opcode=opcode, fin=fin, mask=mask, rsv=rsv))

    async def send_many(self, frames: Iterable[bytes], *, then: bytes = b"") -> None:
        """Several messages (and `then`, raw bytes) in one write: one TCP segment when they are small."""
        await self.send_bytes(b"".join(map(encode_frame, frames)) + then)

    async def send_bytes(self, content: bytes) -> None:
        await self._loop.sock_sendall(self.sock, content)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame; `closed()` waits for the answer."""
        await self.send(struct.pack("!H", code) + reason.encode(), opcode=CLOSE)

    def eof(self) -> None:
        """Half-close: nothing more will be sent, reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def fin(self) -> None:
        """Close the socket without a close frame. Harmless when repeated."""
        self.sock.close()

    def reset(self) -> None:
        """Close the socket with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # -- in

    async def _fill(self) -> None:
        chunk = await self.read_bytes(1 << 16)
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += chunk

    async def read_bytes(self, most: int) -> bytes:
        """Up to `most` bytes of the TCP stream, undecoded (for readers that are slow on purpose)."""
        while True:
            try:
                chunk = self.sock.recv(most)
            except BlockingIOError:
                await self._readable()
            else:
                self.received_bytes += len(chunk)
                return chunk

    async def _readable(self) -> None:
        """Not `sock_recv`: when that is cancelled just as something came, what came is lost."""
        ready, number = self._loop.create_future(), self.sock.fileno()
        self._loop.add_reader(number, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            self._loop.remove_reader(number)

    async def _read_frame(self) -> tuple[bool, int, bytes]:
        while (need := self._needed()) > len(self._buffer):
            await self._fill()
        first, second = self._buffer[0], self._buffer[1]
        head = {126: 4, 127: 10}.get(second & 0x7F, 2)
        content = bytes(self._buffer[head:need])
        del self._buffer[:need]
        assert not second & 0x80, "a server must not mask its frames (RFC 6455 5.1)"
        assert not first & 0x70, "RSV bits set although no extension was negotiated"
        return bool(first & 0x80), first & 0x0F, content

    def _needed(self) -> int:
        if len(self._buffer) < 2:
            return 2
        length = self._buffer[1] & 0x7F
        if length < 126:
            return 2 + length
        head, form = (4, "!H") if length == 126 else (10, "!Q")
        if len(self._buffer) < head:
            return head
        return head + int(struct.unpack_from(form, self._buffer, 2)[0])

    async def recv(self, within: float = 5.0) -> bytes | None:
        """The next message; None when the connection has ended (see `ended`).

        Raises:
            TimeoutError: nothing came in time. The connection can still be used.
        """
        async with asyncio.timeout(within):
            while self.ended is None:
                try:
                    fin, opcode, content = await self._read_frame()
                except OSError:
                    self._end(None, "")
                    break
                if opcode == PING:
                    self.pings += 1
                    if self.answer_pings:
                        await self.send(content, opcode=PONG)
                elif opcode == CLOSE:
                    code = struct.unpack("!H", content[:2])[0] if len(content) >= 2 else 1005
                    self._end(code, content[2:].decode())
                    if self.answer_close:
                        try:
                            await self.send(content[:2], opcode=CLOSE)
                        except OSError:
                            pass
                elif opcode != PONG:
                    assert opcode in (CONTINUATION, BINARY), f"opcode {opcode} from the server"
                    self._parts += content
                    if fin:
                        message = bytes(self._parts)
                        self._parts.clear()
                        return message
        return None

    def _end(self, code: int | None, reason: str) -> None:
        if self.ended is None:
            self.ended = Closed(code, reason, time.monotonic() - self.opened_at)

    async def message(self, within: float = 5.0) -> Message:
        """The next message, read.

        Raises:
            AssertionError: the connection has ended instead.
            TimeoutError: nothing came in time.
        """
        frame = await self.recv(within)
        assert frame is not None, f"the connection ended: {self.ended}"
        return parse(frame)

    async def expect(self, *kinds: str, within: float = 5.0) -> Message:
        """The next message of one of these kinds; others are passed over."""
        async with asyncio.timeout(within):
            while True:
                message = await self.message(within)
                if message.kind in kinds:
                    return message

    async def silence(self, seconds: float) -> list[Message]:
        """All messages that come within `seconds`."""
        found = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                frame = await self.recv(left)
            except TimeoutError:
                break
            if frame is None:
                break
            found.append(parse(frame))
        return found

    async def closed(self, within: float = 5.0) -> Closed:
        """Read on until the connection ends.

        Raises:
            TimeoutError: it does not in time.
        """
        async with asyncio.timeout(within):
            while self.ended is None:
                await self.recv(within)
        assert self.ended is not None
        return self.ended

    async def gone(self, within: float = 5.0) -> float:
        """Read on until the TCP connection itself ends (after a close frame, too); seconds since the call."""
        began = time.monotonic()
        async with asyncio.timeout(within):
            try:
                while await self.read_bytes(1 << 16):
                    pass
            except OSError:
                pass
        return time.monotonic() - began
