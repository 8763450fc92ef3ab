"""A document as JSON, against what the library reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.content.plain import plain
from collab.errors import TooDeep
from collab.history.items import Items, Layer
from collab.history.outline import MAX_DEPTH, alike, append, outline, same
from tests.history.histories import covered, crowds, joined
from tests.support.histories import applied


def read(node: Any) -> dict[str, Any]:
    """The same by the library's own word."""
    found: dict[str, Any] = {}
    if isinstance(node, Map):
        keys = {key: part(value) for key, value in node.items()}
    elif isinstance(node, XmlElement | XmlText):
        attributes: Any = node.attributes
        keys = {key: part(value) for key, value in attributes}
    else:
        keys = {}
    content: list[Any] = []
    if isinstance(node, Text | XmlText):
        for value, marks in joined(node.diff()):
            shown = {"text": value} if isinstance(value, str) else {"embed": plain(value)}
            content.append({**shown, "marks": {key: plain(one) for key, one in marks.items()}} if marks else shown)
    elif isinstance(node, Array):
        content = [part(value) for value in node]
    elif isinstance(node, XmlFragment | XmlElement):
        content = [part(child) for child in node.children]
    if keys:
        found["keys"] = keys
    if content:
        found["content"] = content
    return found


def part(value: Any) -> dict[str, Any]:
    kinds: dict[Any, str] = {XmlElement: "element", XmlText: "xmltext", Text: "text", Map: "map", Array: "array"}
    if type(value) not in kinds:
        return {"value": plain(value)}
    node = {"type": kinds[type(value)], **read(value)}
    return {"node": {**node, "name": value.tag} if isinstance(value, XmlElement) else node}


def test_it_is_what_the_library_reads(full, figure):
    did = []
    for seed, crowd in enumerate(crowds(full)):
        did.append(crowd.did)
        doc = applied(row.update for row in crowd.rows)
        expected = {
            "text": read(doc.get("text", type=Text)),
            "map": read(doc.get("map", type=Map)),
            "array": read(doc.get("array", type=Array)),
            "xml": read(doc.get("xml", type=XmlFragment)),
        }
        found = outline(Layer.of(doc.get_update()))
        assert same(found, {name: root for name, root in expected.items() if root}), seed
        assert same(json.loads(json.dumps(found)), found)
    figure(f"{len(did)} of {len(did)} documents are read as the library reads them: {covered(did)}")


def look_alike(one: Doc[Any], other: Doc[Any]) -> bool:
    states = [Layer.of(doc.get_update()) for doc in (one, other)]
    return alike(Items(states), *(state.lives() for state in states))


def test_alike_is_what_looks_the_same():
    one: Doc[Any] = Doc()
    one.get("text", type=Text).insert(0, "text")
    other: Doc[Any] = Doc()
    other.get("text", type=Text).insert(0, "tt")
    other.get("text", type=Text).insert(1, "ex")
    other.get("empty", type=Text).insert(0, "x")
    del other.get("empty", type=Text)[0:1]
    assert look_alike(one, other)
    one.get("map", type=Map)["key"] = 1
    other.get("map", type=Map)["key"] = True
    assert not look_alike(one, other)


def test_how_deep_it_may_be():
    doc: Doc[Any] = Doc()
    node: Any = doc.get("xml", type=XmlFragment)
    for _ in range(MAX_DEPTH):
        node = node.children.append(XmlElement("div"))
    json.dumps(outline(Layer.of(doc.get_update())))
    node.children.append(XmlElement("div"))
    state = Layer.of(doc.get_update())
    with pytest.raises(TooDeep):
        outline(state)
    assert look_alike(doc, doc)


def test_neighbouring_texts_are_one():
    content: list[dict[str, Any]] = []
    for one in ({"text": "a"}, {"text": "b"}, {"text": "c", "marks": {"b": True}}, {"text": "d", "marks": {"b": 1}}):
        append(content, dict(one))
    assert content == [{"text": "ab"}, {"text": "c", "marks": {"b": True}}, {"text": "d", "marks": {"b": 1}}]
