"""Whose each part of a document is: which row of the log brought it, and which row deleted it.

It is the first row that brings a range of ids that wrote it: a client that offers the others' content again (sync
step 2) is not its author, and no more has it deleted what others had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import BadUpdate
from ..store import Kind, Row, State
from ..wire.structs import Point, Range
from .items import Items, Layer
from .ranges import Owned, Ranges


class Credits:
    """Who wrote and who deleted what, from a stored state on.

    Args:
        start: A stored state. What it holds was written before, nobody knows by whom.
        rows: The log after it.
        now: The document after the last row that counts; later ones, and those that no room takes, are passed over.

    Attributes:
        layers: The updates of those rows, `start` first.
        written: The row (by its place in `rows`) that brought each part; `BEFORE` for what stands in `start`.
        deleted: The row that deleted each part; `BEFORE` for what was deleted in `start`.
    """

    def __init__(self, start: State, rows: Sequence[Row], now: State) -> None:
        self._rows = rows
        first = Layer.of(start.whole)
        self.layers = [first]
        self.written = Owned()
        self.deleted = Owned()
        self._claim(self.written, first.extent.structs, BEFORE)
        self._claim(self.deleted, first.dead(), BEFORE)
        for place, row in enumerate(rows):
            if not start.covers < row.seq <= now.covers or row.seq in now.poison:
                continue
            try:
                layer = Layer.of(row.update)
            except BadUpdate:
                continue
            self.layers.append(layer)
            self._claim(self.written, layer.extent.structs, place)
            self._claim(self.deleted, layer.dead(), place)

    @staticmethod
    def _claim(owned: Owned, ranges: Iterable[Range], owner: int) -> None:
        for client, begin, end in ranges:
            owned.claim(client, begin, end, owner)

    def writer(self, point: Point) -> Row | None:
        """The row that brought a part; None when that was before the log began."""
        return self._row(self.written.of(point))

    def deleter(self, point: Point) -> Row | None:
        """The row that deleted a part; None when nobody says so: it went with what it stood in, or was overtaken."""
        return self._row(self.deleted.of(point))

    def _row(self, place: int | None) -> Row | None:
        return None if place is None or place == BEFORE else self._rows[place]

    def items(self, now: Layer) -> Items:
        """All parts that ever were, cut where they have different authors; what lives as it stands in `now`."""
        edges = [range_ for owned in (self.written, self.deleted) for range_, _ in owned]
        return Items([now, *self.layers], edges)

    def of(self, owned: Owned, places: set[int]) -> Ranges:
        """What belongs to some of the rows."""
        return Ranges(range_ for range_, owner in owned if owner in places)


BEFORE = -1
"""The owner of what was there before the log began."""


def author_of(row: Row | None) -> str | None:
    """Whose a row is. A merged one holds what several people did, under no name."""
    return None if row is None or row.kind == Kind.MERGED else row.author
