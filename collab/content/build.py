"""ProseMirror JSON into a Y document, as y-prosemirror writes it.

Built from top to bottom in one transaction: every type is put in its place before anything is put into it. Siblings are
put there the last one first, each before the one that stands there already: to find a place yrs counts from the front,
so the other way round ten times as many would take a hundred times as long. Texts are written from their beginning to
their end.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from pycrdt import Doc, XmlElement, XmlFragment, XmlText

from ..errors import BadMessage, TooDeep
from ..fence import fenced
from ..wire.lib0 import MAX_SAFE
from ..wire.vet import MAX_DEPTH as MAX_VALUE_DEPTH
from .marks import to_formatting
from .prosemirror import FIELDS, MAX_DEPTH, Node


def prosemirror_update(json: Any, field: str = FIELDS[0]) -> bytes:
    """`json` (ProseMirror's: `{"type": "doc", "content": [...]}`) as one Yjs update (v1) of a new document.

    Raises:
        BadMessage: It is not such a document.
        TooDeep: It nests deeper than `collab.content.prosemirror.MAX_DEPTH`.
    """
    doc: Doc[Any] = Doc()
    append(doc, json, field)
    return fenced(doc.get_update)


def append(doc: Doc[Any], json: Any, field: str = FIELDS[0]) -> None:
    """Put the content of `json` behind what stands in root `field`, in one transaction. Raises as above."""
    content, hashed = checked(json)
    fenced(_write, doc, field, content, hashed, clear=False)


def replace(doc: Doc[Any], json: Any, field: str = FIELDS[0]) -> None:
    """Put the content of `json` in the place of what stands in root `field`, in one transaction. Raises as above."""
    content, hashed = checked(json)
    fenced(_write, doc, field, content, hashed, clear=True)


def checked(json: Any) -> tuple[list[Node], set[str]]:
    """The content of the document `json`, and which marks stand on one text several times. Raises as above."""
    if not isinstance(json, dict) or json.get("type") != "doc":
        raise BadMessage('not a ProseMirror document: it should be an object with "type": "doc"')
    several: set[str] = set()
    waiting: list[tuple[Any, int]] = [(json, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise TooDeep("its nodes", MAX_DEPTH)
        if not isinstance(node, dict) or not _is_name(node.get("type")):
            raise BadMessage('not a ProseMirror document: every node needs a "type"')
        content, marks = node.get("content") or [], node.get("marks") or []
        if not isinstance(content, list) or not isinstance(marks, list):
            raise BadMessage('not a ProseMirror document: "content" and "marks" should be lists')
        _check_text(node["type"])
        if node["type"] == "text":
            if not (isinstance(node.get("text"), str) and node["text"]):
                raise BadMessage("not a ProseMirror document: a text node needs a text that is not empty")
            _check_text(node["text"])
        names = []
        for mark in marks:
            if not isinstance(mark, dict) or not _is_name(mark.get("type")):
                raise BadMessage('not a ProseMirror document: every mark needs a "type"')
            _check_text(mark["type"])
            names.append(mark["type"])
        several |= {name for name in names if names.count(name) > 1}
        for one in (node, *marks):
            _check_attrs(one)
        waiting += [(child, depth + 1) for child in content]
    return json.get("content") or [], several


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name != ""


def _check_attrs(one: Any) -> None:
    if not isinstance(one.get("attrs") or {}, dict):
        raise BadMessage('not a ProseMirror document: "attrs" should be an object')
    check_values(one.get("attrs"))


def check_values(top: Any) -> None:
    """Look through values that are to stand in a document.

    Raises:
        BadMessage: Something in it is none that JavaScript can read as it is.
        TooDeep: It nests too deep.
    """
    waiting: list[tuple[Any, int]] = [(top, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth >= MAX_VALUE_DEPTH - 1:
            raise TooDeep("its attributes", MAX_VALUE_DEPTH - 1)
        if isinstance(value, int) and abs(value) > MAX_SAFE:
            raise BadMessage("a number in it is over 2**53 - 1, which JavaScript cannot tell from its neighbours")
        if isinstance(value, float) and not isfinite(value):
            raise BadMessage("there is something in it that is not a number of JSON")
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            for key in value:
                _check_text(key)
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(item, depth + 1) for item in inside]


def _check_text(text: Any) -> None:
    """Half of a surrogate pair, which JSON can spell, is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadMessage("a text in it has half of a character") from None


def _write(doc: Doc[Any], field: str, content: list[Node], hashed: set[str], *, clear: bool) -> None:
    with doc.transaction():
        root = doc.get(field, type=XmlFragment)
        if clear and len(root.children):
            del root.children[0 : len(root.children)]
        at = len(root.children)
        waiting: list[tuple[Any, list[Node]]] = [(root, content)]
        while waiting:
            parent, nodes = waiting.pop()
            for run in reversed(_runs(nodes)):
                if isinstance(run, list):
                    _write_text(parent.children.insert(at, XmlText()), run, hashed)
                    continue
                element = parent.children.insert(at, XmlElement(run["type"]))
                for key, value in (run.get("attrs") or {}).items():
                    if value is not None:
                        element.attributes[key] = value
                if run.get("content"):
                    waiting.append((element, run["content"]))
            at = 0


def _runs(nodes: list[Node]) -> list[Node | list[Node]]:
    """`nodes`, with neighbouring texts as one list."""
    runs: list[Node | list[Node]] = []
    for node in nodes:
        last = runs[-1] if runs else None
        if node["type"] != "text":
            runs.append(node)
        elif isinstance(last, list):
            last.append(node)
        else:
            runs.append([node])
    return runs


def _write_text(text: XmlText, nodes: list[Node], hashed: set[str]) -> None:
    end = 0
    written: set[str] = set()
    for node in nodes:
        formatting = to_formatting(node.get("marks") or [], hashed)
        # A text takes on the formatting of what stands before it, unless told.
        text.insert(end, node["text"], {**dict.fromkeys(written - formatting.keys()), **formatting})
        written = set(formatting)
        end += len(node["text"].encode())  # yrs counts in bytes here
