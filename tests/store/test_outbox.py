"""Which stores have an outbox."""

from __future__ import annotations

from collab.store import open_store
from collab.store.memory import MemoryStore
from collab.store.outbox import Event, outbox_of


class Without(MemoryStore):
    """A store of somebody else, who never heard of outboxes."""

    def __init__(self) -> None:
        super().__init__()
        del self.outbox


def test_which_stores_have_one(tmp_path):
    assert outbox_of(open_store("memory:")) is not None
    assert outbox_of(open_store(f"sqlite:///{tmp_path}/rooms.db")) is not None
    assert outbox_of(Without()) is None


def test_names_are_what_receivers_compare_with():
    assert [event.value for event in Event] == [
        *("document.changed", "document.restored", "snapshot.made", "room.created", "room.deleted"),
        *("client.joined", "client.left", "test"),
    ]
