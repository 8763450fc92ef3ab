"""The core of a room: the document, who is here, and the tick. Synchronous: no I/O, no asyncio, no clock of its own.

All that arrives in one turn of the event loop is gathered (`receive`) and applied in one transaction (`tick`), which
yields one merged update for everybody. An update that builds on something which is not here yet never touches the
document as a whole: the part that fits is taken in, the rest is held for a while, and its sender is asked for all that
the room lacks. So the document never has pending parts, and what it reports is exactly what it took in.
"""

from __future__ import annotations

from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pycrdt import Doc, Subscription, TransactionEvent

from .errors import BadMessage, BadUpdate, Forbidden
from .fence import Panic, fenced
from .gaps import Gaps, Incoming
from .peers import Change, Peer, Tick
from .presence import Presence
from .wire import vet
from .wire.messages import Awareness, Message, QueryAwareness, SyncStep1, SyncStep2, Update
from .wire.vet import Extent, Range


class Panicked(Panic):
    """yrs panicked inside a tick. Who is to blame is not known yet.

    Args:
        updates: All that the tick was about, in order.
    """

    def __init__(self, updates: list[Incoming], panic: Panic) -> None:
        super().__init__(panic)
        self.cause = panic.cause
        self.updates = updates


class RoomCore:
    """One shared document and all who take part in it.

    Args:
        name: The room's exact name.
        doc: The document; nobody else may apply updates to it while a tick runs.
        presence: Who is here.
        wake: Called when there is something to do; `tick` should be called at the end of this turn of the event loop.
        held_updates: How many updates may wait for what they build on.
        held_bytes: How many bytes these may have.

    Attributes:
        clocks: What the document has: client id -> next clock.
        version: Grows with every change of the document.
        bytes: About how large the document is: what was loaded and all that came since.
        gaps: The updates that wait for what they build on.
    """

    def __init__(
        self,
        name: str,
        doc: Doc[Any] | None = None,
        *,
        presence: Presence | None = None,
        wake: Callable[[], object] = lambda: None,
        held_updates: int = 1_000,
        held_bytes: int = 8 * 2**20,
    ) -> None:
        self.name = name
        self.presence = Presence() if presence is None else presence
        self.peers: dict[Peer, None] = {}
        self.version = 0
        self.bytes = 0
        self.gaps = Gaps(held_updates, held_bytes)
        self.wake = wake
        self._woken = False
        self._inbox: list[Incoming] = []
        self._outside: list[bytes] = []
        self._events: list[bytes] = []
        self._moved: dict[int, None] = {}
        self._ticking = False
        self._full: tuple[int, bytes] = (-1, b"")
        self._subscription: Subscription | None = None
        self.doc: Doc[Any]
        self.clocks: dict[int, int]
        self.replace(Doc() if doc is None else doc)

    # ------------------------------------------------------------------ who takes part

    def join(self, peer: Peer) -> None:
        """From the next tick on `peer` is told what changes."""
        self.peers[peer] = None
        self.presence.enter(peer)

    def leave(self, peer: Peer, now: float) -> None:
        """`peer` is told nothing more, its presence ends, and what it sent is still taken in."""
        if peer in self.peers:
            del self.peers[peer]
            self.gaps.forget(peer)
            self.move(self.presence.leave(peer, now))

    # ------------------------------------------------------------------ what comes in

    def receive(self, peer: Peer, message: Message, now: float) -> Message | None:
        """Take in one message of `peer`; returns the answer, if there is one.

        This is the only place where write access is tested.

        Raises:
            BadMessage: The message is malformed. Nothing was changed.
            Forbidden: `peer` may not write.
        """
        match message:
            case Update(update) | SyncStep2(update):
                if not peer.may_write:
                    if update == vet.EMPTY:
                        return None
                    raise Forbidden("this connection may read only")
                if update != vet.EMPTY:
                    self._inbox.append(Incoming(update, vet.parse(update), peer))
                    self._rouse()
                return None
            case Awareness(update):
                self.move(self.presence.apply(update, peer, now))
                return None
            case SyncStep1(state_vector):
                vet.parse_state_vector(state_vector)
                return SyncStep2(self.difference(state_vector))
            case QueryAwareness():
                return Awareness(self.presence.encode(self.presence.ids()))
            case _:
                raise BadMessage(f"a client has no business sending {type(message).__name__}")

    def move(self, ids: Iterable[int]) -> None:
        """The presence of `ids` changed: tell everybody at the next tick."""
        self._moved.update(dict.fromkeys(ids))
        if self._moved:
            self._rouse()

    def _rouse(self) -> None:
        if not self._woken:
            self._woken = True
            self.wake()

    # ------------------------------------------------------------------ what is here

    def state_vector(self) -> bytes:
        """What the document has, as a state vector."""
        return vet.state_vector(self.clocks)

    def difference(self, state_vector: bytes) -> bytes:
        """One update with all that a document with `state_vector` lacks, and all deletions.

        Raises:
            Panic: yrs could not make it.
        """
        if state_vector != b"\x00":
            return fenced(self.doc.get_update, state_vector)
        if self._full[0] != self.version:  # a join storm asks for the same thing again and again
            self._full = (self.version, fenced(self.doc.get_update))
        return self._full[1]

    def requeue(self, updates: list[Incoming]) -> None:
        """Take in again what a failed tick was about, before all that came after it."""
        self._inbox[:0] = updates
        self._rouse()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way: all that was received has been handed out."""
        return not (self._inbox or self._outside or self._moved)

    def replace(self, doc: Doc[Any]) -> None:
        """From now on `doc` is the room's document."""
        self.close()
        self.doc = doc
        self.clocks = vet.parse_state_vector(fenced(doc.get_state))
        self.version += 1
        self._outside.clear()
        self._subscription = doc.observe(self._changed)

    def close(self) -> None:
        """Let go of the document."""
        if self._subscription is not None:
            self.doc.unobserve(self._subscription)
            self._subscription = None

    def _changed(self, event: TransactionEvent) -> None:
        if self._ticking:
            self._events.append(event.update)
        elif (update := event.update) != vet.EMPTY:  # the application edited the document itself
            self._outside.append(update)
            self._rouse()

    # ------------------------------------------------------------------ the tick

    def tick(self, now: float, wall: float) -> bool:
        """Apply all that was received and tell everybody; False when it has to wait, as somebody holds a transaction.

        Args:
            now: Monotonic seconds.
            wall: Seconds since the epoch, recorded in the log.

        Raises:
            Panicked: yrs panicked. The room needs a new document (`replace`).
        """
        ticks = self.collect(now, wall)
        if ticks is None:
            return False
        self.tell(ticks)
        return True

    def collect(self, now: float, wall: float) -> list[Tick] | None:
        """The first half of `tick`: apply all that was received; returns what there is to tell, None for "wait"."""
        if self.doc._txn is not None:
            return None
        self._woken = False
        ticks: list[Tick] = []
        changes, events = list[Change](), list[bytes]()
        before: dict[int, int] = {}
        if self._outside:
            outside, self._outside = self._outside, []
            earlier: dict[int, int] = {}
            self._note(outside, earlier)
            begun = ChainMap(earlier, before)  # peers are told of both ticks when both are done
            ticks.append(self._made([Change(update, None) for update in outside], outside, begun, (), wall))
        if self._inbox:
            inbox, self._inbox = self._inbox, []
            try:
                changes, events = self._apply(inbox, before, now)
            except Panicked:
                self.tell(ticks)  # what the application did before is not lost with the rest
                raise
        moved, self._moved = tuple(self._moved), {}
        if events or moved:
            ticks.append(self._made(changes, events, before, moved, wall))
        return ticks

    def tell(self, ticks: list[Tick]) -> None:
        """The second half of `tick`: hand `ticks` to every peer."""
        for tick in ticks:
            for peer in tuple(self.peers):
                peer.take(tick)

    def _made(
        self, changes: list[Change], merged: list[bytes], before: Mapping[int, int], ids: tuple[int, ...], wall: float
    ) -> Tick:
        """One tick; `before` has the clocks that it moved, as they were."""
        if merged:
            self.version += 1
            self.bytes += sum(map(len, merged))
        senders = {id(change.sender): change.sender for change in changes}
        sole = next(iter(senders.values())) if len(senders) == 1 else None
        presence = self.presence.encode(ids) if ids else None
        return Tick(tuple(changes), tuple(merged), sole, presence, ids, wall, lambda: self._state_before(before))

    def _state_before(self, before: Mapping[int, int]) -> bytes:
        return vet.state_vector({client: clock for client, clock in {**self.clocks, **before}.items() if clock})

    def _apply(self, inbox: list[Incoming], begun: dict[int, int], now: float) -> tuple[list[Change], list[bytes]]:
        """Apply `inbox`, and what then fits of the held updates, in one transaction.

        Returns what was really taken in of each sender, and what the document reported; `begun` gets the clocks that
        moved, as they were.
        """
        applied, lacking = list[Incoming](), dict[Peer, None]()
        self._ticking = True
        try:
            fenced(self._transact, inbox, applied, lacking, begun)
            events = [event for event in self._events if event != vet.EMPTY]
            known = {item.update: item.extent for item in applied[:1]}  # one keystroke alone: the event is the update
            try:
                news = [known.get(event) or vet.parse(event) for event in events]
                changes = _authored(applied, events, news, begun)
                if not self._as_foreseen(news, begun):
                    changes = self._surprised(applied, events, news, begun)
            except BadUpdate:  # yrs cannot write down what it took in (a character cut in two): what came in is right
                changes = [Change(item.update, item.sender) for item in applied]
                events = [change.update for change in changes]
        except Panic as panic:
            raise Panicked(list(dict.fromkeys(inbox)), panic) from panic
        finally:
            self._ticking = False
            self._events = []
        self._ask([peer for peer in lacking if self.gaps.waits(peer)], now)
        return changes, events

    def _surprised(
        self, applied: list[Incoming], events: list[bytes], news: list[Extent], begun: dict[int, int]
    ) -> list[Change]:
        """What the updates' structure let expect is not what the document reports. Its word counts."""
        self.clocks = vet.parse_state_vector(fenced(self.doc.get_state))
        for item in applied:  # all that it builds on was there, so nobody can help it by sending more
            if item.sender is not None and not item.extent.within(self.clocks):
                item.sender.refuse(BadUpdate("the document does not take this update in whole"))
        begun.clear()
        begun.update({client: start for extent in reversed(news) for client, start, _ in extent.structs})
        return [Change(event, None) for event in events]

    def _transact(
        self, inbox: list[Incoming], applied: list[Incoming], lacking: dict[Peer, None], begun: dict[int, int]
    ) -> None:
        with self.doc.transaction():
            queue = deque(inbox)
            while queue:
                item = queue.popleft()
                part = item
                if item.extent.missing(self.clocks):
                    self._hold(item, lacking)
                    update = vet.split(item.update, self.clocks)
                    if update == vet.EMPTY:
                        continue
                    part = Incoming(update, vet.parse(update), item.sender)
                try:
                    self.doc.apply_update(part.update)
                except ValueError:  # nothing of it was applied, and nothing around it was harmed
                    if item.sender is not None:
                        item.sender.refuse(BadUpdate("the document does not take this update"))
                    continue
                applied.append(part)
                if self._advance(part.extent, begun) and self.gaps:
                    closed = self.gaps.closed(self.clocks)
                    inbox += closed  # they wait nowhere else any more
                    queue.extendleft(reversed(closed))

    def _note(self, outside: list[bytes], begun: dict[int, int]) -> None:
        """The application changed the document itself: move the clocks, note in `begun` how they were."""
        try:
            for extent in [vet.parse(update) for update in outside]:
                self._advance(extent, begun)
        except BadUpdate:  # what nobody may send, the owner of the document may write
            for client, clock in vet.parse_state_vector(fenced(self.doc.get_state)).items():
                self._advance(Extent(((client, 0, clock),), (), {}), begun)

    def _advance(self, extent: Extent, begun: dict[int, int]) -> bool:
        """All of `extent` is there now: move the clocks, note in `begun` how they were. Returns whether any moved."""
        moved = False
        for client, _, end in extent.structs:
            known = self.clocks.get(client, 0)
            if end > known:
                begun.setdefault(client, known)
                self.clocks[client] = end
                moved = True
        return moved

    def _as_foreseen(self, news: list[Extent], begun: dict[int, int]) -> bool:
        """Whether the document reports just the structs that the updates let expect."""
        ends: dict[int, int] = {}
        starts: dict[int, int] = {}
        for extent in news:
            for client, start, end in extent.structs:
                starts.setdefault(client, start)
                ends[client] = end
        return starts == begun and all(self.clocks.get(client) == end for client, end in ends.items())

    # ------------------------------------------------------------------ what lacks something

    def _hold(self, item: Incoming, lacking: dict[Peer, None]) -> None:
        self.gaps.hold(item, self.clocks)
        if item.sender is not None:
            lacking[item.sender] = None

    def _ask(self, peers: Iterable[Peer], now: float) -> None:
        for peer in peers:
            if peer not in self.peers:
                self.gaps.forget(peer)
            elif self.gaps.due(peer, now):
                peer.ask(self.state_vector())

    def beat(self, now: float) -> None:
        """Once a second or so: forget who did not renew their presence, ask again for what is lacking."""
        self.move(self.presence.expire(now))
        self._ask(self.gaps.senders(), now)


def _authored(applied: list[Incoming], events: list[bytes], news: list[Extent], begun: dict[int, int]) -> list[Change]:
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
    if any(end > begun[client] for client, _, end in extent.structs if client in begun):
        return True
    return any(
        start < deleted[client][2] and deleted[client][1] < end
        for client, start, end in extent.deletes
        if client in deleted
    )
