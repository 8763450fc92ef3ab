"""A document as JSON in which nothing that can be seen is missing: what two states are compared by.

A shared type, and a root, is `{"keys": {key: value}, "content": [part, ...]}`, each left out when empty; types that
are no roots have a `"type"` (`text`, `map`, `array`, `element`, `xmltext`, ...) and elements their `"name"`. A part is
`{"text": ...}`, `{"value": ...}`, `{"embed": ...}` or `{"node": type}`, the formatting of all but values beside it as
`"marks"`. A value of a key is `{"value": ...}` or `{"node": ...}`, too. A loaded document does not know the types of
its roots, and none is needed here.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import TooDeep
from ..wire.structs import ANY, DELETED, GC, STRING, TYPE
from .contents import EMBED, FORMAT, Reader, embedded, formatting, shared_type, single
from .items import Item, Items, Layer, Parent
from .ranges import Ranges

MAX_DEPTH = 200
"""How deep types may nest in what is compared or shown; readers of JSON recurse. As in `collab.content.plain`."""

Outline = dict[str, Any]
"""A shared type as JSON."""


def outline(state: Layer) -> dict[str, Outline]:
    """Every root of a state by its name; those in which nothing stands are left out.

    Raises:
        TooDeep: Types nest deeper than `MAX_DEPTH`.
    """
    names, types = _read(state)
    depths = [0] * len(types)
    for nth, found in enumerate(types):
        for part in [*found.get("content", ()), *found.get("keys", {}).values()]:
            if "node" in part:
                depths[part["node"]] = depths[nth] + 1
                part["node"] = types[part["node"]]
    if max(depths, default=0) > MAX_DEPTH:
        raise TooDeep("its values", MAX_DEPTH)
    return {name: types[nth] for nth, name in enumerate(names) if types[nth]}


def alike(one: Layer, other: Layer) -> bool:
    """Whether everything that can be seen is the same in two states, however deep it is."""
    return same(_read(one), _read(other))


def _read(state: Layer) -> tuple[list[str], list[Outline]]:
    """The names of the roots that hold something, and all types; a type within another stands there by its number.

    The roots come first, in the order of their names, and every type before those that stand in it.
    """
    reader = _Types(Items([state]), Ranges(state.dead()))
    return reader.names, reader.types


class _Types:
    def __init__(self, items: Items, dead: Ranges) -> None:
        self._items = items
        self._dead = dead
        self._reader = Reader()
        self._ids: list[Parent] = []
        self.names = [name for name in items.roots if self._holds(name)]
        self.types: list[Outline] = []
        for name in self.names:
            self._add(name, {})
        nth = 0
        while nth < len(self.types):
            self._fill(self._ids[nth], self.types[nth])
            nth += 1

    def _holds(self, name: str) -> bool:
        """Formatting alone cannot be seen."""
        return any(self._lives(item) and item.kind != FORMAT for item in self._items.sequence(name)) or any(
            self._lives(item) for _, item in self._items.values(name)
        )

    def _lives(self, item: Item) -> bool:
        return item.kind not in (GC, DELETED) and item.id not in self._dead

    def _add(self, parent: Parent, found: Outline) -> int:
        self._ids.append(parent)
        self.types.append(found)
        return len(self.types) - 1

    def _fill(self, parent: Parent, found: Outline) -> None:
        keys = {key: self._value(item) for key, item in self._items.values(parent) if self._lives(item)}
        if keys:
            found["keys"] = keys
        content: list[dict[str, Any]] = []
        marks: dict[str, Any] = {}
        for item in self._items.sequence(parent):
            if not self._lives(item):
                continue
            if item.kind == FORMAT:
                key, value = formatting(item)
                marks = {name: one for name, one in marks.items() if name != key}
                if value is not None:
                    marks[key] = value
                continue
            for part in self._parts(item):
                if marks and "value" not in part:
                    part["marks"] = marks
                append(content, part)
        if content:
            found["content"] = content

    def _parts(self, item: Item) -> list[dict[str, Any]]:
        if item.kind == STRING:
            return [{"text": self._reader.text(item)}]
        if item.kind == ANY:
            return [{"value": value} for value in self._reader.values(item)]
        if item.kind == EMBED:
            return [{"embed": embedded(item)}]
        return [self._value(item)]

    def _value(self, item: Item) -> dict[str, Any]:
        if item.kind == TYPE:
            kind, name = shared_type(item)
            return {"node": self._add(item.id, {"type": kind} if name is None else {"type": kind, "name": name})}
        if item.kind == ANY:
            return {"value": self._reader.values(item)[0]}
        if item.kind == STRING:
            return {"value": self._reader.text(item)}
        return {"value": single(item)}


def same(one: Any, other: Any) -> bool:
    """Whether two things are the same JSON. In Python `1 == True`."""
    return one is other or (one == other and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


def append(content: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Put `part` at the end of `content`; neighbouring texts with the same formatting are one."""
    last = content[-1] if content else None
    if last is not None and "text" in last and "text" in part and same(last.get("marks"), part.get("marks")):
        last["text"] += part["text"]
    else:
        content.append(part)
