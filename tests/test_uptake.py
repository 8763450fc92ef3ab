"""How updates become part of the document: three ways, and nobody can tell which one it was."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.errors import TooMany
from collab.fence import Panic
from collab.gaps import Incoming
from collab.uptake import LOOKS, Panicked
from collab.wire import vet
from collab.wire.keystroke import Typed
from collab.wire.lib0 import var_uint
from collab.wire.messages import Update
from tests.support.histories import Editors, applied, everything
from tests.test_room import Somebody, Told, Writer, room


@pytest.fixture
def ana() -> Somebody:
    return Somebody("ana", author="ana")


@pytest.fixture
def ben() -> Somebody:
    return Somebody("ben", author="ben")


@pytest.fixture
def cleo() -> Somebody:
    return Somebody("cleo", author="cleo")


# ---------------------------------------------------------------------- the short way


@pytest.mark.parametrize("seed", range(40))
def test_the_short_ways_tell_what_the_long_way_tells(seed, ana, ben, cleo, monkeypatch):
    """One update a tick, some out of order, twice, or of halves of characters: nobody can tell which way it went."""
    dice = random.Random(seed)
    updates = [*Editors(seed).updates, *Writer(77).type("half of 😀")]
    for _ in range(len(updates) // 5):
        at = dice.randrange(len(updates))
        updates.insert(dice.randrange(len(updates)), updates[at])
    updates = [*Writer(78).type("plain words"), *Writer(79).type("größer, 更大"), *updates]
    late, short, long = room(ana), room(ben), room(cleo)
    short.replica.at_once = long.replica.at_once = True
    monkeypatch.setattr(long.uptake, "_apply_plain", lambda inbox, begun: None)
    plain, went = short.uptake._apply_plain, list[bool]()

    def watched(inbox: list[Incoming], begun: dict[int, int]) -> list[bytes] | None:
        events = plain(inbox, begun)
        went.append(events is not None)
        return events

    monkeypatch.setattr(short.uptake, "_apply_plain", watched)
    waited = 0
    for now, update in enumerate(updates):
        told = [Told(), Told(), Told()]
        for core, peer, receipt in zip((late, short, long), (ana, ben, cleo), told, strict=True):
            core.receive(peer, Update(update), now, receipt)
            assert core.tick(now, 0)
        assert told[0].heard == told[1].heard == told[2].heard
        waited = max(waited, late.replica._late.updates)
    assert ana.heard == ben.heard == cleo.heard
    assert [update for update, _ in ana.rows] == [update for update, _ in ben.rows] == [one for one, _ in cleo.rows]
    assert (
        [tick.begun for tick in ana.ticks] == [tick.begun for tick in ben.ticks] == [tick.begun for tick in cleo.ticks]
    )
    assert ana.asked == ben.asked == cleo.asked
    assert late.clocks == short.clocks == long.clocks == vet.parse_state_vector(late.doc.get_state())
    assert everything(late.doc) == everything(short.doc) == everything(long.doc)
    assert True in went and False in went and waited >= 10


def test_whoever_has_the_document_looked_at_again_and_again_is_sent_away(ana, ben):
    """Lists in lists beside letters: how deep they are is seen from the whole document alone."""
    core = room(ana, ben)
    number = var_uint
    deep = b"".join(b"\x07\x00\x07" + number(clock) + b"\x00" for clock in range(249))
    core.receive(ben, Update(b"\x01\xfa\x01\x07\x00\x07\x01\x01t\x00" + deep + b"\x00"), 0)
    core.tick(0, 0)
    for nth in range(LOOKS + 1):
        letter, client = 1_000 + nth, 5_000 + nth
        chain = b"".join(b"\x07\x00" + number(client) + number(clock) + b"\x00" for clock in range(250))
        core.receive(ana, Update(b"\x01\x01" + number(letter) + b"\x00\x04\x01\x01p\x01x\x00"), 0)
        core.tick(0, 0)
        outer = b"\x87" + number(letter) + b"\x00\x00"
        core.receive(ana, Update(b"\x01\x01" + number(client) + b"\x00" + outer + b"\x00"), 0)
        core.tick(0, 0)
        assert ana.refused == []
        core.receive(ana, Update(b"\x01\xfa\x01" + number(client) + b"\x01" + chain + b"\x00"), 0)
        core.tick(0, 0)
    [error] = ana.refused
    assert isinstance(error, TooMany) and error.retry and ben.refused == []
    assert core.clocks == vet.parse_state_vector(core.doc.get_state()), "all of it was taken in"
    core.leave(ana, 0)
    assert not core.uptake._lookers


# ---------------------------------------------------------------------- letters, which the document takes in late


@pytest.mark.parametrize("seed", range(10))
def test_many_letters_at_once(seed, ana, ben):
    """Several people type, at the end and in the middle, and delete now and then; ticks of any size."""
    dice = random.Random(seed)
    core = room(ana, ben)
    writers = [Writer(number) for number in (3, 300, 70_000)]
    waited = 0
    for _ in range(20):
        for writer in writers:
            if dice.random() < 0.3:
                writer.doc.apply_update(core.difference(writer.doc.get_state()))
            writer.made.clear()
            at = dice.choice((len(writer.text), dice.randrange(len(writer.text) + 1)))
            for letter in dice.choice(("words", "1", "a longer sentence")):
                if dice.random() < 0.02 and at:
                    at -= 1
                    del writer.text[at]
                else:
                    writer.text.insert(at, letter)
                    at += 1
            for update in writer.made:
                core.receive(ana, Update(update), 0)
                if dice.random() < 0.2:
                    core.tick(0, 0)
        core.tick(0, 0)
        waited = max(waited, core.replica._late.updates)
    told: Doc[Any] = Doc()
    for tick in ben.ticks:
        for update in tick.merged:
            vet.parse(update)
            told.apply_update(update)
    assert waited > 20
    assert core.difference(b"\0") and core.clocks == vet.parse_state_vector(core.doc.get_state())
    assert everything(told) == everything(core.doc)
    for writer in writers:
        writer.doc.apply_update(core.difference(writer.doc.get_state()))
        assert everything(writer.doc) == everything(core.doc)


def test_who_has_the_document_sees_each_letter(ana):
    core, writer = room(ana), Writer(7)
    for update in writer.type("abc"):
        core.receive(ana, Update(update), 0)
        core.tick(0, 0)
    assert core.replica._late
    doc = core.doc
    assert str(doc.get("text", type=Text)) == "abc" and not core.replica._late
    for update in writer.type("d"):
        core.receive(ana, Update(update), 0)
        core.tick(0, 0)
    assert str(doc.get("text", type=Text)) == "abcd"


def test_what_the_document_did_not_take_in_is_asked_for(ana, monkeypatch):
    """It cannot happen, as far as is known; then nothing may be missing for ever."""
    core, writer = room(ana), Writer(7)
    first, *rest = writer.type("abcd")
    core.receive(ana, Update(first), 0)
    core.tick(0, 0)
    lost = rest[:2]
    for update in lost:
        core.receive(ana, Update(update), 0)
        core.tick(0, 0)
    monkeypatch.setattr(Typed, "joined", lambda self: first)
    assert core.difference(b"\0") and core.clocks == {7: 1}
    monkeypatch.undo()
    core.receive(ana, Update(rest[2]), 0)
    core.tick(0, 0)
    assert ana.asked == [{7: 1}]


def test_a_panic_at_what_was_told(ana, monkeypatch):
    """Who looks is told, again and again, until the room has a new document; what came meanwhile is in the panic."""
    core, writer = room(ana), Writer(7)
    first, second, third = writer.type("abc")
    for update in (first, second):
        core.receive(ana, Update(update), 0)
        core.tick(0, 0)
    monkeypatch.setattr(Typed, "joined", lambda self: b"\x01")  # stands for what yrs does not survive
    for _ in range(2):
        with pytest.raises(Panic):
            core.difference(b"\0")
    core.receive(ana, Update(third), 0)
    deletion = b"\x00\x01\x07\x01\x00\x01"
    core.receive(ana, Update(deletion), 0)
    with pytest.raises(Panicked) as caught:
        core.tick(0, 0)
    assert [item.update for item in caught.value.updates] == [third, deletion]
    monkeypatch.undo()
    core.replica.replace(applied([first, second]))
    core.requeue(caught.value.updates)
    core.tick(0, 0)
    assert str(core.doc.get("text", type=Text)) == "bc"
