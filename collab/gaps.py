"""Updates that build on something which is not here yet, and when to ask for it. Synchronous; no clock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .peers import Peer
from .wire import vet
from .wire.vet import Extent

ASK_SECONDS = 1.0
"""How soon a peer is asked again for what the room lacks; doubled each time, up to `ASK_MAX_SECONDS`."""
ASK_MAX_SECONDS = 30.0

HELD_BYTES = 1024
"""What an update that waits takes at the least, its notes here included."""


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
    fits: tuple[bytes, Extent] | None = None
    """The part that fits, and what it covers, if that is known already."""


@dataclass(slots=True, eq=False)
class _Held:
    """An update that waits.

    Args:
        item: The update.
        bytes: What it takes.
        wants: What the document must have reached, as (client id, clock); the last is what it waits for now.
    """

    item: Incoming
    bytes: int
    wants: list[tuple[int, int]]


@dataclass(slots=True)
class _Share:
    """What waits of one sender: the numbers, oldest first, and the bytes."""

    numbers: dict[int, None] = field(default_factory=dict)
    bytes: int = 0


@dataclass(slots=True)
class _Asked:
    """When a peer may be asked again, and how long to wait after that (seconds)."""

    at: float
    delay: float


class Gaps:
    """The updates of one room that wait for what they build on.

    Past a limit one is let go: the oldest of the sender of whom most waits, so that nobody drives out what others sent.
    Nothing is lost by it: its sender still has it, and is asked for all that the room lacks. The same rule as for peers
    that lag behind, the other way round.

    Each waits in the line of one client for one of its clocks, so that a letter costs a look at one line, however many
    wait and however much these say.

    Args:
        max_updates: How many may wait.
        max_bytes: How many bytes these may take, with all that is known of them.

    Attributes:
        total: How many there have been since the room was opened.
        bytes: What those that wait take.
    """

    def __init__(self, max_updates: int, max_bytes: int) -> None:
        self.max_updates = max_updates
        self.max_bytes = max_bytes
        self.total = 0
        self.bytes = 0
        self._held: dict[int, _Held] = {}
        self._lines: dict[int, list[tuple[int, int]]] = {}  # client id -> (clock, number of the update), sorted
        self._shares: dict[Peer | None, _Share] = {}
        self._let_go: set[Peer] = set()
        self._asked: dict[Peer, _Asked] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, item: Incoming, clocks: Mapping[int, int]) -> None:
        """Keep `item`, which lacks something of a document with `clocks`, until it fits."""
        self.total += 1
        size = HELD_BYTES + len(item.update) + vet.weight(item.extent)
        if size > self.max_bytes:  # for its sake nothing else is let go
            self._lose(item)
            return
        held = _Held(item, size, list(vet.wants(item.extent).items()))
        found = self._line_up(self.total, held, clocks)
        assert found
        self._held[self.total] = held
        share = self._shares.setdefault(item.sender, _Share())
        share.numbers[self.total] = None
        share.bytes += size
        self.bytes += size
        while len(self._held) > self.max_updates or self.bytes > self.max_bytes:
            most = max(self._shares.values(), key=lambda share: share.bytes)
            self._lose(self._take(next(iter(most.numbers))).item)

    def closed(self, clocks: Mapping[int, int], moved: Iterable[int] | None = None) -> list[Incoming]:
        """The updates that fit a document with `clocks`, oldest first; they wait no longer.

        With `moved` only those clients' clocks are looked at: the others have not moved since the last time.
        """
        ready: list[int] = []
        for client in list(self._lines) if moved is None else moved:
            line, known = self._lines.get(client), clocks.get(client, 0)
            if line is None or line[0][0] > known:
                continue
            reached = bisect_right(line, known, key=_clock)
            numbers = [number for _, number in line[:reached]]
            del line[:reached]
            if not line:
                del self._lines[client]
            ready += [number for number in numbers if not self._line_up(number, self._held[number], clocks)]
        if not ready:
            return []
        items = [self._take(number).item for number in sorted(ready)]
        for item in items:
            if item.sender is not None:
                self._asked.pop(item.sender, None)
        return items

    def _line_up(self, number: int, held: _Held, clocks: Mapping[int, int]) -> bool:
        """Let it wait for the next thing that is not there; False when there is none, and it stands in no line."""
        wants = held.wants
        while wants:
            client, clock = wants[-1]
            if clock > clocks.get(client, 0):
                insort(self._lines.setdefault(client, []), (clock, number))
                return True
            wants.pop()
        return False

    def _take(self, number: int) -> _Held:
        """It waits no longer."""
        held = self._held.pop(number)
        self.bytes -= held.bytes
        sender = held.item.sender
        share = self._shares[sender]
        share.bytes -= held.bytes
        del share.numbers[number]
        if not share.numbers:
            del self._shares[sender]
        if held.wants:
            client, clock = held.wants[-1]
            line = self._lines[client]
            del line[bisect_left(line, (clock, number))]
            if not line:
                del self._lines[client]
        return held

    def _lose(self, item: Incoming) -> None:
        if item.sender is not None:
            self._let_go.add(item.sender)
        if item.receipt is not None:
            item.receipt.adrift()

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
        return peer in self._let_go or peer in self._shares

    def senders(self) -> set[Peer]:
        """Whose updates wait, or were let go since they were asked."""
        return {sender for sender in self._shares if sender is not None} | self._let_go

    def forget(self, peer: Peer) -> None:
        """`peer` is gone and cannot be asked; what it sent still waits."""
        self._asked.pop(peer, None)
        self._let_go.discard(peer)


def _clock(place: tuple[int, int]) -> int:
    return place[0]
