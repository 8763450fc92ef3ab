"""Small edits: what they say happens, all of it or nothing, and places are those of characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from collab.content.build import prosemirror_update
from collab.content.edits import loaded
from collab.content.patches import (
    ArrayDelete,
    ArrayInsert,
    MapDelete,
    MapSet,
    Operation,
    TextDelete,
    TextInsert,
    patching,
)
from collab.content.plain import to_json
from collab.errors import BadMessage, Conflict, TooDeep
from collab.wire import vet


def patched(state: bytes, *operations: Operation) -> dict[str, Any]:
    doc = loaded(state)
    doc.apply_update(patching(state, operations))
    return to_json(doc)


@pytest.fixture
def state() -> bytes:
    doc: Doc[Any] = Doc()
    doc["map"] = Map({"k": 1, "deep": Map({"list": Array([1, 2])}), "plain": {"x": 1}})
    doc["list"] = Array(["a", Map({"t": Text("in")}), "c"])
    doc["text"] = Text("aé😀b")
    return doc.get_update()


def test_each(state):
    found = patched(
        state,
        MapSet("map.set", ["map"], "new", {"a": [1, 2.5, None, True]}),
        MapDelete("map.delete", ["map"], "k"),
        ArrayInsert("array.insert", ["map", "deep", "list"], 1, ["x", 7]),
        ArrayDelete("array.delete", ["list"], 2, 1),
        TextInsert("text.insert", ["list", 1, "t"], 2, "side"),
        TextDelete("text.delete", ["text"], 1, 2),
        TextInsert("text.insert", ["text"], 1, "—"),
    )
    assert found == {
        "map": {"new": {"a": [1, 2.5, None, True]}, "deep": {"list": [1, "x", 7, 2]}, "plain": {"x": 1}},
        "list": ["a", {"t": "inside"}],
        "text": "a—b",
    }


def test_in_an_empty_document():
    found = patched(
        vet.EMPTY,
        MapSet("map.set", ["m"], "k", 1),
        ArrayInsert("array.insert", ["a"], 0, [1]),
        TextInsert("text.insert", ["t"], 0, "x"),
    )
    assert found == {"m": {"k": 1}, "a": [1], "t": "x"}


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.data(),
)
def test_places_are_characters(old, new, data):
    start = data.draw(st.integers(0, len(old)))
    count = data.draw(st.integers(0, len(old) - start))
    doc: Doc[Any] = Doc({"t": Text(old)})
    found = patched(
        doc.get_update(), TextDelete("text.delete", ["t"], start, count), TextInsert("text.insert", ["t"], start, new)
    )
    assert (found["t"] or "") == old[:start] + new + old[start + count :]


def test_what_is_no_character_has_a_place():
    text = Text("ab")
    doc: Doc[Any] = Doc({"t": text})
    text.insert_embed(1, {"image": 1})
    update = patching(doc.get_update(), [TextInsert("text.insert", ["t"], 2, "x")])
    doc.apply_update(update)
    assert [part for part, _ in text.diff()] == ["a", {"image": 1.0}, "xb"]


BAD: list[Operation] = [
    MapSet("map.set", [], "k", 1),
    MapSet("map.set", [1], "k", 1),
    MapSet("map.set", [""], "k", 1),
    MapSet("map.set", ["map", "nothing"], "k", 1),
    MapSet("map.set", ["list", 9], "k", 1),
    MapSet("map.set", ["list", -1], "k", 1),
    MapSet("map.set", ["map"], "k", 2**60),
    MapSet("map.set", ["map"], "k", float("nan")),
    MapSet("map.set", ["map"], "\ud800", 1),
    MapDelete("map.delete", ["map"], "nothing"),
    ArrayInsert("array.insert", ["list"], 4, [1]),
    ArrayInsert("array.insert", ["list"], -1, [1]),
    ArrayDelete("array.delete", ["list"], 0, 4),
    ArrayDelete("array.delete", ["list"], 2, -1),
    TextInsert("text.insert", ["text"], 5, "x"),
    TextInsert("text.insert", ["text"], 0, "\udfff"),
    TextDelete("text.delete", ["text"], 3, 2),
]


@pytest.mark.parametrize("operation", BAD, ids=range(len(BAD)))
def test_bad(state, operation):
    with pytest.raises(BadMessage):
        patching(state, [MapSet("map.set", ["map"], "k", 2), operation])


def test_another_kind(state):
    for operation in (
        MapSet("map.set", ["text"], "k", 1),
        TextInsert("text.insert", ["map"], 0, "x"),
        ArrayInsert("array.insert", ["map", "deep"], 0, [1]),
        MapSet("map.set", ["map", "plain"], "k", 1),
    ):
        with pytest.raises(Conflict, match="operation 0"):
            patching(state, [operation])
    page = {"type": "doc", "content": [{"type": "paragraph"}]}
    with pytest.raises(Conflict):
        patching(prosemirror_update(page, "p"), [TextInsert("text.insert", ["p"], 0, "x")])


def test_too_deep(state):
    value: Any = 1
    for _ in range(300):
        value = [value]
    with pytest.raises(TooDeep):
        patching(state, [MapSet("map.set", ["map"], "k", value)])
