"""How a Yjs update (v1) is built: what it covers and needs (`Extent`), and each of its structs in its place.

`walk` goes over an update once, in Python, without recursion, and refuses what is not well-formed. Whether it is fit
for a document is for `vet` to say.

Source: yjs/src/utils/encoding.js (`writeClientsStructs`), structs/*.js, lib0/encoding.js (`writeAny`):

    update  = varUint #clients • clients × (varUint #structs • varUint client • varUint clock • structs) • deletes
    struct  = byte info • (0: GC | 10: Skip) varUint length
            | byte info • [origin id if 0x80] • [right origin id if 0x40]
              • if neither: (varUint 1 • varString root | varUint 0 • id) • [varString key if 0x20] • content
    deletes = varUint #clients • clients × (varUint client • varUint #ranges • ranges × (varUint clock • varUint len))
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import NamedTuple

from ..errors import BadUpdate
from .contents import pass_content, pass_text, text_length
from .lib0 import read_var_uint

MAX_CLOCK = 2**31 - 1
"""No client writes more characters into one document; yrs counts clocks in 32 bits."""

GC, DELETED, STRING, FORMAT, TYPE, ANY, SKIP = 0, 1, 4, 6, 7, 8, 10
"""Kinds of structs: the low five bits of their first byte."""
ORIGIN, RIGHT_ORIGIN, KEY = 0x80, 0x40, 0x20
"""What else the first byte says: what the struct refers to, and whether it is the value of a key."""

Range = tuple[int, int, int]
"""(client id, first clock, clock after the last)."""

Point = tuple[int, int]
"""(client id, clock)."""


class Extent(NamedTuple):
    """What an update covers and needs.

    Args:
        structs: The runs of structs, in the order of the update; a Skip is a hole between two runs.
        deletes: The ranges that it deletes.
        needs: For each client that the structs refer to, the clock after the last struct that is referred to.
        entwined: Whether structs of one client refer to those of another one in the same update.
        types: How many shared types it makes.
        foundlings: The ids of structs in it that are parents of others, and no shared types.
        values: The values of keys in it that are longer than one, and not deleted by it.
        keyed: The values of keys in it that name what they stand in.
        after: Its structs that have an origin and no right origin, each with it.
        before: The ids beside which its structs stand that have a right origin: these, and their origins.
        marks: Its formats that have no right origin.
        longest: The length of its longest string.
    """

    structs: tuple[Range, ...]
    deletes: tuple[Range, ...]
    needs: Mapping[int, int]
    entwined: bool = False
    types: int = 0
    foundlings: tuple[Point, ...] = ()
    values: tuple[Range, ...] = ()
    keyed: tuple[Range, ...] = ()
    after: tuple[tuple[Range, Point], ...] = ()
    before: tuple[Point, ...] = ()
    marks: tuple[Point, ...] = ()
    longest: int = 0

    def lacks(self, clocks: Mapping[int, int]) -> tuple[int, int] | None:
        """What a document that has `clocks` (client id -> next clock) lacks of that which this update builds on.

        Returns the first such thing as (client id, clock that the document must have reached), None when it has all.
        """
        reach: dict[int, int] = {}
        for client, start, end in self.structs:
            known = reach[client] if client in reach else clocks.get(client, 0)
            if start > known:
                return client, start
            reach[client] = end if end > known else known
        for client, clock in self.needs.items():
            if clock > clocks.get(client, 0) and clock > reach.get(client, 0):
                return client, clock
        for client, _, end in self.deletes:
            if end > clocks.get(client, 0) and end > reach.get(client, 0):
                return client, end
        return None

    def missing(self, clocks: Mapping[int, int]) -> bool:
        """Whether a document that has `clocks` lacks something that this update builds on."""
        known = clocks.get
        for client, start, _ in self.structs:  # most fit what is there already, without a look at each other
            if start > known(client, 0):
                return self.lacks(clocks) is not None
        for client, clock in self.needs.items():
            if clock > known(client, 0):
                return self.lacks(clocks) is not None
        for client, _, end in self.deletes:
            if end > known(client, 0):
                return self.lacks(clocks) is not None
        return False

    def within(self, clocks: Mapping[int, int]) -> bool:
        """The integration rule: whether every struct and delete range lies at or below `clocks`."""
        return all(end <= clocks.get(client, 0) for client, _, end in self.structs) and all(
            end <= clocks.get(client, 0) for client, _, end in self.deletes
        )


class Struct(NamedTuple):
    """One struct in its place.

    Args:
        start: Its first clock.
        end: The clock after its last.
        at: Where its encoding begins in the update.
        body: Where its content begins.
        to: Where it ends.
        refs: The ids that it refers to, in this order: origin, right origin; or its parent, when it has neither.
        info: Its first byte.
    """

    start: int
    end: int
    at: int
    body: int
    to: int
    refs: tuple[Point, ...]
    info: int

    @property
    def kind(self) -> int:
        """What it is: `STRING`, `TYPE`, `GC`..."""
        return self.info & 31


Blocks = list[tuple[int, list[Struct]]]
"""The structs of each client, in the order of the update."""


def blocks_of(update: bytes) -> Blocks:
    """Every struct of a well-formed update."""
    blocks: Blocks = []
    walk(update, blocks)
    return blocks


class Most(NamedTuple):
    """How much an update may announce: numbers of clients, of structs and of deleted ranges."""

    clients: int
    structs: int
    ranges: int


def walk(data: bytes, blocks: Blocks | None = None, *, deletes: bool = True, most: Most | None = None) -> Extent:
    """What an update covers and needs; with `blocks`, every struct is noted there, too (twice the time).

    Without `deletes` it goes as far as the structs do. Past `most` it is refused when it announces as much.

    Raises:
        BadMessage: It is not well-formed. `BadUpdate` is one of these.
        IndexError: The data end early.
    """
    runs, deleted = list[Range](), list[Range]()
    needs: dict[int, int] = {}
    foreign, seen = set[int](), set[int]()
    types, parents = set[Point](), set[Point]()
    values = list[Range]()
    keyed, after, before, marks = list[Range](), list[tuple[Range, Point]](), list[Point](), list[Point]()
    clients, at = read_var_uint(data, 0)
    _check(clients, most and most.clients, "clients")
    announced = longest = 0
    for _ in range(clients):
        count, at = read_var_uint(data, at)
        announced += count
        _check(announced, most and most.structs, "structs")
        client, at = read_var_uint(data, at)
        clock, at = read_var_uint(data, at)
        if not count:
            raise BadUpdate("a client without structs")
        if client in seen:  # yrs reads on where Yjs begins anew
            raise BadUpdate("a client comes twice")
        seen.add(client)
        begin = clock
        structs: list[Struct] = []
        for _ in range(count):
            first = at
            info = data[at]
            at += 1
            kind = info & 31
            refs: tuple[tuple[int, int], ...] = ()
            if info == GC or info == SKIP:
                body = at
                length, at = read_var_uint(data, at)
            else:
                if info & 0xC0:
                    ids = 2 if info & 0xC0 == 0xC0 else 1
                else:
                    named, at = read_var_uint(data, at)
                    if named == 1:
                        at = pass_text(data, at)
                    elif named:
                        raise BadUpdate("a parent is neither named nor an item")
                    ids = 1 - named
                for _ in range(ids):
                    ref, at = read_var_uint(data, at)
                    ref_clock, at = read_var_uint(data, at)
                    if ref != client:
                        foreign.add(ref)
                    elif ref_clock >= clock:
                        raise BadUpdate("a struct refers to one that comes after it")
                    if ref_clock >= needs.get(ref, 0):
                        needs[ref] = ref_clock + 1
                    refs += ((ref, ref_clock),)
                if refs and not info & 0xC0:
                    parents.add(refs[0])
                if info & (KEY | 0xC0) == KEY:
                    at = pass_text(data, at)
                body = at
                if kind == STRING:
                    length, at = text_length(data, at)
                    if length > longest:
                        longest = length
                else:
                    length, at = pass_content(kind, data, at)
                    if kind == TYPE:
                        types.add((client, clock))
                    elif kind == FORMAT and not info & RIGHT_ORIGIN:
                        marks.append((client, clock))
            if not length:
                raise BadUpdate("a struct of length zero")
            end = clock + length
            if end > MAX_CLOCK:
                raise BadUpdate("a clock is out of range")
            if info & KEY and length > 1:
                values.append((client, clock, end))
            if info & RIGHT_ORIGIN:
                before.extend(refs)
            elif info & ORIGIN:
                after.append(((client, clock, end), refs[0]))
            elif info & KEY:
                keyed.append((client, clock, end))
            if blocks is not None:
                structs.append(Struct(clock, end, first, body, at, refs, info))
            if kind == SKIP:
                if clock > begin:
                    runs.append((client, begin, clock))
                begin = end
            clock = end
        if clock > begin:
            runs.append((client, begin, clock))
        if blocks is not None:
            blocks.append((client, structs))
    clients, at = read_var_uint(data, at) if deletes else (0, len(data))
    announced = 0
    for _ in range(clients):
        client, at = read_var_uint(data, at)
        count, at = read_var_uint(data, at)
        announced += count
        _check(announced, most and most.ranges, "deleted ranges")
        for _ in range(count):
            clock, at = read_var_uint(data, at)
            length, at = read_var_uint(data, at)
            if clock + length > MAX_CLOCK:
                raise BadUpdate("a deleted range is out of range")
            if not length:
                raise BadUpdate("a deleted range of length zero")
            deleted.append((client, clock, clock + length))
    if at != len(data):
        raise BadUpdate(f"{len(data) - at} bytes follow the update")
    parents -= types
    return Extent(
        tuple(runs),
        tuple(deleted),
        needs,
        not foreign.isdisjoint(seen),
        len(types),
        tuple(_within(parents, runs)),
        tuple(living(values, deleted)) if values else (),
        tuple(keyed),
        tuple(after),
        tuple(before),
        tuple(marks),
        longest,
    )


def _check(announced: int, most: int | None, what: str) -> None:
    if most is not None and announced > most:
        raise BadUpdate(f"an update has more than {most} {what}")


def living(values: Iterable[Range], deletes: Iterable[Range]) -> list[Range]:
    """Those of `values` that are not deleted in whole."""
    deleted: dict[int, list[tuple[int, int]]] = {}
    for client, start, end in deletes:
        deleted.setdefault(client, []).append((start, end))
    for ranges in deleted.values():
        ranges.sort()
    found = []
    for client, begin, end in values:
        start, near = begin, deleted.get(client, [])
        nth = max(0, bisect_right(near, start, key=itemgetter(0)) - 1)
        while nth < len(near) and near[nth][0] <= start < end:
            start = max(start, near[nth][1])
            nth += 1
        if start < end:
            found.append((client, begin, end))
    return found


def _within(points: set[Point], runs: list[Range]) -> list[Point]:
    """Those of `points` that lie in `runs`. Most updates have one run, and none of either is long."""
    if not points:
        return []
    of_client: dict[int, list[Range]] = {}
    for run in runs:
        of_client.setdefault(run[0], []).append(run)
    found = []
    for point in points:
        near = of_client.get(point[0], [])
        nth = bisect_right(near, point[1], key=itemgetter(1)) - 1
        if nth >= 0 and point[1] < near[nth][2]:
            found.append(point)
    return found
