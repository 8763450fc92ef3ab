"""permessage-deflate (RFC 7692) without context takeover on either side: what goes to many is compressed once for all.

Nothing is kept between messages, so an idle client costs no window (zlib's are 300 KB for a client that sends and
receives), and the same bytes fit all clients.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import BadMessage, TooLarge

NAME = "permessage-deflate"
LEAST_BYTES = 1024
"""From here on compressing pays: a shorter frame fits into one packet anyway."""
MOST_BYTES = 128 * 1024
"""Up to here it is done at once, in 2 to 3 ms. For longer ones the event loop, and with it everybody's edits, would
stand still to save one client's bandwidth."""
LEVEL = 1
"""zlib's fastest: level 6 takes five times as long for a tenth less."""
STEP_BYTES = 1024 * 1024
"""How much is inflated before its size is looked at again."""
KEPT = 8
"""How many frames are remembered: one tick has one for each dialect and kind."""

PLAIN = 0
"""Window bits of a client that did not agree to compression."""
BINARY, COMPRESSED = 0x82, 0xC2
"""First byte of a whole binary frame (RFC 6455, 5.2), and with RSV1 set (RFC 7692, 6)."""
_TAIL = b"\x00\x00\xff\xff"


class Agreement(NamedTuple):
    """What was agreed with one client: the window bits it can inflate, and what the answer's header says."""

    bits: int
    answer: bytes


def negotiate(headers: Iterable[bytes]) -> Agreement | None:
    """The first offer in these Sec-WebSocket-Extensions headers that can be agreed to (RFC 7692, 5 and 7.1)."""
    for offer in b",".join(headers).decode("latin-1").split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == NAME and (agreed := _agree(parameters)) is not None:
            return agreed
    return None


def _agree(parameters: Iterable[str]) -> Agreement | None:
    """None where the RFC has an offer declined: what is unknown, said twice or out of its range."""
    said: set[str] = set()
    bits: int | None = None
    for parameter in parameters:
        name, has_value, value = (part.strip() for part in parameter.partition("="))
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if name in said:
            return None
        said.add(name)
        match name:
            case "server_no_context_takeover" | "client_no_context_takeover" if not has_value:
                pass
            case "server_max_window_bits" if value in _BITS:
                bits = int(value)
            case "client_max_window_bits" if value in _BITS or not has_value:
                pass  # what it compresses with a smaller window inflates with the largest
            case _:
                return None
    if bits == 8:
        return None  # zlib makes no raw stream with a window of 256 bytes
    answer = f"{NAME}; server_no_context_takeover; client_no_context_takeover"
    if bits is not None:
        answer += f"; server_max_window_bits={bits}"
    return Agreement(bits or zlib.MAX_WBITS, answer.encode())


_BITS = {str(bits) for bits in range(8, 16)}


def inflate(packed: bytes, limit: int) -> bytes:
    """A message as it was before its sender compressed it (RFC 7692, 7.2.2).

    Raises:
        TooLarge: It has more than `limit` bytes; no more than that was kept of it.
        BadMessage: It is not compressed.
    """
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    size = 0
    rest = packed + _TAIL
    while True:
        try:
            part = engine.decompress(rest, STEP_BYTES)
        except zlib.error as error:
            raise BadMessage("a compressed message cannot be inflated") from error
        size += len(part)
        if size > limit:
            raise TooLarge("a message", size, limit)
        parts.append(part)
        rest = engine.unconsumed_tail
        if not rest and len(part) < STEP_BYTES:
            break
    if engine.eof and engine.unused_data not in (b"", _TAIL, b"\x00" + _TAIL):  # it may end by a last block (7.2.3.5)
        raise BadMessage("something follows a compressed message")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def squeeze(frame: bytes, bits: int) -> bytes:
    """A message compressed, so that it inflates by itself with a window of `bits` (RFC 7692, 7.2.1)."""
    engine = zlib.compressobj(LEVEL, zlib.DEFLATED, -bits)
    return (engine.compress(frame) + engine.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


def head(first: int, size: int) -> bytes:
    """The head of a server's frame of `size` bytes (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((first, size))
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)


class Wires:
    """What frames are on the wire, head and all, made once for everybody who agreed to the same.

    Found again by their content, which a `bytes` hashes once: the next client's lookup of the same object is a
    comparison of two pointers, and a join storm that encodes the same document again and again shares it too.
    """

    def __init__(self) -> None:
        self._made: dict[int, dict[bytes, bytes]] = {}

    def wire(self, frame: bytes, bits: int) -> bytes:
        """The wire of a frame of `LEAST_BYTES` to `MOST_BYTES`, compressed for a window of `bits` unless `PLAIN`."""
        made = self._made.get(bits)
        if made is None:
            made = self._made[bits] = {}
        wire = made.get(frame)
        if wire is None:
            if len(made) >= KEPT:
                del made[next(iter(made))]
            wire = made[frame] = self._make(frame, bits)
        return wire

    def _make(self, frame: bytes, bits: int) -> bytes:
        if bits != PLAIN:
            packed = squeeze(frame, bits)
            if len(packed) < len(frame):
                return head(COMPRESSED, len(packed)) + packed
        return head(BINARY, len(frame)) + frame
