"""What is there already, under other ids: the copies that an earlier restore made need not be made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from ..wire.structs import ANY, STRING, TYPE, Point
from .alignment import Block, aligned
from .contents import Reader, raw, shared_type
from .items import Item, Items
from .outline import View


class Group(NamedTuple):
    """Parts that are one thing: neighbouring pieces of a text, or of a list, or a single other part.

    Args:
        key: The same for those that look the same.
        items: The parts.
    """

    key: bytes
    items: list[Item]


class Reuse:
    """Finds among parts that are to go those that look like parts that are to come.

    Args:
        items: All there is.
        lives: Whether a part lives now.
        wanted: Whether it should.
    """

    def __init__(self, items: Items, lives: Callable[[Item], bool], wanted: Callable[[Item], bool]) -> None:
        self._now = _Digests(View(items, lives))
        self._then = _Digests(View(items, wanted))
        self._reader = Reader()

    def aligned(self, going: Sequence[Item], coming: Sequence[Item]) -> list[Block[Group]]:
        """Both, side by side."""
        groups = (self._groups(going, self._now), self._groups(coming, self._then))
        return list(aligned(*groups, lambda group: group.key))

    def is_same(self, going: Item, coming: Item) -> bool:
        """Whether the one looks like the other, with all that stands in it."""
        return self._key([going], self._now) == self._key([coming], self._then)

    def _groups(self, parts: Sequence[Item], digests: _Digests) -> list[Group]:
        found: list[list[Item]] = []
        for item in parts:
            if found and item.kind in (STRING, ANY) and found[-1][-1].kind == item.kind:
                found[-1].append(item)
            else:
                found.append([item])
        return [Group(self._key(some, digests), some) for some in found]

    def _key(self, some: list[Item], digests: _Digests) -> bytes:
        kind = some[0].kind
        if kind == STRING:
            content = b"".join(map(self._reader.units, some))
        elif kind == ANY:
            content = b"".join(map(self._reader.raw_values, some))
        else:
            content = digests.of(some[0]) if kind == TYPE else raw(some[0])
        return bytes([kind]) + content


class _Digests:
    """A digest of each shared type with all that can be seen in it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._found: dict[Point, bytes] = {}

    def of(self, item: Item) -> bytes:
        if item.id not in self._found:
            order = [item]
            reads: list[tuple[Any, list[Item]]] = []
            for one in order:  # grows meanwhile: everything that is nested comes behind what it stands in
                nodes: list[Item] = []
                reads.append((self._view.read(one.id, nodes), nodes))
                order += nodes
            for one, (shown, nodes) in reversed(list(zip(order, reads, strict=True))):
                inner = [self._found[node.id].hex() for node in nodes]
                told = json.dumps([shared_type(one), shown, inner], sort_keys=True)
                self._found[one.id] = sha256(told.encode("utf-8", "surrogatepass")).digest()
        return self._found[item.id]
