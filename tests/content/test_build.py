"""JSON into a document and back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc

from collab.content.build import append, prosemirror_update, replace
from collab.content.prosemirror import MAX_DEPTH, to_prosemirror
from collab.errors import BadMessage, TooDeep

names = st.sampled_from(["paragraph", "heading", "unknown", "ünknown-2"])
values = st.recursive(
    st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
attrs = st.dictionaries(st.text("abc", min_size=1, max_size=3), values, min_size=1, max_size=3)
mark_lists = st.lists(st.sampled_from(["bold", "italic", "zebra"]), unique=True, min_size=1).map(sorted)


@st.composite
def node(draw: Any, inner: Any = None) -> dict[str, Any]:
    made: dict[str, Any] = {"type": draw(names)}
    if draw(st.booleans()):
        made["attrs"] = draw(attrs)
    content: list[Any] = []
    for child in draw(st.lists(texts() if inner is None else inner, max_size=4)):
        same = content and content[-1]["type"] == child["type"] == "text"
        if not (same and content[-1].get("marks") == child.get("marks")):
            content.append(child)
    if content:
        made["content"] = content
    return made


@st.composite
def texts(draw: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "text", "text": draw(st.text(min_size=1, max_size=8))}
    if draw(st.booleans()):
        given_ = draw(st.none() | attrs)
        made["marks"] = [{"type": kind, **({"attrs": given_} if given_ else {})} for kind in draw(mark_lists)]
    return made


documents = st.lists(st.recursive(node(), lambda inner: node(inner | texts()), max_leaves=8), min_size=1, max_size=4)


def read(update: bytes, field: str = "default") -> Any:
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return to_prosemirror(doc, field)


@settings(deadline=None)
@given(documents)
def test_there_and_back(content):
    whole = {"type": "doc", "content": content}
    assert read(prosemirror_update(whole, "page"), "page") == whole


def test_replace_and_append():
    one: Any
    two: Any
    one, two = ({"type": "doc", "content": [{"type": "paragraph", "attrs": {"n": n}}]} for n in (1, 2))
    doc: Doc[Any] = Doc()
    append(doc, one)
    append(doc, two)
    assert to_prosemirror(doc)["content"] == one["content"] + two["content"]
    replace(doc, two)
    assert to_prosemirror(doc) == two


def test_marks_of_one_name():
    marks = [{"type": "comment", "attrs": {"id": n}} for n in (1, 2)]
    update = prosemirror_update({"type": "doc", "content": [{"type": "text", "text": "x", "marks": marks}]})
    assert sorted(mark["attrs"]["id"] for mark in read(update)["content"][0]["marks"]) == [1, 2]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {"type": "p"},
        {"type": "doc", "content": 3},
        {"type": "doc", "content": [{}]},
        {"type": "doc", "content": [{"type": "text", "text": ""}]},
    ],
)
def test_what_is_no_document(bad):
    with pytest.raises(BadMessage, match="not a ProseMirror document"):
        prosemirror_update(bad)


@pytest.mark.parametrize("attrs", [{"n": 2**53}, {"n": [float("inf")]}, {"n": "\ud800"}, {"\udfff": 1}])
def test_values_that_no_editor_could_read(attrs):
    with pytest.raises(BadMessage):
        prosemirror_update({"type": "doc", "content": [{"type": "paragraph", "attrs": attrs}]})


@pytest.mark.parametrize("where", ["text", "type"])
def test_half_a_character(where):
    node = {"type": "text", "text": "x", **{where: "\ud83d"}}
    with pytest.raises(BadMessage, match="half of a character"):
        prosemirror_update({"type": "doc", "content": [node]})


@pytest.mark.alone
def test_ten_times_as_long_takes_ten_times_as_long():
    """One by one at the end took a hundred times as long."""

    def seconds(paragraphs: int) -> float:
        content = [{"type": "paragraph", "content": [{"type": "text", "text": f"{n}"}]} for n in range(paragraphs)]
        started = time.process_time()
        update = prosemirror_update({"type": "doc", "content": content})
        spent = time.process_time() - started
        assert read(update)["content"] == content
        return spent

    few, many = (min(seconds(paragraphs) for _ in range(3)) for paragraphs in (2_000, 20_000))
    assert many < 30 * few


def test_append_keeps_the_order_at_every_level():
    doc: Doc[Any] = Doc()
    quote = {"type": "blockquote", "content": [{"type": "paragraph", "attrs": {"n": n}} for n in range(3)]}
    for _ in range(2):
        append(doc, {"type": "doc", "content": [quote, *quote["content"]]})
    assert to_prosemirror(doc)["content"] == [quote, *quote["content"]] * 2


def test_too_deep():
    deep: dict[str, Any] = {"type": "paragraph"}
    for _ in range(MAX_DEPTH):
        deep = {"type": "blockquote", "content": [deep]}
    with pytest.raises(TooDeep):
        prosemirror_update({"type": "doc", "content": [deep]})
    assert len(json.dumps(read(prosemirror_update({"type": "doc", "content": deep["content"]})))) > MAX_DEPTH


def test_fixtures_there_and_back():
    for case in json.loads(Path(__file__).with_name("documents.json").read_text("utf-8"))["cases"]:
        found = read(prosemirror_update(case["json"]))
        assert read(prosemirror_update(found)) == found
