"""Whole documents as edits: what is written reads back, and what was common stays where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from collab.content.build import prosemirror_update
from collab.content.edits import appending, as_json, as_prosemirror, loaded, merge, noted, replacing
from collab.content.formats import Format
from collab.content.prosemirror import to_prosemirror
from collab.errors import BadMessage, BadUpdate, Conflict, TooDeep
from collab.wire import vet

CASES = json.loads((Path(__file__).with_name("documents.json")).read_text("utf-8"))["cases"]
PAGE = {"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "a"}]}]}
CHARACTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def after(state: bytes, update: bytes) -> Doc[Any]:
    doc = loaded(state)
    doc.apply_update(update)
    return doc


def state_of(**roots: Any) -> bytes:
    return Doc(roots).get_update()


@given(CHARACTERS, CHARACTERS)
def test_text_replaces_text(old, new):
    state = state_of(t=Text(old)) if old else vet.EMPTY
    update = replacing(state, Format.text, new.encode(), "t")
    wanted = new.removeprefix("\ufeff").replace("\r\n", "\n")
    assert str(after(state, update).get("t", type=Text)) == wanted


def test_what_is_common_stays():
    """So that a cursor in it, and what others type in it meanwhile, stays where it is."""
    state = state_of(text=Text("The quick brown fox"))
    update = replacing(state, Format.text, b"The quick red fox")
    other = loaded(state)
    other.get("text", type=Text).insert(4, "very ")
    other.apply_update(update)
    assert str(other.get("text", type=Text)) == "The very quick red fox"
    assert b"red" in update and b"quick" not in update


def test_text_with_something_else_in_it():
    text = Text("ab😀c")
    doc: Doc[Any] = Doc({"text": text})
    text.insert_embed(1, {"image": "x"})
    update = replacing(doc.get_update(), Format.text, b"abc")
    assert after(doc.get_update(), update).get("text", type=Text).diff() == [("abc", None)]


def test_which_root_is_text():
    assert str(after(vet.EMPTY, replacing(vet.EMPTY, Format.text, b"a")).get("text", type=Text)) == "a"
    one = state_of(code=Text("x"))
    assert str(after(one, appending(one, Format.text, b"y")).get("code", type=Text)) == "xy"
    with pytest.raises(Conflict, match="several roots"):
        replacing(state_of(a=Text("x"), b=Text("y")), Format.text, b"z")
    for state in (state_of(a=Map({"k": 1})), state_of(a=Array([1])), prosemirror_update(PAGE, "a")):
        with pytest.raises(Conflict, match="no plain text"):
            replacing(state, Format.text, b"z", "a")


@pytest.mark.parametrize("case", CASES[:6], ids=lambda case: case["name"])
def test_prosemirror(case):
    body = json.dumps(case["json"]).encode()
    state = prosemirror_update(PAGE)
    wanted = to_prosemirror(loaded(prosemirror_update(case["json"])))
    assert to_prosemirror(after(state, replacing(state, Format.prosemirror, body))) == wanted
    longer = to_prosemirror(after(state, appending(state, Format.prosemirror, body)))
    assert longer["content"] == PAGE["content"] + wanted.get("content", [])
    again = replacing(state, Format.yjs, prosemirror_update(case["json"], "elsewhere"))
    if "content" in wanted:
        assert to_prosemirror(after(state, again), "elsewhere") == wanted


NO_DOCUMENT = [b"", b"{", b"\xff\xfe", b"[]", b'{"type": "paragraph"}', b'{"type": "doc", "x": NaN}']


@pytest.mark.parametrize("body", NO_DOCUMENT)
def test_no_document(body):
    with pytest.raises(BadMessage):
        replacing(vet.EMPTY, Format.prosemirror, body)


def test_too_deep():
    with pytest.raises(TooDeep):
        as_json(b"[" * 100_000)
    deep: dict[str, Any] = {"type": "text", "text": "x"}
    for _ in range(200):
        deep = {"type": "quote", "content": [deep]}
    with pytest.raises(TooDeep):
        replacing(vet.EMPTY, Format.prosemirror, json.dumps({"type": "doc", "content": [deep]}).encode())


def test_no_text():
    with pytest.raises(BadMessage):
        replacing(vet.EMPTY, Format.text, b"\xff")


def test_an_update_that_replaces_has_xml_in_one_root():
    assert as_prosemirror(prosemirror_update(PAGE, "x"), None) == (PAGE, "x")
    for update in (state_of(t=Text("x")), vet.EMPTY):
        with pytest.raises(BadMessage):
            as_prosemirror(update, None)
    with pytest.raises(BadUpdate):
        as_prosemirror(b"garbage", None)


def test_merge():
    state = state_of(t=Text("x"))
    doc = loaded(vet.EMPTY)
    assert merge(doc, state) == state and merge(doc, state) == vet.EMPTY
    other = loaded(state)
    other.get("t", type=Text).insert(1, "y")
    with pytest.raises(BadUpdate, match="builds on"):
        merge(loaded(vet.EMPTY), other.get_update(doc.get_state()))


def test_noted():
    doc = loaded(vet.EMPTY)
    assert noted(doc, lambda: None) == vet.EMPTY
    assert str(after(vet.EMPTY, noted(doc, lambda: doc.get("t", type=Text).insert(0, "x"))).get("t", type=Text)) == "x"
