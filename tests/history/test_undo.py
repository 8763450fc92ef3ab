"""Undo of what one user did."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.history.undo import by, undo
from collab.store import Kind, Row, State
from collab.wire import vet
from tests.history.histories import LONG, PEOPLE, SHORT, Crowd, covered, nested, seen
from tests.support.histories import applied, clocks


class Neighbours(Crowd):
    """Each works in paragraphs, under keys and in lists of their own, in roots that they share."""

    def __init__(self, seed: int, steps: int = 60) -> None:
        first: Doc[Any] = Doc(client_id=1)
        for _ in range(2):
            for person in PEOPLE:
                node = XmlElement("p", {"of": person}, [XmlText(f"This is {person}'s"), XmlElement("b")])
                first.get("xml", type=XmlFragment).children.append(node)
        for person in PEOPLE:
            first.get("map", type=Map)[person] = Map({"text": Text("héllo"), "one": 1})
            first.get("map", type=Map)[f"{person} too"] = 1
            first.get("array", type=Array).append(Array([1, 2, 3, Map({"in": 1})]))
        self.start = State(first.get_update(), 0)
        super().__init__(seed, 0)
        for doc in self.docs:
            self._syncing = True
            doc.apply_update(self.start.whole)
            self._syncing = False
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        doc = self.random.choice(self.docs)
        act = self.random.choice(
            (self._write_in, self._write_in, self._write_in, self._attribute, self._set_in, self._list_in)
            + (self._element_in, self._key, self._hear, self._hear, self._offer)
        )
        count = len(self.rows)
        act(doc)
        if len(self.rows) > count or act == self._hear:
            self.did[act.__name__.strip("_")] += 1

    def _key(self, doc: Doc[Any]) -> None:
        shared, key = doc.get("map", type=Map), f"{PEOPLE[self.docs.index(doc)]} too"
        if key in shared and self.random.random() < 0.3:
            del shared[key]
        else:
            shared[key] = self.random.choice((1, "é", [2]))

    def _nodes(self, doc: Doc[Any]) -> Any:
        """Only one's own."""
        person = PEOPLE[self.docs.index(doc)]
        own = [node for node in doc.get("xml", type=XmlFragment).children if dict(node.attributes)["of"] == person]
        waiting: list[Any] = [*own, doc.get("map", type=Map)[person]]
        waiting.append(doc.get("array", type=Array)[PEOPLE.index(person)])
        return nested(waiting)


def test_it_equals_a_replay_without_that_user(full, figure):
    did = []
    for seed in range(LONG if full else SHORT):
        crowd = Neighbours(seed)
        did.append(crowd.did)
        person, since = PEOPLE[seed % 3], random.Random(seed).randint(0, len(crowd.rows))
        live = applied([crowd.start.whole, *(row.update for row in crowd.rows)])
        now = State(live.get_update(), len(crowd.rows))
        # What others offer again holds that user's edits, too: the replay is of what they made themselves.
        made = {edit.update for edit in crowd.edits}
        others = [
            row.update for row in crowd.rows if row.update in made and not (row.author == person and row.time >= since)
        ]
        replay = applied([crowd.start.whole, *others])
        edit = undo(crowd.start, crowd.rows, now, by(person, since=since))
        assert not vet.parse(edit).missing(clocks(live))
        live.apply_update(edit)
        assert seen(live) == seen(replay), seed
        assert seen(applied([live.get_update()])) == seen(replay), seed
    figure(f"{len(did)} of {len(did)} undone as if that user had not been there: {covered(did)}")


def test_a_period_that_ends_in_the_middle_equals_a_replay_without_it(full, figure):
    """What the user did before and after it stays. Only where it does not build on what is taken back: then a replay
    without that would not take it in at all."""
    same = other = 0
    for seed in range(LONG if full else SHORT):
        crowd, chance = Neighbours(seed), random.Random(seed)
        person = PEOPLE[seed % 3]
        since, until = sorted(chance.randint(0, len(crowd.rows)) for _ in range(2))
        live = applied([crowd.start.whole, *(row.update for row in crowd.rows)])
        now = State(live.get_update(), len(crowd.rows))
        chosen = by(person, since=since, until=until)
        made = {edit.update for edit in crowd.edits}
        rest = [row.update for row in crowd.rows if row.update in made and not chosen(row)]
        live.apply_update(undo(crowd.start, crowd.rows, now, chosen))
        assert seen(applied([live.get_update()])) == seen(live), seed
        have = clocks(applied([crowd.start.whole]))
        complete = True
        for update in rest:
            extent = vet.parse(update)
            if extent.missing(have):
                complete = False
                break
            have = clocks(applied([crowd.start.whole, *rest[: rest.index(update) + 1]]))
        if complete:
            assert seen(live) == seen(applied([crowd.start.whole, *rest])), seed
            same += 1
        else:
            other += 1
    figure(f"{same} periods undone as if they had not been; {other} on which that user built later")
    assert same


