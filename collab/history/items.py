"""The order in which the parts of a document stand, with the id of each: what the library does not tell.

Several updates are laid over each other, the old ones that still hold what was deleted since and the new ones that know
of the deletion. Each struct is cut wherever anything refers into it, and put in its place by the rules of Yjs
(yjs/src/structs/Item.js, `integrate`), so that a document and its past can be walked through side by side.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..errors import BadMessage, BadUpdate
from ..wire.lib0 import read_var_string, read_var_uint
from ..wire.structs import DELETED, GC, KEY, ORIGIN, RIGHT_ORIGIN, SKIP, Extent, Point, Range, Struct, walk
from .ranges import Ranges

Parent = str | Point
"""What a part stands in: a root, by its name, or a shared type, by its id."""


class Layer(NamedTuple):
    """One update, read once."""

    update: bytes
    blocks: list[tuple[int, list[Struct]]]
    extent: Extent

    @classmethod
    def of(cls, update: bytes) -> Layer:
        """Raises `BadUpdate` unless it is well-formed."""
        blocks: list[tuple[int, list[Struct]]] = []
        try:
            extent = walk(update, blocks)
        except (IndexError, BadMessage) as error:
            if isinstance(error, BadUpdate):
                raise
            raise BadUpdate(f"not a Yjs update ({error})") from None
        return cls(update, blocks, extent)

    def lives(self) -> Ranges:
        """What it has and has not deleted."""
        return Ranges(self.extent.structs).minus(Ranges(self.dead()))

    def dead(self) -> Iterator[Range]:
        """What is deleted in it."""
        yield from self.extent.deletes
        for client, structs in self.blocks:
            for struct in structs:
                if struct.kind in (GC, DELETED):
                    yield client, struct.start, struct.end

    def collected(self) -> Iterator[Range]:
        """What is gone in it, with its place."""
        for client, structs in self.blocks:
            for struct in structs:
                if struct.kind == GC:
                    yield client, struct.start, struct.end


class Item:
    """A piece of a struct that nothing refers into.

    Attributes:
        client: Who wrote it.
        start: Its first clock.
        end: The clock after its last.
        struct: What it is a piece of.
        update: Where that stands.
        parent: What it stands in; None when that is unknown, as it was deleted.
        key: The key that it is the value of; None when it stands in a sequence.
        left: What stands before it.
        right: What stands behind it.
    """

    __slots__ = (
        *("client", "start", "end", "struct", "update"),
        *("parent", "key", "left", "right", "origin", "right_origin"),
    )

    def __init__(self, client: int, start: int, end: int, struct: Struct, update: bytes) -> None:
        self.client, self.start, self.end = client, start, end
        self.struct, self.update = struct, update
        self.parent: Parent | None = None
        self.key: str | None = None
        self.left: Item | None = None
        self.right: Item | None = None
        self.origin: Item | None = None
        self.right_origin: Item | None = None

    @property
    def id(self) -> Point:
        """Its first id."""
        return self.client, self.start

    @property
    def kind(self) -> int:
        """What it is: `STRING`, `TYPE`, ..."""
        return self.struct.info & 31


class Items:
    """Everything in `layers`, in order. What stands in more than one is taken from the first that still has it.

    Args:
        layers: Together they lack nothing that they build on.
        edges: Ranges at whose ends parts are cut as well.

    Raises:
        BadUpdate: They lack something.
    """

    def __init__(self, layers: Sequence[Layer], edges: Iterable[Range] = ()) -> None:
        self._first: dict[Parent, Item] = {}
        self._first_of: dict[tuple[Parent, str], Item] = {}
        self._last_of: dict[Parent, dict[str, Item]] = {}
        cuts = _cuts(layers, edges)
        self._items = {client: _cut(found, client, cuts.get(client)) for client, found in _union(layers).items()}
        self._starts = {client: [item.start for item in items] for client, items in self._items.items()}
        self._place_all()

    def __iter__(self) -> Iterator[Item]:
        for items in self._items.values():
            yield from items

    @property
    def clients(self) -> set[int]:
        """Who wrote any of it."""
        return set(self._items)

    @property
    def roots(self) -> list[str]:
        """The names of the roots in which anything stands or stood."""
        return sorted({name for name in [*self._first, *self._last_of] if isinstance(name, str)})

    def sequence(self, parent: Parent) -> Iterator[Item]:
        """What stands in `parent` one behind the other, the deleted with the living."""
        item = self._first.get(parent)
        while item is not None:
            yield item
            item = item.right

    def values(self, parent: Parent) -> Iterator[tuple[str, Item]]:
        """The keys of `parent`, each with the newest of its values; older ones stand to its left."""
        yield from sorted(self._last_of.get(parent, {}).items())

    def within(self, ranges: Iterable[Range]) -> Iterator[Item]:
        """The parts that begin in `ranges`."""
        for client, start, end in ranges:
            starts = self._starts.get(client, [])
            yield from self._items.get(client, [])[bisect_left(starts, start) : bisect_left(starts, end)]

    def at(self, point: Point) -> Item | None:
        """The part that a clock is in."""
        starts = self._starts.get(point[0])
        if not starts:
            return None
        nth = bisect_right(starts, point[1]) - 1
        if nth < 0:
            return None
        item = self._items[point[0]][nth]
        return item if point[1] < item.end else None

    def _place_all(self) -> None:
        """Put every part in its place, each after those that it refers to."""
        done = dict.fromkeys(self._items, 0)
        idle = 0  # how many waited when one was placed last
        for first in self._items:
            waiting, idle = [first], 0
            while waiting:
                if len(waiting) > idle + len(self._items):
                    raise BadUpdate("parts of it wait for each other")
                client = waiting[-1]
                items = self._items[client]
                nth = done[client]
                while nth < len(items):
                    item = items[nth]
                    refs = _refs(item)
                    missing = next((ref for ref in refs if ref[0] != client and not self._placed(ref, done)), None)
                    if missing is not None:
                        waiting.append(missing[0])
                        break
                    self._place(item, refs)
                    nth += 1
                    done[client] = nth
                    idle = len(waiting)
                else:
                    waiting.pop()

    def _placed(self, ref: Point, done: dict[int, int]) -> bool:
        starts = self._starts.get(ref[0], [])
        nth = bisect_right(starts, ref[1]) - 1
        if nth < 0 or ref[1] >= self._items[ref[0]][nth].end:
            raise BadUpdate("it builds on something that is not there")
        return nth < done[ref[0]]

    def _place(self, item: Item, refs: tuple[Point, ...]) -> None:
        info = item.struct.info
        if item.kind == GC:
            return
        if info & (ORIGIN | RIGHT_ORIGIN) or item.start > item.struct.start:
            if info & ORIGIN or item.start > item.struct.start:
                item.origin = self.at(refs[0])
            if info & RIGHT_ORIGIN:
                item.right_origin = self.at(refs[-1])
            near = item.origin or item.right_origin
            if near is None or any(one is not None and one.parent is None for one in (item.origin, item.right_origin)):
                return  # beside what was collected, in something that was deleted
            item.parent, item.key = near.parent, near.key
        elif refs:
            parent = self.at(refs[0])
            if parent is None or parent.kind in (GC, DELETED) or parent.parent is None:
                return
            item.parent = refs[0]
            item.key = _key(item)
        else:
            item.parent = _root(item)
            item.key = _key(item)
        self._integrate(item, item.parent)

    def _integrate(self, item: Item, parent: Parent | None) -> None:
        assert parent is not None
        left, right = item.origin, item.right_origin
        if left is not None:
            other = left.right
        elif item.key is not None:
            other = self._first_of.get((parent, item.key))
        else:
            other = self._first.get(parent)
        conflicting: set[Item] = set()
        before: set[Item] = set()
        while other is not None and other is not right:
            before.add(other)
            conflicting.add(other)
            if item.origin is other.origin:
                if other.client < item.client:
                    left = other
                    conflicting.clear()
                elif item.right_origin is other.right_origin:
                    break
            elif other.origin is not None and other.origin in before:
                if other.origin not in conflicting:
                    left = other
                    conflicting.clear()
            else:
                break
            other = other.right
        item.left = left
        if left is not None:
            item.right, left.right = left.right, item
        elif item.key is not None:
            item.right = self._first_of.get((parent, item.key))
            self._first_of[parent, item.key] = item
        else:
            item.right = self._first.get(parent)
            self._first[parent] = item
        if item.right is not None:
            item.right.left = item
        elif item.key is not None:
            self._last_of.setdefault(parent, {})[item.key] = item


def _refs(item: Item) -> tuple[Point, ...]:
    """What a part refers to: the rest of a struct that was cut follows on what is before the cut."""
    if item.start == item.struct.start:
        return item.struct.refs
    before = (item.client, item.start - 1)
    return (before, item.struct.refs[-1]) if item.struct.info & RIGHT_ORIGIN else (before,)


def _root(item: Item) -> str:
    return read_var_string(item.update, read_var_uint(item.update, item.struct.at + 1)[1])[0]


def _key(item: Item) -> str | None:
    """The key of a part that names its parent itself."""
    if not item.struct.info & KEY:
        return None
    named, at = read_var_uint(item.update, item.struct.at + 1)
    if named:
        at = read_var_string(item.update, at)[1]
    else:
        at = read_var_uint(item.update, read_var_uint(item.update, at)[1])[1]
    return read_var_string(item.update, at)[0]


def _cuts(layers: Sequence[Layer], edges: Iterable[Range]) -> dict[int, list[int]]:
    """Where parts are to be cut, per client."""
    cuts: dict[int, set[int]] = {}
    for layer in layers:
        for _, structs in layer.blocks:
            for struct in structs:
                if struct.info & ORIGIN and struct.kind not in (GC, SKIP):
                    client, clock = struct.refs[0]
                    cuts.setdefault(client, set()).add(clock + 1)
                if struct.info & RIGHT_ORIGIN:
                    client, clock = struct.refs[-1]
                    cuts.setdefault(client, set()).add(clock)
    for client, start, end in [*edges, *(range_ for layer in layers for range_ in layer.dead())]:
        cuts.setdefault(client, set()).update((start, end))
    return {client: sorted(found) for client, found in cuts.items()}


_Part = tuple[int, int, Struct, bytes]


def _union(layers: Sequence[Layer]) -> dict[int, list[_Part]]:
    """For each client what is known of it, in order and without overlap: content rather than its absence."""
    known: dict[int, tuple[list[_Part], list[_Part], list[_Part]]] = {}
    for layer in layers:
        for client, structs in layer.blocks:
            ranks = known.setdefault(client, ([], [], []))
            for struct in structs:
                if struct.kind != SKIP:
                    rank = 2 if struct.kind == GC else 1 if struct.kind == DELETED else 0
                    ranks[rank].append((struct.start, struct.end, struct, layer.update))
    return {client: _laid(ranks) for client, ranks in known.items()}


def _laid(ranks: tuple[list[_Part], list[_Part], list[_Part]]) -> list[_Part]:
    laid: list[_Part] = []
    for parts in ranks:
        parts.sort(key=lambda part: part[0])  # stable: of those that begin together, the first layer's
        laid = _filled(laid, parts) if laid else _filled([], parts)
    return laid


def _filled(laid: list[_Part], parts: list[_Part]) -> list[_Part]:
    """`laid`, with what `parts` know of the gaps."""
    found: list[_Part] = []
    nth = 0
    at = 0  # everything before is decided
    for start, end, struct, update in parts:
        start = max(start, at)
        while start < end:
            while nth < len(laid) and laid[nth][1] <= start:
                found.append(laid[nth])
                nth += 1
            to = min(end, laid[nth][0]) if nth < len(laid) else end
            if start < to:
                found.append((start, to, struct, update))
                start = to
            elif nth < len(laid):
                start = laid[nth][1]
            at = max(at, start)
    return found + laid[nth:]


def _cut(parts: list[_Part], client: int, cuts: list[int] | None) -> list[Item]:
    items: list[Item] = []
    for start, end, struct, update in parts:
        if cuts:
            for nth in range(bisect_right(cuts, start), bisect_left(cuts, end)):
                items.append(Item(client, start, cuts[nth], struct, update))
                start = cuts[nth]
        items.append(Item(client, start, end, struct, update))
    return items
