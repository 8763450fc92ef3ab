"""The values of keys: where they are is known exactly, what slips in among them is refused, editors never are."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from base64 import b64decode
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import merge_updates

from collab.wire import vet
from collab.wire.keyed import Keyed
from collab.wire.lib0 import var_string, var_uint
from collab.wire.structs import GC, KEY, blocks_of, walk
from tests.support.histories import Editors, applied
from tests.wire.test_vet import SEEDS, TAKEN, after, by_name, run, text, update

MAP = b"\x27\x01\x01x\x01l\x00"
"""The map `l` in a root."""
ENDS = update(deletes=b"\x01\x07\x01\x00\x01")
"""It is deleted."""


def never(state_vector: bytes) -> bytes:
    raise AssertionError("the document was looked at")


def in_map(content: str, key: str = "k") -> bytes:
    """A string in the map, as the value of a key."""
    return b"\x24\x00\x07\x00" + var_string(key) + var_string(content)


def in_list(content: str = "a") -> bytes:
    """The same, as an item of the list that a map is as well."""
    return b"\x04\x00\x07\x00" + var_string(content)


def between(left: tuple[int, int], right: tuple[int, int], first: int = 0xC4) -> bytes:
    return bytes([first]) + b"".join(var_uint(number) for number in (*left, *right)) + var_string("b")


def deleted(*ranges: tuple[int, int]) -> bytes:
    return b"\x01\x07" + var_uint(len(ranges)) + b"".join(var_uint(at) + var_uint(size) for at, size in ranges)


class Room:
    """What a room keeps."""

    def __init__(self, *updates: bytes) -> None:
        self.keyed, self.clocks, self.updates = Keyed(), dict[int, int](), list[bytes]()
        for made in updates:
            assert self.take(made)

    def fits(self, made: bytes, since: Any = never) -> bool:
        return self.keyed.fits(made, vet.parse(made), self.clocks, since)

    def take(self, made: bytes) -> bool:
        extent = vet.parse(made)
        assert not extent.missing(self.clocks)
        if not self.keyed.fits(made, extent, self.clocks, lambda vector: applied(self.updates).get_update(vector)):
            return False
        self.keyed.add(extent, self.clocks)
        self.updates.append(made)
        for client, _, end in extent.structs:
            self.clocks[client] = max(end, self.clocks.get(client, 0))
        return True


CUT = [update(run(MAP, in_map("v"), after(7, 1, "aaaaaa"))), update(deletes=deleted((7, 1))), ENDS]
"""Six letters that follow a value and do not say what they are; the last is cut off, and the map is deleted."""
MIXED = [update(run(MAP, in_list(), in_map("v"))), update(run(between((7, 1), (7, 2)), client=8)), ENDS]
"""A letter with an item of the list on its left, and the value of a key on its right."""
KILLER = """
import sys
from pycrdt import Doc

for _ in range(25):
    doc = Doc()
    for made in map(bytes.fromhex, sys.argv[1:]):
        doc.apply_update(made)
