"""Who wrote and who deleted what."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.history.attribution import Attribution, attribution
from collab.history.diff import text_of
from collab.history.items import Layer
from collab.history.outline import outline
from collab.history.timeline import EMPTY
from collab.store import Kind, Row, State
from tests.history.histories import PEOPLE, Crowd, covered, crowds
from tests.support.histories import applied


class Typists(Crowd):
    """Each types one's own letter only, in what all have written, and deletes whatever there is."""

    def step(self) -> None:
        doc = self.random.choice(self.docs)
        text = doc.get("text", type=Text)
        match self.random.randrange(7):
            case 0 | 1 | 2:
                letter = PEOPLE[self.docs.index(doc)][0]
                text.insert(self.random.randint(0, len(text)), letter * self.random.randint(1, 5))
                self.did["type"] += 1
            case 3 if len(text):
                start = self.random.randrange(len(text))
                del text[start : min(len(text), start + self.random.randint(1, 6))]
                self.did["erase"] += 1
            case 4 if len(text):
                start = self.random.randrange(len(text))
                text.format(start, min(len(text), start + 3), {"bold": self.random.choice((True, None))})
                self.did["format"] += 1
            case 5:
                self._offer(doc)
                self.did["offer"] += 1
            case _:
                self._hear(doc)
                self.did["hear"] += 1


def of(rows: list[Row], start: State = EMPTY) -> Attribution:
    now = applied([start.whole, *(row.update for row in rows)]).get_update()
    return attribution(start, rows, State(now, rows[-1].seq))


def test_everybody_s_letters(full, figure):
    did = []
    for seed in range(1_000 if full else 30):
        crowd = Typists(seed)
        did.append(crowd.did)
        found = of(crowd.rows)
        doc: Doc[Any] = Doc()
        text = doc.get("text", type=Text)
        gone: Counter[tuple[str, str | None]] = Counter()
        for row in crowd.rows:
            before = Counter(str(text))
            written = Counter(letter for letter in _new(doc, row) if letter)
            doc.apply_update(row.update)
            vanished = before + written - Counter(str(text))
            for letter, count in vanished.items():
                gone[letter, row.author] += count
        assert "".join(run.shown for run in found.runs) == str(text), seed
        for run in found.runs:
            assert run.author is not None and set(run.shown) == {run.author[0]}, seed
        for one in found.deleted:
            assert one.run.author is not None and set(one.run.shown) == {one.run.author[0]}, seed
        counted: Counter[tuple[str, str | None]] = Counter()
        for one in found.deleted:
            counted[one.run.shown[0], one.by] += len(one.run.shown)
        assert counted == gone, seed
    figure(f"{len(did)} of {len(did)} histories: every letter, living or deleted, has its author: {covered(did)}")


def _new(doc: Doc[Any], row: Row) -> str:
    """The letters that a row brings, be they deleted by it at once or not."""
    layer = Layer.of(row.update)
    clocks = {client: end for client, _, end in Layer.of(doc.get_update()).extent.structs}
    letters = ""
    for client, structs in layer.blocks:
        for struct in structs:
            if struct.kind == 4:
                shown = row.update[struct.body + 1 : struct.to].decode()
                letters += shown[max(0, clocks.get(client, 0) - struct.start) :]
    return letters


def test_what_is_shown_is_what_stands_there(full, figure):
    count = 0
    for crowd in crowds(full):
        found = of(crowd.rows)
        state = outline(Layer.of(applied(row.update for row in crowd.rows).get_update()))
        for name in ("text", "xml", "array", "map"):
            runs = [run for run in found.runs if run.root == name]
            if name in ("text", "xml"):
                shown = "".join(run.shown for run in runs if run.kind == "text")
                assert shown == text_of(state.get(name, {})).replace("\n", "")
            at = 0
            for run in runs:
                assert run.at == at
                at += len(run.shown) if run.kind == "text" else 0
        assert all(run.author in PEOPLE for run in found.runs)
        assert all(one.by in PEOPLE for one in found.deleted)
        count += 1
    figure(f"{count} of {count} histories: the runs add up to what stands there, each with its author")


def row(number: int, author: str | None, update: bytes, kind: Kind = Kind.RAW) -> Row:
    return Row(number, update, float(number), author, kind)


def test_kinds_and_times():
    doc: Doc[Any] = Doc()
    updates = []
    doc.observe(lambda event: updates.append(event.update))
    doc.get("xml", type=XmlFragment).children.append(XmlElement("p", {"k": "v"}, [XmlText("Hi")]))
    doc.get("xml", type=XmlFragment).children[0].children[0].insert(2, " you")
    doc.get("map", type=Map)["key"] = 1
    doc.get("map", type=Map)["key"] = 2
    doc.get("array", type=Array).extend([1, "x"])
    doc.get("text", type=Text).insert_embed(0, {"image": "x.png"})
    del doc.get("xml", type=XmlFragment).children[0]
    names = ("ana", "ben", "ana", "ben", "eva", "eva", "eva")
    rows = [row(nth, name, update) for nth, (name, update) in enumerate(zip(names, updates, strict=True), 1)]
    found = of(rows)
    assert [tuple(asdict(run).values()) for run in found.runs] == [
        ("array", "value", '1, "x"', 0, "eva", 5.0, 5.0),
        ("map", "key", "key: 2", 0, "ben", 4.0, 4.0),
        ("text", "embed", '{"image": "x.png"}', 0, "eva", 6.0, 6.0),
    ]
    assert [(one.run.kind, one.run.shown, one.run.author, one.by, one.time) for one in found.deleted] == [
        ("key", "key: 1", "ana", "ben", 4.0),
        ("node", "p", "ana", "eva", 7.0),
        ("key", 'k: "v"', "ana", "eva", 7.0),
        ("node", "xmltext", "ana", "eva", 7.0),
        ("text", "Hi", "ana", "eva", 7.0),
        ("text", " you", "ben", "eva", 7.0),
    ]


def test_what_was_there_before_the_log_began_is_nobody_s():
    doc: Doc[Any] = Doc()
    text = doc.get("text", type=Text)
    text.insert(0, "old text")
    start = State(doc.get_update(), 5)
    known = doc.get_state()
    text.insert(3, "er")
    rows = [row(6, "ana", doc.get_update()), row(7, "ben", doc.get_update(known))]  # both bring it; ana was first
    found = of(rows, start)
    assert [(run.shown, run.author, run.first) for run in found.runs] == [
        ("old", None, None),
        ("er", "ana", 6.0),
        (" text", None, None),
    ]


def test_merged_rows_have_no_author():
    doc: Doc[Any] = Doc()
    doc.get("text", type=Text).insert(0, "both")
    assert [run.author for run in of([row(1, "ana", doc.get_update(), Kind.MERGED)]).runs] == [None]


def test_a_row_that_cannot_be_read_is_passed_over():
    doc: Doc[Any] = Doc()
    doc.get("text", type=Text).insert(0, "text")
    rows = [row(1, "ben", b"no update"), row(2, "ana", doc.get_update())]
    found = attribution(EMPTY, rows, State(doc.get_update(), 2, poison=(1,)))
    assert [(run.shown, run.author) for run in found.runs] == [("text", "ana")]
