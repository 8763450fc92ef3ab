"""Documents as JSON: every kind of root, as a server sees it, which knows names but no types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.content.plain import to_json


def loaded(**roots: Any) -> Doc[Any]:
    """A document from bytes, as it comes from the store."""
    source: Doc[Any] = Doc(roots)
    doc: Doc[Any] = Doc()
    doc.apply_update(source.get_update())
    return doc


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (lambda: Text("Grüße 😀"), "Grüße 😀"),
        (lambda: Text("x"), "x"),
        (
            lambda: Map({"a": 1, "b": 2.5, "c": None, "d": True, "e": "é"}),
            {"a": 1, "b": 2.5, "c": None, "d": True, "e": "é"},
        ),
        (lambda: Map({"big": 2.0**60, "edge": 2**53 - 1}), {"big": 2.0**60, "edge": 2**53 - 1}),
        (lambda: Map({"bytes": b"\x00\xff"}), {"bytes": "00ff"}),
        (lambda: Map({"map": Map({"list": Array([1, Text("t")])})}), {"map": {"list": [1, "t"]}}),
        (lambda: Map({"json": {"deep": [1, {"er": 2}]}}), {"json": {"deep": [1, {"er": 2}]}}),
        (lambda: Array([1, "two", 3.5, None, [4], {"five": 5}]), [1, "two", 3.5, None, [4], {"five": 5}]),
        (lambda: Array(["only", "strings"]), ["only", "strings"]),
        (lambda: Array([Text("in"), Map({"a": 1})]), ["in", {"a": 1}]),
    ],
)
def test_every_kind_of_root(root, expected):
    found = to_json(loaded(root=root()))
    assert found == {"root": expected}
    assert json.loads(json.dumps(found)) == found
    assert json.dumps(found) == json.dumps({"root": expected}), "integers stay integers"


def test_xml_is_its_markup():
    doc = loaded(page=XmlFragment([XmlElement("p", {"class": "lead"}, [XmlText("hello")]), XmlElement("hr")]))
    assert to_json(doc) == {"page": '<p class="lead">hello</p><hr></hr>'}


def test_formatted_text_is_a_string():
    source: Doc[Any] = Doc({"t": Text("bold and plain")})
    source["t"].format(0, 4, {"b": True})
    doc: Doc[Any] = Doc()
    doc.apply_update(source.get_update())
    [text] = to_json(doc).values()
    assert isinstance(text, str) and "bold" in text and "plain" in text


def test_what_was_deleted_again_is_nothing():
    source: Doc[Any] = Doc({"t": Text("gone")})
    del source["t"][0:4]
    doc: Doc[Any] = Doc()
    doc.apply_update(source.get_update())
    assert to_json(doc) == {"t": None}


def test_an_empty_document():
    assert to_json(Doc()) == {}
