"""Updates that build on something which is not here yet, and when to ask for it. Synchronous; no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from .peers import Peer
from .wire.vet import Extent

ASK_SECONDS = 1.0
"""How soon a peer is asked again for what the room lacks; doubled each time, up to `ASK_MAX_SECONDS`."""
ASK_MAX_SECONDS = 30.0


class Receipt(Protocol):
    """What somebody who wants to know gives along with an update."""

    def settled(self) -> None:
        """The document has the update in whole, and all peers were told; the store may not have it yet."""

    def adrift(self) -> None:
        """The update was let go. Its sender has it still, and will be asked for all that the room lacks."""


@dataclass(slots=True, eq=False)
class Incoming:
    """One vetted update on its way into the document."""

    update: bytes
    extent: Extent
    sender: Peer | None
    receipt: Receipt | None = None


@dataclass(slots=True, eq=False)
class _Held:
    """An update that waits until the document has reached `clock` of `client`."""

    item: Incoming
    client: int
    clock: int


@dataclass(slots=True)
class _Asked:
    """When a peer may be asked again, and how long to wait after that (seconds)."""

    at: float
    delay: float


class Gaps:
    """The updates of one room that wait for what they build on.

    Past a limit the oldest is let go. Nothing is lost by it: its sender still has it, and is asked for all that the
    room lacks. The same rule as for peers that lag behind, the other way round.

    Args:
        max_updates: How many may wait.
        max_bytes: How many bytes these may have.

    Attributes:
        total: How many there have been since the room was opened.
    """

    def __init__(self, max_updates: int, max_bytes: int) -> None:
        self.max_updates = max_updates
        self.max_bytes = max_bytes
        self.total = 0
        self._held: deque[_Held] = deque()
        self._let_go: set[Peer] = set()
        self._bytes = 0
        self._asked: dict[Peer, _Asked] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, item: Incoming, clocks: Mapping[int, int]) -> None:
        """Keep `item`, which lacks something of a document with `clocks`, until it fits."""
        lacks = item.extent.lacks(clocks)
        assert lacks is not None
        self.total += 1
        self._held.append(_Held(item, *lacks))
        self._bytes += len(item.update)
        while len(self._held) > self.max_updates or self._bytes > self.max_bytes:
            gone = self._held.popleft().item
            self._bytes -= len(gone.update)
            if gone.sender is not None:
                self._let_go.add(gone.sender)
            if gone.receipt is not None:
                gone.receipt.adrift()

    def closed(self, clocks: Mapping[int, int]) -> list[Incoming]:
        """The updates that fit a document with `clocks`, oldest first; they wait no longer."""
        ready: list[Incoming] = []
        for held in self._held:
            if clocks.get(held.client, 0) >= held.clock:  # most wait for somebody else: one look tells
                lacks = held.item.extent.lacks(clocks)
                if lacks is None:
                    ready.append(held.item)
                else:
                    held.client, held.clock = lacks
        if ready:
            taken = set(ready)
            self._held = deque(held for held in self._held if held.item not in taken)
            self._bytes = sum(len(held.item.update) for held in self._held)
            for item in ready:
                if item.sender is not None:
                    self._asked.pop(item.sender, None)
        return ready

    def due(self, peer: Peer, now: float) -> bool:
        """Whether to ask `peer` now. Not again and again: its answer may have the same gap."""
        asked = self._asked.get(peer)
        if asked is None:
            self._asked[peer] = _Asked(now + ASK_SECONDS, ASK_SECONDS)
        elif now < asked.at:
            return False
        else:
            asked.delay = min(2 * asked.delay, ASK_MAX_SECONDS)
            asked.at = now + asked.delay
        self._let_go.discard(peer)
        return True

    def waits(self, peer: Peer) -> bool:
        """Whether something that `peer` sent waits, or was let go since it was asked."""
        return peer in self._let_go or any(held.item.sender is peer for held in reversed(self._held))

    def senders(self) -> set[Peer]:
        """Whose updates wait, or were let go since they were asked."""
        return {held.item.sender for held in self._held if held.item.sender is not None} | self._let_go

    def forget(self, peer: Peer) -> None:
        """`peer` is gone and cannot be asked; what it sent still waits."""
        self._asked.pop(peer, None)
        self._let_go.discard(peer)
