"""What a room knows of its document: always what the document itself says, and never half a character."""

from __future__ import annotations

import json
import random
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from collab.errors import BadUpdate
from collab.replica import Replica
from collab.room import RoomCore
from collab.wire import halves, nesting, vet
from collab.wire.keyed import Keyed
from collab.wire.lib0 import var_string, var_uint
from collab.wire.messages import Update
from tests.support.histories import Editors, applied, clocks, everything
from tests.test_room import Somebody

HALVES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "wire" / "yjs_halves.json").read_text("utf-8"))
SEEDS = st.integers(0, 2**32 - 1)


def replica_of(*updates: bytes, **options: Any) -> Replica:
    return Replica(applied(updates), options.pop("nesting", None), options.pop("edited", lambda: None))


def take(replica: Replica, update: bytes) -> list[bytes]:
    """Apply an update that fits; returns what the document reports."""
    with replica.recording() as events:
        assert replica.cuts(update) == (set(), update)
        replica.apply(update, vet.parse(update), {})
    return events


def typed(words: str, clock: int = 0) -> bytes:
    """Client 7 types at the end of the text."""
    where = b"\x84\x07" + var_uint(clock - 1) if clock else b"\x04\x01\x04text"
    return b"\x01\x01\x07" + var_uint(clock) + where + var_string(words) + b"\x00"


def text_of(doc: Doc[Any]) -> str:
    return str(doc.get("text", type=Text))


# ---------------------------------------------------------------------- clocks


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_clocks_are_those_of_the_document(seed):
    replica = replica_of()
    known: dict[int, int] = {}
    for update in Editors(seed, steps=30).updates:
        extent = vet.parse(update)
        if extent.missing(replica.clocks):
            continue
        here, update = replica.cuts(update)
        assert not here
        begun: dict[int, int] = {}
        with replica.recording() as events:
            moved = replica.apply(update, extent, begun)
        assert replica.clocks == clocks(replica.doc)
        assert moved == (replica.clocks != known) == bool(begun)
        assert vet.parse_state_vector(replica.state_vector(begun)) == known
        assert replica.as_foreseen([vet.parse(event) for event in events], begun)
        known = dict(replica.clocks)
    assert vet.parse_state_vector(replica.state_vector()) == known


def test_what_the_document_reports_counts():
    replica = replica_of()
    begun: dict[int, int] = {}
    with replica.recording() as events:
        replica.apply(typed("abc"), vet.parse(typed("abcd")), begun)  # more was expected than there is
    news = [vet.parse(event) for event in events]
    assert replica.clocks == {7: 4} and not replica.as_foreseen(news, begun)
    replica.surprised(news, begun)
    assert replica.clocks == {7: 3} and begun == {7: 0}


def test_what_the_document_has():
    replica = replica_of(typed("abcd"), b"\x00\x01\x07\x01\x01\x02")
    assert replica.has(vet.parse(typed("abc")))
    assert replica.has(vet.parse(b"\x00\x01\x07\x01\x02\x01"))
    assert not replica.has(vet.parse(typed("abcde")))
    assert not replica.has(vet.parse(typed("e", 4)))
    assert not replica.has(vet.parse(b"\x00\x01\x07\x01\x00\x01"))
    assert not replica.has(vet.parse(b"\x00\x01\x07\x01\x02\x02"))
    assert not replica.has(vet.parse(b"\x00\x01\x08\x01\x00\x01"))


def test_the_whole_is_made_once_per_version():
    replica = replica_of(typed("a"))
    whole = replica.difference(b"\x00")
    assert replica.difference(b"\x00") is whole
    take(replica, typed("b", 1))
    version = replica.version
    replica.told()
    assert replica.version > version
    assert text_of(applied([replica.difference(b"\x00")])) == "ab"
    assert text_of(applied([whole, replica.difference(b"\x01\x07\x01")])) == "ab"


# ---------------------------------------------------------------------- who wrote


