"""Restore is an edit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.errors import BadUpdate
from collab.history.restore import restore
from collab.replica import Replica
from collab.wire import vet
from tests.history.histories import Crowd, covered, crowds, held, seen
from tests.support.histories import WORDS, applied


def take(doc: Doc[Any], update: bytes) -> None:
    """As a room does: an update that fits, by the rules of the wire."""
    extent = vet.parse(update)
    replica = Replica(doc, None, lambda: None)
    assert not extent.missing(replica.clocks)
    replica.apply(update, extent, {})
    replica.close()


def exchange(*docs: Doc[Any]) -> None:
    """Everybody hears of everybody."""
    for _ in range(2):
        for doc in docs:
            for other in docs:
                doc.apply_update(other.get_update(doc.get_state()))


def moments(crowd: Crowd, seed: int) -> tuple[Doc[Any], Doc[Any]]:
    """A document as it was at some time, and as it is at the end."""
    then = random.Random(seed).randint(0, len(crowd.rows))
    return applied(row.update for row in crowd.rows[:then]), applied(row.update for row in crowd.rows)


def test_it_equals_the_snapshot_and_can_be_undone(full, figure):
    did = []
    for seed, crowd in enumerate(crowds(full)):
        did.append(crowd.did)
        old, live = moments(crowd, seed)
        before, snapshot = live.get_update(), old.get_update()
        later = seen(live)
        edit = restore(before, snapshot)
        take(live, edit)
        assert seen(live) == seen(old), seed
        assert seen(applied([live.get_update()])) == seen(old), seed  # what is told is what is there
        assert restore(live.get_update(), snapshot) == vet.EMPTY
        take(live, restore(live.get_update(), before))
        assert seen(live) == later, seed
        take(live, restore(live.get_update(), snapshot))
        assert seen(live) == seen(old), seed
    figure(f"{len(did)} of {len(did)} histories restored, restored back, and again: {covered(did)}")


def test_editors_converge_and_stale_ones_bring_nothing_back(full, figure):
    count = 0
    for seed, crowd in enumerate(crowds(full)):
        old, live = moments(crowd, seed)
        here = applied([live.get_update()])
        stale = applied([old.get_update()])  # offline since the snapshot
        others = crowd.docs  # know parts of it
        for doc in others:
            doc.apply_update(live.get_update(doc.get_state()))
        edit = restore(live.get_update(), old.get_update())
        for doc in (live, here, *others):
            doc.apply_update(edit)
        exchange(live, here, stale, *others)
        for doc in (live, here, stale, *others):
            assert seen(doc) == seen(old), seed
            assert held(doc) == held(live), seed
        count += 1
    figure(f"{count} of {count} histories: six clients, one of them offline since the snapshot, have the snapshot")


def test_concurrent_typing_is_kept(full, figure):
    """Where its parent is in the snapshot and was not deleted since: here, in the roots."""
    count = 0
    for seed, crowd in enumerate(crowds(full)):
        chance = random.Random(seed)
        old, live = moments(crowd, seed)
        here = applied([live.get_update()])
        typed: list[str] = []
        for _ in range(3):
            text = here.get("text", type=Text)
            pieces = "".join(value if isinstance(value, str) else "!" for value, _ in text.diff())
            places = (
                [0, len(pieces.encode())]
                if "!" in pieces
                else [len(pieces[:n].encode()) for n in range(len(pieces) + 1)]
            )
            word = f"[{chance.choice(WORDS)}{len(typed)}]"
            text.insert(chance.choice(places), word)
            typed.append(word)
        here.get("map", type=Map)["new"] = "kept"
        here.get("array", type=Array).append("kept")
        here.get("xml", type=XmlFragment).children.append(XmlElement("kept"))
        edit = restore(live.get_update(), old.get_update())
        live.apply_update(edit)
        exchange(live, here)
        assert held(live) == held(here)
        wanted = seen(old)
        now = seen(live)
        shown = "".join(value for value, _ in now["text"] if isinstance(value, str))
        for word in reversed(typed):  # a later one may stand within an earlier one
            shown, rest = shown.replace(word, ""), shown
            assert shown != rest, (seed, word)
        assert shown == "".join(value for value, _ in wanted["text"] if isinstance(value, str)), seed
        assert now["map"] == {**wanted["map"], "new": "kept"}
        assert [one for one in now["array"] if one != "kept"] == wanted["array"] and "kept" in now["array"]
        assert [one for one in now["xml"] if one != ("kept", [], [])] == wanted["xml"]
        assert ("kept", [], []) in now["xml"]
        count += 1
    figure(f"{count} of {count} histories keep what was typed at the same time")


def paragraph(text: str) -> XmlElement:
    return XmlElement("paragraph", None, [XmlText(text)])


def fragment(doc: Doc[Any]) -> Any:
    return doc.get("default", type=XmlFragment).children


def test_typing_in_a_paragraph_that_is_in_the_snapshot_is_kept():
    live: Doc[Any] = Doc()
    fragment(live).append(paragraph("one"))
    fragment(live).append(paragraph("two"))
    snapshot = live.get_update()
    fragment(live)[0].children[0].insert(3, " more")
    del fragment(live)[1]
    here = applied([live.get_update()])
    stale = applied([snapshot])
    fragment(here)[0].children[0].insert(0, "I type: ")
    fragment(stale)[1].children[0].insert(3, " offline")  # within what was deleted since: is lost
    live.apply_update(restore(live.get_update(), snapshot))
    exchange(live, here, stale)
    for doc in (live, here, stale):
        assert str(doc.get("default", type=XmlFragment)) == (
            "<paragraph>I type: one</paragraph><paragraph>two</paragraph>"
        )


def test_typing_in_a_paragraph_that_is_newer_than_the_snapshot_is_not():
    live: Doc[Any] = Doc()
    fragment(live).append(paragraph("one"))
    snapshot = live.get_update()
    fragment(live).append(paragraph("new"))
    here = applied([live.get_update()])
    fragment(here)[1].children[0].insert(3, " and typed")
    live.apply_update(restore(live.get_update(), snapshot))
    exchange(live, here)
    assert str(here.get("default", type=XmlFragment)) == "<paragraph>one</paragraph>"


def test_two_that_are_computed_of_one_state_are_one():
    old, live = moments(next(crowds(False)), 1)
    before = live.get_update()
    edits = [restore(before, old.get_update()) for _ in range(2)]
    for edit in edits:
        live.apply_update(edit)
    assert edits[0] == edits[1] != vet.EMPTY
    assert seen(live) == seen(old)


def test_what_is_the_same_is_not_touched():
    live: Doc[Any] = Doc()
    live.get("text", type=Text).insert(0, "Hello world")
    snapshot = live.get_update()
    live.get("text", type=Text).insert(5, " brave new")
    del live.get("text", type=Text)[0:1]
    extent = vet.parse(restore(live.get_update(), snapshot))
    assert sum(end - start for _, start, end in extent.structs) == 1
    assert sum(end - start for _, start, end in extent.deletes) == len(" brave new")


def test_what_an_earlier_restore_copied_is_not_copied_again():
    live: Doc[Any] = Doc()
    for nth in range(50):
        fragment(live).append(paragraph(f"paragraph {nth} with some words"))
    live.get("map", type=Map)["key"] = Map({"in": "a long value" * 9})
    snapshot, shown = live.get_update(), str(live.get("default", type=XmlFragment))
    del fragment(live)[0:50]
    live.get("map", type=Map)["key"] = 1
    first = restore(live.get_update(), snapshot)
    live.apply_update(first)
    fragment(live)[7].children[0].insert(0, "changed ")
    fragment(live).insert(20, paragraph("new"))
    live.get("map", type=Map)["other"] = 1
    here = applied([live.get_update()])
    fragment(here)[30].children[0].insert(0, "I type: ")
    again = restore(live.get_update(), snapshot)
    assert len(again) < len(first) / 10
    live.apply_update(again)
    assert str(live.get("default", type=XmlFragment)) == shown
    assert live.get("map", type=Map).to_py() == {"key": {"in": "a long value" * 9}}
    exchange(live, here)
    assert str(here.get("default", type=XmlFragment)) == shown.replace("paragraph 29", "I type: paragraph 29")


def test_restores_from_one_to_another_do_not_pile_up(full, figure):
    """Again and again, between two states and with edits between: exact, and no larger each time."""
    sizes: list[list[int]] = []
    for seed, crowd in enumerate(crowds(full)):
        old, live = moments(crowd, seed)
        states = [old.get_update(), live.get_update()]
        shown = [seen(old), seen(live)]
        grown = []
        for turn in range(6):
            live.get("text", type=Text).insert(0, "meanwhile")
            live.apply_update(restore(live.get_update(), states[turn % 2]))
            assert seen(live) == shown[turn % 2], (seed, turn)
            grown.append(len(live.get_update()))
        sizes.append(grown)
    total = [sum(grown[turn] for grown in sizes) // len(sizes) for turn in range(6)]
    figure(f"{len(sizes)} histories restored six times, back and forth; bytes on average: {total}")


def test_roots_that_are_newer_become_empty():
    live: Doc[Any] = Doc()
    live.get("text", type=Text).insert(0, "old")
    snapshot = live.get_update()
    live.get("list", type=Array).append(1)
    live.get("map", type=Map)["key"] = Map({"in": 1})
    fragment(live).append(paragraph("new"))
    live.apply_update(restore(live.get_update(), snapshot))
    assert live.get("list", type=Array).to_py() == []
    assert live.get("map", type=Map).to_py() == {}
    assert str(live.get("default", type=XmlFragment)) == ""
    assert str(live.get("text", type=Text)) == "old"


def test_a_state_of_another_document_can_be_restored_too():
    """A backup that was imported under other ids."""
    live: Doc[Any] = Doc()
    fragment(live).append(paragraph("here"))
    other: Doc[Any] = Doc()
    fragment(other).append(paragraph("there"))
    other.get("map", type=Map)["key"] = Array([1, Text("x")])
    take(live, restore(live.get_update(), other.get_update()))
    assert str(live.get("default", type=XmlFragment)) == "<paragraph>there</paragraph>"
    assert live.get("map", type=Map).to_py() == {"key": [1.0, "x"]}


def test_an_emoji_of_which_a_half_was_deleted_comes_back_whole():
    old: Doc[Any] = Doc(client_id=1)
    old.get("text", type=Text).insert(0, "a😀b")
    snapshot = old.get_update()
    live = applied([snapshot.replace("😀".encode(), "\ufffd\ufffd".encode()).replace(b"\x06a", b"\x08a")])
    live.apply_update(b"\x00\x01\x01\x01\x02\x01")  # an editor deleted the second half: id (1, 2)
    assert str(live.get("text", type=Text)) == "a\ufffdb"
    take(live, restore(live.get_update(), snapshot))
    assert str(live.get("text", type=Text)) == "a😀b"


def test_what_is_nested_deep_is_restored():
    live: Doc[Any] = Doc()
    node = live.get("default", type=XmlFragment)
    for _ in range(400):
        node = node.children.append(XmlElement("div"))
    snapshot = live.get_update()
    del fragment(live)[0]
    live.apply_update(restore(live.get_update(), snapshot))
    node = live.get("default", type=XmlFragment)
    for _ in range(400):
        node = node.children[0]
    assert node.tag == "div"


@pytest.mark.parametrize("garbage", [b"", b"\x01", b"no update", b"\x00\x00\x00"])
def test_garbage(garbage):
    for pair in ((garbage, vet.EMPTY), (vet.EMPTY, garbage)):
        with pytest.raises(BadUpdate):
            restore(*pair)


def test_half_a_state_is_refused():
    """An update that builds on something else."""
    doc: Doc[Any] = Doc()
    doc.get("text", type=Text).insert(0, "a")
    clocks = doc.get_state()
    other: Doc[Any] = Doc()
    other.apply_update(doc.get_update())
    other.get("text", type=Text).insert(1, "b")
    with pytest.raises(BadUpdate):
        restore(other.get_update(clocks), vet.EMPTY)


def test_the_same_state_written_in_another_way_gives_the_same_ids():
    """The library writes the keys of an object in another order each time."""
    live: Doc[Any] = Doc()
    live.get("map", type=Map)["key"] = {letter: 1 for letter in "abcdefghijk"}
    snapshots = {applied([live.get_update()]).get_update() for _ in range(20)}
    assert len(snapshots) > 1
    live.get("map", type=Map)["key"] = 1
    edits = [restore(live.get_update(), snapshot) for snapshot in snapshots]
    assert len({vet.parse(edit).structs for edit in edits}) == 1
    for edit in edits:
        live.apply_update(edit)
    assert live.get("map", type=Map).to_py() == {"key": dict.fromkeys("abcdefghijk", 1.0)}


def test_documents_in_documents_and_bytes():
    live: Doc[Any] = Doc()
    inner: Doc[Any] = Doc()
    live.get("map", type=Map)["doc"] = inner
    live.get("map", type=Map)["bytes"] = b"\x00\xff"
    live.get("array", type=Array).append(b"\x01")
    snapshot = live.get_update()
    live.get("map", type=Map).clear()
    del live.get("array", type=Array)[0]
    take(live, restore(live.get_update(), snapshot))
    shared = applied([live.get_update()]).get("map", type=Map)
    assert shared["doc"].guid == inner.guid and shared["bytes"] == b"\x00\xff"
    assert live.get("array", type=Array).to_py() == [b"\x01"]
