"""Checksums and times of what is kept: pure arithmetic, the same for every backend that wants it.

A seal is the CRC-32 of a canonical packing of *everything* a row says, the room's name and its own number included. A
row that was altered, or that stands in another's place (another number, another room), fails it.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import sha256
from zlib import crc32

_ROW = struct.Struct(">4sqqqBqI")
_CHECKPOINT = struct.Struct(">4sqqqI")
_SNAPSHOT = struct.Struct(">4sqqqqBqqIIIII")

NONSENSE = (struct.error, TypeError, ValueError, IndexError)
"""What checking a seal may raise when what it is about holds something else than what was written."""


def row_seal(room: bytes, seq: int, epoch: int, author: bytes | None, time: int, kind: int, update: bytes) -> int:
    """The seal of one row of the log. `room` and `author` are UTF-8, `time` in nanoseconds since the epoch."""
    length = -1 if author is None else len(author)
    head = _ROW.pack(b"row1", seq, epoch, time, kind, length, len(room))
    return crc32(update, crc32(head + room + (author or b"")))


def checkpoint_seal(room: bytes, epoch: int, covers: int, time: int, state: bytes) -> int:
    """The seal of a checkpoint. `room` is UTF-8, `time` in nanoseconds since the epoch."""
    head = _CHECKPOINT.pack(b"chk1", epoch, covers, time, len(room))
    return crc32(state, crc32(head + room))


def checksum(state: bytes) -> str:
    """What a snapshot's state is known by: unlike a seal, people can compare it with a file of their own."""
    return sha256(state).hexdigest()


def snapshot_seal(
    room: bytes,
    id: int,
    epoch: int,
    covers: int,
    time: int,
    pinned: bool,
    size: int,
    state_checksum: bytes,
    label: bytes,
    note: bytes,
    author: bytes | None,
    reason: bytes,
) -> int:
    """The seal of what is known of a snapshot, its state's checksum included. Text is UTF-8, `time` in nanoseconds."""
    texts = (room, label, note, reason, state_checksum)
    length = -1 if author is None else len(author)
    head = _SNAPSHOT.pack(b"snp1", id, epoch, covers, time, pinned, size, length, *map(len, texts))
    return crc32(b"".join([head, *texts, author or b""]))


@lru_cache(maxsize=8)  # the updates of one tick have the same time
def to_nanoseconds(seconds: float) -> int:
    """Seconds since the epoch as whole nanoseconds, within 64 bits (the years 1677 to 2262).

    Times are kept as integers because SQLite's own conversion of floats to text, which bulk reading goes through, is
    not exact. Doubles of our century lie 238 ns apart, so `to_seconds` gives the very same one back. A clock that is
    off by centuries is written down as the nearest time there is: it must not keep an edit from being stored.

    Raises:
        ValueError: Not a finite number.
    """
    whole, part = divmod(seconds, 1.0)
    return max(-(2**63), min(2**63 - 1, int(whole) * 10**9 + round(part * 1e9)))


def to_seconds(nanoseconds: int) -> float:
    """The inverse of `to_nanoseconds`: divides integers, which Python rounds correctly."""
    return nanoseconds / 10**9