def test_what_the_application_wrote_is_told_from_what_was_applied():
    edits: list[str] = []
    replica = replica_of(edited=lambda: edits.append("edited"))
    assert len(take(replica, typed("a"))) == 1 and edits == [] and replica.outside == ()
    replica.doc.get("text", type=Text).insert(0, "mine")
    assert edits == ["edited"] and len(replica.outside) == 1
    begun: dict[int, int] = {}
    outside = replica.take_outside(begun)
    assert replica.outside == () and begun == {replica.doc.client_id: 0}
    assert everything(applied([typed("a"), *outside])) == everything(replica.doc)
    assert replica.clocks == clocks(replica.doc)


def test_the_owner_may_write_what_nobody_may_send():
    deep: Any = 1
    for _ in range(vet.MAX_DEPTH + 10):
        deep = [deep]
    doc: Doc[Any] = Doc()
    doc.get("text", type=Text).insert(0, "😀")
    replica = Replica(doc, None, lambda: None)
    doc.get("map", type=Map)["deep"] = deep
    replica.take_outside({})
    assert replica.clocks == clocks(doc) == {doc.client_id: 3}
    replica.replace(doc)  # and this is how it is found when it is opened
    assert replica.clocks == clocks(doc)


def test_a_transaction_held_open():
    replica = replica_of()
    with replica.doc.transaction():
        replica.doc.get("text", type=Text).insert(0, "half")
        assert replica.busy
    assert not replica.busy


def test_who_was_let_go_is_not_heard():
    replica = replica_of()
    doc = replica.doc
    replica.replace(Doc())
    doc.get("text", type=Text).insert(0, "to the old one")
    assert replica.outside == () and replica.clocks == {}
    replica.close()
    replica.close()
    replica.doc.get("text", type=Text).insert(0, "x")
    assert replica.outside == ()


# ---------------------------------------------------------------------- what it does not take


def test_what_yrs_refuses_changes_nothing():
    replica = replica_of(typed("a"))
    bad = b"\x01\x01\x08\x00\x05\x01\x04text" + var_string("{nope") + b"\x00"
    begun: dict[int, int] = {}
    with pytest.raises(BadUpdate, match="does not take"), replica.recording() as events:
        replica.apply(bad, vet.parse(bad), begun)
    assert (events, begun, replica.clocks) == ([], {}, {7: 1}) and replica.clocks == clocks(replica.doc)


def nested(clock: int) -> bytes:
    """Client 7 puts a list into the list that it made before."""
    where = b"\x00\x07" + var_uint(clock - 1) if clock else b"\x01\x04list"
    return b"\x01\x01\x07" + var_uint(clock) + b"\x07" + where + b"\x00\x00"


def test_lists_in_lists_end_somewhere():
    replica = replica_of()
    with replica.recording():
        for clock in range(nesting.MAX_NESTING):
            replica.apply(nested(clock), vet.parse(nested(clock)), {})
        for _ in range(2):
            with pytest.raises(BadUpdate, match="too deep"):
                replica.apply(nested(nesting.MAX_NESTING), vet.parse(nested(nesting.MAX_NESTING)), {})
    assert replica.clocks == clocks(replica.doc) == {7: nesting.MAX_NESTING}


@pytest.mark.parametrize("known", [True, False])
def test_what_slips_in_among_the_values_of_a_key_is_not_taken(known):
    """Whether somebody told where they are, or they have to be looked for; what came meanwhile counts, too."""
    doc: Doc[Any] = Doc(client_id=7)
    doc.get("m", type=Map)["k"] = "v"
    keyed = Keyed()
    keyed.add(vet.parse(doc.get_update()), {})
    replica = Replica(doc, None, lambda: None, keyed if known else None)
    doc.get("m", type=Map)["l"] = "w"
    assert len(replica.take_outside({})) == 1
    with replica.recording():
        for clock in range(2):
            slipped = b"\x01\x01\x08\x00\x84\x07" + bytes([clock]) + b"\x02aa\x00"
            with pytest.raises(BadUpdate, match="among the values"):
                replica.apply(slipped, vet.parse(slipped), {})
        value = b"\x01\x01\x08\x00\x84\x07\x01\x01x\x00"
        assert replica.apply(value, vet.parse(value), {})
        slipped = b"\x01\x01\x09\x00\x84\x08\x00\x02aa\x00"
        with pytest.raises(BadUpdate, match="among the values"):
            replica.apply(slipped, vet.parse(slipped), {})
    assert doc.get("m", type=Map).to_py() == {"k": "v", "l": "x"}


