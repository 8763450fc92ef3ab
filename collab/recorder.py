"""What is in hand, written down before the document library touches it: it is known then when the process ends there.

A small file is mapped into memory. What is written into such a mapping belongs to the system, which keeps it whatever
becomes of the process: no system call is made, and nothing waits for a disk. (A machine that loses power forgets it,
but then nothing that was in hand was the reason.) The next process reads what was in hand when the last one ended.

A slot is `step, bytes of the author, of the room's name, number of updates, bytes of all of it`, the name, the author,
the lengths of the updates, the updates. Its first byte is written last, and is 0 while the slot is empty.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from .wire.vet import EMPTY

SLOTS = 4
SLOT_BYTES = 256 * 1024
MAGIC = b"collab in hand 1"
SIZE = len(MAGIC) + SLOTS * SLOT_BYTES

STEPS = ("", "tick", "load", "compaction", "reload", "reading")
"""A tick applies updates; a reload tries those of a tick that panicked; a reading is an export or a preview."""
TICK = STEPS.index("tick")

_HEAD = struct.Struct("<BBHII")
_CUT = 0x80
"""Set in the step of a slot that could not hold its updates: it has their first digests instead."""
_DIGEST_BYTES = 16


def digest_of(update: bytes) -> str:
    """What an update is called in notes: blake2b, 16 bytes, in hexadecimal."""
    return blake2b(update, digest_size=_DIGEST_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class Hand:
    """What was in hand when a process ended.

    Args:
        step: What it was doing (`STEPS`).
        room: The room's name.
        author: The user who sent it, if there was one and he has a name.
        updates: What it was about to apply, in order; none when it was too large to be noted.
        digests: What these are called (`digest_of`), those that were too large included.
    """

    step: str
    room: str
    author: str | None
    updates: tuple[bytes, ...]
    digests: tuple[str, ...]


class Recorder:
    """The notes of one process.

    Args:
        file: Where they are kept; nowhere that outlives the process without. Raises OSError when it cannot be written.

    Attributes:
        found: What was in hand when the process before this one ended.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.found: list[Hand] = []
        if file is None:
            self._map = mmap.mmap(-1, SIZE)
        else:
            number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(number).st_size == SIZE:
                    self.found = _hands(os.pread(number, SIZE, 0))
                # In full, since a hole in a mapping ends the process on a full disk. What was there is judged once.
                os.pwrite(number, bytes(SIZE), 0)
                os.ftruncate(number, SIZE)
                self._map = mmap.mmap(number, SIZE)
            finally:
                os.close(number)
        self._map[: len(MAGIC)] = MAGIC
        self._free = [len(MAGIC) + number * SLOT_BYTES for number in reversed(range(SLOTS))]

    def hold(self, step: int, room: str, updates: Sequence[bytes] = (), author: str | None = None) -> int:
        """Note what is about to be done; returns the place of the note, for `drop`. From any thread."""
        try:
            at = self._free.pop()
        except IndexError:  # more at once than anybody foresaw
            return 0
        name = room.encode()
        who = b"" if author is None else author.encode()[:255]
        body = name + who
        if updates:
            count = len(updates)
            body = b"".join((body, struct.pack(f"<{count}I", *map(len, updates)), *updates))
        else:
            count = 0
        if len(body) > SLOT_BYTES - _HEAD.size:
            step |= _CUT
            most = (SLOT_BYTES - _HEAD.size - len(name) - len(who)) // _DIGEST_BYTES
            digests = [blake2b(update, digest_size=_DIGEST_BYTES).digest() for update in updates[:most]]
            count, body = len(digests), b"".join((name, who, *digests))
        start = at + _HEAD.size
        self._map[start : start + len(body)] = body
        _HEAD.pack_into(self._map, at, 0, len(who), len(name), count, len(body))
        self._map[at] = step
        return at

    def drop(self, place: int) -> None:
        """It is done."""
        if place:
            self._map[place] = 0
            self._free.append(place)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


def _hands(content: bytes) -> list[Hand]:
    if not content.startswith(MAGIC):
        return []
    slots = (content[at : at + SLOT_BYTES] for at in range(len(MAGIC), SIZE, SLOT_BYTES))
    return [hand for hand in map(_hand, slots) if hand is not None]


def _hand(slot: bytes) -> Hand | None:
    step, author_bytes, room_bytes, count, size = _HEAD.unpack_from(slot)
    if not step or step & ~_CUT >= len(STEPS) or _HEAD.size + size > len(slot):
        return None
    body = slot[_HEAD.size : _HEAD.size + size]
    room = body[:room_bytes].decode(errors="replace")
    author = body[room_bytes : room_bytes + author_bytes].decode(errors="replace") or None
    at = room_bytes + author_bytes
    updates: list[bytes] = []
    if step & _CUT:
        parts = [body[at + nth * _DIGEST_BYTES :][:_DIGEST_BYTES] for nth in range(count)]
        digests = tuple(part.hex() for part in parts)
    else:
        lengths = struct.unpack_from(f"<{count}I", body, at)
        at += 4 * count
        for length in lengths:
            updates.append(body[at : at + length])
            at += length
        updates = [update for update in updates if update != EMPTY]
        digests = tuple(map(digest_of, updates))
    return Hand(STEPS[step & ~_CUT], room, author, tuple(updates), digests)
