"""What is found of a long update before it is taken in: the same as without, and nothing when something has changed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pycrdt import Doc

from collab.errors import BadUpdate
from collab.replica import Replica
from collab.wire import ahead, vet
from collab.wire import keyed as keyed_module
from collab.wire.halves import Pairs
from collab.wire.keyed import Keyed
from collab.wire.nesting import Nesting
from collab.wire.vet import Extent
from tests.support.histories import Editors, everything
from tests.wire.test_vet import after, run, text, update


def look(replica: Replica, one: bytes, extent: Extent) -> None:
    ahead.look(replica.pairs, replica.nesting, replica.keyed, one, extent, replica.clocks)


def take(replica: Replica, one: bytes, extent: Extent) -> bool:
    """As a room does."""
    cut, one = replica.cuts(one)
    assert not cut
    with replica.doc.transaction(), replica.recording():
        try:
            replica.apply(one, extent, {})
        except BadUpdate:
            return False
    return True


def knows(replica: Replica) -> tuple[object, ...]:
    """All that is kept beside the document."""
    rows = {client: (list(row.starts), list(row.ends)) for client, row in replica.keyed._rows.items()}
    levels = {client: (list(at), list(deep)) for client, (at, deep) in replica.nesting._known._rows.items()}
    return rows, replica.pairs._seconds, levels, replica.nesting.floor, replica.clocks


@pytest.mark.parametrize("between", [0, 1, 3], ids=lambda count: f"{count} others between")
def test_it_makes_no_difference(between, full):
    """The updates of one history; between a look and its update others are taken in, which it cannot know of."""
    for seed in range(500 if full else 60):
        updates = Editors(seed, steps=60).updates
        plain, ahead = (Replica(Doc(), None, lambda: None) for _ in range(2))
        for at in range(0, len(updates), between + 1):
            *others, one = updates[at : at + between + 1]
            extent = vet.parse(one)
            if not extent.missing(ahead.clocks):
                look(ahead, one, extent)
            for edit in [*others, one]:
                known = extent if edit is one else vet.parse(edit)
                if known.missing(plain.clocks):
                    continue
                assert take(plain, edit, known) == take(ahead, edit, known)
                assert knows(plain) == knows(ahead)
        assert everything(plain.doc) == everything(ahead.doc)


def test_a_look_while_others_are_taken_in():
    """It is on another thread, and reads what changes meanwhile: it may be of no use, but it does not fail."""
    updates = Editors(7, steps=400).updates
    whole: Doc[Any] = Doc()
    for one in updates:
        whole.apply_update(one)
    state = whole.get_update()
    extent = vet.parse(state)
    failed: list[BaseException] = []
    for _ in range(20):
        replica = Replica(Doc(), None, lambda: None)
        stop = threading.Event()

        def look_on(replica: Replica = replica, stop: threading.Event = stop) -> None:
            try:
                while not stop.is_set():
                    look(replica, state, extent)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=look_on)
        thread.start()
        for one in updates:
            known = vet.parse(one)
            if not known.missing(replica.clocks):
                take(replica, one, known)
        stop.set()
        thread.join()
        assert not failed
        assert take(replica, state, extent) and everything(replica.doc) == everything(whole)


def test_a_character_that_came_after_the_look():
    pairs = Pairs()
    pairs.add(update(run(text("😀"), client=9)), {})
    late = update(run(after(7, 1, "x"), client=8))
    pairs.look(late, {7: 0})
    assert pairs.cut(late, {7: 0}) == set()
    pairs.add(update(run(text("a😀"))), {})
    assert pairs.cut(late, {7: 3}) == {(7, 2)}


def test_a_part_of_it_that_came_after_the_look():
    own = update(run(text("a😀b")))
    pairs = Pairs()
    pairs.look(own, {})
    assert pairs.cut(own, {}) == set()
    assert pairs.cut(own, {7: 2}) == {(7, 2)}, "what is there already ends within the character"


def test_a_value_that_came_after_the_look():
    keyed = Keyed()
    keyed.add(Extent(((9, 0, 1),), (), {}, keyed=((9, 0, 1),)), {})
    late = Extent(((8, 0, 1),), (), {7: 2}, before=((7, 0), (7, 1)))
    keyed.look(late, {})
    found = keyed._look
    assert found is not None and not found.harms
    keyed.add(Extent(((7, 0, 1),), (), {}, keyed=((7, 0, 1),)), {})
    keyed._look = found  # the other thread came to its end after that
    assert not keyed.fits(b"", late, {7: 1}, bytes)


def test_what_came_of_its_client_after_the_look_is_what_it_is():
    """Whatever is said of it now."""
    keyed = Keyed()
    extent = Extent(((7, 0, 3),), (), {}, keyed=((7, 0, 1), (7, 1, 2), (7, 2, 3)))
    keyed.look(extent, {})
    keyed.add(extent, {7: 2})
    assert (7, 2) in keyed and (7, 1) not in keyed and (7, 0) not in keyed


def test_a_letter_that_came_after_the_look_is_where_it_is():
    """And not where the update says: what it puts beside it may be far deeper than it lets believe."""
    nesting = Nesting()
    one = update(run(text("a"), client=8), run(b"\x87\x08\x00\x00", client=9))  # a list beside a letter in a root
    nesting.look(one, {})
    assert nesting.admit(one, {}, bytes, limit=1) and nesting.floor == 1
    nesting = Nesting()
    nesting.floor = 5  # as deep as anything may be by then
    nesting.look(one, {})
    asked: list[bytes] = []

    def document() -> bytes:
        asked.append(b"")
        return b"\x00\x00"

    nesting.admit(one, {8: 1}, document, limit=5)
    assert asked, "the letter is there already, so the bound supposes the worst"


def test_what_was_found_is_let_go_of():
    """It has the size of the update."""
    replica = Replica(Doc(), None, lambda: None)
    one = Editors(3, steps=60).docs[0].get_update()
    look(replica, one, vet.parse(one))
    parts = (replica.pairs, replica.nesting, replica.keyed)
    assert any(part._look for part in parts)
    ahead.overlook(*parts)
    assert not any(part._look for part in parts)


def test_who_looks_while_something_is_noted_has_looked_too_early(monkeypatch):
    keyed = Keyed()
    late = Extent(((8, 0, 1),), (), {7: 2}, before=((7, 0), (7, 1)))
    keyed.add(Extent(((9, 0, 1),), (), {}, keyed=((9, 0, 1),)), {})
    append = keyed_module._append

    def looked_meanwhile(*args: Any) -> None:
        found.append(keyed._looked(late, {}))
        append(*args)

    found: list[Any] = []
    monkeypatch.setattr(keyed_module, "_append", looked_meanwhile)
    keyed.add(Extent(((7, 0, 1),), (), {}, keyed=((7, 0, 1),)), {})
    keyed._look = found[0]
    assert not keyed.fits(b"", late, {7: 1}, bytes)
