"""Sets of clocks: which characters and types of a document something is about."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator

from ..wire.structs import Point, Range


class Ranges:
    """A set of (client id, clock), kept as runs that neither overlap nor touch."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._runs: dict[int, list[tuple[int, int]]] = {}
        for client, start, end in sorted(ranges):
            runs = self._runs.setdefault(client, [])
            if runs and runs[-1][1] >= start:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            else:
                runs.append((start, end))

    def __contains__(self, point: Point) -> bool:
        runs = self._runs.get(point[0])
        if runs is None:
            return False
        nth = bisect_right(runs, (point[1], 1 << 62)) - 1
        return nth >= 0 and point[1] < runs[nth][1]

    def __iter__(self) -> Iterator[Range]:
        for client, runs in self._runs.items():
            for start, end in runs:
                yield client, start, end

    def __bool__(self) -> bool:
        return bool(self._runs)

    def claim(self, client: int, start: int, end: int) -> list[Range]:
        """Add a range; returns the parts of it that were not there before."""
        runs = self._runs.setdefault(client, [])
        nth = bisect_right(runs, (start, 1 << 62)) - 1
        if nth < 0 or runs[nth][1] < start:
            nth += 1
        new: list[Range] = []
        first, at, last = start, start, nth
        to = end
        while last < len(runs) and runs[last][0] <= end:
            if runs[last][0] > at:
                new.append((client, at, runs[last][0]))
            first, to = min(first, runs[last][0]), max(to, runs[last][1])
            at = max(at, runs[last][1])
            last += 1
        if at < end:
            new.append((client, at, end))
        runs[nth:last] = [(first, to)]
        return new

    def minus(self, other: Ranges) -> Ranges:
        """What is in this set and not in `other`."""
        found: list[Range] = []
        for client, start, end in self:
            theirs = other._runs.get(client, [])
            nth = max(0, bisect_right(theirs, (start, 1 << 62)) - 1)
            while nth < len(theirs) and theirs[nth][0] < end and start < end:
                if theirs[nth][0] > start:
                    found.append((client, start, theirs[nth][0]))
                start = max(start, theirs[nth][1])
                nth += 1
            if start < end:
                found.append((client, start, end))
        return Ranges(found)


class Owned:
    """What belongs to each range; the first that claims a clock keeps it."""

    def __init__(self) -> None:
        self._taken = Ranges()
        self._runs: dict[int, list[tuple[int, int, int]]] = {}

    def claim(self, client: int, start: int, end: int, owner: int) -> None:
        """What of the range has no owner yet is `owner`'s."""
        for _, begin, to in self._taken.claim(client, start, end):
            runs = self._runs.setdefault(client, [])
            if runs and runs[-1][1] == begin and runs[-1][2] == owner:
                runs[-1] = (runs[-1][0], to, owner)
            elif not runs or runs[-1][0] < begin:
                runs.append((begin, to, owner))
            else:
                insort(runs, (begin, to, owner))

    def of(self, point: Point) -> int | None:
        """Whose a clock is; None when nobody claimed it."""
        runs = self._runs.get(point[0], [])
        nth = bisect_right(runs, (point[1], 1 << 62, 0)) - 1
        return runs[nth][2] if nth >= 0 and point[1] < runs[nth][1] else None

    def __iter__(self) -> Iterator[tuple[Range, int]]:
        for client, runs in self._runs.items():
            for start, end, owner in runs:
                yield (client, start, end), owner
