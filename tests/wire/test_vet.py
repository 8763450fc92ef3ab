"""Vetting: what it says of an update is what the document does, and what it lets through harms no one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Text, merge_updates

from collab.errors import BadMessage, BadUpdate
from collab.wire import vet
from collab.wire.lib0 import var_bytes, var_string, var_uint
from tests.support.histories import Editors, applied, clocks, everything, ranges

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = json.loads((HERE / "yjs_updates.json").read_text())
TAKEN = [case for case in CASES if not case["refused"]]
SEEDS = st.integers(0, 2**32 - 1)


def by_name(case: dict[str, Any]) -> str:
    return str(case["name"])


def run(*structs: bytes, client: int = 7, clock: int = 0) -> bytes:
    """The structs of one client."""
    return var_uint(len(structs)) + var_uint(client) + var_uint(clock) + b"".join(structs)


def update(*runs: bytes, deletes: bytes = b"\x00") -> bytes:
    """An update of such runs."""
    return var_uint(len(runs)) + b"".join(runs) + deletes


def text(content: str, *, parent: bytes = b"\x01\x01t") -> bytes:
    """An item at the beginning of the root text `t`."""
    return b"\x04" + parent + var_string(content)


def after(client: int, clock: int, content: str = "a") -> bytes:
    """An item to the right of another one."""
    return b"\x84" + var_uint(client) + var_uint(clock) + var_string(content)


def value(encoded: bytes) -> bytes:
    """An update with one JSON-like value in the root array `t`."""
    return update(run(b"\x08\x01\x01t\x01" + encoded))


# ---------------------------------------------------------------------- what Yjs wrote


@pytest.mark.parametrize("case", TAKEN, ids=by_name)
def test_extents_are_what_yjs_reads(case):
    for made in [*case["updates"], *case["extra"], case["whole"]]:
        extent = vet.parse(b64decode(made["update"]))
        assert sorted(extent.structs) == sorted(map(tuple, made["structs"]))
        assert sorted(extent.deletes) == sorted(map(tuple, made["deletes"]))


@pytest.mark.parametrize("case", [case for case in CASES if case["refused"]], ids=by_name)
def test_what_yrs_would_read_wrongly_is_refused(case):
    for made in [*case["updates"], case["whole"]]:
        with pytest.raises(BadUpdate, match=case["refused"]):
            vet.parse(b64decode(made["update"]))
        with pytest.raises(ValueError):  # once yrs understands it, it may come in
            applied([b64decode(made["update"])])


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_the_second_version_of_the_encoding_is_refused(case):
    with pytest.raises(BadUpdate):
        vet.parse(b64decode(case["v2"]))


@pytest.mark.parametrize("case", TAKEN, ids=by_name)
@pytest.mark.parametrize("seed", range(3))
def test_updates_of_yjs_in_any_order(case, seed):
    updates = [b64decode(made["update"]) for made in [*case["updates"], *case["extra"]]]
    random.Random(seed).shuffle(updates)
    doc = Server()
    for made in updates:
        doc.receive(made)
    assert not doc.held
    assert doc.clocks == {int(client): clock for client, clock in case["vector"].items()}
    whole = vet.parse(b64decode(case["whole"]["update"]))
    assert ranges(vet.parse(doc.doc.get_update()).deletes) == ranges(whole.deletes)
    if not case["inexact"]:
        assert str(doc.doc.get("text", type=Text)) == case["text"]
        if case["list"]:
            assert doc.doc.get("list", type=Array).to_py() == json.loads(case["list"])


class Server:
    """A document that takes in what fits of each update and holds the rest, and is checked at every step."""

    def __init__(self) -> None:
        self.doc: Doc[Any] = Doc()
        self.clocks: dict[int, int] = {}
        self.held: list[bytes] = []
        self.events: list[bytes] = []
        self.doc.observe(lambda event: self.events.append(event.update))

    def receive(self, new: bytes) -> None:
        self.held.append(new)
        before: dict[int, int] | None = None
        while before != self.clocks:
            before = dict(self.clocks)
            for candidate in list(self.held):
                if vet.parse(candidate).missing(self.clocks):
                    self.take(vet.split(candidate, self.clocks))
                else:
                    self.held.remove(candidate)
                    self.take(candidate)

    def take(self, part: bytes) -> None:
        """Apply what is said to fit: all of it must arrive, and nothing else."""
        extent = vet.parse(part)
        assert not extent.missing(self.clocks)
        expected = dict(self.clocks)
        for client, _, end in extent.structs:
            expected[client] = max(end, expected.get(client, 0))
        self.events.clear()
        self.doc.apply_update(part)
        self.clocks = clocks(self.doc)
        assert self.clocks == expected
        assert extent.within(self.clocks)
        new: dict[int, int] = {}
        for event in self.events:
            for client, _, end in vet.parse(event).structs:
                new[client] = end
        assert all(self.clocks[client] == end for client, end in new.items())


# ---------------------------------------------------------------------- what pycrdt wrote


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_extents_are_what_the_document_has(seed):
    editors = Editors(seed)
    for doc in editors.docs:
        extent = vet.parse(doc.get_update())
        assert {client: end for client, _, end in extent.structs} == clocks(doc)
        assert all(start == 0 for _, start, _ in extent.structs)
        assert extent.within(clocks(doc)) and not extent.missing({})
    for edit in editors.edits:  # one editor, one run: what it typed, from the clock it had
        assert {client for client, _, _ in vet.parse(edit.update).structs} <= {editors.docs[edit.author].client_id}


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_what_is_missing_is_what_the_document_cannot_take(seed):
    """The oracle: apply it to a copy, and see whether all of it is there."""
    editors = Editors(seed, steps=25)
    dice = random.Random(seed)
    for made in dice.sample(editors.updates, min(8, len(editors.edits))):
        server = Server()  # yrs alone takes in items of a map whose predecessors are missing
        for known in dice.sample(editors.updates, dice.randrange(len(editors.edits))):
            server.receive(known)
        extent, before = vet.parse(made), server.clocks
        doc = applied([server.doc.get_update()])
        doc.apply_update(made)
        lacks = extent.lacks(before)
        assert extent.missing(before) == (lacks is not None) == (not extent.within(clocks(doc)))
        if lacks is not None:
            assert before.get(lacks[0], 0) < lacks[1]


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_any_order_any_number_of_times(seed):
    editors = Editors(seed)
    dice = random.Random(seed)
    arriving = editors.updates + dice.choices(editors.updates, k=10)
    arriving += [merge_updates(*dice.sample(editors.updates, min(3, len(editors.edits)))) for _ in range(5)]
    arriving += [doc.get_update() for doc in editors.docs]
    arriving += [editors.docs[0].get_update(editors.docs[1].get_state())]
    dice.shuffle(arriving)
    server = Server()
    for made in arriving:
        server.receive(made)
    assert not server.held
    assert everything(server.doc) == everything(applied(editors.updates))


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_subset_leaves_nothing_pending(seed):
    """Whatever is there or not: what was applied can be read, copied and built upon, and the rest still comes in."""
    editors = Editors(seed, steps=40)
    dice = random.Random(seed)
    first = dice.sample(editors.updates, dice.randrange(len(editors.edits) + 1))
    server = Server()
    for made in first:
        server.receive(made)
    assert everything(applied([server.doc.get_update()])) == everything(server.doc)
    for made in editors.updates:
        server.receive(made)
    assert not server.held
    assert everything(server.doc) == everything(applied(editors.updates))


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_split_of_what_fits_is_all_of_it(seed):
    editors = Editors(seed, steps=30)
    for doc in editors.docs:
        whole = doc.get_update()
        assert everything(applied([vet.split(whole, {})])) == everything(doc)
        part = vet.split(whole, clocks(doc))
        assert vet.parse(part) == vet.parse(whole)


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_state_vectors_are_read_and_written(seed):
    for doc in Editors(seed, steps=20).docs:
        state = doc.get_state()
        assert vet.parse_state_vector(vet.state_vector(vet.parse_state_vector(state))) == clocks(doc)
        assert doc.get_update(vet.state_vector(clocks(doc))) == doc.get_update(state)


# ---------------------------------------------------------------------- extents, by hand


def test_a_skip_is_a_hole_between_two_runs():
    made = update(run(text("ab"), b"\x0a\x03", after(7, 4, "cde")))
    extent = vet.parse(made)
    assert extent.structs == ((7, 0, 2), (7, 5, 8))
    assert extent.needs == {7: 5}
    assert extent.lacks({}) == (7, 5)
    assert extent.lacks({7: 4}) == (7, 5)
    assert extent.lacks({7: 5}) is None
    assert vet.split(made, {}) == update(run(text("ab")))
    assert vet.split(made, {7: 5}) == made
    assert not extent.within({7: 7}) and extent.within({7: 8})


def test_what_lies_behind_a_skip_is_taken_when_the_hole_is_filled():
    made = update(run(text("ab"), b"\x0a\x03", after(7, 4, "cde"), after(9, 0, "x")))
    assert vet.split(made, {7: 5}) == update(run(text("ab"), b"\x0a\x03", after(7, 4, "cde")))


def test_a_deletion_needs_its_target():
    made = update(deletes=b"\x01\x07\x02\x00\x02\x05\x01")
    extent = vet.parse(made)
    assert extent.deletes == ((7, 0, 2), (7, 5, 6))
    assert extent.lacks({7: 5}) == (7, 6)
    assert not extent.missing({7: 6})
    assert vet.split(made, {}) == vet.EMPTY
    assert vet.split(made, {7: 1}) == update(deletes=b"\x01\x07\x01\x00\x01")
    assert vet.split(made, {7: 6}) == made


def test_parts_wait_for_each_other_in_any_order():
    made = update(
        run(text("b"), after(9, 1, "c"), client=8),
        run(after(8, 0, "a"), after(9, 0, "d"), client=9),
        run(after(9, 5, "late"), client=10),
    )
    assert vet.split(made, {}) == update(
        run(text("b"), after(9, 1, "c"), client=8), run(after(8, 0, "a"), after(9, 0, "d"), client=9)
    )


@pytest.mark.parametrize(
    "made",
    [
        update(run(after(8, 0)), run(text("b"), client=8)),
        update(run(text("a"), after(8, 0)), run(after(7, 0), after(7, 1), client=8)),
        update(run(after(8, 3)), run(after(7, 0), client=8)),  # what comes behind the end is not in it
        update(run(after(8, 3)), run(after(7, 0), client=8, clock=4)),  # nor what comes before the beginning
        update(run(text("a"), b"\x0a\x05", after(8, 0)), run(after(7, 3), client=8)),  # nor what is skipped
    ],
)
def test_structs_may_refer_to_each_other(made):
    assert vet.parse(made).entwined


def test_a_parent_counts_as_needed():
    made = update(run(text("a", parent=b"\x00\x05\x03")))
    assert vet.parse(made).needs == {5: 4}
    assert vet.parse(made).lacks({5: 3}) == (5, 4)
    assert vet.split(made, {5: 3}) == vet.EMPTY
    assert not vet.parse(made).missing({5: 4})


def test_the_length_of_a_string_is_counted_as_javascript_does():
    assert vet.parse(update(run(text("aé€😀")))).structs == ((7, 0, 5),)


def test_the_empty_update():
    extent = vet.parse(vet.EMPTY)
    assert (extent.structs, extent.deletes, extent.needs) == ((), (), {})
    assert not extent.missing({}) and extent.within({})
    assert vet.split(vet.EMPTY, {}) == vet.EMPTY


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (b"", "the data end"),
        (b"\x00", "the data end"),
        (b"\x00\x00\x00", "1 bytes follow"),
        (update(run()), "without structs"),
        (update(run(text("a")), run(text("b"), clock=1)), "twice"),
        (update(run(b"\x00\x00")), "length zero"),
        (update(run(b"\x0a\x00")), "length zero"),
        (update(run(text(""))), "length zero"),
        (update(run(b"\x01\x01\x01t\x00")), "length zero"),
        (update(run(b"\x08\x01\x01t\x00")), "length zero"),
        (update(deletes=b"\x01\x07\x01\x03\x00"), "length zero"),
        (update(deletes=b"\x01\x07\x01" + var_uint(2**31) + b"\x01"), "out of range"),
        (update(run(b"\x00" + var_uint(2**31))), "out of range"),
        (update(run(text("a"), clock=2**31 - 1)), "out of range"),
        (update(run(b"\x04\x02\x01t\x01a")), "neither named nor an item"),
        (update(run(after(7, 0))), "comes after it"),
        (update(run(text("a"), after(7, 1))), "comes after it"),
        (update(run(b"\x44\x07\x05\x01a")), "comes after it"),
        (update(run(text("a", parent=b"\x00\x07\x00"))), "comes after it"),
        (update(run(after(8, 0)), run(after(7, 0), client=8)), "wait for each other"),
        (update(run(text("a"), after(8, 1)), run(text("b"), after(7, 1), client=8)), "wait for each other"),
        (update(run(b"\x20\x01\x01t\x01k\x03")), "unknown content 0"),  # yrs takes a GC with flags for an item
        (update(run(b"\x80\x03\x01\x01")), "unknown content 0"),
        (update(run(b"\x2a\x01\x01t\x00")), "unknown content 10"),
        (update(run(b"\x14\x01\x01t\x01a")), "unknown content 20"),  # yrs reads four of the five bits
        (update(run(b"\x0b\x01\x01t\x00")), "unknown content 11"),
        (update(run(b"\x07\x01\x01t\x05\x01h")), "shared type 5"),
        (update(run(b"\x07\x01\x01t\x07")), "shared type 7"),
        (update(run(b"\x07\x01\x01t\x0f")), "shared type 15"),
        (update(run(b"\x02\x01\x01t\x01\x011")), "JSON content"),
        (update(run(b"\x04\x01\x01t" + var_bytes(b"\xff"))), "UTF-8"),
        (update(run(b"\x04\x01\x01t" + var_bytes(b"\xed\xa0\xbd"))), "UTF-8"),
        (update(run(b"\x24\x01\x01t\x01k\x02ab")), "value of a key"),
        (update(run(b"\x28\x01\x01t\x01k\x02\x7f\x7f"), deletes=b"\x01\x07\x01\x00\x01"), "value of a key"),
        (update(run(b"\x04\x01\x01t\x05a")), "larger than the data"),
        (value(b"\x00"), "unknown value 0"),
        (value(b"\x7d" + b"\xff" * 10 + b"\x00"), "ten bytes"),
        (value(b"\x7b\x00"), "the data end"),
        (value(b"\x75\x02\x7f"), "unknown value 0"),
        (b"\x01\x80\x00", "longer than it has to be"),
        (b"\x80\x80\x80\x80\x10", "the data end"),
    ],
)
def test_what_is_not_an_update_is_refused(made, why):
    with pytest.raises(BadUpdate, match=why):
        vet.parse(made)


@pytest.mark.parametrize("deletes", [[(0, 2), (2, 1)], [(1, 2), (0, 1)], [(0, 3)], [(0, 9)]])
def test_old_values_of_a_key_may_stand_in_one_struct(deletes):
    """Yjs joins neighbours that are deleted, and keeps what is in them for as long as they could be restored."""
    ranges_ = b"".join(var_uint(start) + var_uint(length) for start, length in deletes)
    made = update(run(b"\x28\x01\x01t\x01k\x03" + b"\x7f" * 3), deletes=b"\x01\x07" + bytes([len(deletes)]) + ranges_)
    assert vet.parse(made).structs == ((7, 0, 3),)


@pytest.mark.parametrize("seed", range(10))
def test_no_editor_writes_long_values(seed):
    editors = Editors(seed)
    for made in [*editors.updates, *(doc.get_update() for doc in editors.docs)]:
        assert vet.parse(made).values == ()


@pytest.mark.parametrize("depth", [vet.MAX_DEPTH, vet.MAX_DEPTH + 1])
@pytest.mark.parametrize("level", [b"\x75\x01", b"\x76\x01\x01a"])
def test_values_may_nest_so_deep_and_no_deeper(level, depth):
    made = value(level * depth + b"\x7f")
    if depth <= vet.MAX_DEPTH:
        assert vet.parse(made).structs == ((7, 0, 1),)
        applied([made])
    else:
        with pytest.raises(BadUpdate, match="nested"):
            vet.parse(made)


def test_many_values_beside_each_other_are_not_deep():
    row = b"\x75\x03\x76\x00\x75\x00\x76\x01\x01k\x75\x00"
    assert vet.parse(value(b"\x75" + var_uint(1000) + row * 1000)).structs == ((7, 0, 1),)


@pytest.mark.parametrize(
    "vector",
    [
        b"\x01" + b"\xff" * 2**20 + b"\x00",  # a number of a megabyte
        b"\x01\x01\x07\x00\x08\x01\x01t\x01" + b"\x75\x01" * 30_000 + b"\x7f\x00",  # yrs overflows its stack
        b"\x01\x01\x07\x00\x08\x01\x01t\x01" + b"\x75\x01" * 16_000 + b"\x7f\x00",  # whoever reads it does
        b"\x01\x01\x07\x00\x08\x01\x01t\x01" + b"\x76\x01\x01a" * 16_000 + b"\x7f\x00",
        bytes.fromhex("01011401000000"),  # every later get_update panics
    ],
    ids=["varint", "arrays", "arrays, less", "maps", "zero length"],
)
@pytest.mark.alone
def test_known_attacks_are_refused_quickly(vector):
    """docs: the three vectors that kill or poison a process which hands them to yrs (F04, F05, F07)."""
    started = time.perf_counter()
    with pytest.raises(BadUpdate):
        vet.parse(vector)
    assert time.perf_counter() - started < 0.1


@pytest.mark.alone
def test_no_update_makes_a_split_slow():
    """4,000 clients, each waiting for the next: whoever goes over them again and again takes 10 s for 40 KB."""
    count = 4_000
    chain = [run(after(101 + i, 0), client=100 + i) for i in range(count - 1)]
    made = update(*chain, run(text("a"), client=99 + count))
    started = time.perf_counter()
    assert vet.parse(vet.split(made, {})) == vet.parse(made)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("vector", "why"),
    [
        (b"", "the data end"),
        (b"\x01", "the data end"),
        (b"\x01\x07", "the data end"),
        (b"\x00\x00", "1 bytes follow"),
        (var_uint(2**27), "the data end"),  # makes room for so many before it looks
        (b"\x01\x07" + var_uint(2**31), "out of range"),
        (b"\x01" + b"\xff" * 11, "ten bytes"),
    ],
)
def test_what_is_not_a_state_vector_is_refused(vector, why):
    with pytest.raises(BadMessage, match=why):
        vet.parse_state_vector(vector)


@given(st.dictionaries(st.integers(0, 2**53 - 1), st.integers(0, vet.MAX_CLOCK), max_size=20))
def test_any_state_vector_is_read_again(known):
    assert vet.parse_state_vector(vet.state_vector(known)) == known


# ---------------------------------------------------------------------- damaged updates


def damaged(dice: random.Random, whole: bytes) -> bytes:
    """A copy with a few bytes flipped, cut, doubled or swapped for ones that mean something."""
    data = bytearray(whole)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(data)) if data else 0
        match dice.randrange(6):
            case 0 if data:
                data[at] ^= 1 << dice.randrange(8)
            case 1 if data:
                data[at] = dice.choice((0, 1, 2, 4, 7, 8, 10, 0x20, 0x75, 0x76, 0x7F, 0x80, 0x84, 0xC4, 0xFF))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + dice.randrange(1, 5)]
            case 4:
                data[at:at] = data[at : at + dice.randrange(1, 9)]
            case _:
                data[at:at] = dice.randbytes(dice.randrange(1, 4))
    return bytes(data)


def material(seed: int) -> list[bytes]:
    """Updates worth damaging."""
    editors = Editors(seed, steps=25)
    found = editors.updates + [doc.get_update() for doc in editors.docs]
    return found + [b64decode(made["update"]) for case in CASES for made in [*case["updates"], case["whole"]]]


@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_damaged_updates_are_understood_or_refused(seed):
    dice = random.Random(seed)
    sound = material(seed)
    for _ in range(200):
        made = damaged(dice, dice.choice(sound))
        try:
            extent = vet.parse(made)
        except BadUpdate:
            continue
        known = {client: dice.randrange(5) for client in (1, 2, 3)}
        part = vet.parse(vet.split(made, known))
        assert not part.missing(known)
        for client, start, end in (*part.structs, *part.deletes):
            assert any(
                client == whole[0] and whole[1] <= start < end <= whole[2]
                for whole in (*extent.structs, *extent.deletes)
            )


@given(st.binary(max_size=200))
def test_random_bytes_are_understood_or_refused(made):
    for read in (vet.parse, vet.parse_state_vector):
        try:
            read(made)
        except BadMessage:
            continue


def test_every_truncation_is_refused():
    for made in material(0):
        if made != vet.EMPTY:
            for size in range(len(made)) if len(made) < 500 else range(0, len(made), 37):
                with pytest.raises(BadUpdate):
                    vet.parse(made[:size])


FUZZ = """
import os, random, sys
from tests.wire.test_vet import clocks, damaged, material, vet
from pycrdt import Doc