"""


@pytest.mark.case("F14")
@pytest.mark.parametrize("vector", [CUT, MIXED], ids=["cut", "mixed"])
def test_a_known_attack_kills_yrs_and_is_refused(vector, figure):
    """When it survives, yrs has learnt to keep the chain whole, and this module is one reason less to read updates."""
    fills = update(run(text("y" * 216), client=9))  # as large as a map: it comes to stand where that was
    touched = update(deletes=deleted((2, 5) if vector is CUT else (2, 1)))
    given = [made.hex() for made in (*vector, fills, touched)]
    done = subprocess.run([sys.executable, "-c", KILLER, *given], capture_output=True)
    size = sum(map(len, vector))
    figure(f"F14: {len(vector)} updates of {size} bytes: a process that takes them ends with {done.returncode}")
    assert done.returncode < 0, "killed by a signal"
    *before, attack = vector[:1] if vector is CUT else vector[:2]
    assert not Room(*before).fits(attack)


@pytest.mark.case("F14")
@pytest.mark.parametrize(
    ("there", "made"),
    [
        ([], CUT[0]),
        ([update(run(MAP, in_map("v")))], update(run(after(7, 1, "aa"), clock=2))),
        ([update(run(MAP, in_map("v")), run(after(7, 1), client=8))], update(run(after(8, 0, "aa"), client=9))),
        ([update(run(MAP, in_map("v")))], update(run(after(9, 0, "aa"), client=8), run(after(7, 1), client=9))),
        (MIXED[:1], MIXED[1]),
        (MIXED[:1], update(run(between((7, 2), (7, 1)), client=8))),
        (MIXED[:1], update(run(between((7, 1), (7, 2), 0xE4), client=8))),  # it may say what it likes
        ([], update(run(MAP, in_list(), in_map("v"), between((7, 1), (7, 2))))),
        (MIXED[:1], update(run(b"\x44\x07\x02\x01b", client=8))),
        # a mark
        ([], update(run(b"\x26\x01\x01m\x01k\x01k\x04true", client=5))),
        ([update(run(MAP, in_map("v")))], update(run(b"\x86\x07\x01\x01k\x04true", client=8))),
        ([], update(run(MAP, in_map("v"), b"\x86\x07\x01\x01k\x04true"))),
        ([], update(run(MAP, in_map("v")), run(b"\x86\x09\x00\x01k\x04true", client=8), run(after(7, 1), client=9))),
        (  # what is there already is the value of a key; the rest is hung onto it
            [update(run(MAP, in_map("v")))],
            update(run(in_list("abcd"), clock=1)),
        ),
    ],
)
def test_what_slips_in_among_values_is_refused(there, made):
    assert not Room(*there).fits(made, applied(there).get_update)


@pytest.mark.parametrize(
    ("there", "made"),
    [
        ([], update(run(text("abc"), after(7, 2, "def")))),
        ([], update(run(b"\x06\x01\x01t\x01k\x04true", b"\x86\x07\x00\x01k\x04null"))),  # marks in a text
        ([update(run(MAP, in_map("v"), text("a")))], update(run(b"\x86\x07\x02\x01k\x04true", client=8))),
        ([update(run(MAP, in_map("v")))], update(run(after(7, 1), clock=2))),  # a value, merged without a document
        ([update(run(MAP, in_map("v")))], update(run(after(7, 1, "aa"), clock=2), deletes=deleted((2, 2)))),
        (MIXED[:1], update(run(after(7, 1, "long"), client=8))),
        (MIXED[:1], update(run(b"\x44\x07\x01\x01b", client=8))),
        (MIXED[:1], MIXED[0]),
        ([update(run(MAP, in_map("v"))), update(run(text("a"), clock=2))], update(run(MAP, in_map("v"), text("ab")))),
        ([update(run(b"\x00\x02"))], update(run(in_list("abcd"), clock=1))),
    ],
)
def test_what_editors_write_fits(there, made):
    assert Room(*there).fits(made, applied(there).get_update)


def test_of_the_document_only_the_last_letters_are_looked_at():
    """Whoever writes an update must not choose how much of the document is read for it."""
    text_ = update(run(text("a" * 1_000), b"\x84\x05\xe7\x07\x02bc", client=5))
    there = [text_, *(update(run(b"\x24\x01\x01m\x01k\x01v", client=client)) for client in range(100, 2_100))]
    room, looks = Room(*there), list[bytes]()

    def since(state_vector: bytes) -> bytes:
        looks.append(made := applied(there).get_update(state_vector))
        return made

    one = update(run(b"\x04\x01\x01m\x02ab", client=100))
    assert not room.fits(one, since)
    [seen] = looks
    assert [len(structs) for _, structs in blocks_of(seen)] == [1]
    began = time.perf_counter()
    beside = [run(b"\x00\x01", b"\x04\x01\x01m\x01a", client=client) for client in range(100, 2_100)]
    assert room.fits(update(*beside), never)
    assert not room.fits(update(*(run(b"\x04\x01\x01m\x02ab", client=client) for client in range(100, 2_100))), since)
    assert time.perf_counter() - began < 1 and len(looks) == 2


def test_a_letter_that_says_it_is_a_value_is_a_letter():
    """Or whoever types beside it later would be refused."""
    room = Room(update(run(text("ab"))), update(run(b"\xa4\x07\x01\x01x", client=8)))
    assert len(room.keyed) == 0
    assert room.take(update(run(after(8, 0, "more"), client=9)))


def test_what_is_there_already_is_what_it_is():
    """Or somebody could say of another's letters that they are values."""
    room = Room(update(run(MAP, in_list("abc"))), update(run(MAP, in_map("x"), in_map("y"), in_map("z"))))
    assert (7, 1) not in room.keyed and (7, 3) not in room.keyed and (7, 0) in room.keyed
    assert room.take(update(run(after(7, 3, "more"), client=9)))


