"""Updates that look like updates, made by a grammar and then damaged, given to yrs as a room would: `python -m` this.

    python -m tests.faults.fuzzing <first seed> <seconds> [<seeds>]

Each seed is a history of a few updates. What vetting lets through is applied as a room applies it, then written down,
read back into another document, read as text and deleted. Before each history its seed is printed, so that the last
line names what killed the process; a panic is printed with its words; what takes longer than `HANG_SECONDS` ends it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlFragment

from collab.errors import BadUpdate
from collab.wire import vet
from collab.wire.halves import Pairs, mended
from collab.wire.keyed import Keyed
from collab.wire.lib0 import var_bytes, var_string, var_uint
from collab.wire.nesting import Nesting
from tests.wire.test_vet import damaged

HANG_SECONDS = 10
ROOTS: dict[str, Any] = {"t": Text, "a": Array, "m": Map, "x": XmlFragment}
WORDS = ("a", "bc", "é€", "😀", "x😀y😀", "z" * 40)
VALUES: tuple[bytes, ...] = (
    b"\x7f",
    b"\x7e",
    b"\x78",
    b"\x7d\x05",
    b"\x77\x01a",
    b"\x74\x01\xff",
    b"\x75\x02\x7f\x78",
    b"\x76\x01\x01k\x7f",
)
VALUES += (
    b"\x7b" + b"\x7f\xf8" + bytes(6),
    b"\x7c" + b"\x7f\x80\x00\x00",
    b"\x7a" + b"\xff" * 8,
    b"\x75\x00",
    b"\x76\x00",
)


class Grammar:
    """Makes updates of a few clients who know of each other, more or less."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clients = [1, 2, 3, 2**32 - 1][: self.dice.randrange(1, 5)]
        self.clocks = dict.fromkeys(self.clients, 0)
        self.types: list[tuple[int, int]] = []

    def history(self) -> list[bytes]:
        """A few updates, some of them damaged, some twice, some too early."""
        made = [self.update() for _ in range(self.dice.randrange(1, 8))]
        if self.dice.random() < 0.2:
            made.append(self.dice.choice(made))
        if self.dice.random() < 0.2:
            self.dice.shuffle(made)
        return [damaged(self.dice, each) if self.dice.random() < 0.1 else each for each in made]

    def update(self) -> bytes:
        """One update: runs of some clients, and deletions."""
        writers = self.dice.sample(self.clients, self.dice.randrange(len(self.clients) + 1))
        runs = [self.run(client) for client in writers]
        deletes = [self.deleted(client) for client in self.clients if self.dice.random() < 0.3]
        return var_uint(len(runs)) + b"".join(runs) + var_uint(len(deletes)) + b"".join(deletes)

    def run(self, client: int) -> bytes:
        start = self.clocks[client]
        if self.dice.random() < 0.1:  # again what was there before, or with a gap
            start = max(0, start + self.dice.randrange(-3, 2))
        clock, structs = start, []
        for _ in range(self.dice.randrange(1, 7)):
            struct, length = self.struct(client, clock)
            structs.append(struct)
            clock += length
        self.clocks[client] = max(clock, self.clocks[client])
        return var_uint(len(structs)) + var_uint(client) + var_uint(start) + b"".join(structs)

    def deleted(self, client: int) -> bytes:
        ranges = []
        for _ in range(self.dice.randrange(1, 3)):
            ranges.append(var_uint(self.dice.randrange(self.clocks[client] + 1)) + var_uint(self.dice.randrange(1, 5)))
        return var_uint(client) + var_uint(len(ranges)) + b"".join(ranges)

    def point(self, client: int, clock: int) -> bytes:
        """The id of something that is there, or may be."""
        who = self.dice.choice((client, *self.clients))
        end = clock if who == client else self.clocks[who]
        return var_uint(who) + var_uint(self.dice.randrange(max(end, 1) + (self.dice.random() < 0.02)))

    def struct(self, client: int, clock: int) -> tuple[bytes, int]:
        kind = self.dice.choice((0, 1, 3, 4, 4, 4, 5, 6, 7, 7, 7, 8, 8, 9, 10))
        if kind in (0, 10):
            length = self.dice.randrange(1, 4)
            return bytes([kind]) + var_uint(length), length
        info, where = kind, b""
        for bit in (0x80, 0x40):
            if self.dice.random() < 0.4:
                info |= bit
                where += self.point(client, clock)
        if not info & 0xC0:
            if self.types and self.dice.random() < 0.6:
                who, at = self.dice.choice(self.types)
                where = b"\x00" + var_uint(who) + var_uint(at)
            elif self.dice.random() < 0.05:
                where = b"\x00" + self.point(client, clock)
            else:
                where = b"\x01" + var_string(self.dice.choice(tuple(ROOTS)))
            if self.dice.random() < 0.4:
                where += var_string(self.dice.choice("kl"))
                info |= 0x20
        elif self.dice.random() < 0.2:
            info |= 0x20
        content, length = self.content(kind)
        while info & 0x20 and length > 1 and self.dice.random() < 0.99:  # vetting knows these
            content, length = self.content(kind)
            if kind == 4:
                content, length = var_string("a"), 1
        if kind == 7:
            self.types.append((client, clock))
        return bytes([info]) + where + content, length

    def content(self, kind: int) -> tuple[bytes, int]:
        match kind:
            case 1:
                length = self.dice.randrange(1, 5)
                return var_uint(length), length
            case 3:
                return var_bytes(self.dice.randbytes(self.dice.randrange(3))), 1
            case 4:
                words = self.dice.choice(WORDS)
                return var_string(words), len(words.encode("utf-16-le")) // 2
            case 5:
                return var_string(
                    self.dice.choice(('{"image":"x"}', "null", "[]", "1", '{"a":{"b":[1]}}', "no JSON"))
                ), 1
            case 6:
                return var_string(self.dice.choice("bi")) + var_string(
                    self.dice.choice(("true", "null", "{}", "")) or "1"
                ), 1
            case 7:
                ref = self.dice.choice((0, 1, 2, 3, 4, 6))
                return bytes([ref]) + (var_string("p") if ref == 3 else b""), 1
            case 8:
                count = self.dice.randrange(1, 4)
                return var_uint(count) + b"".join(self.dice.choices(VALUES, k=count)), count
            case _:
                return var_string("guid") + b"\x76\x00", 1


