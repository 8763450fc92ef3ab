"""A WebSocket over hypercorn's own TCP connection: picows reads the frames, and writes go straight to the transport.

hypercorn serves the port, TLS and the request. When the app takes the WebSocket, this protocol is set on hypercorn's
transport, and hypercorn's task for the connection ends. What stays is the transport and one object.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from picows import WSFrame, WSMsgType

from ..errors import BadMessage, TooLarge
from . import GOODBYE_SECONDS, Receiver, deflate, fitting_reason
from .frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Parser, Parsers
from .insides import Line
from .turns import CHAFF_AT_ONCE, LITTLE_BYTES, PIECE_BYTES, TURN_BYTES, TURN_SECONDS, Chaff

HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024
"""Bytes that wait to be written when the receiver is told that it can send more, and beyond which pongs wait, too."""
HANG_UP_SECONDS = 0.5
"""How long a client over TLS, which knows no half-closed connections, has to read why it is cut."""

NORMAL, NO_CODE, CUT = 1000, 1005, 1006
PROTOCOL_ERROR, NOT_TEXT, TOO_BIG = 1002, 1007, 1009

_PING = b"\x89\x00"
_PONG, _CLOSE = 0x8A, 0x88
_SHORT = [deflate.head(deflate.BINARY, size) for size in range(126)]
_FOR_EVER = 1 << 80
"""More bytes than any client sends."""


class TakeoverSocket(asyncio.Protocol):
    """One accepted WebSocket.

    Args:
        line: What is taken over.
        parsers: Read its frames.
        wires: Hold what many are sent.
        agreed: What was agreed of compression.
        gone: Called once, after its receiver was told of the end.
    """

    name = "takeover"
    __slots__ = (
        "_agreed", "_bits", "_chaff", "_ended", "_gone", "_kind", "_light", "_line", "_open", "_over", "_owed",
        "_parser", "_parsers", "_parts", "_paused", "_receiver", "_rest", "_sent", "_skip", "_slowed", "_squeezed",
        "_stopped", "_telling", "_timer", "_transport", "_wires", "_write",
    )  # fmt: skip

    def __init__(
        self,
        line: Line,
        *,
        parsers: Parsers,
        wires: deflate.Wires,
        agreed: deflate.Agreement | None = None,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._line: Line | None = line
        self._transport = line.transport
        self._write = line.transport.write
        self._parsers = parsers
        self._parser: Parser | None = None
        self._wires = wires
        self._agreed = agreed
        self._bits = deflate.PLAIN if agreed is None else agreed.bits
        self._gone = gone
        self._receiver: Receiver
        self._open = True
        self._over = False  # a message was too large: nothing that follows counts
        self._paused = False  # by the receiver
        self._slowed = False  # for frames that say nothing
        self._stopped = False  # the transport: for one of these, or for what it has read already
        self._rest = b""
        self._telling = True  # of messages whose end is not here
        self._light = 0
        self._chaff: Chaff | None = None
        self._ended = CUT
        self._sent = 0
        self._skip = 0
        self._kind: WSMsgType | None = None  # of the message whose pieces are coming in
        self._squeezed = False
        self._parts = bytearray()
        self._owed: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ how it begins

    async def accept(self, subprotocol: str | None) -> None:
        line = self._line
        assert line is not None, "accepted twice"
        headers = []
        if subprotocol is not None:
            headers.append((b"sec-websocket-protocol", subprotocol.encode()))
        if self._agreed is not None:
            headers.append((b"sec-websocket-extensions", self._agreed.answer))
        answer = line.answer(headers)
        line.take(self)
        self._transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._write(answer)

    async def run(self, receiver: Receiver) -> None:
        """Nothing came in before this: there was no other task's turn since `accept`."""
        self._receiver = receiver
        line, self._line = self._line, None
        if line is not None:
            await line.log()

    # ------------------------------------------------------------------ what the connection asks for

    @property
    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    @property
    def written(self) -> int:
        return self._sent - self._transport.get_write_buffer_size()

    def send(self, frame: bytes) -> None:
        if not self._open:
            return
        size = len(frame)
        if size < 126:
            wire = _SHORT[size] + frame
        elif size < deflate.LEAST_BYTES:
            wire = deflate.head(deflate.BINARY, size) + frame
        elif size <= deflate.MOST_BYTES:
            wire = self._wires.wire(frame, self._bits)
        else:
            wire = deflate.head(deflate.BINARY, size)
            self._sent += len(wire) + size
            self._transport.writelines((wire, frame))  # the frame itself waits for slow clients, not a copy for each
            return
        self._sent += len(wire)
        self._write(wire)

    def ping(self) -> bool:
        if self._open and self._owed is None:
            self._control(_PING)
        return True

    def pause(self) -> None:
        self._paused = True
        self._settle()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._go_on()

    def distrust(self) -> None:
        self._parsers = self._parsers.refused
        self._parts = bytearray()
        asyncio.get_running_loop().call_soon(self._forsake)  # not now: a parser may be at work

    def close(self, code: int, reason: str) -> None:
        if self._open:
            said = code.to_bytes(2, "big") + fitting_reason(reason).encode()
            self._say_goodbye(said)
            self.resume()  # so that the client's goodbye is heard
            if self._skip == _FOR_EVER:
                self._hang_up()

    def abort(self) -> None:
        self._open = False
        self._transport.abort()

    # ------------------------------------------------------------------ what comes in (asyncio.Protocol)

    def data_received(self, data: bytes) -> None:
        if len(data) <= LITTLE_BYTES and not self._rest and not self._paused:
            self._read(data)
        else:
            self._rest += data
            self._work()

    def _work(self) -> None:
        """Read on in what has come, for one turn; the rest of it waits for the next, or until reading goes on."""
        began = time.perf_counter()
        waiting = memoryview(self._rest)
        at = 0
        while at < len(waiting) and not self._paused and not self._slowed:
            self._read(waiting[at : at + TURN_BYTES])
            at += TURN_BYTES
            if time.perf_counter() - began > TURN_SECONDS:
                break
        self._rest = bytes(waiting[at:])
        if self._rest and not self._paused and not self._slowed:
            asyncio.get_running_loop().call_soon(self._work)
        self._settle()

    def _go_on(self) -> None:
        """Whoever lets reading go on may be in the middle of something: what waits is worked through later."""
        if self._rest:
            asyncio.get_running_loop().call_soon(self._work)
        else:
            self._settle()

    def _settle(self) -> None:
        """Nothing more is read while anything stands against it."""
        stop = self._paused or self._slowed or bool(self._rest)
        if stop != self._stopped:
            self._stopped = stop
            (self._transport.pause_reading if stop else self._transport.resume_reading)()

    def _read(self, data: bytes | memoryview) -> None:
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped if self._skip != _FOR_EVER else 0
            data = data[skipped:]
            if not data:
                return
        parser = self._parser = self._parser or self._parsers.lend(self)
        taken = parser.feed(data)
        if parser.failed:
            self._let_go(parser)
            self._broken(parser)
            if taken < len(data) and self._skip != _FOR_EVER:
                self._read(data[taken:])
        elif parser.message_bytes != self._parsers.message_bytes:
            self._forsake()
        elif not parser.partial:
            self._parser = None
            self._parsers.take_back(parser)
        if self._telling:
            self._telling = self._receiver.unfinished(parser.partial + len(self._parts))

    def _forsake(self) -> None:
        """The client is not trusted any more: what has begun of a frame is let go of, and its rest passed over."""
        parser = self._parser
        if parser is None or parser.message_bytes == self._parsers.message_bytes:
            return
        self._let_go(parser)
        if parser.partial > len(parser.head):
            self._skip = parser.missing
            self._too_large(parser.size)
            self._kind = None if parser.head[0] & 0x80 else self._kind or BINARY
        elif parser.partial:
            self._read(parser.head)  # a short one may be a goodbye; of others there is enough for another parser

    def _let_go(self, parser: Parser) -> None:
        """A parser that stopped in the middle of something is of no more use."""
        self._parser = None
        parser.discard()

    def _broken(self, parser: Parser) -> None:
        """The client broke the protocol, or sent a frame that is too long: the rest of that is passed over."""
        if self._skip == _FOR_EVER:
            return
        code = int.from_bytes(parser.failed[2:4], "big")
        if code == TOO_BIG and (size := parser.failed_size):
            self._skip = parser.unread()
            self._too_large(size)
        else:
            self._fail(code)

    def take_frame(self, frame: WSFrame) -> None:
        """One frame came, checked as far as one frame can be."""
        if self._skip:
            return
        kind = frame.msg_type
        if kind != BINARY and frame.payload_size < PIECE_BYTES:
            self._light += 1
            if self._light == CHAFF_AT_ONCE:
                self._weigh()
        if kind == BINARY and frame.fin and self._kind is None and not (frame.rsv1 or frame.rsv2 or frame.rsv3):
            if not self._over:
                self._receiver.received(frame.get_payload_as_bytes())
        elif frame.rsv2 or frame.rsv3 or (frame.rsv1 and (self._bits == deflate.PLAIN or kind not in (BINARY, TEXT))):
            self._fail(PROTOCOL_ERROR)
        elif kind == PING:
            self._pong(frame.get_payload_as_bytes())
        elif kind == PONG:
            self._receiver.ponged()
        elif kind == CLOSE:
            self._hear_goodbye(frame.get_payload_as_bytes())
        elif (kind == CONTINUATION) == (self._kind is None):
            self._fail(PROTOCOL_ERROR)  # the end of nothing, or a beginning in the middle of something
        else:
            self._take_piece(kind, frame)

    def _weigh(self) -> None:
        """Another so many frames that say nothing: who sends too many is read more slowly, and sent away in the end."""
        self._light = 0
        now = time.monotonic()
        self._chaff = self._chaff or Chaff(now)
        wait = self._chaff.take(CHAFF_AT_ONCE, now)
        if self._chaff.too_long(now) and self._open:
            self._receiver.overworked()
        if wait and not self._slowed:
            self._slowed = True
            asyncio.get_running_loop().call_later(wait, self._unslow)

    def _unslow(self) -> None:
        self._slowed = False
        self._go_on()

    def _take_piece(self, kind: WSMsgType, frame: WSFrame) -> None:
        """A message, or a piece of one; their sum is bounded, too."""
        if self._kind is None:
            self._kind, self._squeezed = kind, bool(frame.rsv1)
        if not self._over:
            size = len(self._parts) + frame.payload_size
            if size > self._parsers.message_bytes:
                self._too_large(size)
            elif not frame.fin:
                self._parts += frame.get_payload_as_memoryview()
        if not frame.fin:
            return
        whole, kind = bytes(self._parts) + frame.get_payload_as_bytes(), self._kind
        self._parts, self._kind = bytearray(), None
        if not self._over:
            self._take_message(whole, kind)

    def _take_message(self, whole: bytes, kind: WSMsgType) -> None:
        try:
            if self._squeezed:
                whole = deflate.inflate(whole, self._parsers.message_bytes)
            message = whole.decode() if kind == TEXT else whole
        except TooLarge as error:
            self._too_large(error.size)
        except (BadMessage, UnicodeDecodeError):
            self._fail(NOT_TEXT)
        else:
            self._receiver.received(message)

    def _too_large(self, size: int) -> None:
        self._parts = bytearray()
        if not self._over:
            self._over = True
            self._receiver.too_large(size)

    # ------------------------------------------------------------------ control frames

    def _control(self, wire: bytes) -> None:
        self._sent += len(wire)
        self._write(wire)

    def _pong(self, said: bytes) -> None:
        """Answer a ping; of a client that does not read the answers only the last one (RFC 6455, 5.5.3)."""
        if self._open:
            if self.buffered > LOW_WATER:
                self._owed = said
            else:
                self._control(bytes((_PONG, len(said))) + said)

    def _say_goodbye(self, said: bytes) -> None:
        self._control(bytes((_CLOSE, len(said))) + said)
        self._open = False
        self._timer = asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self.abort)

    def _hear_goodbye(self, said: bytes) -> None:
        self._ended = int.from_bytes(said[:2], "big") if said else NO_CODE
        self._skip = _FOR_EVER
        if self._open:
            self._say_goodbye(said[:2])
        self._transport.close()  # once all is written

    def _fail(self, code: int) -> None:
        """The client broke the protocol: it is told so, and not listened to any more (RFC 6455, 7.1.7)."""
        self._skip = _FOR_EVER
        if self._open:
            self.close(code, "")
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close a connection whose client's goodbye cannot be heard. Not at once: a reset would overtake ours."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._transport.close)

    # ------------------------------------------------------------------ what the transport says (asyncio.Protocol)

    def resume_writing(self) -> None:
        if self._owed is not None and self._open:
            said, self._owed = self._owed, None
            self._control(bytes((_PONG, len(said))) + said)
        self._receiver.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        rest, self._rest = self._rest, b""
        if rest and not self._paused and not self._slowed:
            self._read(rest)  # it came before the end
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        if self._parser is not None:
            self._let_go(self._parser)
        try:
            self._receiver.closed(self._ended)
        finally:
            self._gone()