@pytest.mark.parametrize("known", [True, False])
def test_who_knows_how_deep_it_is_spares_a_look(known, monkeypatch):
    """Only a document of which nobody said how deep it goes is read when the first new type comes."""
    doc = applied([nested(0)])
    replica = Replica(doc, nesting.Nesting(1) if known else None, lambda: None)
    looks: list[bytes] = []
    real = doc.get_update

    def look(*state):
        looks.append(b"")
        return real(*state)

    monkeypatch.setattr(doc, "get_update", look)
    with replica.recording():
        for clock in range(1, 4):
            replica.apply(nested(clock), vet.parse(nested(clock)), {})
    assert len(looks) == (0 if known else 1)


# ---------------------------------------------------------------------- characters cut in two


def test_a_mended_document_is_another_object():
    replica = replica_of(typed("a😀b"))
    before, version, mine = replica.doc, replica.version, replica.doc.client_id
    cut = b"\x00\x01\x07\x01\x02\x01"
    points, same = replica.cuts(cut)
    assert points == {(7, 2)} and same == cut
    assert replica.mend(points, [cut]) == [cut]
    assert replica.doc is not before and replica.doc.client_id == mine and replica.version > version
    assert text_of(replica.doc) == "a\ufffd\ufffdb" and replica.clocks == clocks(replica.doc) == {7: 4}
    take(replica, cut)
    assert text_of(replica.doc) == "a\ufffdb"
    replica.doc.get("array", type=Array).append("the application goes on in the new one")
    assert len(replica.outside) == 1


def test_what_is_on_its_way_is_mended_with_it():
    replica = replica_of(typed("😀"))
    coming = [typed("😀", 2), b"\x00\x01\x07\x01\x01\x02"]  # the second cuts both
    points, _ = replica.cuts(coming[1])
    assert points == {(7, 1)}
    first, second = replica.mend(points, coming)
    assert (first, second) == (typed("\ufffd\ufffd", 2), coming[1])
    take(replica, first)
    take(replica, second)
    assert text_of(replica.doc) == "\ufffd\ufffd" and replica.clocks == clocks(replica.doc)


def test_an_emoji_somewhere_keeps_no_letter_from_being_late():
    """Only one in its middle: the letter cuts it."""
    replica = replica_of(typed("a😀b"))  # a is 0, the emoji 1 and 2, b 3
    beside, inside = (b"\x01\x01\x08\x00\x84\x07" + var_uint(clock) + b"\x01!\x00" for clock in (2, 1))
    assert not replica.take_late(inside, vet.parse(inside), {}) and replica.clocks == {7: 4}
    assert replica.take_late(beside, vet.parse(beside), {}) and replica.clocks == {7: 4, 8: 1}
    assert text_of(replica.doc) == "a😀b!", "of two behind the emoji, the one of the smaller client comes first"


@pytest.mark.parametrize("seed", range(41))
@pytest.mark.parametrize("case", HALVES, ids=lambda case: case["name"])
def test_a_room_has_what_yjs_has(case, seed):
    """In any order and split into ticks anyhow: the room, who listens, who joins late and whoever reads the log."""
    dice = random.Random(seed)
    updates = [b64decode(update) for update in case["updates"]]
    if seed:
        dice.shuffle(updates)
    core, ana, ben = RoomCore("room"), Somebody(), Somebody()
    core.join(ana)
    core.join(ben)
    while updates:
        for _ in range(dice.randint(1, 3)):
            if updates:
                core.receive(ana, Update(updates.pop(0)), 0)
        core.tick(0, 0)
    assert not ana.refused
    assert text_of(core.doc) == case["text"]
    assert core.clocks == clocks(core.doc) == {int(client): clock for client, clock in case["vector"].items()}
    whole = core.doc.get_update()
    assert {client: end for client, _, end in vet.parse(whole).structs} == core.clocks
    assert text_of(applied([whole])) == case["text"]
    rows = applied(halves.whole([row for row, _ in ben.rows]))
    assert text_of(rows) == case["text"]
    vet.parse(rows.get_update())
