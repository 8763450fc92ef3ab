"""Two sequences side by side: what they share, in order.

Their beginnings and ends are compared first; then what comes just once in each ties them together (Bram Cohen's
patience diff); what lies between is compared in full while it is short, and counts as replaced when it is not. So it
takes about as long as the sequences are, whatever stands in them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

MOST = 250_000
"""So many pairs are compared in full: about a tenth of a second."""


class Block(NamedTuple, Generic[T]):
    """Some of the old beside some of the new: `same` throughout, or the one replaced by the other."""

    same: bool
    old: Sequence[T]
    new: Sequence[T]


def aligned(old: Sequence[T], new: Sequence[T], key: Callable[[T], Hashable]) -> Iterator[Block[T]]:
    """Both sequences, in order, as blocks; what is the same has the same `key`."""
    mine, theirs = [key(one) for one in old], [key(one) for one in new]
    at = to = 0
    for start, begin, size in [*_matches(mine, theirs), (len(mine), len(theirs), 0)]:
        if start > at or begin > to:
            yield Block(False, old[at:start], new[to:begin])
        if size:
            yield Block(True, old[start : start + size], new[begin : begin + size])
        at, to = start + size, begin + size


def _matches(mine: list[Hashable], theirs: list[Hashable]) -> list[tuple[int, int, int]]:
    """Where the same stands in both, as (place, place, length), in order."""
    found: list[tuple[int, int, int]] = []
    waiting = [(0, len(mine), 0, len(theirs))]
    while waiting:
        start, end, begin, to = waiting.pop()
        first = 0
        while start + first < end and begin + first < to and mine[start + first] == theirs[begin + first]:
            first += 1
        last = 0
        while (
            end - last > start + first and to - last > begin + first and mine[end - last - 1] == theirs[to - last - 1]
        ):
            last += 1
        if first:
            found.append((start, begin, first))
        if last:
            found.append((end - last, to - last, last))
        start, begin, end, to = start + first, begin + first, end - last, to - last
        if start == end or begin == to:
            continue
        if (end - start) * (to - begin) <= MOST:
            blocks = SequenceMatcher(None, mine[start:end], theirs[begin:to], autojunk=False).get_matching_blocks()
            found += [(start + one, begin + other, size) for one, other, size in blocks if size]
            continue
        ties = _ties(mine[start:end], theirs[begin:to])
        if ties:
            edges = [(start, begin), *((start + one, begin + other) for one, other in ties), (end, to)]
            waiting += [(a, b, c, d) for (a, c), (b, d) in zip(edges, edges[1:], strict=False)]
    found.sort()
    return found


def _ties(mine: list[Hashable], theirs: list[Hashable]) -> list[tuple[int, int]]:
    """The longest row of pairs that come once in each, in the order of both."""
    once = [{one for one, count in Counter(some).items() if count == 1} for some in (mine, theirs)]
    places = {one: nth for nth, one in enumerate(theirs) if one in once[1]}
    pairs = [(nth, places[one]) for nth, one in enumerate(mine) if one in once[0] and one in places]
    ends: list[int] = []  # for each length, the smallest place in which a row of that length ends
    tops: list[int] = []
    before: list[int] = []
    for nth, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        before.append(tops[length - 1] if length else -1)
        ends[length : length + 1] = [place]
        tops[length : length + 1] = [nth]
    row = []
    nth = tops[-1] if tops else -1
    while nth >= 0:
        row.append(pairs[nth])
        nth = before[nth]
    return row[::-1]
