"""What the load generator says: prebuilt Yjs updates whose text can be counted in a stream of bytes.

An edit is an insertion of MARK, two letters that name its author and six digits that number it. However a server merges
what it was sent (neighbouring text of one author becomes one string), each edit stays one MARK in the bytes that a
client receives, so `bytes.count` counts edits, whatever the frames are. MARK cannot come about by chance: before the
text stand a client id of five bytes, clocks and lengths, and no three of these bytes in a row are below 0x80.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.raw import var, var_bytes

MARK = b"#!~"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
FIRST_CLIENT_ID = 1 << 28
"""Client ids from here on take five bytes, four of them from 0x80 up."""
MASK = b"\0\0\0\0"
"""A legal key that leaves the bytes as they are."""


def frame(message: bytes) -> bytes:
    """A client's binary WebSocket frame."""
    size = len(message)
    if size < 126:
        return bytes((0x82, 0x80 | size)) + MASK + message
    if size < 1 << 16:
        return b"\x82\xfe" + size.to_bytes(2, "big") + MASK + message
    return b"\x82\xff" + size.to_bytes(8, "big") + MASK + message


PONG = b"\x8a\x80" + MASK


def tag(number: int) -> bytes:
    """The two letters of author `number`, below 4,096."""
    return (LETTERS[number >> 6] + LETTERS[number & 63]).encode()


@dataclass(frozen=True)
class Dialect:
    """How messages are addressed: y-websocket has nothing before them, Hocuspocus the name of the document."""

    name: str

    def address(self, room: str) -> bytes:
        return var_bytes(room.encode()) if self.name == "hocuspocus" else b""


Y = Dialect("y-websocket")
HOCUSPOCUS = Dialect("hocuspocus")


class Author:
    """Someone who types at the end of their own text, and keeps count.

    Args:
        number: Which author, below 4,096.
        address: What stands before each message.
        pad: More characters per edit.
    """

    def __init__(self, number: int, address: bytes = b"", pad: int = 0) -> None:
        self.tag = tag(number)
        self.id = FIRST_CLIENT_ID + number
        self.edits = 0
        self.clock = 0
        self._id = var(self.id)
        self._address = address
        self._pad = b"x" * pad

    def edit(self, more: bytes = b"") -> bytes:
        """The next update, with `more` behind its mark (ASCII)."""
        text = b"%b%b%06d%b%b" % (MARK, self.tag, self.edits, self._pad, more)
        clock = self.clock
        self.edits += 1
        self.clock += len(text)
        if clock == 0:
            return b"\x01\x01%b\x00\x04\x01\x04text%b%b\x00" % (self._id, var(len(text)), text)
        at, left = var(clock), var(clock - 1)
        return b"\x01\x01%b%b\x84%b%b%b%b\x00" % (self._id, at, self._id, left, var(len(text)), text)

    def edit_frame(self, more: bytes = b"") -> bytes:
        """The next update, as it goes over the socket."""
        return frame(self._address + b"\x00\x02" + var_bytes(self.edit(more)))

    def move_frame(self) -> bytes:
        """The next position of the cursor, as presence."""
        self.edits += 1
        state = b'{"cursor":"%b%b%06d","user":{"name":"Ana Li","color":"#3366ff"}}' % (MARK, self.tag, self.edits - 1)
        return frame(self._address + b"\x01" + var_bytes(b"\x01" + self._id + var(self.edits) + var_bytes(state)))
