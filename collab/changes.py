"""Which senders had part in what a document reports as new. Synchronous: no I/O, no clock."""

from __future__ import annotations

from .gaps import Incoming
from .peers import Change
from .wire.vet import Extent, Range


def authored(applied: list[Incoming], events: list[bytes], news: list[Extent], begun: dict[int, int]) -> list[Change]:
    """The updates that had part in what the document reports as new: what the journal keeps, each with its sender."""
    if not events:
        return []
    if len(applied) == 1 and len(events) == 1:
        # A sync step 2 repeats every deletion there ever was; the event says what of it was new, for the same sender.
        return [Change(min(applied[0].update, events[0], key=len), applied[0].sender)]
    deleted: dict[int, Range] = {}
    for extent in news:
        for client, start, end in extent.deletes:
            _, first, last = deleted.get(client, (client, start, end))
            deleted[client] = client, min(first, start), max(last, end)
    return [Change(item.update, item.sender) for item in applied if _has_news(item.extent, begun, deleted)]


def _has_news(extent: Extent, begun: dict[int, int], deleted: dict[int, Range]) -> bool:
    """Whether an update has a struct that is new, or a deletion close to one that is (rather once too often)."""
    for client, _, end in extent.structs:  # a generator takes longer than all else, for a letter
        if client in begun and end > begun[client]:
            return True
    return any(
        start < deleted[client][2] and deleted[client][1] < end
        for client, start, end in extent.deletes
        if client in deleted
    )
