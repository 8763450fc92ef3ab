"""How deep the shared types of a document are nested: a list in a list in a list.

yrs deletes and reads nested types by recursion. Whoever nests them one by one, an update for each, would get past a
check of single updates and end the process. So a room keeps how deep each type is that it knows of, six bytes for each,
and a bound of how deep all else is. What an update adds is read from the update alone: as far as it builds on types
that are known it is exact; for what stands beside a letter, say, the bound supposes the worst, and grows by it. Only
when it passes the limit the document itself is looked at.

What an update says of structs that are there already counts for nothing: the document does not look at it either.

Crashes, measured with yrs 0.28 on x86-64 (deleting; reading XML as text): with the 8 MiB stack of a main thread from
32,343 and 10,898 deep, with 1 MiB from 4,042 and 2,489, with the 128 KiB that threads have with musl from 468 and 160.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import NamedTuple, Protocol

from .structs import TYPE, Blocks, Point, Struct, blocks_of

MAX_NESTING = 500
"""How deep shared types may be nested. Tested with stacks down to 640 KiB; not safe in threads that have 128 KiB."""

_DEEPEST = 2**16 - 1
"""Deeper than that is not told apart."""


class Known(Protocol):
    """How deep types are that were there before."""

    def get(self, point: Point, default: int, /) -> int:
        """The level of one; `default` if it is not known."""


class Levels:
    """How deep the shared types of a document are: for each client, where they are in order, and their levels."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[array[int], array[int]]] = {}

    def __len__(self) -> int:
        return sum(len(clocks) for clocks, _ in self._rows.values())

    def get(self, point: Point, default: int, /) -> int:
        """See `Known`."""
        row = self._rows.get(point[0])
        if row is None:
            return default
        at = bisect_left(row[0], point[1])
        return row[1][at] if at < len(row[0]) and row[0][at] == point[1] else default

    def add(self, found: Mapping[Point, int], clocks: Mapping[int, int]) -> None:
        """Note the types that come into a document with `clocks`. What is noted behind these never came."""
        seen = set[int]()
        for (client, clock), level in sorted(found.items()):
            there, deep = self._rows.setdefault(client, (array("I"), array("H")))
            if client not in seen:
                seen.add(client)
                at = bisect_left(there, clocks.get(client, 0))
                del there[at:], deep[at:]
            deep.append(min(level, _DEEPEST))  # before the other: somebody may be at `look`
            there.append(clock)


class _Look(NamedTuple):
    """What was found of an update, and of what else that depends: the clocks are those of its clients."""

    update: bytes
    known: Levels
    floor: int
    clocks: Mapping[int, int]
    levels: dict[Point, int]

    def fits(self, update: bytes, known: Levels, floor: int, clocks: Mapping[int, int]) -> bool:
        """Whether the same would be found now, or less: a type that became known meanwhile is as deep as was supposed
        at most."""
        if update is not self.update or known is not self.known or floor != self.floor:
            return False
        return all(clocks.get(client, 0) == clock for client, clock in self.clocks.items())


