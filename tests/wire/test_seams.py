"""Cutting long strings before an update does: the document and what it reports are the same, in far less time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pycrdt import Doc

from collab.recovery import same
from collab.wire import seams as seams_module
from collab.wire import vet
from collab.wire.halves import Pairs
from collab.wire.lib0 import var_uint
from collab.wire.seams import MANY, PIECE, cuts_much, in_pieces, seams
from tests.support.histories import Editors, everything
from tests.wire.test_keyed import between
from tests.wire.test_vet import run, text, update


def deletions(clocks: list[int], client: int = 7) -> bytes:
    return b"\x00\x01" + var_uint(client) + var_uint(len(clocks)) + b"".join(var_uint(at) + b"\x01" for at in clocks)


def taken(state: bytes, new: bytes, cuts: bytes | None) -> tuple[Doc[Any], list[bytes]]:
    """A document of `state` that takes in `new`, after `cuts`; and what it reports."""
    doc: Doc[Any] = Doc()
    doc.apply_update(state)
    told: list[bytes] = []
    doc.observe(lambda event: told.append(event.update))
    with doc.transaction():
        if cuts is not None:
            doc.apply_update(cuts)
        doc.apply_update(new)
    return doc, told


@pytest.mark.parametrize("known", [True, False], ids=["pairs known", "pairs unknown"])
@pytest.mark.parametrize("step", [1, 3])
def test_nothing_is_different(monkeypatch, step, known, full):
    monkeypatch.setattr(seams_module, "MANY", 1)
    monkeypatch.setattr(seams_module, "isqrt", lambda count: step)
    cut = 0
    for seed in range(2_000 if full else 150):
        editors = Editors(seed, steps=100)
        before, whole = Doc[Any](), Doc[Any]()
        for number, one in enumerate(editors.updates):
            whole.apply_update(one)
            if number < len(editors.updates) // 2:
                before.apply_update(one)
        state, new = before.get_update(), whole.get_update(before.get_state())
        pairs = Pairs()
        pairs.add(state, {})
        cuts = seams(vet.parse(new), vet.parse_state_vector(before.get_state()), pairs if known else None)
        cut += cuts is not None
        plain, said = taken(state, new, None)
        ours, told = taken(state, new, cuts)
        assert len(told) == len(said) == 1 and same(told[0], said[0])
        assert same(ours.get_update(), plain.get_update()) and everything(ours) == everything(plain)
    assert cut > 100


def test_cuts_alone_change_nothing_and_are_told_to_nobody():
    state = update(run(text("x" * 1_000)))
    cuts = seams(vet.parse(deletions(list(range(1, 1_000, 2)))), {7: 1_000}, Pairs())
    assert cuts is not None
    doc, told = taken(state, cuts, None)
    assert doc.get_update() == state and told in ([], [vet.EMPTY])


def test_a_few_places_are_not_worth_it():
    few = vet.parse(deletions(list(range(0, 2 * MANY - 2, 2))))
    assert not cuts_much(few) and seams(few, {7: 1_000}, Pairs()) is None
    many = vet.parse(deletions(list(range(0, 2 * MANY, 2))))
    assert cuts_much(many) and seams(many, {7: 1_000}, Pairs()) is not None


def test_only_what_is_there_is_cut():
    """A deletion of what is not there yet would wait inside of yrs."""
    places = vet.parse(deletions(list(range(0, 400, 2))))
    assert seams(places, {}, Pairs()) is None
    cuts = seams(places, {7: 100}, Pairs())
    assert cuts is not None
    doc, _ = taken(update(run(text("x" * 100))), cuts, None)
    assert doc.get_update() == update(run(text("x" * 100)))


def test_no_character_is_cut_in_two():
    """A letter that stands before an emoji refers to it, and not to its second half."""
    state = update(run(text("😀" * 300)))
    pairs = Pairs()
    pairs.add(state, {})
    extent = vet.parse(update(run(*(between((7, 2 * nth + 1), (7, 2 * nth + 2)) for nth in range(200)), client=8)))
    assert {clock % 2 for _, clock in extent.before} == {0, 1}
    cuts = seams(extent, {7: 600}, pairs)
    assert cuts is not None
    doc, _ = taken(state, cuts, None)
    assert doc.get_update() == state


@pytest.mark.parametrize("what", ["deletions", "insertions"])
def test_it_takes_far_less_time(what, figure):
    state = update(run(text("x" * 400_000)))
    if what == "deletions":
        new = deletions(list(range(0, 400_000, 10)))
    else:
        new = update(run(*(between((7, at), (7, at + 1)) for at in range(0, 400_000, 10)), client=9))
    times = []
    for cuts in (None, seams(vet.parse(new), {7: 400_000}, Pairs())):
        began = time.perf_counter()
        doc, _ = taken(state, new, cuts)
        times.append(time.perf_counter() - began)
    figure(
        f"40,000 {what} in one text of 400 KB: {times[0] * 1000:.0f} ms, with cuts made before {times[1] * 1000:.0f}"
    )
    assert times[1] < times[0] / 2


@pytest.mark.parametrize("size", [1, 2, 5])
def test_pieces_say_what_the_whole_said(monkeypatch, size, full):
    monkeypatch.setattr(seams_module, "MANY", 0)
    monkeypatch.setattr(seams_module, "PIECE", size)
    made = 0
    for seed in range(1_000 if full else 100):
        editors = Editors(seed, steps=60)
        plain, ours = Doc[Any](), Doc[Any]()
        for one in [*editors.updates, *(doc.get_update() for doc in editors.docs)]:
            pieces = in_pieces(one, vet.parse(one))
            made += pieces != one
            found, known = vet.parse(pieces), vet.parse(one)
            assert (found.structs, found.deletes, found.types) == (known.structs, known.deletes, known.types)
            assert found.longest <= 2 * size  # they are counted in UTF-16
            plain.apply_update(one)
            ours.apply_update(pieces)
        assert same(ours.get_update(), plain.get_update()) and everything(ours) == everything(plain)
    assert made > 500


def test_only_what_cuts_much_comes_in_pieces():
    paste = update(run(text("x" * 1_000_000)))
    assert in_pieces(paste, vet.parse(paste)) is paste
    cuts = deletions(list(range(0, PIECE, 2)))[1:]
    short = update(run(text("x" * PIECE)), deletes=cuts)
    assert in_pieces(short, vet.parse(short)) is short
    both = update(run(text("x" * (PIECE + 1))), deletes=cuts)
    assert len(in_pieces(both, vet.parse(both))) > len(both)
