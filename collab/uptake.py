"""How what arrived becomes part of the document. Synchronous: no I/O, no asyncio, no clock.

Three ways, the cheapest first: letters are taken in late, without the document (`Replica.take_late`); one update by
itself in a transaction of its own (`Replica.apply_plain`); and everything else in one transaction for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .changes import authored
from .errors import BadUpdate, TooMany
from .fence import Panic, fenced
from .gaps import Gaps, Incoming, Receipt
from .peers import Change, Peer
from .replica import Replica
from .wire import vet
from .wire.keystroke import Typed
from .wire.structs import Point
from .wire.vet import Extent

LOOKS = 10
"""How often one client may make the whole document be looked at (`wire/nesting.py`), each time for up to a second.
Editors come to it once in some hundred shared types that they put beside letters, if at all."""

Taken = tuple[list[Change], list[bytes], list[Peer]]
"""What was really taken in of each sender, what the document reports, and who is to be asked for what it lacks."""


class Panicked(Panic):
    """yrs panicked inside a tick. Who is to blame is not known yet.

    Args:
        updates: All that the tick was about, in order.
    """

    def __init__(self, updates: list[Incoming], panic: Panic) -> None:
        super().__init__(panic)
        self.cause = panic.cause
        self.updates = updates


class Uptake:
    """The way into one room's document.

    Args:
        replica: The document.
        gaps: The updates that wait for what they build on.

    Attributes:
        settled: The receipts of what was taken in, and not told yet.
    """

    def __init__(self, replica: Replica, gaps: Gaps) -> None:
        self.settled: list[Receipt] = []
        self._replica = replica
        self._gaps = gaps
        self._looks = replica.looks
        self._lookers: dict[Peer, int] = {}

    def take_in(self, inbox: list[Incoming], begun: dict[int, int]) -> Taken:
        """Take in `inbox`; `begun` gets the clocks that moved, as they were.

        Raises:
            Panicked: yrs panicked. The room needs a new document (`Replica.replace`).
        """
        late = 0
        if not self._gaps:  # which may wait for them
            take_late = self._replica.take_late
            try:
                for item in inbox:
                    if not take_late(item.update, item.extent, begun):
                        break
                    late += 1
                    if item.receipt is not None:
                        self.settled.append(item.receipt)
            except Panic as panic:
                self.settled.clear()
                raise Panicked(inbox, panic) from panic
        if not late:
            return self._apply(inbox, begun)
        first, rest = inbox[:late], inbox[late:]
        changes = [Change(item.update, item.sender) for item in first]
        events = [first[0].update if late == 1 else _joined(first)]
        if not rest:
            return changes, events, []
        then: dict[int, int] = {}
        try:
            more, told, lacking = self._apply(rest, then)
        except Panicked as panic:
            raise Panicked(first + panic.updates, panic) from panic
        for client, clock in then.items():
            begun.setdefault(client, clock)
        return changes + more, events + told, lacking

    def _apply(self, inbox: list[Incoming], begun: dict[int, int]) -> Taken:
        """Apply `inbox`, and what then fits of the held updates, in one transaction."""
        applied: list[Incoming] = []
        lacking: dict[Peer, None] = {}
        replica = self._replica
        place = 0
        try:
            replica.catch_up()  # before these are in hand: one thing at a time
            place = replica.hand.hold([item.update for item in inbox])
            events = self._apply_plain(inbox, begun)
            if events is not None:
                if len(events) == 1 and events[0] == inbox[0].update:
                    return [Change(events[0], inbox[0].sender)], events, []
                applied = list(inbox)
            else:
                with replica.recording() as events:
                    queue = deque(inbox)
                    while cut := fenced(self._transact, queue, inbox, applied, lacking, begun):
                        fenced(self._mend, queue, cut)
            known = {item.update: item.extent for item in applied[:1]}  # one keystroke alone: the event is the update
            try:
                news = [known.get(event) or vet.parse(event) for event in events]
                changes = authored(applied, events, news, begun)
                if not replica.as_foreseen(news, begun):
                    changes = self._surprised(applied, events, news, begun)
            except BadUpdate:  # yrs cannot write down what it took in (a character cut in two): what came in is right
                changes = [Change(item.update, item.sender) for item in applied]
                events = [change.update for change in changes]
        except Panic as panic:
            self.settled.clear()  # they come again with their updates
            raise Panicked(list(dict.fromkeys(inbox)), panic) from panic
        finally:
            replica.hand.drop(place)
        return changes, events, [peer for peer in lacking if self._gaps.waits(peer)]

    def _apply_plain(self, inbox: list[Incoming], begun: dict[int, int]) -> list[bytes] | None:
        """A third of the time, where that is enough (`Replica.apply_plain`): one update, and none that waits for it."""
        if len(inbox) != 1 or self._gaps:
            return None
        item = inbox[0]
        events = self._replica.apply_plain(item.update, item.extent, begun)
        if events is not None and item.receipt is not None:
            self.settled.append(item.receipt)
        return events

    def _surprised(
        self, applied: list[Incoming], events: list[bytes], news: list[Extent], begun: dict[int, int]
    ) -> list[Change]:
        """What the updates' structure let expect is not what the document reports. Its word counts."""
        self._replica.surprised(news, begun)
        for item in applied:  # all that it builds on was there, so nobody can help it by sending more
            if item.sender is not None and not item.extent.within(self._replica.clocks):
                self._refuse(item, BadUpdate("the document does not take this update in whole"))
        return [Change(event, None) for event in events]

    def _refuse(self, item: Incoming, error: BadUpdate) -> None:
        if item.receipt is not None:
            self.settled.remove(item.receipt)
        if item.sender is not None:
            item.sender.refuse(error)

    def _mend(self, queue: Iterable[Incoming], points: set[Point]) -> None:
        """Turn the characters at `points`, and what else `queue` cuts in two, into what Yjs makes of them."""
        items = list(queue)
        for item, update in zip(items, self._replica.mend(points, [item.update for item in items]), strict=True):
            item.update = update

    def _transact(
        self,
        queue: deque[Incoming],
        inbox: list[Incoming],
        applied: list[Incoming],
        lacking: dict[Peer, None],
        begun: dict[int, int],
    ) -> set[Point]:
        """Apply `queue` as far as it goes: up to where characters of the document are cut in two, which it returns."""
        replica, clocks, settled = self._replica, self._replica.clocks, self.settled
        if self._gaps:  # the application may have closed one, or a room that was read anew
            self._release(self._gaps.closed(clocks), queue, inbox)
        with replica.doc.transaction():
            while queue:
                item = queue.popleft()
                part = item
                if lacks := item.extent.missing(clocks):
                    part = _that_fits(item, clocks)
                here, part.update = replica.cuts(part.update)
                if here:
                    queue.appendleft(item)
                    return here
                if lacks:
                    self._hold(item, lacking)
                elif item.receipt is not None:
                    settled.append(item.receipt)
                if part.update == vet.EMPTY:
                    continue
                try:
                    moved = replica.apply(part.update, part.extent, begun)
                except BadUpdate as error:
                    self._refuse(part, error)
                    continue
                finally:
                    self._count_looks(part.sender)
                applied.append(part)
                if moved and self._gaps:
                    authors = {client for client, _, _ in part.extent.structs}
                    self._release(self._gaps.closed(clocks, authors), queue, inbox)
        return set()

    def _count_looks(self, sender: Peer | None) -> None:
        """Whoever makes the whole document be looked at, again and again, is sent away for a while."""
        looks, self._looks = self._replica.looks - self._looks, self._replica.looks
        if looks > 0 and sender is not None:
            self._lookers[sender] = self._lookers.get(sender, 0) + looks
            if self._lookers[sender] > LOOKS:
                sender.refuse(TooMany("looks at the whole document", LOOKS))

    def forget(self, peer: Peer) -> None:
        """`peer` is gone."""
        self._lookers.pop(peer, None)

    def _release(self, closed: list[Incoming], queue: deque[Incoming], inbox: list[Incoming]) -> None:
        """These come next."""
        inbox += closed  # they wait nowhere else any more
        queue.extendleft(reversed(closed))

    def _hold(self, item: Incoming, lacking: dict[Peer, None]) -> None:
        self._gaps.hold(item, self._replica.clocks)
        if item.sender is not None:
            lacking[item.sender] = None


def _that_fits(item: Incoming, clocks: dict[int, int]) -> Incoming:
    """The part of an update that a document with `clocks` can take in."""
    found, item.fits = item.fits, None
    if found is None or found[1].missing(clocks):  # the room was read anew since
        update = vet.split(item.update, clocks)
        found = update, vet.parse(update)
    return Incoming(*found, item.sender)


def _joined(items: list[Incoming]) -> bytes:
    """One update that says what these say, which all add letters."""
    typed = Typed()
    for item in items:
        typed.add(item.update, *item.extent.structs[0])
    return typed.joined()
