"""What is written of a table without a cell that stands for it: columns of wide cells, and what fills up short rows."""

from __future__ import annotations

from .prosemirror import Node

PER_CELL = 20
"""How many may be made up for each cell that is there."""
WIDEST = 1_000
"""Columns of one cell; browsers take no more."""


class Spare:
    """How many may still be made up in one table.

    A cell says in ten bytes that it is a thousand columns wide, and a row is filled up to the widest one of its table:
    without a bound that grows with what stands there, a small document is a page of hundreds of megabytes.

    Args:
        rows: The rows of the table.
        most: How many at most, however many cells there are; None: as many as they allow.
    """

    def __init__(self, rows: list[Node], most: int | None = None) -> None:
        allowed = PER_CELL * sum(len(row.get("content") or []) for row in rows)
        self._left = allowed if most is None else min(allowed, most)

    def take(self, wanted: int) -> int:
        """As many of these as there still may be."""
        given = max(0, min(wanted, self._left))
        self._left -= given
        return given


def columns(cell: Node) -> int:
    """How many columns a cell says that it covers."""
    span = (cell.get("attrs") or {}).get("colspan")
    return min(span, WIDEST) if isinstance(span, int) else 1
