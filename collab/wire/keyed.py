"""Structs that are slipped in among the values of a key.

In Yjs all values that a key ever had are a chain: the first names the map and the key, each other has the one before as
its origin, and nothing on its right. One that lives has the length one. Others look like items of a list, and yrs 0.28
takes them for values all the same: a struct is what its neighbour is. It then loses a part of the chain: when a value
is cut in two, or when a struct has an item of a list on one side and a value on the other. What is lost outlives the
map that it is in, and yrs follows it into memory that it has given back. It may kill the process much later, and not
each time.

A mark (bold from here on) is no value of a key in any editor. As one yrs takes it, and panics when it is asked what
stands there.

Whether a struct is the value of a key is seen from itself only when it names the map; the byte that says so is lost
when updates are merged without a document. So it is kept where a document has such values: 8 bytes for each row of
them. One that yrs dropped with its map stays in it, which does no harm: nobody puts anything beside it any more.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

from .structs import GC, SKIP, Blocks, Extent, Point, Range, Struct, blocks_of, living, walk
from .vet import state_vector


class _Row(NamedTuple):
    """Where values of keys begin, and where they end, in order."""

    starts: array[int]
    ends: array[int]


_Rows = dict[int, _Row]
"""For each client."""


class _Look(NamedTuple):
    """What was found of an update, and of what that depends.

    Args:
        extent: What the update covers.
        version: That of the rows.
        clocks: What its clients had.
        concerns: Whether it has values of keys.
        new: Those that are new.
        harms: Whether it puts among values what is none, or a value that is longer than one.
    """

    extent: Extent
    version: int
    clocks: Mapping[int, int]
    concerns: bool
    new: _Rows
    harms: bool


class Keyed:
    """Where a document has values of keys."""

    def __init__(self) -> None:
        self._rows: _Rows = {}
        self._version = 0
        self._look: _Look | None = None

    def __len__(self) -> int:
        """How many rows of values without a hole there are."""
        return sum(len(row.starts) for row in self._rows.values())

    def __contains__(self, point: Point) -> bool:
        return _in(self._rows, point)

    def fits(self, update: bytes, extent: Extent, clocks: Mapping[int, int], since: Callable[[bytes], bytes]) -> bool:
        """Whether a document may take in `update`.

        Args:
            update: A well-formed update that fits the document.
            extent: What it covers.
            clocks: What the document has: client id -> next clock.
            since: Gives what the document, without this update, has that one with a state vector lacks. Asked seldom.
        """
        rows = self._rows
        if not rows and not extent.keyed:
            return True
        look, self._look = self._found(extent, clocks), None
        if look.harms:
            return False
        new = look.new
        edges: dict[int, int] = {}
        for client, start, end in extent.structs:
            known = clocks.get(client, 0)
            if start < known < end and _in(rows, (client, known - 1)) != _in(new, (client, known)):
                edges[client] = known
        if edges and _joins(update, edges, clocks, since):
            return False
        self._look = look
        return True

    def touched(self, extent: Extent) -> bool:
        """Whether an update has values of keys in it, or stands beside one."""
        rows = self._rows
        return bool(rows) and (self._concerns(extent) or any(_in(rows, point) for point in extent.before))

    def add(self, extent: Extent, clocks: Mapping[int, int]) -> None:
        """Note the values in an update that a document with `clocks` takes in."""
        if not self._rows and not extent.keyed:
            return
        look = self._found(extent, clocks)
        self._look = None
        if look.concerns:
            _append(self._rows, look.new)
            self._version += 1  # behind it: who looks meanwhile has the old one

    def look(self, extent: Extent, clocks: Mapping[int, int]) -> None:
        """Do what `fits` and `add` would have to, for an update that is long; may be on another thread.

        It counts if nothing that matters has changed when they are called for the same one. `overlook` lets it go.
        """
        if self._rows or extent.keyed:
            self._look = self._looked(extent, clocks)

    def overlook(self) -> None:
        """What was found of an update is not needed any more."""
        self._look = None

    def _found(self, extent: Extent, clocks: Mapping[int, int]) -> _Look:
        look = self._look
        if look is None or look.extent is not extent or look.version != self._version:
            return self._looked(extent, clocks)
        same = all(clocks.get(client, 0) == clock for client, clock in look.clocks.items())
        return look if same else self._looked(extent, clocks)

    def _looked(self, extent: Extent, clocks: Mapping[int, int]) -> _Look:
        version, rows = self._version, self._rows
        there = {client: clocks.get(client, 0) for client, _, _ in extent.structs}
        new: _Rows = {}
        harms = False
        if concerns := self._concerns(extent):
            values = self._new(extent, there)
            harms = bool(living([value for value in values if value[2] - value[1] > 1], extent.deletes))
            _note(new, values)
            harms = harms or any(_in(new, mark) for mark in extent.marks)
        harms = harms or any(_in(rows, point) or _in(new, point) for point in extent.before)
        return _Look(extent, version, there, concerns, new, harms)

    def _concerns(self, extent: Extent) -> bool:
        """Whether there are values of keys in it."""
        rows = self._rows
        if extent.keyed or not rows:
            return bool(extent.keyed)
        for _, origin in extent.after:  # a generator takes longer than all else, for a letter
            if _in(rows, origin):
                return True
        return False

    def _new(self, extent: Extent, clocks: Mapping[int, int]) -> list[Range]:
        """The values of keys that are new with an update: those that name the map, and all that follow one."""
        found = list(_beyond(extent.keyed, clocks))
        waiting: dict[int, list[tuple[int, Range]]] = {}
        for value, origin in extent.after:
            if _in(self._rows, origin):
                found += _beyond((value,), clocks)
            else:
                waiting.setdefault(origin[0], []).append((origin[1], value))
        for followers in waiting.values():
            followers.sort()
        at = 0
        while at < len(found):  # each follows one, so it is looked at once
            client, start, end = found[at]
            at += 1
            if followers := waiting.get(client, []):
                first, last = (bisect_left(followers, (clock,)) for clock in (start, end))
                found += _beyond((value for _, value in followers[first:last]), clocks)
                del followers[first:last]
        return sorted(found)


def _beyond(values: Iterable[Range], clocks: Mapping[int, int]) -> Iterable[Range]:
    """What of them is new: what is there already is what it is, whatever is said of it now."""
    for client, start, end in values:
        start = max(start, clocks.get(client, 0))
        if start < end:
            yield client, start, end


def _in(rows: _Rows, point: Point) -> bool:
    found = rows.get(point[0])
    if found is None:
        return False
    at = bisect_right(found.starts, point[1]) - 1
    return at >= 0 and point[1] < found.ends[at]


def _note(rows: _Rows, found: list[Range]) -> None:
    """Each of `found` comes behind all that `rows` have of its client: clocks only grow."""
    for client, start, end in found:
        starts, ends = rows.setdefault(client, _Row(array("I"), array("I")))
        if ends and ends[-1] == start:
            ends[-1] = end
        else:
            starts.append(start)
            ends.append(end)


def _append(rows: _Rows, new: _Rows) -> None:
    """The same for many."""
    for client, (starts, ends) in new.items():
        row = rows.setdefault(client, _Row(array("I"), array("I")))
        joins = bool(row.ends) and row.ends[-1] == starts[0]
        if joins:
            row.ends[-1] = ends[0]
        row.ends.extend(ends[joins:])  # before the other: somebody may be at `look`
        row.starts.extend(starts[joins:])


def _joins(update: bytes, edges: Mapping[int, int], clocks: Mapping[int, int], since: Callable[[bytes], bytes]) -> bool:
    """Whether a struct goes over one of `edges`, before which it is there: yrs hangs the second part onto the first."""
    coming = dict(blocks_of(update))
    over = {
        client: clock
        for client, clock in edges.items()
        if (struct := _at(coming[client], clock)).start < clock and struct.kind not in (GC, SKIP)
    }
    if not over:
        return False
    last: Blocks = []  # the last letter of each is all that is asked for
    walk(since(state_vector({**clocks, **{client: clock - 1 for client, clock in over.items()}})), last, deletes=False)
    return any(_at(structs, over[client] - 1).kind != GC for client, structs in last if client in over)


def _at(structs: list[Struct], clock: int) -> Struct:
    """The one of a client's structs, which have no hole, that a clock is in."""
    return structs[bisect_right(structs, clock, key=attrgetter("start")) - 1]
