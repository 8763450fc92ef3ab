"""Documents that the editor itself stored, read as it reads them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, XmlElement, XmlFragment

from collab.content.prosemirror import MAX_DEPTH, find_field, to_prosemirror
from collab.errors import TooDeep

CASES = json.loads(Path(__file__).with_name("documents.json").read_text("utf-8"))["cases"]


def stored(node: Any) -> Any:
    """What of `node` is stored: no node attribute that is null. Marks of one name are in no order."""
    found = {key: value for key, value in node.items() if key not in ("attrs", "content", "marks")}
    attrs = {key: value for key, value in node.get("attrs", {}).items() if value is not None}
    content = [stored(child) for child in node.get("content", [])]
    marks = sorted(node.get("marks", []), key=lambda mark: json.dumps(mark) if mark["type"] == "comment" else "")
    return found | {key: part for key, part in (("attrs", attrs), ("content", content), ("marks", marks)) if part}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_is_what_the_editor_reads(case):
    doc: Doc[Any] = Doc()
    doc.apply_update(base64.b64decode(case["update"]))
    found = to_prosemirror(doc)
    assert stored(found) == stored(case["json"])
    assert ".0" not in json.dumps(found), "integers stay integers"


@pytest.mark.parametrize(
    ("names", "field"),
    [(["page", "default"], "default"), (["prosemirror"], "prosemirror"), (["page"], "page"), ([], "default")],
)
def test_the_root_is_found(names, field):
    doc: Doc[Any] = Doc({name: XmlFragment([XmlElement("paragraph")]) for name in names})
    assert find_field(doc) == field


def test_what_nests_too_deep_is_refused():
    doc: Doc[Any] = Doc()
    parent: Any = doc.get("default", type=XmlFragment)
    for _ in range(MAX_DEPTH + 1):
        parent = parent.children.append(XmlElement("blockquote"))
    with pytest.raises(TooDeep, match="nodes are nested too deep"):
        to_prosemirror(doc)
