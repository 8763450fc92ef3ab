"""How deep shared types are nested: the bound is never below the truth, and tells it when that matters."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Text, XmlElement, XmlFragment, XmlText

from collab.wire import vet
from collab.wire.lib0 import var_uint
from collab.wire.nesting import MAX_NESTING, Levels, Nesting, levels
from tests.support.histories import Editors
from tests.wire.test_vet import after, run, update

ARRAY = b"\x00"


def in_root(content: bytes = ARRAY) -> bytes:
    return b"\x07\x01\x01t" + content


def within(client: int, clock: int) -> bytes:
    """A list in another type."""
    return b"\x07\x00" + var_uint(client) + var_uint(clock) + ARRAY


def beside(client: int, clock: int) -> bytes:
    """A list to the right of something."""
    return b"\x87" + var_uint(client) + var_uint(clock) + ARRAY


def chain(first: int, count: int) -> bytes:
    """Lists of client 7, each in the one before."""
    structs = [within(7, clock - 1) if clock else in_root() for clock in range(first, first + count)]
    return update(run(*structs, clock=first))


def never() -> bytes:
    raise AssertionError("the document was looked at")


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (update(run(in_root(), within(7, 0), within(7, 1))), {(7, 0): 1, (7, 1): 2, (7, 2): 3}),
        (update(run(in_root(), beside(7, 0), within(7, 1))), {(7, 0): 1, (7, 1): 1, (7, 2): 2}),
        (update(run(in_root(), b"\x04\x00\x07\x00\x03abc", beside(7, 2))), {(7, 0): 1, (7, 4): 2}),  # beside a letter
        (update(run(within(5, 9)), run(in_root(), client=5, clock=9)), {(7, 0): 2, (5, 9): 1}),  # comes later
        (update(run(within(5, 9))), {(7, 0): 21}),  # not known: at most one deeper than the deepest
        (update(run(beside(5, 9))), {(7, 0): 21}),
        (update(run(within(5, 1))), {(7, 0): 4}),  # known
        (update(run(beside(5, 1))), {(7, 0): 3}),
        (update(run(after(5, 1), beside(7, 0))), {(7, 1): 3}),
        (update(run(b"\x00\x05", beside(7, 2), clock=0)), {(7, 5): 1}),  # what was deleted has no place
    ],
)
def test_levels(made, found):
    assert levels(made, {(5, 1): 3}, 20) == found


class Room:
    """A document with its clocks and its bound."""

    def __init__(self, *updates: bytes, limit: int = 10) -> None:
        self.bound, self.clocks, self.limit = Nesting(), dict[int, int](), limit
        self.doc: Doc[Any] = Doc()
        for made in updates:
            assert self.take(made)

    def take(self, made: bytes) -> bool:
        extent = vet.parse(made)
        assert not extent.missing(self.clocks)
        if extent.types and not self.bound.admit(made, self.clocks, self.doc.get_update, self.limit):
            return False
        self.doc.apply_update(made)
        for client, _, end in extent.structs:
            self.clocks[client] = max(end, self.clocks.get(client, 0))
        return True

    @property
    def looks(self) -> int:
        return self.bound.looks


def chain_in(outer: bytes, client: int, count: int) -> bytes:
    """Lists of a client, one in the other, the first one `outer`."""
    return update(run(outer, *(within(client, clock) for clock in range(count - 1)), client=client))


def test_it_grows_update_by_update():
    room = Room(*(chain(clock, 1) for clock in range(10)))
    assert not room.take(chain(10, 1))
    assert room.take(update(run(within(7, 3), client=8)))  # elsewhere there is room
    assert not room.take(chain(10, 1)) and room.looks <= 2


def test_what_is_known_costs_no_look():
    """Paragraph after paragraph, each beside the last, close to the limit."""
    room = Room(chain(0, 9))
    for clock in range(0, 3_000, 2):
        outer = beside(8, clock - 2) if clock else in_root()
        assert room.take(update(run(outer, within(8, clock), client=8, clock=clock)))
    assert room.take(update(run(within(7, 8), client=9)))
    assert room.looks == 0


def test_what_was_loaded_is_known():
    room = Room(limit=6)
    assert room.take(update(run(in_root(), within(7, 0), *(beside(7, clock) for clock in range(20_000)))))
    for client in range(100, 400):
        assert room.take(chain_in(within(7, 0), client, 4))
    assert room.looks == 0 and len(room.bound._known) == 20_002 + 1_200


def test_the_same_document_is_not_looked_at_twice():
    room = Room(update(run(b"\x04\x01\x01t\x01a")), chain_in(in_root(), 8, 6))
    for _ in range(10):
        assert not room.take(chain_in(beside(7, 0), 9, 9))
    assert room.looks == 1


def test_beside_a_letter_the_worst_is_supposed_until_it_matters():
    """Each list beside a letter may be in the deepest; when that adds up to the limit, the document is looked at."""
    room, letters = Room(limit=100), 0
    for nth in range(300):
        letter = b"\x04\x01\x01t\x01a" if not letters else b"\x84\x07" + var_uint(letters - 1) + b"\x01a"
        assert room.take(update(run(letter, clock=letters)))
        assert room.take(update(run(beside(7, letters), client=1_000 + nth)))
        letters += 1
    assert 1 <= room.looks < 6


@pytest.mark.parametrize(
    "attack",
    [
        [update(run(b"\x04\x00\x07\x08\x01x", client=8)), chain_in(beside(8, 0), 9, 9)],  # beside a letter in it
        [update(run(in_root(), clock=8), run(within(7, 8), *(within(6, at) for at in range(7)), client=6))],
        [  # a letter that is there already is said to be in a root
            update(run(b"\x04\x00\x07\x08\x01x", client=8)),
            update(run(b"\x04\x01\x01t\x01x", client=8), run(beside(8, 0), within(9, 0), client=9)),
        ],
        [  # half of it is
            update(run(b"\x04\x00\x07\x08\x01x", client=8)),
            update(run(b"\x04\x01\x01t\x02xy", beside(8, 1), within(8, 2), client=8)),
        ],
        [update(run(b"\x00\x01", b"\xc7\x08\x00\x07\x08" + ARRAY, within(8, 1), within(8, 2), client=8))],
        [  # what was deleted with its place was known, and not as deep
            update(run(in_root(), within(8, 0), client=8)),
            update(deletes=b"\x01\x08\x01\x00\x01"),
            update(run(b"\xc7\x08\x01\x07\x08" + ARRAY, within(9, 0), within(9, 1), client=9)),
        ],
    ],
    ids=["beside a letter", "said anew", "a letter said anew", "half", "behind what was deleted", "deleted later"],
)
def test_nobody_gets_past_the_limit(attack):
    room = Room(chain(0, 9))
    assert not all([room.take(made) for made in attack])
    assert depth(room.doc.get("t", type=Array)) <= 10


def depth(array: Array[Any]) -> int:
    return 1 + max([depth(inner) for inner in array if isinstance(inner, Array)], default=0)


def test_what_never_came_is_forgotten():
    """The document may refuse what was admitted; then the same ids come with something else."""
    known = Levels()
    known.add({(7, 0): 1, (7, 1): 2, (7, 5): 3}, {})
    known.add({(7, 1): 9, (8, 0): 70_000}, {7: 1})
    assert [known.get((7, clock), -1) for clock in (0, 1, 2, 5)] == [1, 9, -1, -1]
    assert known.get((8, 0), -1) == 2**16 - 1 and known.get((9, 0), -1) == -1 and len(known) == 3


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_never_below_the_truth(seed):
    """Random histories, update by update, against the whole document."""
    editors = Editors(seed)
    doc: Doc[Any] = Doc()
    bound, clocks = Nesting(), dict[int, int]()
    dice = random.Random(seed)
    for made in editors.updates:
        extent = vet.parse(made)
        assert not extent.missing(clocks) or dice.random() < 2
        if extent.missing(clocks):
            continue
        assert not extent.types or bound.admit(made, clocks, doc.get_update)
        doc.apply_update(made)
        clocks |= {client: end for client, _, end in extent.structs}
    exact = max(levels(doc.get_update(), {}, 0).values(), default=0)
    assert bound.floor >= exact


DEEP = """
import sys, threading
from pycrdt import Array, Doc
from collab.wire.nesting import MAX_NESTING, Nesting
from tests.wire.test_nesting import chain