def test_all_of_everybody_is_all_there_was():
    for seed in range(SHORT):
        crowd = Crowd(seed)
        live = applied(row.update for row in crowd.rows)
        live.apply_update(undo(State(None, 0), crowd.rows, State(live.get_update(), len(crowd.rows)), lambda _: True))
        assert seen(live) == seen(Doc())


class Talk:
    """A log that is written by hand."""

    def __init__(self) -> None:
        self.doc: Doc[Any] = Doc(client_id=7)
        self.rows: list[Row] = []

    def row(self, author: str, update: bytes) -> None:
        self.doc.apply_update(update)
        number = len(self.rows) + 1
        self.rows.append(Row(number, update, float(number), author, Kind.RAW))

    def edit(self, author: str, act: Any, knows: Doc[Any] | None = None) -> None:
        """`author` does something on what is there, or on what was there."""
        doc: Doc[Any] = applied([(knows or self.doc).get_update()])
        before = doc.get_state()
        act(doc)
        self.row(author, doc.get_update(before))

    def undo(self, author: str) -> Doc[Any]:
        now = State(self.doc.get_update(), len(self.rows))
        self.doc.apply_update(undo(State(None, 0), self.rows, now, by(author)))
        return self.doc


def paragraphs(doc: Doc[Any]) -> Any:
    return doc.get("xml", type=XmlFragment).children


def test_text_between_that_of_others():
    talk = Talk()
    talk.edit("ana", lambda doc: doc.get("text", type=Text).insert(0, "one two three"))
    talk.edit("ben", lambda doc: doc.get("text", type=Text).__delitem__(slice(4, 8)))
    talk.edit("ben", lambda doc: doc.get("text", type=Text).insert(0, "zero "))
    talk.edit("ana", lambda doc: doc.get("text", type=Text).insert(5, "and "))
    assert str(talk.doc.get("text", type=Text)) == "zero and one three"
    assert str(talk.undo("ben").get("text", type=Text)) == "and one two three"


def test_offering_again_is_no_deed():
    talk = Talk()
    talk.edit("ana", lambda doc: doc.get("text", type=Text).insert(0, "one two"))
    talk.edit("ana", lambda doc: doc.get("text", type=Text).__delitem__(slice(0, 4)))
    talk.row("ben", talk.doc.get_update())
    assert str(talk.undo("ben").get("text", type=Text)) == "two"


def test_a_paragraph_that_was_deleted_comes_back_with_what_others_wrote_in_it_meanwhile():
    talk = Talk()
    talk.edit("ana", lambda doc: paragraphs(doc).append(XmlElement("p", None, [XmlText("one")])))
    before = applied([talk.doc.get_update()])
    talk.edit("ben", lambda doc: paragraphs(doc).__delitem__(0))
    talk.edit("eva", lambda doc: paragraphs(doc)[0].children[0].insert(3, " more"), before)
    assert str(talk.undo("ben").get("xml", type=XmlFragment)) == "<p>one more</p>"


@pytest.mark.parametrize("last", ["set", "deleted"])
def test_a_key_that_somebody_else_changed_since_stays(last):
    talk = Talk()
    talk.edit("ana", lambda doc: doc.get("map", type=Map).update({"key": 1}))
    talk.edit("ben", lambda doc: doc.get("map", type=Map).update({"key": 2}))
    if last == "set":
        talk.edit("ana", lambda doc: doc.get("map", type=Map).update({"key": 3}))
        assert talk.undo("ben").get("map", type=Map).to_py() == {"key": 3.0}
    else:
        talk.edit("ana", lambda doc: doc.get("map", type=Map).pop("key"))
        assert talk.undo("ben").get("map", type=Map).to_py() == {}


def test_a_key_goes_back_to_what_others_set():
    talk = Talk()
    for author, value in (("ana", 1), ("ben", 2), ("ben", 3)):
        talk.edit(author, lambda doc, value=value: doc.get("map", type=Map).update({"key": value}))
    assert talk.undo("ben").get("map", type=Map).to_py() == {"key": 1.0}


def test_a_period():
    rows = [Row(nth, b"", float(nth), "ana" if nth % 2 else "ben", Kind.RAW) for nth in range(6)]
    assert [row.seq for row in rows if by("ana")(row)] == [1, 3, 5]
    assert [row.seq for row in rows if by("ana", since=3.0, until=4.0)(row)] == [3]
    assert not by("ana")(Row(1, b"", 1.0, "ana", Kind.MERGED))


def test_nothing_to_undo():
    crowd = next(iter([Crowd(1)]))
    live = applied(row.update for row in crowd.rows)
    state = State(live.get_update(), len(crowd.rows))
    assert undo(State(None, 0), crowd.rows, state, by("nobody")) == vet.EMPTY


def test_what_no_row_says_was_deleted_stays_deleted():
    """The rows lag behind the document."""
    talk = Talk()
    talk.edit("ana", lambda doc: doc.get("text", type=Text).insert(0, "one two"))
    talk.edit("ben", lambda doc: doc.get("text", type=Text).insert(7, " three"))
    del talk.doc.get("text", type=Text)[0:4]
    assert str(talk.undo("ben").get("text", type=Text)) == "two"
