"""Frames out of bytes: picows, without its own idea of a connection."""

from __future__ import annotations

import re
from typing import Any, Protocol

from picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from ..log import get_logger

log = get_logger(__name__)

READ_BYTES = 4096
"""picows' buffer to begin with. It grows with a frame and never shrinks: past `KEPT_BYTES` it is thrown away."""
KEPT_BYTES = 32 * 1024
SPARE_PARSERS = 16
HEAD_BYTES = 256
"""How much is remembered of a frame that has begun: longer than any head, and than any whole control frame."""

BINARY, TEXT, CONTINUATION = WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.CONTINUATION
PING, PONG, CLOSE = WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE

_REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_SIZE = re.compile(rb"payload size exceeding max allowed size, (\d+) > ")


class Taker(Protocol):
    """Who is given the frames."""

    def take_frame(self, frame: WSFrame) -> None:
        """One frame came, checked as far as one frame can be; it is gone when this returns."""


class Parser(WSListener):
    """Frames out of bytes, on loan to one socket for as long as that has a frame half read. An idle one has none.

    picows does the whole of RFC 6455, on a transport of its own. Here it is given one that leads nowhere (`_Nowhere`),
    and told that its handshake was; so all it does is read, unmask and check. What it would send is a close frame, when
    the client breaks the protocol: then `failed` holds that.

    Args:
        message_bytes: The longest frame. It is refused by its head, before there is room for it.

    Attributes:
        partial: Bytes of a frame that has begun.
        head: The first ones of them, `HEAD_BYTES` at most; means nothing without a `partial`.
        spent: Whether this one is of no more use: it grew large, or its client said goodbye, which picows remembers.
    """

    def __init__(self, message_bytes: int) -> None:
        self.message_bytes = message_bytes
        self.taker: Taker | None = None
        self.failed = b""
        self.partial = 0
        self.head = b""
        self.spent = False
        self._tail = -1
        self._protocol: Any = WSProtocol(
            "", "", False, lambda request: self, _QUIET, True, None,
            False, 0, 0, WSAutoPingStrategy.PING_WHEN_IDLE, False,
            message_bytes, [], READ_BYTES,
        )  # fmt: skip
        self._protocol.connection_made(_Nowhere(self))
        self.feed(_REQUEST)
        self.partial = 0

    def feed(self, data: bytes | memoryview) -> int:
        """Read on; returns how many bytes were read, which is not all of them when it `failed`."""
        protocol = self._protocol
        size = len(data)
        taken = 0
        while True:
            space = protocol.get_buffer(-1)
            # picows doubles its buffer when a piece leaves little room, be it of short frames only: so it gets less.
            room = len(space)
            most = min((9 * room - self.partial) // 10, room - 257)
            count = min(size - taken, most if most > 256 else room)
            space[:count] = data if count == size else data[taken : taken + count]
            self._tail = -1
            protocol.buffer_updated(count)
            self.partial = self._tail if self._tail >= 0 else self.partial + count
            taken += count
            if 0 < self.partial <= count:
                self.head = bytes(data[taken - self.partial : taken][:HEAD_BYTES])
            elif self.partial and (more := HEAD_BYTES - len(self.head)) > 0:
                self.head += data[taken - count : taken][:more]
            if taken == size or self.failed:
                return taken

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._tail = frame.tail_size
        if frame.payload_size > KEPT_BYTES or frame.msg_type == CLOSE:
            self.spent = True
        if self.taker is not None:
            self.taker.take_frame(frame)

    def discard(self) -> None:
        """It is not used again: let go of its buffer now, and not when the garbage of reference cycles is collected."""
        self.taker = None
        self._protocol.connection_lost(None)
        self._protocol = None

    def unread(self) -> int:
        """After a frame that was too long: how many bytes of it are still to come."""
        size = self.failed_size
        return (14 if size > 0xFFFF else 8) + size - self.partial

    @property
    def size(self) -> int:
        """The length of the frame that has begun, by its `head` (RFC 6455, 5.2)."""
        short = self.head[1] & 0x7F
        return short if short < 126 else int.from_bytes(self.head[2 : 4 if short == 126 else 10], "big")

    @property
    def missing(self) -> int:
        """How many bytes of it are still to come."""
        size = self.size
        return (14 if size > 0xFFFF else 8 if size > 125 else 6) + size - self.partial

    @property
    def failed_size(self) -> int:
        """The length of a frame that was too long, which picows says in words only; 0 when that was not it."""
        found = _SIZE.search(self.failed)
        return int(found[1]) if found is not None else 0


class Parsers:
    """Those that nobody uses just now.

    Args:
        message_bytes: The largest message that is taken.
        refused: Read what comes from clients that were refused.
    """

    def __init__(self, message_bytes: int, *, refused: Parsers | None = None) -> None:
        self.message_bytes = message_bytes
        self.refused = refused or self
        self._spare: list[Parser] = []

    def lend(self, taker: Taker) -> Parser:
        """One that has nothing half read."""
        parser = self._spare.pop() if self._spare else Parser(self.message_bytes)
        parser.taker = taker
        return parser

    def take_back(self, parser: Parser) -> None:
        """It has nothing half read any more."""
        parser.taker = None
        if not parser.spent and len(self._spare) < SPARE_PARSERS:
            self._spare.append(parser)
        else:
            parser.discard()


class _Nowhere:
    """Where a parser writes: it has nobody to talk to."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser

    def write(self, wire: bytes) -> None:
        if wire[0] == 0x80 | CLOSE.value:
            self._parser.failed = bytes(wire)

    def get_write_buffer_size(self) -> int:
        return 1  # so that picows does not go past us to the socket

    def get_extra_info(self, name: str) -> Any:
        return _NO_SOCKET if name == "socket" else None

    def close(self) -> None:
        """The socket knows by itself what to do."""

    abort = close


class _NoSocket:
    def fileno(self) -> int:
        return -1

    def setsockopt(self, *option: object) -> None:
        """Set already, by the event loop (TCP_NODELAY)."""

    def getsockopt(self, *option: object) -> int:
        return 0


class _Quiet:
    """picows' log: hostile clients would fill it. What goes wrong in our own code is told."""

    def isEnabledFor(self, level: int) -> bool:
        return False

    def info(self, *said: object) -> None:
        """Nothing that is not counted elsewhere."""

    debug = warning = error = info

    def exception(self, *said: object) -> None:
        log.exception("frame not taken")


_NO_SOCKET = _NoSocket()
_QUIET = _Quiet()
