"""The Hocuspocus dialect: `varString address • varUint type • payload` (docs/reference/protocol.md, part 1).

One socket carries many documents. An address is a document's name, or that, a NUL and the id of a session, and all that
is said of an attachment carries the very same address. Only ping and pong stand alone, as single bytes.

Sources: @hocuspocus/provider 4.8.0 src/{MessageReceiver,types}.ts, OutgoingMessages/*.ts; @hocuspocus/server 4.7.0.
"""

from __future__ import annotations

from ..errors import BadMessage
from . import yjs
from .lib0 import expect_end, read_var_bytes, read_var_string, read_var_uint, var_string
from .messages import (
    SAVED,
    Auth,
    Awareness,
    Close,
    Denied,
    Granted,
    Message,
    QueryAwareness,
    Saved,
    Stateless,
    SyncStep1,
    SyncStep2,
    TokenWanted,
    Update,
)

PING, PONG = b"\x09", b"\x0a"
"""Server to client, from version 4 on; older ones take it for a name that is cut short, and throw."""

RESET = 4205
"""Close code "Reset Connection": what came could not be read, or was too much before access was granted. Providers of
every age come back after it; 4401 and 1009 would stop those of version 2 for ever."""
IDLE = 4408
"""Close code "Connection Timeout": nobody was let in for too long."""


def split(frame: bytes) -> tuple[str, int]:
    """The address of a frame, and where its message begins.

    Raises:
        BadMessage: There is no address, or an empty one, or nothing behind it.
    """
    address, at = read_var_string(frame, 0)
    if not address or at == len(frame):
        raise BadMessage("the frame has no address" if not address else "the frame has no message")
    return address, at


def document(address: str) -> str:
    """The name of the document that an address is about."""
    return address.partition("\0")[0]


def opens(frame: bytes, *, surely: bool = False) -> bool:
    """Whether a first frame is one of this dialect; y-websocket's begin with a zero, which would be no address.

    Args:
        frame: The frame.
        surely: Where y-websocket is expected, garbage that only happens to look like a message is not taken for one:
            the name of the document has to be one that a room can have.
    """
    if frame[:1] == b"\x00":
        return False
    try:
        address, at = split(frame)
        decode(frame, at)
    except BadMessage:
        return False
    return not surely or min(document(address), default="") >= " "


def decode(frame: bytes, at: int) -> Message:
    """The message that begins at `at`.

    Raises:
        BadMessage: It is truncated, has something behind it, is of an unknown type, or is one that no client may send.
    """
    kind, at = read_var_uint(frame, at)
    match kind:
        case 0 | 4:  # Sync, SyncReply
            return yjs.decode_sync(frame, at)
        case 1:
            body, at = read_var_bytes(frame, at)
            expect_end(frame, at)
            return Awareness(body)
        case 2:
            code, at = read_var_uint(frame, at)
            if code != 0:
                raise BadMessage(f"unknown auth message {code}")
            token, at = read_var_string(frame, at)
            # Version 4 added its number, later ones may add more: what is behind the token is nobody's fault.
            return Auth(token, read_var_string(frame, at)[0] if at < len(frame) else None)
        case 3:
            expect_end(frame, at)
            return QueryAwareness()
        case 5:
            text, at = read_var_string(frame, at)
            expect_end(frame, at)
            return Stateless(text)
        case 7:
            return Close()
        case _:
            raise BadMessage(f"no client may send a message of type {kind}")


class Hocuspocus:
    """The dialect on one address. Two seats with the same address share their frames."""

    ACKNOWLEDGES = True

    def __init__(self, address: str) -> None:
        self.address = address
        self.NAME = f"hocuspocus {address}"
        self._prefix = var_string(address)
        self._offset = len(self._prefix)
        self._saved = self._prefix + b"\x08\x01"

    def decode(self, frame: bytes) -> Message:
        """The message of a frame on this address; raises `BadMessage`."""
        address, at = split(frame)
        if address != self.address:
            raise BadMessage("the frame has another address")
        return decode(frame, at)

    def typed(self, frame: bytes) -> bytes | None:
        """The update in a frame on this address whose message is a short one; None of any other."""
        return yjs.typed(frame, self._offset) if frame.startswith(self._prefix) else None

    def encode(self, message: Message) -> bytes | None:
        """The frame that says `message`; None when there is no word for it."""
        if message is SAVED:  # as often as an update
            return self._saved
        body = _encode(message)
        return None if body is None else self._prefix + body


def _encode(message: Message) -> bytes | None:
    match message:
        case Saved(applied):
            return b"\x08\x01" if applied else b"\x08\x00"
        case SyncStep1() | SyncStep2() | Update() | Awareness() | QueryAwareness():
            return yjs.encode(message)  # the types have the same numbers
        case Granted(may_write):
            return b"\x02\x02" + var_string("read-write" if may_write else "readonly")
        case Denied(reason):
            return b"\x02\x01" + var_string(reason)
        case TokenWanted():
            return b"\x02\x00"
        case Stateless(text):
            return b"\x05" + var_string(text)
        case Close(reason):
            return b"\x07" + var_string(reason)
        case _:
            return None
