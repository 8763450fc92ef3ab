"""A document as JSON values.

A loaded document knows the names of its roots, not their types: any client may look at a root as any type. Here each is
read as the type that its parts fit.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from ..errors import TooDeep
from ..fence import Panic, fenced

MAX_DEPTH = 200
"""How deep maps, lists and XML may nest in what is read; more than `collab.wire.vet` lets a single value have."""

JSON = Any
"""None, bool, int, float, str, list, dict with str keys."""


def to_json(doc: Doc[Any]) -> dict[str, JSON]:
    """Every root of `doc` by name: a text as a string, XML as its markup, maps and arrays as JSON; None when empty.

    A root that has both keys and content (an XML element with attributes) becomes {"attributes": ..., "content": ...}.
    Integers stay integers. Bytes, which JSON has no word for, become their hexadecimal digits; infinities and NaN
    become null, as in JavaScript.

    Raises:
        TooDeep: Something in it nests deeper than `MAX_DEPTH`.
        Panic: The document library could not read it.
    """
    try:
        return {name: fenced(_root, doc, name) for name in sorted(doc.keys())}
    except Panic as panic:
        if panic.cause in ("TooDeep", "RecursionError"):
            raise TooDeep("its values", MAX_DEPTH) from None
        raise


def _root(doc: Doc[Any], name: str) -> JSON:
    keyed = doc.get(name, type=Map)
    content = _content(doc, name)
    if not len(keyed):
        return content
    return plain(keyed) if content is None else {"attributes": plain(keyed), "content": content}


def _content(doc: Doc[Any], name: str) -> JSON:
    fragment = doc.get(name, type=XmlFragment)
    if next(iter(fragment.children), None) is not None:  # its length would count a text's characters, too
        return _markup(fragment)
    text = str(doc.get(name, type=Text))
    if text:
        return text
    return plain(doc.get(name, type=Array)) or None


def plain(value: Any, depth: int = 0) -> JSON:
    """One value of a document as JSON (see `to_json`).

    Raises:
        TooDeep: It nests deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise TooDeep("its values", MAX_DEPTH)
    match value:
        case bool() | None | str() | int():
            return value
        case float():
            # Every number of JavaScript is a double, and comes out of yrs as one: 3 would turn into 3.0.
            if not isfinite(value):
                return None
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case bytes() | bytearray():
            return bytes(value).hex()
        case XmlFragment() | XmlElement():
            return _markup(value)
        case Text() | XmlText():
            return str(value)
        case Map() | dict():
            return {str(key): plain(item, depth + 1) for key, item in sorted(value.items())}  # yrs keeps no order
        case Array() | list() | tuple():
            return [plain(item, depth + 1) for item in value]
        case Doc():
            return {"guid": value.guid}
        case _:
            return str(value)


def _markup(top: XmlFragment | XmlElement) -> str:
    """The library writes markup by recursion and has no bound of its own, so what is too deep is found before."""
    waiting: list[tuple[Any, int]] = [(top, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise TooDeep("its values", MAX_DEPTH)
        if not isinstance(node, XmlText):
            waiting += [(child, depth + 1) for child in node.children]
    return str(top)
