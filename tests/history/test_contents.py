"""What the parts of a document hold."""

from __future__ import annotations

from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment

from collab.history.contents import Reader, any_value, embedded, formatting, shared_type, single, text_of
from collab.history.items import Items, Layer
from collab.wire.structs import TYPE

VALUES: list[Any] = [
    1,
    -1,
    63,
    -64,
    2**40,
    -(2**50),
    2.5,
    -0.125,
    None,
    True,
    False,
    "é😀",
    [1, [2, []]],
    {"a": {"b": [None]}},
]


def items_of(doc: Doc[Any]) -> Items:
    return Items([Layer.of(doc.get_update())])


def test_values_are_read_as_the_library_reads_them():
    doc: Doc[Any] = Doc()
    doc.get("array", type=Array).extend([*VALUES, b"\x00\xff"])
    reader = Reader()
    items = items_of(doc)
    found = [
        value
        for item in items.sequence("array")
        for value in (reader.values(item) if item.kind == 8 else [single(item)])
    ]
    assert found == [*VALUES, "00ff"]
    assert [type(value) for value in found[:9]] == [int] * 6 + [float, float, type(None)]


def test_what_json_has_no_word_for_is_null():
    assert any_value(b"\x7f", 0) == (None, 1)
    assert any_value(b"\x7b\x7f\xf0\x00\x00\x00\x00\x00\x00", 0) == (None, 9)
    assert any_value(b"\x7c\x40\x40\x00\x00", 0) == (3, 5)
    assert any_value(b"\x7a" + (2**60).to_bytes(8, "big"), 0) == (2**60, 9)
    assert any_value(b"\x74\x02\x00\xff", 0) == ("00ff", 4)


def test_pieces_of_texts_and_lists():
    doc: Doc[Any] = Doc(client_id=1)
    doc.get("text", type=Text).insert(0, "a😀bc")
    doc.get("array", type=Array).extend([1, "x", [2]])
    reader = Reader()
    items = Items([Layer.of(doc.get_update())], edges=[(1, 1, 2), (1, 4, 6)])
    pieces = list(items.sequence("text"))
    assert [reader.text(item) for item in pieces] == ["a", "\ufffd", "\ufffdb", "c"]
    assert text_of(b"".join(map(reader.units, pieces))) == "a😀bc"
    assert [reader.values(item) for item in items.sequence("array")] == [[1], ["x", [2]]]


def test_formatting_embeds_and_types():
    doc: Doc[Any] = Doc()
    text = doc.get("text", type=Text)
    text.insert(0, "x", {"link": {"href": "é"}})
    text.insert_embed(1, {"image": 1})
    doc.get("xml", type=XmlFragment).children.append(XmlElement("päragraph"))
    doc.get("map", type=Map)["list"] = Array()
    items = items_of(doc)
    by_kind = {item.kind: item for item in items.sequence("text")}
    assert formatting(by_kind[6])[0] == "link"
    assert {"href": "é"} in [formatting(item)[1] for item in items.sequence("text") if item.kind == 6]
    assert embedded(by_kind[5]) == single(by_kind[5]) == {"image": 1}
    assert [shared_type(item) for item in items if item.kind == TYPE] in (
        [("element", "päragraph"), ("array", None)],
        [("array", None), ("element", "päragraph")],
    )


def test_documents_in_documents():
    doc: Doc[Any] = Doc()
    inner: Doc[Any] = Doc()
    doc.get("map", type=Map)["doc"] = inner
    ((_, item),) = items_of(doc).values("map")
    assert single(item) == {"guid": inner.guid}
