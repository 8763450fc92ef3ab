"""Characters that somebody cuts in two.

JavaScript counts UTF-16 code units. An emoji has two, and an editor may delete one of them, replace it, or write
between them (a text field that compares its value unit by unit does). Yjs then turns each half into U+FFFD. yrs cannot
hold half a character and cuts beside it; what it writes from then on says the wrong clocks: a letter beside the emoji
is gone for everybody who joins, or later edits pass for known ones. So the character is turned into two U+FFFD, as in
Yjs, before yrs sees the cut.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .lib0 import read_var_string, var_string
from .structs import ORIGIN, RIGHT_ORIGIN, STRING, Blocks, Extent, Point, Struct, blocks_of, walk

_ASTRAL = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
"""What a character of two code units looks like in UTF-8. Other bytes may look so, too: it is a first look."""


class _Look(NamedTuple):
    """What was found of an update: the clocks that its clients had then, what it cuts, and where its own pairs are."""

    update: bytes
    version: int
    clocks: Mapping[int, int]
    cut: set[Point]
    seconds: list[tuple[int, array[int]]]

    def fits(self, clocks: Mapping[int, int]) -> bool:
        """Whether its clients are still where they were."""
        return all(clocks.get(client, 0) == clock for client, clock in self.clocks.items())


class Pairs:
    """Where a document has characters of two code units: 4 bytes for each, sorted, per client.

    Deleted ones stay until somebody cuts them, which does no harm.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, array[int]] = {}
        self._version = 0
        self._look: _Look | None = None

    def __len__(self) -> int:
        return sum(map(len, self._seconds.values()))

    def __contains__(self, point: Point) -> bool:
        seconds = self._seconds.get(point[0])
        if seconds is None:
            return False
        at = bisect_left(seconds, point[1])
        return at < len(seconds) and seconds[at] == point[1]

    def concern(self, update: bytes) -> bool:
        """Whether an update has, or could cut, such a character. Most have none, in documents that have none."""
        return bool(self._seconds) or _ASTRAL.search(update) is not None

    def touched(self, update: bytes, extent: Extent) -> bool:
        """The same for an update that deletes nothing and repeats nothing, asked closely: what does it stand beside?"""
        if _ASTRAL.search(update) is not None and next(_seconds(update), None) is not None:
            return True  # and not only the id of its client looks like one, as one in 200 does
        if not self._seconds:
            return False
        return any((client, clock + 1) in self for _, (client, clock) in extent.after) or any(
            (client, clock) in self or (client, clock + 1) in self for client, clock in extent.before
        )

    def add(self, update: bytes, clocks: Mapping[int, int]) -> None:
        """Note the characters of an update that fits a document with `clocks`, which is about to take it in."""
        if _ASTRAL.search(update) is None:
            return
        look = self._look
        for client, seconds in look.seconds if look is not None and look.update is update else _seconds(update):
            new = bisect_left(seconds, clocks.get(client, 0) + 1)  # a client's clock only grows: these come behind
            if new < len(seconds):
                self._seconds.setdefault(client, array("I")).extend(seconds[new:])
        self._version += 1  # behind it: who looks meanwhile has the old one

    def merge(self, update: bytes) -> None:
        """Note the characters of any update, be they known already or come before known ones."""
        if _ASTRAL.search(update) is None:
            return
        for client, seconds in _seconds(update):
            known = self._seconds.setdefault(client, array("I"))
            if not known or seconds[0] > known[-1]:
                known.extend(seconds)
            else:
                self._seconds[client] = array("I", sorted({*known, *seconds}))
        self._version += 1

    def cut(self, update: bytes, clocks: Mapping[int, int]) -> set[Point]:
        """Which characters of a document that has `clocks`, or of its own, `update` cuts in two: their second half."""
        if not self.concern(update):
            return set()
        look = self._look
        if look is None or look.update is not update or look.version != self._version or not look.fits(clocks):
            look = self._looked(update, clocks)
        return look.cut

    def look(self, update: bytes, clocks: Mapping[int, int]) -> None:
        """Do what `cut` and `add` would have to, for an update that is long; may be on another thread.

        It counts if nothing that matters has changed when they are called for the same update. `overlook` lets it go.
        """
        if self.concern(update):
            self._look = self._looked(update, clocks)

    def overlook(self) -> None:
        """What was found of an update is not needed any more."""
        self._look = None

    def _looked(self, update: bytes, clocks: Mapping[int, int]) -> _Look:
        version = self._version
        blocks: Blocks = []
        extent = walk(update, blocks)
        there = {client: clocks.get(client, 0) for client, _ in blocks}
        found = _cuts(extent, blocks, there)
        cut = {point for point in found if point in self}
        seconds = list(_seconds_in(blocks, update)) if _ASTRAL.search(update) is not None else []
        cut |= found & {(client, clock) for client, own in seconds for clock in own}
        return _Look(update, version, there, cut, seconds)

    def forget(self, points: Iterable[Point]) -> None:
        """The characters at `points` are whole no more."""
        gone: dict[int, set[int]] = {}
        for client, clock in points:
            gone.setdefault(client, set()).add(clock)
        for client, clocks in gone.items():
            if client in self._seconds:
                left = array("I", (clock for clock in self._seconds[client] if clock not in clocks))
                if left:
                    self._seconds[client] = left
                else:
                    del self._seconds[client]
        self._version += 1


