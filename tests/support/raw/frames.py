"""Frames of the y-websocket protocol, built and read without `collab.wire`, so that they are a second opinion."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

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
