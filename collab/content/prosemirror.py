"""A Y document as ProseMirror JSON, as y-prosemirror and TipTap store it.

The root is an XML fragment, a node is an XML element with the node's attributes, a text is an XML text whose formatting
are the marks. Nothing is known here about a schema: nodes and marks of any name are kept. An attribute that is null is
not stored, so it is not in the JSON either, but for those of TipTap's nodes that are null unless somebody sets them
(`NULLS`). Reading does not recurse, and says so when a document is too deep.
"""

from __future__ import annotations

from typing import Any

from pycrdt import Doc, XmlElement, XmlFragment, XmlText

from ..errors import TooDeep
from ..fence import fenced
from .marks import from_formatting
from .plain import plain

MAX_DEPTH = 100
"""How deep nodes may nest; TipTap's own documents stay below a dozen."""

FIELDS = ("default", "prosemirror")
"""What the root is called: by TipTap, and by y-prosemirror."""

NULLS: dict[str | None, tuple[str, ...]] = {
    "codeBlock": ("language",),
    "orderedList": ("type",),
    "tableCell": ("colwidth",),
    "tableHeader": ("colwidth",),
}
"""What y-prosemirror does not store of TipTap's nodes, and `getJSON()` shows: attributes whose default is null."""

Node = dict[str, Any]


def find_field(doc: Doc[Any]) -> str:
    """The root to read when none is named: the first of `FIELDS` that is there, else the first one that holds XML."""
    names = sorted(doc.keys())
    for name in [*FIELDS, *names]:
        if name in names and fenced(has_xml, doc, name):
            return name
    return next((name for name in FIELDS if name in names), FIELDS[0])


def has_xml(doc: Doc[Any], name: str) -> bool:
    """Whether XML stands in root `name`."""
    return next(iter(doc.get(name, type=XmlFragment).children), None) is not None


def to_prosemirror(doc: Doc[Any], field: str | None = None) -> Node:
    """The document in root `field` (see `find_field` without one): TipTap's `getJSON()`.

    Integers stay integers. yrs keeps no order of formatting: marks are in TipTap's order, several of one name in any.

    Raises:
        TooDeep: Nodes nest deeper than `MAX_DEPTH`.
        Panic: The document library could not read it.
    """
    name = find_field(doc) if field is None else field
    found, deep = fenced(_read, doc, name)
    if deep:
        raise TooDeep("its nodes", MAX_DEPTH)
    return found


def _read(doc: Doc[Any], field: str) -> tuple[Node, bool]:
    root: Node = {"type": "doc"}
    waiting: list[tuple[Any, Node, int]] = [(doc.get(field, type=XmlFragment), root, 0)]
    while waiting:
        source, node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return root, True
        content: list[Node] = []
        for child in source.children:
            parts = child.diff() if isinstance(child, XmlText) else [(child, None)]
            for part, formatting in parts:
                content.append(_node(part, formatting or {}))
                if isinstance(part, XmlElement):
                    waiting.append((part, content[-1], depth + 1))
        if content:
            node["content"] = _joined(content)
    return root, False


def _node(part: Any, formatting: dict[str, Any]) -> Node:
    node: Node
    if isinstance(part, XmlElement):
        node = {"type": part.tag}
        stored: Any = part.attributes  # typed as if it could not be iterated
        attrs = {key: value for key, value in sorted((k, plain(v)) for k, v in stored) if value is not None}
        attrs = dict.fromkeys(NULLS.get(part.tag, ())) | attrs
        if attrs:
            node["attrs"] = attrs
    elif isinstance(part, str):
        node = {"type": "text", "text": part}
    else:  # something else in the text; no ProseMirror editor writes that
        node = {"type": "embed", "attrs": {"value": plain(part)}}
    marks = from_formatting({key: plain(value) for key, value in formatting.items()})
    if marks:
        node["marks"] = marks
    return node


def _joined(content: list[Node]) -> list[Node]:
    """Neighbouring texts with the same marks are one text, as ProseMirror has them."""
    joined: list[Node] = []
    for node in content:
        last = joined[-1] if joined else None
        if last and last["type"] == node["type"] == "text" and last.get("marks") == node.get("marks"):
            last["text"] += node["text"]
        else:
            joined.append(node)
    return joined