def go():
    doc, bound = Doc(), Nesting()
    for clock in range(10_000):
        made, clocks = chain(clock, 1), {7: clock}
        if bound.admit(made, clocks, doc.get_update):
            doc.apply_update(made)
        elif sys.argv[1] == "checked":
            break
        else:
            doc.apply_update(made)
    print("depth", clock, flush=True)
    if sys.argv[2] == "read":
        str(doc.get("t", type=Array))
    doc.apply_update(bytes.fromhex("00010701 0001".replace(" ", "")))
    print("alive", flush=True)

if int(sys.argv[3]):
    threading.stack_size(int(sys.argv[3]) * 1024)
    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
else:
    go()
"""


@pytest.mark.parametrize("act", ["delete", "read"])
@pytest.mark.parametrize("stack", [0, 8192, 1024, 640])
def test_the_limit_is_far_from_where_yrs_crashes(act, stack, figure):
    done = subprocess.run([sys.executable, "-c", DEEP, "checked", act, str(stack)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["depth", str(MAX_NESTING), "alive"], done.stderr
    figure(f"{MAX_NESTING} deep, {act}, stack of {stack or 'the main thread'}{' KiB' if stack else ''}: alive")


def test_without_the_limit_it_crashes():
    """Once yrs deletes without recursion, this module can go."""
    script = DEEP.replace("elif sys.argv", "elif False and sys.argv").replace(
        "bound.admit(made, clocks, doc.get_update)", "True"
    )
    done = subprocess.run([sys.executable, "-c", script, "unchecked", "delete", "1024"], capture_output=True, text=True)
    assert done.returncode < 0, done.stdout


@pytest.mark.alone
def test_what_it_costs(figure, full):
    """Many nodes pasted at once, and paragraphs typed."""
    doc: Doc[Any] = Doc(client_id=5)
    made: list[bytes] = []
    doc.observe(lambda event: made.append(event.update))
    page = doc.get("page", type=XmlFragment)

    def paragraphs(count: int) -> None:
        for _ in range(count):
            paragraph = page.children.append(XmlElement("paragraph"))
            paragraph.children.append(XmlText("hello world"))

    with doc.transaction():
        paragraphs(50_000 if full else 10_000)
    [pasted] = made
    began = time.perf_counter()
    extent = vet.parse(pasted)
    vetted = time.perf_counter()
    bound = Nesting()
    assert bound.admit(pasted, {}, never)
    looked = time.perf_counter()
    made.clear()
    for _ in range(500):
        with doc.transaction():
            paragraphs(1)
    assert len(made) == 500
    known = [{5: vet.parse(each).structs[0][1]} for each in made]
    typed = time.perf_counter()
    for each, clocks in zip(made, known, strict=True):
        assert bound.admit(each, clocks, never)
    spent = (time.perf_counter() - typed) / 500 * 1e6
    figure(
        f"{extent.types:,} nodes pasted: vetted in {(vetted - began) * 1e3:.0f} ms, depth in "
        f"{(looked - vetted) * 1e3:.0f} ms; a typed paragraph: {spent:.0f} us; a typed letter: nothing"
    )
    assert looked - vetted < 5 and spent < 500


def test_other_content_has_no_depth():
    doc: Doc[Any] = Doc()
    doc.get("t", type=Text).insert(0, "hello")
    doc.get("a", type=Array).append([1, [2]])
    assert vet.parse(doc.get_update()).types == 0 and levels(doc.get_update(), {}, 0) == {}