def pairs(update: bytes) -> set[Point]:
    """Where the characters of an update have their second half."""
    if _ASTRAL.search(update) is None:
        return set()
    return {(client, clock) for client, clocks in _seconds(update) for clock in clocks}


def cuts(update: bytes, clocks: Mapping[int, int]) -> set[Point]:
    """Where an update may cut what a document with `clocks` has: between (client, clock - 1) and (client, clock)."""
    blocks: Blocks = []
    return _cuts(walk(update, blocks), blocks, clocks)


def _cuts(extent: Extent, blocks: Blocks, clocks: Mapping[int, int]) -> set[Point]:
    found: set[Point] = set()
    for client, structs in blocks:
        known = clocks.get(client, 0)
        for struct in structs:
            if struct.start < known < struct.end:  # the first part of it is there already
                found.add((client, known))
            _add_references(struct, found)
    _add_deletions(extent, found)
    return found


def mended(update: bytes, points: Iterable[Point]) -> bytes:
    """The update with the characters at `points` turned into two U+FFFD each. Nothing else moves."""
    wanted: dict[int, list[int]] = {}
    for client, clock in sorted(points):
        wanted.setdefault(client, []).append(clock)
    if not wanted or _ASTRAL.search(update) is None:
        return update
    out, done = bytearray(), 0
    for client, structs in blocks_of(update):
        clocks = wanted.get(client)
        if clocks is None:
            continue
        for struct in structs:
            if struct.kind != STRING:
                continue
            inside = clocks[bisect_left(clocks, struct.start + 1) : bisect_left(clocks, struct.end)]
            if inside:
                out += update[done : struct.body]
                out += var_string(_with_halves(read_var_string(update, struct.body)[0], struct.start, inside))
                done = struct.to
    return bytes(out + update[done:])


def whole(updates: Sequence[bytes]) -> list[bytes]:
    """The same updates, mended wherever one of them cuts a character of another: for a log that is read at once."""
    updates = list(updates)
    known = Pairs()
    for update in updates:
        known.merge(update)
    if not known:
        return updates
    points: set[Point] = set()
    for update in updates:
        blocks: Blocks = []
        extent = walk(update, blocks)
        found: set[Point] = set()
        for client, structs in blocks:
            for struct in structs:
                found |= {(client, struct.start), (client, struct.end)}  # where another may begin, or have ended
                _add_references(struct, found)
        _add_deletions(extent, found)
        points.update(point for point in found if point in known)
    return [mended(update, points) for update in updates] if points else updates


def _add_references(struct: Struct, found: set[Point]) -> None:
    """The places that an item stands between."""
    if struct.info & ORIGIN and struct.refs:
        client, clock = struct.refs[0]
        found.add((client, clock + 1))
    if struct.info & RIGHT_ORIGIN and struct.refs:
        found.add(struct.refs[-1])


def _add_deletions(extent: Extent, found: set[Point]) -> None:
    for client, start, end in extent.deletes:
        found.add((client, start))
        found.add((client, end))


def _seconds(update: bytes) -> Iterator[tuple[int, array[int]]]:
    """For each client, the clocks of the second halves of its characters of two code units, in order."""
    return _seconds_in(blocks_of(update), update)


def _seconds_in(blocks: Blocks, update: bytes) -> Iterator[tuple[int, array[int]]]:
    for client, structs in blocks:
        clocks = array("I")
        for struct in structs:
            if struct.kind == STRING and _ASTRAL.search(update, struct.body, struct.to) is not None:
                clock = struct.start
                for char in read_var_string(update, struct.body)[0]:
                    clock += 1
                    if char > "\uffff":
                        clocks.append(clock)
                        clock += 1
        if clocks:
            yield client, clocks


def _with_halves(text: str, clock: int, seconds: Sequence[int]) -> str:
    """`text`, which begins at `clock`, with two U+FFFD for the characters whose second halves are at `seconds`."""
    halved = set(seconds)
    out = []
    for char in text:
        clock += 1
        if char > "\uffff":
            out.append("\ufffd\ufffd" if clock in halved else char)
            clock += 1
        else:
            out.append(char)
    return "".join(out)
