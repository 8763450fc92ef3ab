"""A WebSocket client written by hand, for what well-behaved clients never do.

Two layers, both independent of `collab.wire`, so that they are a second opinion:

* frames of the y-websocket protocol: `sync1()`, `sync2()`, `update()`, `awareness()`, `query()` build them, `parse()`
  reads them; `var()`, `var_bytes()`, `var_string()` are lib0's pieces.
* `Raw`: the socket. It reads only when asked to (so a test can be a slow reader), sends any bytes it is told to
  (unmasked, fragmented, glued to the handshake), and ends as told (close frame, FIN, RST).

`Peer` puts a pycrdt document on a `Raw`: an editor in Python that pumps in the background.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import quote

from pycrdt import Doc, Map, Text

from .waiting import until

# ---------------------------------------------------------------------------------------------------- lib0's pieces


def var(number: int) -> bytes:
    """lib0 varUint: seven bits a byte, least first, the high bit says that more follow."""
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | number & 0x7F)
        number >>= 7
    out.append(number)
    return bytes(out)


def var_bytes(content: bytes) -> bytes:
    return var(len(content)) + content


def var_string(text: str) -> bytes:
    return var_bytes(text.encode())


def read_var(content: bytes, at: int = 0) -> tuple[int, int]:
    """The varUint at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return number, at


def read_var_bytes(content: bytes, at: int = 0) -> tuple[bytes, int]:
    length, at = read_var(content, at)
    assert at + length <= len(content), "length prefix reaches beyond the frame"
    return content[at : at + length], at + length


# --------------------------------------------------------------------------------------------- y-websocket's frames

EMPTY_UPDATE = b"\x00\x00"
EMPTY_VECTOR = b"\x00"


def sync1(vector: bytes = EMPTY_VECTOR) -> bytes:
    return b"\x00\x00" + var_bytes(vector)


def sync2(content: bytes = EMPTY_UPDATE) -> bytes:
    return b"\x00\x01" + var_bytes(content)


def update(content: bytes) -> bytes:
    return b"\x00\x02" + var_bytes(content)


def awareness(entries: Iterable[tuple[int, int, Any]]) -> bytes:
    """Entries are (client id, clock, state); a state of None says that the client has left."""
    entries = list(entries)
    listed = b"".join(var(id_) + var(clock) + var_string(json.dumps(state)) for id_, clock, state in entries)
    return b"\x01" + var_bytes(var(len(entries)) + listed)


def query() -> bytes:
    return b"\x03"


@dataclass(frozen=True)
class Message:
    """A frame, read: `kind` is sync1 sync2 update awareness auth query other; `content` is its payload.

    `awareness` entries are (client id, clock, state); `reason` belongs to auth.
    """

    kind: str
    content: bytes = b""
    entries: tuple[tuple[int, int, Any], ...] = ()
    reason: str = ""


def parse(frame: bytes) -> Message:
    """Read a frame; trailing bytes are an error, because no server of ours may send any.

    Raises:
        AssertionError, IndexError: it is malformed.
    """
    type_, at = read_var(frame)
    if type_ == 0:
        sub, at = read_var(frame, at)
        content, at = read_var_bytes(frame, at)
        message = Message(("sync1", "sync2", "update")[sub], content)
    elif type_ == 1:
        content, at = read_var_bytes(frame, at)
        message = Message("awareness", content, tuple(_entries(content)))
    elif type_ == 2:
        _zero, at = read_var(frame, at)
        reason, at = read_var_bytes(frame, at)
        message = Message("auth", reason=reason.decode())
    elif type_ == 3:
        message = Message("query")
    else:
        return Message("other", frame)
    assert at == len(frame), f"{len(frame) - at} trailing bytes in {frame[:40].hex()}"
    return message


def _entries(content: bytes) -> Iterable[tuple[int, int, Any]]:
    count, at = read_var(content)
    for _ in range(count):
        id_, at = read_var(content, at)
        clock, at = read_var(content, at)
        state, at = read_var_bytes(content, at)
        yield id_, clock, json.loads(state)
    assert at == len(content), "trailing bytes in an awareness update"


def room_target(room: str) -> str:
    """The request target of a room, as a browser's URL parser makes it: slashes stay, the rest is percent-encoded."""
    return "/" + quote(room, safe="/!$&'()*+,;=:@~")


# ------------------------------------------------------------------------------------------------------- the socket

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
        chunk = await self._loop.sock_recv(self.sock, 1 << 16)
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        self.received_bytes += len(chunk)
        self._buffer += chunk

    async def read_bytes(self, most: int) -> bytes:
        """Up to `most` bytes of the TCP stream, undecoded (for readers that are slow on purpose)."""
        chunk = await self._loop.sock_recv(self.sock, most)
        self.received_bytes += len(chunk)
        return chunk

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


# ------------------------------------------------------------------------------------------------ an editor in Python