class Nesting:
    """A bound of how deep the shared types of one document are nested.

    Args:
        floor: How deep they are at most now; None when nobody looked yet.

    Attributes:
        floor: How deep anything is at most.
        looks: How often the document was looked at.
    """

    def __init__(self, floor: int | None = 0) -> None:
        self.floor = MAX_NESTING if floor is None else floor
        self.looks = 0
        self._known = Levels()
        self._exact = False
        self._look: _Look | None = None

    def look(self, update: bytes, clocks: Mapping[int, int]) -> None:
        """Do what `admit` would have to, for an update that is long; may be on another thread.

        It counts if nothing that matters has changed when that is called for the same update. `overlook` lets it go.
        """
        known, floor, blocks = self._known, self.floor, blocks_of(update)
        there = {client: clocks.get(client, 0) for client, _ in blocks}
        self._look = _Look(update, known, floor, there, _Levels(blocks, known, floor, there).of_types())

    def overlook(self) -> None:
        """What was found of an update is not needed any more."""
        self._look = None

    def admit(
        self, update: bytes, clocks: Mapping[int, int], document: Callable[[], bytes], limit: int = MAX_NESTING
    ) -> bool:
        """Whether a document may take in `update`, which fits it. What may be taken in counts from now on.

        Args:
            update: It makes shared types.
            clocks: What the document has: client id -> next clock.
            document: Gives the whole document as an update, without this one. Asked seldom.
            limit: How deep it may go.
        """
        look = self._look
        if look is not None and look.fits(update, self._known, self.floor, clocks):
            new = look.levels
        else:
            new = levels(update, self._known, self.floor, clocks)
        deepest = max(new.values(), default=0)
        if deepest > limit and not self._exact:
            self.looks += 1
            there = levels(document(), {}, 0)
            self._known = Levels()
            self._known.add(there, {})
            self.floor = max(there.values(), default=0)
            self._exact = True
            new = levels(update, self._known, self.floor, clocks)
            deepest = max(new.values(), default=0)
        if deepest > limit:
            return False
        self._known.add(new, clocks)
        self.floor = max(self.floor, deepest)
        self._exact = False
        return True


def levels(update: bytes, known: Known, floor: int, clocks: Mapping[int, int] | None = None) -> dict[Point, int]:
    """How deep each shared type is that `update` makes; 1 for what stands in a root.

    Args:
        update: A well-formed update.
        known: Types that were there before, and how deep they are.
        floor: How deep all others may be.
        clocks: What was there before: client id -> next clock.
    """
    return _Levels(blocks_of(update), known, floor, clocks or {}).of_types()


class _Levels:
    """Goes from each type to what it stands in or beside, without recursion: the update says how far that goes.

    The level of a struct is that of a type in its place. Where one stands between two things that is the deeper one's:
    no editor writes between two places, but of something that was deleted with its place yrs takes the other's.
    """

    def __init__(self, blocks: Blocks, known: Known, floor: int, clocks: Mapping[int, int]) -> None:
        self._blocks = dict(blocks)
        self._known = known
        self._floor = floor
        self._clocks = clocks
        self._found: dict[Point, int] = {}

    def of_types(self) -> dict[Point, int]:
        types: dict[Point, int] = {}
        found = self._found
        for client, structs in self._blocks.items():
            there = self._clocks.get(client, 0)
            for struct in structs:
                if struct.info & 31 == TYPE and struct.start >= there:
                    refs = struct.refs
                    near = None if len(refs) > 1 else found.get(refs[0]) if refs else 0
                    if near is None:
                        self._look(client, struct)
                        level = found[client, struct.start]
                    else:  # most stand in or beside one that was just looked at
                        level = near + (not struct.info & 0xC0)
                        found[client, struct.start] = level
                    types[client, struct.start] = level
        return types

    def _look(self, client: int, struct: Struct) -> None:
        found, known = self._found, self._known.get
        way = {(client, struct.start): struct}  # from the struct outwards; each waits for those behind it
        while way:
            here, struct = next(reversed(way.items()))
            inward = int(not struct.info & 0xC0)
            level = 0 if struct.refs else 1 - inward  # in a root, or what was deleted
            wanted: Point | None = None
            for client, clock in struct.refs:
                outer = self._at(client, clock)
                if outer is None or ((client, outer.start) in way and (client, outer.start) not in found):
                    level = max(level, known((client, clock), self._floor + 1 - inward))
                elif (near := found.get((client, outer.start))) is not None:
                    level = max(level, near)
                else:
                    wanted = client, outer.start
                    way[wanted] = outer
                    break
            if wanted is None:
                found[here] = level + inward
                del way[here]

    def _at(self, client: int, clock: int) -> Struct | None:
        """The struct that a clock is in, if it comes with the update and all of it is new."""
        structs = self._blocks.get(client)
        if structs is None:
            return None
        nth = bisect_right(structs, clock, key=attrgetter("start")) - 1
        if nth < 0 or clock >= structs[nth].end or structs[nth].start < self._clocks.get(client, 0):
            return None
        return structs[nth]
