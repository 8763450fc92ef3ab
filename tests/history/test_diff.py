"""What differs between two states."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.errors import BadMessage, TooDeep
from collab.history.diff import apply, apply_text, compare, diff, text_of
from collab.history.items import Layer
from collab.history.outline import MAX_DEPTH, outline
from collab.history.restore import restore
from tests.history.histories import covered, crowds
from tests.support.histories import applied


def test_applied_to_the_one_it_yields_the_other(full, figure):
    did = []
    for seed, crowd in enumerate(crowds(full)):
        did.append(crowd.did)
        chance = random.Random(seed)
        updates = [row.update for row in crowd.rows]
        ends = [chance.randint(0, len(updates)) for _ in range(2)]
        states = [applied(updates[:end]).get_update() for end in ends]
        before, after = (outline(Layer.of(state)) for state in states)
        found = json.loads(json.dumps(diff(*states)))
        assert apply(before, found) == after, seed
        assert (found["nodes"] == {}) == (before == after)
        for name in {*before, *after}:
            old, new = text_of(before.get(name, {})), text_of(after.get(name, {}))
            assert apply_text(old, found["text"].get(name, [])) == new, seed
            assert (name in found["text"]) == (old != new)
    figure(f"{len(did)} of {len(did)} diffs lead from the one state to the other: {covered(did)}")


def test_a_restored_document_does_not_differ_from_the_snapshot():
    for seed, crowd in enumerate(crowds(False)):
        updates = [row.update for row in crowd.rows]
        live = applied(updates)
        snapshot = applied(updates[: random.Random(seed).randint(0, len(updates))]).get_update()
        live.apply_update(restore(live.get_update(), snapshot))
        assert diff(snapshot, live.get_update()) == {"text": {}, "nodes": {}}


def test_text_comes_as_words():
    doc: Doc[Any] = Doc()
    text = doc.get("text", type=Text)
    text.insert(0, "The quick brown fox. It jumps over the lazy dog. The end.")
    before = doc.get_update()
    del text[30:34]
    text.insert(30, "under")
    text.format(0, 3, {"bold": True})
    found = diff(before, doc.get_update())
    assert found["text"] == {"text": [{"keep": 30}, {"delete": "over"}, {"insert": "under"}, {"keep": 23}]}
    assert found["nodes"]["text"]["content"][0] == {"keep": 3, "marks": {"bold": True}}


def test_what_changed_in_a_document_of_prosemirror():
    doc: Doc[Any] = Doc()
    root = doc.get("default", type=XmlFragment).children
    root.append(XmlElement("heading", {"level": "1"}, [XmlText("Title")]))
    root.append(XmlElement("paragraph", None, [XmlText("Some words here")]))
    before = doc.get_update()
    root[0].attributes["level"] = "2"
    root[1].children[0].insert(4, " more")
    root.append(XmlElement("paragraph", None, [XmlText("New")]))
    found = diff(before, doc.get_update())
    assert found["text"]["default"] == [{"keep": 11}, {"insert": "more "}, {"keep": 10}, {"insert": "\nNew"}]
    assert found["nodes"]["default"]["content"] == [
        {"change": {"keys": {"level": {"from": {"value": "1"}, "to": {"value": "2"}}}}},
        {
            "change": {
                "content": [{"change": {"content": [{"keep": 5}, {"insert": [{"text": "more "}]}, {"keep": 10}]}}]
            }
        },
        {
            "insert": [
                {
                    "node": {
                        "type": "element",
                        "name": "paragraph",
                        "content": [{"node": {"type": "xmltext", "content": [{"text": "New"}]}}],
                    }
                }
            ]
        },
    ]


def test_values_that_only_python_takes_for_the_same():
    before, after = ({"list": {"content": [{"value": value}]}} for value in (1, True))
    found = compare(before, after)
    assert json.dumps(apply(before, found)) == json.dumps(after)


def test_maps_and_lists():
    doc: Doc[Any] = Doc()
    doc.get("map", type=Map).update({"a": 1, "b": "x", "in": Map({"deep": 1})})
    doc.get("list", type=Array).extend([1, 2, 3])
    before = doc.get_update()
    shared = doc.get("map", type=Map)
    shared["a"] = 2
    del shared["b"]
    shared["in"]["deep"] = 2
    del doc.get("list", type=Array)[1]
    assert diff(before, doc.get_update()) == {
        "text": {},
        "nodes": {
            "list": {"content": [{"keep": 1}, {"delete": [{"value": 2}]}, {"keep": 1}]},
            "map": {
                "keys": {
                    "a": {"from": {"value": 1}, "to": {"value": 2}},
                    "b": {"from": {"value": "x"}, "to": None},
                    "in": {"change": {"keys": {"deep": {"from": {"value": 1}, "to": {"value": 2}}}}},
                }
            },
        },
    }


def nested(depth: int, text: str) -> bytes:
    doc: Doc[Any] = Doc()
    node: Any = doc.get("default", type=XmlFragment)
    for _ in range(depth - 1):
        node = node.children.append(XmlElement("div"))
    node.children.append(XmlText(text))
    return doc.get_update()


def test_as_deep_as_is_allowed_and_no_deeper():
    before, after = nested(MAX_DEPTH, "a"), nested(MAX_DEPTH, "b")
    assert apply(outline(Layer.of(before)), diff(before, after)) == outline(Layer.of(after))
    with pytest.raises(TooDeep):
        diff(before, nested(MAX_DEPTH + 1, "b"))


def test_garbage():
    with pytest.raises(BadMessage):
        diff(b"\x00\x00", b"no update")
