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

from collab.wire import nesting, vet
from collab.wire.lib0 import var_uint
from collab.wire.nesting import MAX_NESTING, Nesting, levels
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


def test_it_grows_update_by_update():
    bound = Nesting()
    for clock in range(10):
        assert bound.admit(chain(clock, 1), never, 10)
    whole = chain(0, 10)
    assert not bound.admit(chain(10, 1), lambda: whole, 10)
    assert bound.admit(update(run(within(7, 3), client=8)), lambda: whole, 10)  # elsewhere there is room


def test_what_is_far_from_the_limit_costs_no_look():
    """Paragraph after paragraph, each beside the last."""
    bound = Nesting(3)
    for clock in range(0, 3_000, 2):
        outer = beside(7, clock - 2) if clock else in_root()
        assert bound.admit(update(run(outer, within(7, clock), clock=clock)), never, 20)


def test_what_is_forgotten_counts_as_the_worst(monkeypatch):
    monkeypatch.setattr(nesting, "REMEMBERED", 5)
    bound, looks = Nesting(), []
    made: list[bytes] = []

    def look() -> bytes:
        looks.append(len(made))
        return update(run(*made))

    for clock in range(40):
        struct = beside(7, clock - 1) if clock else in_root()
        assert bound.admit(update(run(struct, clock=clock)), look, 6)
        made.append(struct)
    assert looks and len(looks) < 12


def test_a_deep_document_is_not_looked_at_for_every_type():
    bound, looks = Nesting(), []

    def look() -> bytes:
        looks.append(1)
        return chain(0, 10)

    assert bound.admit(chain(0, 10), never, 10)
    bound.floor = 10  # as if it was loaded
    bound._levels.clear()
    for clock in range(50):
        assert bound.admit(
            update(run(within(7, 2) if not clock else beside(8, clock - 1), client=8, clock=clock)), look, 10
        )
    assert len(looks) == 1


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
        assert not extent.types or bound.admit(made, doc.get_update)
        doc.apply_update(made)
        clocks |= {client: end for client, _, end in extent.structs}
    exact = max(levels(doc.get_update(), {}, 0).values(), default=0)
    assert max([bound.floor, *bound._levels.values()]) >= exact


DEEP = """
import sys, threading
from pycrdt import Array, Doc
from collab.wire.nesting import MAX_NESTING, Nesting
from tests.wire.test_nesting import chain

def go():
    doc, bound = Doc(), Nesting()
    for clock in range(10_000):
        made = chain(clock, 1)
        if bound.admit(made, doc.get_update):
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
        "bound.admit(made, doc.get_update)", "True"
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
    assert bound.admit(pasted, never)
    looked = time.perf_counter()
    made.clear()
    for _ in range(500):
        with doc.transaction():
            paragraphs(1)
    assert len(made) == 500
    typed = time.perf_counter()
    for each in made:
        assert bound.admit(each, never)
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
