"""How deep the shared types of a document are nested: a list in a list in a list.

yrs deletes and reads nested types by recursion. Whoever nests them one by one, an update for each, would get past a
check of single updates and end the process. So a room keeps a bound of how deep its document goes. What an update adds
to it is read from the update alone, as far as it builds on types that are known to the bound; for the rest the bound
supposes the worst. Only when it passes the limit the document itself is looked at.

Crashes, measured with yrs 0.28 on x86-64 (deleting; reading XML as text): with the 8 MiB stack of a main thread from
32,343 and 10,898 deep, with 1 MiB from 4,042 and 2,489, with the 128 KiB that threads have with musl from 468 and 160.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from operator import attrgetter

from .structs import TYPE, Blocks, Point, Struct, blocks_of

MAX_NESTING = 500
"""How deep shared types may be nested. Tested with stacks down to 640 KiB; not safe in threads that have 128 KiB."""

REMEMBERED = 10_000
"""Of so many shared types that came since the last look it is remembered how deep they are: about 2 MB."""


class Nesting:
    """A bound of how deep the shared types of one document are nested.

    Args:
        floor: How deep they are at most now; None when nobody looked yet.
    """

    def __init__(self, floor: int | None = 0) -> None:
        self.floor = MAX_NESTING if floor is None else floor
        self._levels: dict[Point, int] = {}
        self._room = REMEMBERED

    def admit(self, update: bytes, document: Callable[[], bytes], limit: int = MAX_NESTING) -> bool:
        """Whether a document may take in `update`, which fits it. What may be taken in counts from now on.

        Args:
            update: It makes shared types.
            document: Gives the whole document as an update, without this one. Asked seldom.
            limit: How deep it may go.
        """
        new = levels(update, self._levels, self.floor)
        if max(new.values(), default=0) > limit:
            known = levels(document(), {}, 0)
            deepest = max(known.values(), default=0)
            new = levels(update, known, deepest)
            self.floor = deepest
            # Close to the limit every type counts, or each new one would need a look.
            self._levels = known if 2 * deepest > limit else {}
            self._room = len(self._levels) + REMEMBERED
            if max(new.values(), default=0) > limit:
                return False
        self._levels |= new
        if len(self._levels) > self._room:
            self.floor = max(self.floor, *self._levels.values())
            self._levels, self._room = {}, REMEMBERED
        return True


def levels(update: bytes, known: Mapping[Point, int], floor: int) -> dict[Point, int]:
    """How deep each shared type is that `update` makes; 1 for what stands in a root.

    Args:
        update: A well-formed update.
        known: Types that were there before, and how deep they are.
        floor: How deep all others may be.
    """
    return _Levels(blocks_of(update), known, floor).of_types()


class _Levels:
    """Goes from each type to what it stands in or beside, without recursion: the update says how far that goes.

    The level of a struct is that of a type in its place.
    """

    def __init__(self, blocks: Blocks, known: Mapping[Point, int], floor: int) -> None:
        self._blocks = dict(blocks)
        self._known = known
        self._floor = floor
        self._found: dict[Point, int] = {}

    def of_types(self) -> dict[Point, int]:
        types: dict[Point, int] = {}
        found = self._found
        for client, structs in self._blocks.items():
            for struct in structs:
                if struct.info & 31 == TYPE:
                    near = found.get(struct.refs[0]) if struct.refs else 0
                    if near is None:
                        level = self._level(client, struct)
                    else:  # most stand in or beside one that was just looked at
                        level = near + (not struct.info & 0xC0)
                        found[client, struct.start] = level
                    types[client, struct.start] = level
        return types

    def _level(self, client: int, struct: Struct) -> int:
        way: list[tuple[Point, int]] = []  # from the struct outwards, and whether a step leads into a parent
        level = 1
        while True:
            here = (client, struct.start)
            if here in self._found:
                level = self._found[here]
                break
            inward = int(not struct.info & 0xC0)
            if not struct.refs:  # in a root, or what was deleted
                self._found[here] = level = 1
                break
            way.append((here, inward))
            client, clock = struct.refs[0]
            outer = self._at(client, clock)
            if outer is None or len(way) > 1 and outer.start == way[0][0][1] and client == way[0][0][0]:
                level = self._known.get((client, clock), self._floor + 1 - inward)
                break
            struct = outer
        for here, inward in reversed(way):
            level += inward
            self._found[here] = level
        return level

    def _at(self, client: int, clock: int) -> Struct | None:
        """The struct that a clock is in, if it is in the update."""
        structs = self._blocks.get(client)
        if structs is None:
            return None
        nth = bisect_right(structs, clock, key=attrgetter("start")) - 1
        return structs[nth] if nth >= 0 and clock < structs[nth].end else None
