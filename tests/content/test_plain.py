"""Documents as JSON: every kind of root, as a server sees it, which knows names but no types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.content.plain import to_json
from collab.errors import TooDeep
from collab.wire.lib0 import var_uint


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


def test_a_root_with_keys_and_content_keeps_both():
    """`doc.get('page', Y.XmlElement)` with an attribute and a text, as Yjs writes it."""
    doc: Doc[Any] = Doc()
    doc.apply_update(bytes.fromhex("0103010028010470616765016101770162070104706167650604000101 05 68656c6c6f 00"))
    assert to_json(doc) == {"page": {"attributes": {"a": "b"}, "content": "hello"}}


def test_numbers_that_json_has_no_word_for():
    found = to_json(loaded(list=Array([float("nan"), float("inf"), -float("inf"), 1.0])))
    assert json.dumps(found) == '{"list": [null, null, null, 1]}'


def test_a_text_of_embeds_only_is_no_string():
    source: Doc[Any] = Doc({"t": Text()})
    source["t"].insert_embed(0, {"image": "x.png"})
    doc: Doc[Any] = Doc()
    doc.apply_update(source.get_update())
    assert to_json(doc) == {"t": [{"image": "x.png"}]}


def test_a_subdocument_is_named():
    inside: Doc[Any] = Doc()
    assert to_json(loaded(map=Map({"doc": inside}), list=Array([inside])))["map"] == {"doc": {"guid": inside.guid}}


def test_what_nests_too_deep_is_refused():
    """Each update that nests a shared type in another one is harmless by itself, so vetting does not see them all."""
    inner = b"".join(b"\x07\x00\x07" + var_uint(clock) + b"\x00" for clock in range(2_000))
    doc: Doc[Any] = Doc()
    doc.apply_update(b"\x01" + var_uint(2_001) + b"\x07\x00\x07\x01\x04list\x00" + inner + b"\x00")
    with pytest.raises(TooDeep, match="nested too deep: the limit is 200 levels"):
        to_json(doc)