def taken(history: list[bytes]) -> tuple[Doc[Any], int]:
    """A document of what vetting lets through, as a room would make it, and how many updates that were."""
    doc: Doc[Any] = Doc()
    clocks: dict[int, int] = {}
    pairs, nesting, keyed, count = Pairs(), Nesting(), Keyed(), 0
    for update in history:
        try:
            extent = vet.parse(update)
            if extent.missing(clocks):
                update = vet.split(update, clocks)
                extent = vet.parse(update)
        except BadUpdate:
            continue
        if update == vet.EMPTY or extent.types and not nesting.admit(update, clocks, doc.get_update):
            continue
        if not keyed.fits(update, extent, clocks, doc.get_update):
            continue
        if points := pairs.cut(update, clocks):
            update = mended(update, points)
            whole, doc = doc.get_update(), Doc()
            doc.apply_update(mended(whole, points))
            pairs.forget(points)
        pairs.add(update, clocks)
        try:
            doc.apply_update(update)
        except ValueError:
            continue
        count += 1
        keyed.add(extent, clocks)
        for client, _, end in extent.structs:
            clocks[client] = max(end, clocks.get(client, 0))
    return doc, count


def tried(history: list[bytes]) -> int:
    """Take it in, write it down, read it, delete it; returns how many updates were let through."""
    doc, count = taken(history)
    whole = doc.get_update()
    copy: Doc[Any] = Doc()
    copy.apply_update(whole)
    copy.get_update()
    for name, kind in ROOTS.items():
        if kind is not Text:  # yrs 0.28 does not come to the end of a list or XML that holds what counts for nothing
            continue
        for reader in (doc, copy):
            root = reader.get(name, type=kind)
            str(root)
            if kind is Text:
                root.diff()
    clocks = vet.parse_state_vector(doc.get_state())
    runs = [var_uint(client) + b"\x01\x00" + var_uint(clock) for client, clock in clocks.items()]
    doc.apply_update(b"\x00" + var_uint(len(runs)) + b"".join(runs))
    doc.get_update()
    return count


def main() -> None:
    """Try one seed after the other until the time is up."""
    seed, seconds = int(sys.argv[1]), float(sys.argv[2])
    last = seed + int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a panic prints itself
    out, until = os.dup(1), time.monotonic() + seconds
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    histories = accepted = 0
    while seed < last and time.monotonic() < until:
        os.write(out, f"{seed}\n".encode())
        signal.alarm(HANG_SECONDS)
        try:
            accepted += tried(Grammar(seed).history())
        except BaseException as panic:
            words = str(panic).splitlines()[:1] or [""]
            os.write(out, json.dumps({"seed": seed, "panic": type(panic).__name__, "words": words[0]}).encode() + b"\n")
        histories += 1
        seed += 1
    signal.alarm(0)
    os.write(out, json.dumps({"histories": histories, "accepted": accepted}).encode() + b"\n")


if __name__ == "__main__":
    main()
