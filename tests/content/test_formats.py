"""Each format, by its name; what stands in them is tested where they are made."""

from __future__ import annotations

import json
from typing import Any

from pycrdt import Doc, Map, Text

from collab.content.build import prosemirror_update
from collab.content.formats import Format, written

PAGE = {"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "a < ü"}]}]}


def test_one_root_in_every_format():
    doc: Doc[Any] = Doc()
    doc.apply_update(prosemirror_update(PAGE, "page"))
    found = {format: written(doc, format) for format in Format}
    again: Doc[Any] = Doc()
    again.apply_update(found.pop(Format.yjs))
    assert again.get_state() == doc.get_state()
    assert json.loads(found.pop(Format.prosemirror)) == PAGE
    assert json.loads(found.pop(Format.json)) == {"page": "<paragraph>a < ü</paragraph>"}
    assert {format.value: body.decode() for format, body in found.items()} == {
        "html": "<p>a &lt; ü</p>\n",
        "markdown": "a \\< ü\n",
        "text": "a < ü\n",
    }
    assert written(doc, Format.html, "other") == b"\n"


def test_plain_text_in_roots():
    doc: Doc[Any] = Doc({"a": Text("one"), "b": Text("two"), "c": Map({"k": 1})})
    assert written(doc, Format.text) == b"one\n\ntwo\n"
    assert written(doc, Format.text, "b") == b"two\n"
