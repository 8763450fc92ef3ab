"""Who edited when, from the log alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..store import Kind, Row

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """Edits of one author between which no long time went by.

    Args:
        author: Who; None when nobody is known.
        begin: When the first of them came, in seconds since the epoch.
        end: When the last came.
        first: The sequence number of the first.
        last: That of the last; rows of others may lie between.
        edits: How many they are.
        bytes: How large they are together.
    """

    author: str | None
    begin: float
    end: float
    first: int
    last: int
    edits: int
    bytes: int


def activity(rows: Sequence[Row], gap: float = 10.0) -> list[Session]:
    """The sessions in `rows`, by the number of their first row.

    Args:
        rows: A part of the log, in order.
        gap: After so many minutes without an edit an author's next one begins another session.
    """
    found: list[Session] = []
    open_: dict[str | None, int] = {}
    for row in rows:
        author = None if row.kind == Kind.MERGED else row.author
        nth = open_.get(author)
        last = None if nth is None else found[nth]
        if nth is None or last is None or abs(row.time - last.end) > gap * MINUTE:
            open_[author] = len(found)
            found.append(Session(author, row.time, row.time, row.seq, row.seq, 1, len(row.update)))
            continue
        found[nth] = Session(
            author,
            min(last.begin, row.time),
            max(last.end, row.time),
            last.first,
            row.seq,
            last.edits + 1,
            last.bytes + len(row.update),
        )
    return found
