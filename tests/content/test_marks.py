"""Formatting and marks, against the keys that the editor itself wrote."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from collab.content.marks import from_formatting, mark_hash, to_formatting

CASES = json.loads(Path(__file__).with_name("documents.json").read_text("utf-8"))


def test_the_hash_is_the_editors():
    [case] = [case for case in CASES["cases"] if case["name"] == "comments"]
    update = base64.b64decode(case["update"])
    for value in (1, "two"):
        mark = {"type": "comment", "attrs": {"id": value}}
        assert f"comment--{mark_hash(mark)}".encode() in update


def test_the_order_is_the_editors():
    found = [mark["type"] for mark in from_formatting({name: {} for name in sorted(CASES["marks"])})]
    assert found == CASES["marks"]


def test_odd_values_are_kept():
    assert from_formatting({"b": True, "c": "red", "gone": None}) == [
        {"type": "b"},
        {"type": "c", "attrs": {"value": "red"}},
    ]


def test_names_that_need_hashes():
    marks = [{"type": "comment", "attrs": {"id": n}} for n in (1, 2)]
    formatting = to_formatting(marks, {"comment"})
    assert len(formatting) == 2
    assert sorted(mark["attrs"]["id"] for mark in from_formatting(formatting)) == [1, 2]