os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a panic prints itself
first, rounds = int(sys.argv[1]), int(sys.argv[2])
accepted = 0
for seed in range(first, first + rounds):
    dice = random.Random(seed)
    sound = material(seed)
    for _ in range(100):
        doc, events = Doc(), []
        doc.observe(lambda event: events.append(event.update))
        for made in dice.sample(sound, 3) + [damaged(dice, dice.choice(sound)) for _ in range(4)]:
            try:
                if vet.parse(made).missing(clocks(doc)):
                    made = vet.split(made, clocks(doc))
            except vet.BadUpdate:
                continue
            accepted += 1
            print("apply", made.hex(), flush=True)  # the last line names what killed the process
            try:
                doc.apply_update(made)
                doc.get_state()
                doc.get_update()
            except (ValueError, RuntimeError):
                break
            except BaseException as panic:
                print("panic", type(panic).__name__, str(panic).splitlines()[0], flush=True)
                break
print("accepted", accepted)
"""


def test_what_is_let_through_does_not_kill_the_process(full, figure):
    """Vetting is the first line of defence, the fence is the second: panics are counted here, a crash fails.

    As in a room, only what fits is applied: yrs can be killed by what it keeps waiting itself.
    """
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, "1", "400" if full else "12"], cwd=HERE.parents[1], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"the process died ({done.returncode}) after {lines[-1]}"
    panics = [line for line in lines if line.startswith("panic")]
    figure(f"{lines[-1]} damaged updates, of which yrs panicked at {len(panics)}")


KILLER = """
import sys
from pycrdt import Doc
from collab.wire import vet

docs = []
for junk in range(200):  # where it reads is memory that was given back: what is there depends on what came before
    doc, clocks = Doc(), {}
    docs.append((doc, bytes(junk)))
    for made in map(bytes.fromhex, ("0101010d000100", "0201000000030401030003000300038101030300")):
        extent = vet.parse(made)
        if sys.argv[1] == "what fits" and extent.missing(clocks):
            made = vet.split(made, clocks)
            extent = vet.parse(made)
        doc.apply_update(made)
        clocks |= {client: end for client, _, end in extent.structs}
    assert sys.argv[1] == "all" or clocks == vet.parse_state_vector(doc.get_state()), clocks
"""


@pytest.mark.parametrize(("given", "survived"), [("all", False), ("what fits", True)])
def test_what_yrs_keeps_waiting_can_kill_it(given, survived):
    """Two well-formed updates of 7 and 20 bytes, each after a gap: whoever applies what does not fit yet may crash.

    When the first half fails, yrs has learnt to wait, and this is one reason less for `split`.
    """
    done = subprocess.run([sys.executable, "-c", KILLER, given], cwd=HERE.parents[1], capture_output=True, text=True)
    assert (done.returncode == 0) == survived, done.stderr
    assert survived or done.returncode < 0, "killed by a signal"
