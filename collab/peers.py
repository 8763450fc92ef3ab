"""What a room tells about changes, and what it owes to one who cannot keep up. Synchronous; no I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from .errors import CollabError

T = TypeVar("T")


class Change(NamedTuple):
    """One sender's update, as the document took it in."""

    update: bytes
    sender: Peer | None


@dataclass(slots=True)
class Tick:
    """What happened to a room in one turn of the event loop.

    Args:
        changes: Each sender's raw update, in the order in which they were applied. The journal keeps these.
        merged: The same as one update (or few, when the application edited the document itself). Everybody else
            gets these.
        sole: The one peer that all changes came from, if there is one: it knows them already.
        presence: An awareness update with the states that changed, or None.
        ids: Whose states these are; every seat asks whether its own is one of them.
        wall: The time, in seconds since the epoch. Recorded, never used for order.
        begun: The clocks that the tick moved, as they were (client id -> next clock).
        vector: Makes the state vector that the room had when some of its clocks were still those. It costs: there is an
            entry for every client that ever wrote.
        own: How many bytes of `presence` each peer said itself.
        frames: What a dialect has made of this tick: encoded once, shared by all its sockets.
    """

    changes: tuple[Change, ...]
    merged: tuple[bytes, ...]
    sole: Peer | None
    presence: bytes | None
    ids: Collection[int]
    wall: float
    begun: Mapping[int, int]
    vector: Callable[[Mapping[int, int]], bytes]
    own: Mapping[object, int] = field(default_factory=dict)
    frames: dict[str, tuple[bytes, ...]] = field(default_factory=dict)

    def before(self) -> bytes:
        """The room's state vector before the tick."""
        return self.vector(self.begun)


class Peer(Protocol):
    """Anything that a room tells about changes: a client's seat, the journal, another instance.

    No method may raise, block or call back into the room; each returns at once. The room promises that every change is
    in exactly one tick. It does not promise that a peer sees each tick: one that joins late starts with the state.

    Attributes:
        backstage: Hears only what came from the front, never what another backstage peer said.
        author: Who sits here, or None.
        may_write: Whether updates from here may change the document.
    """

    backstage: bool
    author: str | None
    may_write: bool

    def take(self, tick: Tick) -> None:
        """Something changed."""

    def ask(self, state_vector: bytes) -> None:
        """The room lacks something that this peer has built on: it should be asked for all since `state_vector`."""

    def refuse(self, error: CollabError) -> None:
        """An update of this peer was not taken in and never will be."""


class Backlog(Generic[T]):
    """The lag rule: what a peer has not been given yet, in bounded memory.

    A CRDT tolerates late and repeated updates, never a missing one. So when more than `limit` bytes wait, they are all
    thrown away and replaced by `since`, the state vector from before the first of them: whenever the peer can take data
    again, one update, the difference since then, is all it needs. Of presence only the newest state of each client
    matters, so there the ids are kept.
    """

    __slots__ = ("_begun", "_merged", "bytes", "ids", "items", "limit", "since")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: deque[T] = deque()
        self.bytes = 0
        self.since: bytes | None = None
        self.ids: set[int] = set()
        self._begun: dict[int, int] = {}
        self._merged: Mapping[int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.items) or self.since is not None or bool(self.ids)

    def add(self, item: T, size: int, begun: Mapping[int, int], vector: Callable[[Mapping[int, int]], bytes]) -> bool:
        """Keep `item` (`size` bytes) for later; `begun` and `vector` are those of its tick.

        Returns True when this was one too many and the peer is now owed a difference instead.
        """
        if self.since is not None:
            return False
        if not self.items:
            self._begun = dict(begun)
        elif begun is not self._merged:  # once for all that one tick has for us
            for client, clock in begun.items():
                self._begun.setdefault(client, clock)
        self._merged = begun
        self.items.append(item)
        self.bytes += size
        if self.bytes <= self.limit:
            return False
        self.owe(vector(self._begun))
        return True

    def owe(self, since: bytes) -> None:
        """From now on the peer is owed all since the state vector `since`; what waited is part of that."""
        self.items.clear()
        self.bytes = 0
        self.since = since

    def take(self) -> list[T]:
        """All items, which no longer wait."""
        items = list(self.items)
        self.items.clear()
        self.bytes = 0
        return items

    def pop(self, size: Callable[[T], int]) -> T:
        """The oldest item, which no longer waits."""
        item = self.items.popleft()
        self.bytes -= size(item)
        return item

    def clear(self) -> None:
        """Nothing is owed any more."""
        self.items.clear()
        self.bytes = 0
        self.since = None
        self.ids.clear()
