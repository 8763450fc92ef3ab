"""Whose updates had part in what a document reports as new."""

from __future__ import annotations

from pycrdt import Array, Doc

from collab.changes import authored
from collab.gaps import Incoming
from collab.wire import vet


def incoming(update: bytes) -> Incoming:
    return Incoming(update, vet.parse(update), None)


def made(client: int, *values: str) -> list[bytes]:
    """The updates of somebody who adds these values to a list, one by one, and then takes the first away."""
    doc: Doc = Doc(client_id=client)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    for value in values:
        doc.get("list", type=Array).append(value)
    del doc.get("list", type=Array)[0]
    return updates


def told(updates: list[bytes], known: list[bytes]) -> list[bytes]:
    """Which of `updates` count, in a document that has the `known` ones."""
    doc: Doc = Doc()
    for update in known:
        doc.apply_update(update)
    begun = vet.parse_state_vector(doc.get_state())
    events: list[bytes] = []
    doc.observe(lambda event: events.append(event.update))
    with doc.transaction():
        for update in updates:
            doc.apply_update(update)
    events = [event for event in events if event != vet.EMPTY]
    news = [vet.parse(event) for event in events]
    moved = {client: begun.get(client, 0) for extent in news for client, _, _ in extent.structs}
    return [change.update for change in authored([incoming(update) for update in updates], events, news, moved)]


def test_all_that_was_new():
    a, b = made(1, "x", "y"), made(2, "z")
    assert told([*a, *b], []) == [*a, *b]


def test_what_was_known_counts_for_nobody():
    first, second, deletion = made(1, "x", "y")
    other = made(2, "z")[0]
    assert told([first, second, other], [first]) == [second, other]
    assert told([first, deletion, other], [first, second]) == [deletion, other]
    assert told([first, second], [first, second]) == []


def test_one_update_alone_is_told_in_fewer_words():
    """A sync step 2 repeats every deletion there ever was."""
    first, second, deletion = made(1, "x", "y")
    doc: Doc = Doc()
    for update in (first, second, deletion):
        doc.apply_update(update)
    [change] = told([doc.get_update()], [first, deletion])
    assert len(change) < len(doc.get_update())
