"""The lib0 primitives, bounds-checked (github.com/dmonad/lib0, encoding.js and decoding.js).

Why not pycrdt's: its `write_var_string` counts characters where lib0 counts bytes, and its readers accept truncated
frames and varints of any length. Here a varint has at most ten bytes and must be as short as it can be, so that no two
byte strings mean the same message and no check can be walked around by writing a number longer.
"""

from __future__ import annotations

from ..errors import BadMessage

MAX_VARINT_BYTES = 10
"""No varint is longer: 10 groups of 7 bits hold any 64-bit number."""

MAX_SAFE = 2**53 - 1
"""The largest integer that JavaScript, and so every Yjs client, can tell from its neighbours."""

_ONE_BYTE = tuple(bytes([n]) for n in range(128))


def var_uint(number: int) -> bytes:
    """`number` (>= 0) as a varUint: groups of seven bits, the lowest first, the high bit set on all but the last."""
    if number < 128:
        return _ONE_BYTE[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def var_bytes(data: bytes) -> bytes:
    """`data` as a varUint8Array: its length in bytes, then the bytes."""
    return var_uint(len(data)) + data


def var_string(text: str) -> bytes:
    """`text` as a varString: its length in UTF-8 *bytes*, then the bytes."""
    return var_bytes(text.encode())


def read_var_uint(data: bytes, at: int, most: int = MAX_SAFE) -> tuple[int, int]:
    """The varUint that begins at `data[at]`; returns it and the index after it.

    Raises:
        BadMessage: The data end inside it, it is longer than it has to be, or it is over `most` (2**53 - 1).
    """
    try:
        byte = data[at]
        if byte < 128:
            return byte, at + 1
        number = byte & 127
        shift = 7
        end = at + MAX_VARINT_BYTES
        while True:
            at += 1
            byte = data[at]
            number |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if at + 1 >= end:
                raise BadMessage("a number is longer than ten bytes")
    except IndexError:
        raise BadMessage("the data end inside a number") from None
    if byte == 0:
        raise BadMessage("a number is written longer than it has to be")
    if number > most:
        raise BadMessage("a number is over 2**53 - 1")
    return number, at + 1


def read_var_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """The varUint8Array that begins at `data[at]`; returns its bytes and the index after it.

    Raises:
        BadMessage: The data end before the announced length.
    """
    length, at = read_var_uint(data, at)
    end = at + length
    if end > len(data):
        raise BadMessage(f"{length} bytes are announced, {len(data) - at} are there")
    return data[at:end], end


def read_var_string(data: bytes, at: int) -> tuple[str, int]:
    """The varString that begins at `data[at]`; returns it and the index after it.

    Raises:
        BadMessage: The data end before the announced length, or are not UTF-8.
    """
    raw, at = read_var_bytes(data, at)
    try:
        return raw.decode(), at
    except UnicodeDecodeError:
        raise BadMessage("a string is not UTF-8") from None


def expect_end(data: bytes, at: int) -> None:
    """Raises `BadMessage` unless `at` is the end of `data`."""
    if at != len(data):
        raise BadMessage(f"{len(data) - at} bytes follow the message")