def test_a_chain_may_go_back_and_forth_between_clients():
    """Whoever writes an update must not choose how long it takes to follow it."""
    count = 4_000
    links = [run(after(99 + number, 0), client=100 + number) for number in range(count)]
    random.Random(0).shuffle(links)
    first = run(b"\x24\x01\x01m\x01k\x01v", client=99)
    made = update(*links, first)
    began = time.perf_counter()
    room = Room(made)
    assert time.perf_counter() - began < 2
    assert len(room.keyed) == count + 1 and all((99 + number, 0) in room.keyed for number in range(count + 1))
    assert not Room().fits(update(*links, first, run(after(99 + count, 0, "aa"), client=5)))


def values(update: bytes) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """The clocks of a document that are values of keys, and all that are not, as yrs says."""
    found: tuple[set[tuple[int, int]], set[tuple[int, int]]] = (set(), set())
    for client, structs in blocks_of(update):
        for struct in structs:
            if struct.kind != GC:
                found[not struct.info & KEY].update((client, clock) for clock in range(struct.start, struct.end))
    return found


@given(seed=SEEDS, merged=st.booleans())
@settings(max_examples=60, deadline=None)
def test_where_they_are_is_known_and_no_editor_is_refused(seed, merged):
    """However the updates of a history are merged: the byte that says what a struct is may be lost."""
    editors = Editors(seed)
    updates = editors.updates
    if merged:
        cuts = sorted({0, len(updates), *random.Random(seed).choices(range(len(updates) + 1), k=8)})
        updates = [merge_updates(*updates[start:end]) for start, end in pairwise(cuts)]
    room = Room()
    for made in updates:
        extent = vet.parse(made)
        if extent.missing(room.clocks):
            made = vet.split(made, room.clocks)
        assert room.take(made)
    whole = applied(room.updates).get_update()
    ours, others = values(whole)
    assert all(point in room.keyed for point in ours) and not any(point in room.keyed for point in others)
    loaded = Keyed()
    loaded.add(walk(whole), {})
    assert all(point in loaded for point in ours) and not any(point in loaded for point in others)


@pytest.mark.parametrize("case", TAKEN, ids=by_name)
def test_what_yjs_wrote_fits(case):
    room = Room()
    for made in [*case["updates"], case["whole"]]:
        raw = b64decode(made["update"])
        if vet.parse(raw).missing(room.clocks):
            raw = vet.split(raw, room.clocks)
        assert room.take(raw)
    assert Room().take(b64decode(case["whole"]["update"]))


def test_what_it_costs(figure):
    """A document with attributes between its letters, and somebody who types in it."""
    spent: dict[str, float] = {}
    plain = Room(update(run(text("a" * 100))))
    items = [item for number in range(20_000) for item in (in_map("v", str(number)), in_list("abc"))]
    mixed = Room(update(run(MAP, *items)))
    letter = update(run(after(7, 52), client=8))
    extent = vet.parse(letter)
    for name, room in (("none", plain), (f"{len(mixed.keyed):,}", mixed)):
        began = time.perf_counter()
        for _ in range(10_000):
            assert room.keyed.fits(letter, extent, room.clocks, never)
        spent[name] = (time.perf_counter() - began) / 10_000
    told = ", ".join(f"{seconds * 1e6:.1f} us with {name} rows" for name, seconds in spent.items())
    figure(f"a letter beside values of keys: {told}")
    assert max(spent.values()) < 50e-6
