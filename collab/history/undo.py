"""Undo what one user did in a period, as one edit on top of all that came since.

What that user wrote and still stands is deleted, what that user deleted is brought back as a copy at its place
(`restore.py`). Where nobody else worked on the same parts, the document is then as if that user had not been there.
Where others did: what they wrote in a paragraph of that user goes with it, what they wrote in one that the user deleted
comes back with it, and the value of a key that they set or deleted since stays as they left it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..store import Row, State
from ..wire.structs import DELETED, GC
from .credits import Credits, author_of
from .items import Item, Layer, Parent
from .restore import changed


def by(author: str, since: float | None = None, until: float | None = None) -> Callable[[Row], bool]:
    """Whether a row is one of `author`'s, from the time `since` to `until` (seconds since the epoch, both included)."""

    def chosen(row: Row) -> bool:
        early = since is not None and row.time < since
        late = until is not None and row.time > until
        return author_of(row) == author and not early and not late

    return chosen


def undo(start: State, rows: Sequence[Row], now: State, chosen: Callable[[Row], bool]) -> bytes:
    """One update (v1) that takes the `chosen` rows back; `collab.wire.vet.EMPTY` when nothing of them is left.

    Args:
        start: A state from before those rows.
        rows: The log after it, up to `now`: all of it, be it undone or not.
        now: The document after the last of `rows`; it may be further, and what no row tells of it is left alone.
        chosen: Which rows to take back (`by`).

    Raises:
        BadMessage: A state is no well-formed update.
    """
    credits = Credits(start, rows, now)
    places = {place for place, row in enumerate(rows) if chosen(row)}
    allowed = {None, *places}
    layer = Layer.of(now.whole)
    lives = layer.lives()

    def is_ours(item: Item) -> bool:
        return credits.written.of(item.id) in places

    def is_back(item: Item) -> bool:
        """Whether what does not live would, if it were not for the chosen rows."""
        if item.kind in (GC, DELETED) or is_ours(item):
            return False
        ender = credits.deleted.of(item.id)
        if ender not in allowed:
            return False
        if ender is None and item.key is None and is_there(item.parent):
            return False  # nobody says that it was deleted, and it did not go with what it stood in
        newer = item.right if item.key is not None else None
        while newer is not None:
            theirs = newer.id not in lives and credits.deleted.of(newer.id) not in allowed
            if theirs or not is_ours(newer):
                return False
            newer = newer.right
        return True

    def is_there(parent: Parent | None) -> bool:
        return parent is None or isinstance(parent, str) or parent in lives

    def wanted(item: Item) -> bool:
        return not is_ours(item) if item.id in lives else is_back(item)

    why = ",".join(str(row.seq) for row in rows if chosen(row))
    return changed(credits.items(layer), layer, wanted, f"undo {why}".encode())


def taken_back(
    state: bytes,
    *,
    start: State,
    rows: Sequence[Row],
    last: int,
    poison: tuple[int, ...],
    author: str,
    since: float | None,
    until: float | None,
) -> bytes:
    """The update that takes back what `author` did in a period (`by`), for the document `state`, which holds the rows
    up to `last` except for `poison`. Otherwise as `undo`.
    """
    return undo(start, rows, State(state, last, poison), by(author, since, until))