@dataclass
class Peer:
    """A pycrdt document on a `Raw`: answers sync step 1, applies what comes, sends what is typed here.

        async with await Peer.open(server.url, "room") as peer:
            await peer.synced.wait()
            await peer.write("hello")

    It does not reconnect by itself: `await peer.reconnect()` does, with the same document.
    """

    url: str
    room: str
    doc: Doc[Any] = field(default_factory=Doc)
    target: str | None = None
    raw: Raw | None = None
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    received: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    presence: dict[int, Any] = field(default_factory=dict)
    on_message: Callable[[Message], None] | None = None
    _pump: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, room: str, *, doc: Doc[Any] | None = None, target: str | None = None) -> Peer:
        peer = cls(url, room, doc if doc is not None else Doc(), target)
        await peer.reconnect()
        return peer

    async def reconnect(self) -> None:
        """Open a new connection for the same document (the old one is dropped)."""
        await self.leave()
        self.synced.clear()
        self.presence.clear()
        self.raw = await Raw.open(self.url, self.target, room=self.room)
        await self._send(sync1(self.doc.get_state()))
        self._pump = asyncio.create_task(self._run(self.raw))

    async def _send(self, frame: bytes) -> None:
        assert self.raw is not None
        self.sent[parse(frame).kind] += 1
        await self.raw.send(frame)

    async def _run(self, raw: Raw) -> None:
        while (frame := await raw.recv(3600)) is not None:
            message = parse(frame)
            self.received[message.kind] += 1
            if message.kind == "sync1":
                await self._send(sync2(self.doc.get_update(message.content)))
            elif message.kind in ("sync2", "update"):
                if message.content != EMPTY_UPDATE:
                    self.doc.apply_update(message.content)
                if message.kind == "sync2":
                    self.synced.set()
            elif message.kind == "awareness":
                for id_, _clock, state in message.entries:
                    if state is None:
                        self.presence.pop(id_, None)
                    else:
                        self.presence[id_] = state
            if self.on_message is not None:
                self.on_message(message)

    def change(self, edit: Callable[[Doc[Any]], None]) -> bytes:
        """Make an edit here, in one transaction; returns its update, unsent."""
        made: list[bytes] = []
        subscription = self.doc.observe(lambda event: made.append(event.update))
        try:
            with self.doc.transaction():
                edit(self.doc)
        finally:
            self.doc.unobserve(subscription)
        assert len(made) == 1, "the edit changed nothing"
        return made[0]

    async def send_update(self, content: bytes) -> None:
        await self._send(update(content))

    async def edit(self, edit: Callable[[Doc[Any]], None]) -> bytes:
        """Make an edit and send it; returns its update."""
        content = self.change(edit)
        await self.send_update(content)
        return content

    async def write(self, text: str, name: str = "text") -> bytes:
        """Append to a text."""
        shared: Text = self.doc.get(name, type=Text)
        return await self.edit(lambda _doc: shared.insert(len(shared), text))

    async def put(self, key: str, value: Any, name: str = "map") -> bytes:
        """Set a key of a map."""
        shared: Map[Any] = self.doc.get(name, type=Map)
        return await self.edit(lambda _doc: shared.__setitem__(key, value))

    async def show(self, id_: int, clock: int, state: Any) -> None:
        """Send one awareness entry."""
        await self._send(awareness([(id_, clock, state)]))

    def text(self, name: str = "text") -> str:
        return str(self.doc.get(name, type=Text))

    async def text_is(self, wanted: str, name: str = "text", within: float = 5.0) -> None:
        await self.until(lambda: self.text(name) == wanted, f"the text to be {wanted!r:.200}", within)

    async def until(self, predicate: Callable[[], bool], what: str, within: float = 5.0) -> None:
        """Wait until `predicate()` holds.

        Raises:
            AssertionError: it does not in time.
        """
        await until(predicate, lambda: f"{what} in {self.room}; {self._story()}", within)

    def _story(self) -> str:
        return f"received {dict(self.received)}, sent {dict(self.sent)}, ended {self.raw and self.raw.ended}"

    @property
    def ended(self) -> Closed | None:
        return self.raw.ended if self.raw is not None else None

    async def closed(self, within: float = 5.0) -> Closed:
        """Wait for the end of the connection.

        Raises:
            AssertionError: it goes on.
        """
        await self.until(lambda: self.ended is not None, "the connection to end", within)
        assert self.ended is not None
        return self.ended

    async def leave(self, code: int | None = None) -> None:
        """Drop the connection, after a close frame if `code` is given."""
        if self.raw is not None and code is not None and self.raw.ended is None:
            await self.raw.close(code)
            await self.closed()
        if self._pump is not None:
            self._pump.cancel()
            (outcome,) = await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None
            if isinstance(outcome, Exception):
                raise outcome  # a malformed frame from the server must not pass unseen
        if self.raw is not None:
            self.raw.fin()

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.leave()
