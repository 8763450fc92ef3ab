"""What taking in a long update needs to know of it beside its extent, found before and on another thread.

What was found is kept beside what it is about, and counts if nothing that it depends on has changed when that update is
taken in; else it is found once more there.
"""

from __future__ import annotations

from collections.abc import Mapping

from .halves import Pairs
from .keyed import Keyed
from .nesting import Nesting
from .structs import Extent


def look(
    pairs: Pairs, nesting: Nesting, keyed: Keyed, update: bytes, extent: Extent, clocks: Mapping[int, int]
) -> None:
    """Look through an update that fits a document.

    Args:
        pairs, nesting, keyed: What is known of the document.
        update: The update.
        extent: What it covers and needs.
        clocks: What the document has. It may go on changing.
    """
    pairs.look(update, clocks)
    keyed.look(extent, clocks)
    if extent.types:
        nesting.look(update, clocks)


def overlook(pairs: Pairs, nesting: Nesting, keyed: Keyed) -> None:
    """The update was taken in, or will not be: what was found has the size of it."""
    pairs.overlook()
    nesting.overlook()
    keyed.overlook()
