"""A document as JSON in which nothing that can be seen is missing: what two states are compared by.

A shared type, and a root, is `{"keys": {key: value}, "content": [part, ...]}`, each left out when empty; types that
are no roots have a `"type"` (`text`, `map`, `array`, `element`, `xmltext`, ...) and elements their `"name"`. A part is
`{"text": ...}`, `{"value": ...}`, `{"embed": ...}` or `{"node": type}`, the formatting of all but values beside it as
`"marks"`. A value of a key is `{"value": ...}` or `{"node": ...}`, too. A loaded document does not know the types of
its roots, and none is needed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import TooDeep
from ..wire.structs import ANY, STRING, TYPE
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
    view = View(Items([state]), _in(state.lives()))
    roots: dict[str, Outline] = {name: {} for name in view.roots}
    waiting: list[tuple[Parent, Outline, int]] = [(name, root, 0) for name, root in roots.items()]
    while waiting:
        parent, found, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise TooDeep("its values", MAX_DEPTH)
        nodes: list[Item] = []
        keys, content = view.read(parent, nodes)
        if keys:
            found["keys"] = keys
        if content:
            found["content"] = content
        parts = [part for part in [*keys.values(), *content] if "node" in part]
        waiting += [(node.id, part["node"], depth + 1) for node, part in zip(nodes, parts, strict=True)]
    return roots


def alike(items: Items, one: Ranges, other: Ranges) -> bool:
    """Whether everything that can be seen is the same, however deep it is, if `one` or if `other` lives of `items`."""
    views = (View(items, _in(one)), View(items, _in(other)))
    if views[0].roots != views[1].roots:
        return False
    waiting: list[tuple[Parent, Parent]] = [(name, name) for name in views[0].roots]
    while waiting:
        mine, theirs = waiting.pop()
        living = views[0].living(mine)
        if mine == theirs and living == views[1].living(theirs):  # not a word of it has to be read
            waiting += [(item.id, item.id) for item in living if item.kind == TYPE]
            continue
        nodes: tuple[list[Item], list[Item]] = ([], [])
        if not same(views[0].read(mine, nodes[0]), views[1].read(theirs, nodes[1])):
            return False
        waiting += [(left.id, right.id) for left, right in zip(*nodes, strict=True)]
    return True


def _in(ranges: Ranges) -> Callable[[Item], bool]:
    return lambda item: item.id in ranges


class View:
    """What can be seen of a document.

    Args:
        items: All there is.
        lives: Whether a part can be seen, if what it stands in can.
    """

    def __init__(self, items: Items, lives: Callable[[Item], bool]) -> None:
        self._items = items
        self._lives = lives
        self._reader = Reader()

    @property
    def roots(self) -> list[str]:
        """Those that hold something. Formatting alone cannot be seen."""
        return [name for name in self._items.roots if any(item.kind != FORMAT for item in self._each(name))]

    def living(self, parent: Parent) -> list[Item]:
        """The values of the keys of `parent`, and what stands in it."""
        return list(self._each(parent))

    def _each(self, parent: Parent) -> Iterator[Item]:
        for _, last in self._items.values(parent):
            item: Item | None = last
            while item is not None and not self._lives(item):
                item = item.left
            if item is not None:
                yield item
        for part in self._items.sequence(parent):
            if self._lives(part):
                yield part

    def read(self, parent: Parent, nodes: list[Item]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The values of the keys of `parent`, and what stands in it. Types join `nodes`, and are empty here."""
        keys: dict[str, Any] = {}
        content: list[dict[str, Any]] = []
        marks: dict[str, Any] = {}
        pieces: list[str] = []

        def close() -> None:
            if pieces:
                append(content, {"text": "".join(pieces), "marks": marks} if marks else {"text": "".join(pieces)})
                pieces.clear()

        for item in self._each(parent):
            kind = item.kind
            if item.key is not None:
                keys[item.key] = self._single(item, nodes)
            elif kind == STRING:
                pieces.append(self._reader.text(item))
            elif kind == FORMAT:
                close()
                key, value = formatting(item)
                marks = {name: one for name, one in marks.items() if name != key}
                if value is not None:
                    marks[key] = value
            else:
                close()
                if kind == ANY:
                    content += [{"value": value} for value in self._reader.values(item)]
                else:
                    part = {"embed": embedded(item)} if kind == EMBED else self._single(item, nodes)
                    content.append({**part, "marks": marks} if marks and "value" not in part else part)
        close()
        return keys, content

    def _single(self, item: Item, nodes: list[Item]) -> dict[str, Any]:
        if item.kind == TYPE:
            kind, name = shared_type(item)
            nodes.append(item)
            return {"node": {"type": kind} if name is None else {"type": kind, "name": name}}
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
