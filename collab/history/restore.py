"""Restore is an edit: what brings the content of a document to that of an earlier state of it.

Laying old bytes over a document does nothing: what was deleted stays so. So what stands in both is left in its place,
what the earlier state does not have is deleted, and of what was deleted since a copy is put beside the place where it
stood. The result is one ordinary update. It is made of the states alone and always in the same way, so two restores
that are computed of one state are one and the same update, and change nothing the second time.

Limits: docs/design/0009-restore-is-an-edit.md.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from ..errors import BadUpdate
from ..wire import vet
from ..wire.lib0 import var_bytes, var_string, var_uint
from ..wire.structs import ANY, DELETED, GC, KEY, ORIGIN, RIGHT_ORIGIN, STRING, TYPE, Point
from .contents import Reader, raw, text_of
from .items import Item, Items, Layer, Parent
from .outline import alike
from .ranges import Ranges
from .reuse import Reuse


def restore(current: bytes, target: bytes) -> bytes:
    """One update (v1) that brings a document in the state `current` to the content of the state `target`.

    Args:
        current: The whole document, as one update.
        target: An earlier state of it, whole. A later one does as well: so a restore is taken back.

    Raises:
        BadUpdate: One of them is no whole state.
    """
    now, then = Layer.of(current), Layer.of(target)
    # The earlier state comes first: it has as text what the later one may have as halves of a character.
    items = Items([then, now])
    wanted = then.lives()
    if alike(items, now.lives(), wanted):
        return vet.EMPTY
    return changed(items, now, lambda item: item.id in wanted, told(then))


def told(state: Layer) -> bytes:
    """What a state holds, in one way of many to write it: which ids, and which of them are deleted."""
    ranges = [sorted(Ranges(found)) for found in (state.extent.structs, state.dead())]
    return repr(ranges).encode()


def changed(items: Items, now: Layer, wanted: Callable[[Item], bool], why: bytes) -> bytes:
    """The update after which just what is `wanted` lives of `items`, in a document in the state `now`.

    Args:
        items: All of it, with the content of what is to come back.
        now: The document as it is.
        wanted: Whether a part should live; of what stands in something that is not wanted, nothing is.
        why: What the result depends on beside `now`. Its client id is made of both.
    """
    return _Change(items, now, wanted).update(_client(items.clients, told(now), why))


def _client(known: set[int], *seeds: bytes) -> int:
    """A client id that is not in use, and the same whenever the same restore is computed: twice then does no harm."""
    digest = sha256(b"".join(map(var_bytes, seeds)))
    while True:
        client = int.from_bytes(digest.digest()[:4], "big")
        if client and client not in known:
            return client
        digest.update(b"again")


class _Place(NamedTuple):
    """A shared type that is gone through.

    Args:
        parent: Its id, or the name of a root.
        copy: The clock of its copy; None when it is not copied but kept.
        whole: Whether all that lives in it is kept, as it looks like what is wanted.
    """

    parent: Parent
    copy: int | None = None
    whole: bool = False


class _Change:
    """Goes through the document from its roots, keeps, deletes and copies."""

    def __init__(self, items: Items, now: Layer, wanted: Callable[[Item], bool]) -> None:
        self._items = items
        self._lives = now.lives()
        self._there = Ranges(now.extent.structs).minus(Ranges(now.collected()))
        self._wanted = wanted
        self._reuse = Reuse(items, lambda item: item.id in self._lives, wanted)
        self._reader = Reader()
        self._kept: list[tuple[int, int, int]] = []
        self._structs: list[bytes] = []
        self._clock = 0
        self._client = 0

    def update(self, client: int) -> bytes:
        """The update; what it inserts is `client`'s."""
        self._client = client
        waiting = [_Place(name) for name in self._items.roots]
        while waiting:
            place = waiting.pop()
            waiting += self._sequence(place)
            waiting += self._values(place)
        out = bytearray()
        if self._structs:
            out += var_uint(1) + var_uint(len(self._structs)) + var_uint(client) + var_uint(0)
            out += b"".join(self._structs)
        else:
            out += var_uint(0)
        deletes: dict[int, list[tuple[int, int]]] = {}
        for writer, start, end in self._lives.minus(Ranges(self._kept)):
            deletes.setdefault(writer, []).append((start, end - start))
        out += var_uint(len(deletes))
        for writer, ranges in sorted(deletes.items()):
            out += var_uint(writer) + var_uint(len(ranges))
            for start, length in sorted(ranges):
                out += var_uint(start) + var_uint(length)
        return bytes(out)

    def _sequence(self, place: _Place) -> list[_Place]:
        """What stands one behind the other in `place`. Returns the types in it."""
        types: list[_Place] = []
        region: list[Item] = []  # what comes or goes, between two that are kept
        left: Item | None = None
        for item in self._items.sequence(place.parent):
            lives = item.id in self._lives
            wanted = lives if place.whole else self._wanted(item)
            if wanted and lives and place.copy is None and (place.whole or not self._is_halved(item)):
                self._fill(region, left, place, types)
                region = []
                self._keep(item, place.whole, types)
                left = item
            elif (wanted or lives) and item.kind not in (GC, DELETED):
                region.append(item)
            elif not region and item.id in self._there:
                left = item
        self._fill(region, left, place, types)
        return types

    def _keep(self, item: Item, whole: bool, types: list[_Place]) -> None:
        self._kept.append((item.client, item.start, item.end))
        if item.kind == TYPE:
            types.append(_Place(item.id, whole=whole))

    def _fill(self, region: list[Item], left: Item | None, place: _Place, types: list[_Place]) -> None:
        """Put what is wanted of `region` behind `left`, as copies. What is there already, under other ids, is kept."""
        coming = [item for item in region if self._wanted(item)]
        going = [] if place.copy is not None else [item for item in region if not self._wanted(item)]
        if not coming:
            return
        blocks = self._reuse.aligned(going, coming) if going else []
        if not any(block.same for block in blocks):
            for item in region:
                if item is coming[0]:
                    break
                left = item if item.id in self._there else left
            self._copies(coming, left, place, types)
            return
        for same, old, new in blocks:
            if not same:
                self._copies([item for group in new for item in group.items], left, place, types)
                continue
            for group in old:
                for item in group.items:
                    self._keep(item, True, types)
                    left = item

    def _is_halved(self, item: Item) -> bool:
        """Whether a part that lives begins or ends within a character, which the library cannot hold in halves."""
        if item.kind != STRING:
            return False
        units = self._reader.units(item)
        return 0xDC <= units[1] < 0xE0 or 0xD8 <= units[-1] < 0xDC

    def _copies(self, chain: list[Item], left: Item | None, place: _Place, types: list[_Place]) -> None:
        """Put copies of `chain`, one behind the other, behind `left`. The types among them join `types`."""
        right, before = None, None
        if place.copy is None:
            first = left.right if left is not None else next(self._items.sequence(place.parent), None)
            while first is not None and first.id not in self._there:
                first = first.right
            right = None if first is None else first.id
            before = None if left is None else (left.client, left.end - 1)
        nth = 0
        while nth < len(chain):
            item = chain[nth]
            to = nth + 1
            if item.kind in (STRING, ANY):
                while to < len(chain) and chain[to].kind == item.kind:
                    to += 1
            if item.kind == TYPE:
                types.append(_Place(item.id, self._clock))
            before = self._write(place, None, before, right, chain[nth:to])
            nth = to

    def _content(self, items: list[Item]) -> tuple[bytes, int]:
        first = items[0]
        length = sum(item.end - item.start for item in items)
        if first.kind == STRING:
            text = text_of(b"".join(map(self._reader.units, items)))
            return var_string(text), len(text.encode("utf-16-le")) // 2
        if first.kind == ANY:
            return var_uint(length) + b"".join(map(self._reader.raw_values, items)), length
        return raw(first), 1

    def _values(self, place: _Place) -> list[_Place]:
        """The values of the keys of `place`. Returns the types among them."""
        types: list[_Place] = []
        for key, last in self._items.values(place.parent):
            item: Item | None = last
            while item is not None and not (item.id in self._lives if place.whole else self._wanted(item)):
                item = item.left
            if item is None:
                continue
            if place.copy is None and item.id in self._lives:
                self._keep(item, place.whole, types)
            elif place.copy is None and last.id in self._lives and self._reuse.is_same(last, item):
                self._keep(last, True, types)
            elif item.kind not in (GC, DELETED):
                before: Item | None = last if place.copy is None else None
                while before is not None and before.id not in self._there:
                    before = before.left
                if item.kind == TYPE:
                    types.append(_Place(item.id, self._clock))
                self._write(place, key, None if before is None else (before.client, before.end - 1), None, [item])
        return types

    def _write(
        self, place: _Place, key: str | None, left: Point | None, right: Point | None, items: list[Item]
    ) -> Point:
        """Write a copy of `items` as one struct; returns the id of its last clock."""
        content, length = self._content(items)
        info = items[0].kind
        info |= (ORIGIN if left else 0) | (RIGHT_ORIGIN if right else 0) | (KEY if key is not None else 0)
        out = bytearray([info])
        for ref in (left, right):
            if ref is not None:
                out += var_uint(ref[0]) + var_uint(ref[1])
        if left is None and right is None:
            if place.copy is not None:
                out += var_uint(0) + var_uint(self._client) + var_uint(place.copy)
            elif isinstance(place.parent, str):
                out += var_uint(1) + var_string(place.parent)
            else:
                out += var_uint(0) + var_uint(place.parent[0]) + var_uint(place.parent[1])
            if key is not None:
                out += var_string(key)
        self._structs.append(bytes(out + content))
        self._clock += length
        if self._clock > vet.MAX_CLOCK:
            raise BadUpdate("a clock is out of range")
        return self._client, self._clock - 1
