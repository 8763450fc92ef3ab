"""The y-websocket dialect: `varUint type • payload`, one message per frame (docs/reference/protocol.md, part 2).

Sources: y-websocket/src/y-websocket.js 2.1.0 to 3.1.0, y-protocols/{sync,awareness,auth}.js; type 102 is y-sweet's
(js-pkg/client/src/provider.ts).
"""

from __future__ import annotations

from typing import overload

from ..errors import BadMessage
from .lib0 import expect_end, read_var_bytes, read_var_string, read_var_uint, var_bytes, var_string
from .messages import Awareness, Denied, Echo, Granted, Message, QueryAwareness, SyncStep1, SyncStep2, Update

NAME = "y-websocket"
ACKNOWLEDGES = False
"""Clients count no acknowledgements; whoever wants to know asks for an `Echo`."""

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = range(4)
STEP1, STEP2, UPDATE = range(3)
PERMISSION_DENIED = 0
"""What servers say. Hocuspocus providers 1.x, which otherwise speak this dialect, show their token with it."""
TOKEN = bytes((AUTH, PERMISSION_DENIED))
ECHO = 102

Spoken = SyncStep1 | SyncStep2 | Update | Awareness | QueryAwareness | Denied | Echo
"""What this dialect has a word for."""

NOTHING_NEW = Awareness(b"\x00")
"""An awareness update about no one: a frame of three bytes that every client takes and that changes nothing."""


def typed(frame: bytes, at: int = 0) -> bytes | None:
    """The update in a frame whose message, from `at` on, is a short one, as nine of ten are; None of any other."""
    begin = at + 3
    if frame[at : at + 2] == b"\x00\x02" and 0 < len(frame) - begin == frame[at + 2] < 128:
        return frame[begin:]
    return None


def decode(frame: bytes) -> Message:
    """The one message of a frame.

    Raises:
        BadMessage: The frame is empty, truncated, of an unknown type, or holds more than one message.
    """
    if (update := typed(frame)) is not None:
        return Update(update)
    if not frame:
        raise BadMessage("the frame is empty")
    kind, at = read_var_uint(frame, 0)
    match kind:
        case 0:  # SYNC
            return decode_sync(frame, at)
        case 1:  # AWARENESS
            body, at = read_var_bytes(frame, at)
            expect_end(frame, at)
            return Awareness(body)
        case 2:  # AUTH
            code, at = read_var_uint(frame, at)
            if code != PERMISSION_DENIED:
                raise BadMessage(f"unknown auth message {code}")
            reason, at = read_var_string(frame, at)
            expect_end(frame, at)
            return Denied(reason)
        case 3:  # QUERY_AWARENESS
            expect_end(frame, at)
            return QueryAwareness()
        case 102:  # ECHO
            data, at = read_var_bytes(frame, at)
            expect_end(frame, at)
            return Echo(data)
        case _:
            raise BadMessage(f"unknown message type {kind}")


def decode_sync(frame: bytes, at: int) -> SyncStep1 | SyncStep2 | Update:
    """The message of type 0 whose step stands at `at` (y-protocols/sync.js).

    Raises:
        BadMessage: It is truncated, has something behind it, or is of an unknown step.
    """
    step, at = read_var_uint(frame, at)
    body, at = read_var_bytes(frame, at)
    expect_end(frame, at)
    match step:
        case 2:
            return Update(body)
        case 1:
            return SyncStep2(body)
        case 0:
            return SyncStep1(body)
        case _:
            raise BadMessage(f"unknown sync message {step}")


@overload
def encode(message: Spoken) -> bytes: ...


@overload
def encode(message: Message) -> bytes | None: ...


def encode(message: Message) -> bytes | None:
    """The frame that says `message`; None when there is no word for it."""
    match message:
        case Update(update):
            return b"\x00\x02" + var_bytes(update)
        case Awareness(update):
            return b"\x01" + var_bytes(update)
        case SyncStep1(state_vector):
            return b"\x00\x00" + var_bytes(state_vector)
        case SyncStep2(update):
            return b"\x00\x01" + var_bytes(update)
        case QueryAwareness():
            return b"\x03"
        case Denied(reason):
            return b"\x02\x00" + var_string(reason)
        case Echo(data):
            return b"\x66" + var_bytes(data)
        case _:
            return None


class Asking:
    """The dialect as Hocuspocus providers 1.x speak it, which begin with a token and wait to hear what it is worth.

    Sources: @hocuspocus/common 1.1.3 src/auth.ts; @hocuspocus/provider 1.1.3 src/MessageReceiver.ts.
    """

    NAME = NAME  # what many are told looks the same
    ACKNOWLEDGES = ACKNOWLEDGES

    decode = staticmethod(decode)
    typed = staticmethod(typed)

    @staticmethod
    def encode(message: Message, /) -> bytes | None:
        """The frame that says `message`; None when there is no word for it."""
        match message:
            case Granted(may_write):
                return b"\x02\x02" + var_string("read-write" if may_write else "readonly")
            case Denied(reason):
                return b"\x02\x01" + var_string(reason)
            case _:
                return encode(message)


ASKING = Asking()
