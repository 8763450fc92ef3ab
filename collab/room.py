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

from pycrdt import Doc

from .errors import BadMessage, BadUpdate, Forbidden
from .fence import Panic, fenced
from .gaps import Gaps, Incoming, Receipt
from .peers import Change, Peer, Tick
from .presence import Presence
from .replica import Replica
from .wire import vet
from .wire.keyed import Keyed
from .wire.messages import Awareness, Message, QueryAwareness, SyncStep1, SyncStep2, Update
from .wire.nesting import Nesting
from .wire.structs import Point
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
        nesting, keyed: What is known of the document (`recovery.Loaded`).
        presence: Who is here.
        wake: Called when there is something to do; `tick` should be called at the end of this turn of the event loop.
        held_updates: How many updates may wait for what they build on.
        held_bytes: How many bytes these may have.

    Attributes:
        replica: The document and what is known of it.
        bytes: About how large the document is: what was loaded and all that came since.
        gaps: The updates that wait for what they build on.
    """

    def __init__(
        self,
        name: str,
        doc: Doc[Any] | None = None,
        *,
        nesting: Nesting | None = None,
        keyed: Keyed | None = None,
        presence: Presence | None = None,
        wake: Callable[[], object] = lambda: None,
        held_updates: int = 1_000,
        held_bytes: int = 8 * 2**20,
    ) -> None:
        self.name = name
        self.presence = Presence() if presence is None else presence
        self.peers: dict[Peer, None] = {}
        self.bytes = 0
        self.gaps = Gaps(held_updates, held_bytes)
        self.wake = wake
        self._woken = False
        self._inbox: list[Incoming] = []
        self._moved: dict[int, None] = {}
        self._settled: list[Receipt] = []
        self._once_told: list[Callable[[], object]] = []
        self.replica = Replica(Doc() if doc is None else doc, nesting, self._rouse, keyed)

    @property
    def doc(self) -> Doc[Any]:
        """The document. Another object after a panic (`Replica.replace`) and after a character was cut in two."""
        return self.replica.doc

    @property
    def clocks(self) -> dict[int, int]:
        """What the document has: client id -> next clock."""
        return self.replica.clocks

    @property
    def version(self) -> int:
        """Grows with every change of the document."""
        return self.replica.version

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

    def receive(self, peer: Peer, message: Message, now: float, receipt: Receipt | None = None) -> Message | None:
        """Take in one message of `peer`; returns the answer, if there is one. `receipt` hears of an update's fate.

        This is the only place where write access is tested.

        Raises:
            BadMessage: The message is malformed. Nothing was changed.
            Forbidden: `peer` may not write.
        """
        match message:
            case Update(update) | SyncStep2(update):
                if update == vet.EMPTY and receipt is None:
                    return None
                if not peer.may_write and update != vet.EMPTY:
                    # A step 2 repeats what its sender was told; an update is new, so it is not even looked at.
                    if isinstance(message, Update) or not self.replica.has(vet.parse(update)):
                        raise Forbidden("this connection may read only")
                    update = vet.EMPTY
                extent = vet.parse(update)
                self._inbox.append(Incoming(update, extent, peer, receipt))
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
        return self.replica.state_vector()

    def difference(self, state_vector: bytes) -> bytes:
        """One update with all that a document with `state_vector` lacks, and all deletions; raises `Panic`."""
        return self.replica.difference(state_vector)

    def requeue(self, updates: list[Incoming]) -> None:
        """Take in `updates`, which are vetted, before all that came: a failed tick's again, or the server's own."""
        self._inbox[:0] = updates
        self._rouse()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way: all that was received has been handed out."""
        return not (self._inbox or self.replica.outside or self._moved)

    def untold(self) -> list[Incoming]:
        """What the application wrote into the document and no tick has told yet: after `replace` it is not there."""
        try:
            return [Incoming(update, vet.parse(update), None) for update in self.replica.outside]
        except BadUpdate:  # what nobody may send, the owner of the document may write
            return []

    def close(self) -> None:
        """Let go of the document."""
        self.replica.close()

    # ------------------------------------------------------------------ the tick

    def tick(self, now: float, wall: float) -> bool:
        """Apply all that was received and tell everybody; False when it has to wait, as somebody holds a transaction.

        Args:
            now: Monotonic seconds.
            wall: Seconds since the epoch, recorded in the log.

        Raises:
            Panicked: yrs panicked. The room needs a new document (`Replica.replace`).
        """
        ticks = self.collect(now, wall)
        if ticks is None:
            return False
        self.tell(ticks)
        return True

    def collect(self, now: float, wall: float) -> list[Tick] | None:
        """The first half of `tick`: apply all that was received; returns what there is to tell, None for "wait"."""
        if self.replica.busy:
            return None
        self._woken = False
        ticks: list[Tick] = []
        changes, events = list[Change](), list[bytes]()
        before: dict[int, int] = {}
        if self.replica.outside:
            earlier: dict[int, int] = {}
            outside = self.replica.take_outside(earlier)
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
        if self._settled:  # the journal has been told by now, so there is a position that covers them
            settled, self._settled = self._settled, []
            for receipt in settled:
                receipt.settled()
        while self._once_told:
            self._once_told.pop(0)()

    def once_told(self, call: Callable[[], object]) -> bool:
        """Call `call` when what was received has been told to all; False when there is nothing to wait for."""
        if self._inbox:
            self._once_told.append(call)
        return bool(self._inbox)

    def _made(
        self, changes: list[Change], merged: list[bytes], before: Mapping[int, int], ids: tuple[int, ...], wall: float
    ) -> Tick:
        """One tick; `before` has the clocks that it moved, as they were."""
        if merged:
            self.replica.told()
            self.bytes += sum(map(len, merged))
        sole = changes[0].sender if changes else None
        if any(change.sender is not sole for change in changes):
            sole = None
        presence = self.presence.encode(ids) if ids else None
        return Tick(tuple(changes), tuple(merged), sole, presence, ids, wall, before, self.replica.state_vector)

    def _apply(self, inbox: list[Incoming], begun: dict[int, int], now: float) -> tuple[list[Change], list[bytes]]:
        """Apply `inbox`, and what then fits of the held updates, in one transaction.

        Returns what was really taken in of each sender, and what the document reported; `begun` gets the clocks that
        moved, as they were.
        """
        applied, lacking = list[Incoming](), dict[Peer, None]()
        try:
            with self.replica.recording() as events:
                queue = deque(inbox)
                while cut := fenced(self._transact, queue, inbox, applied, lacking, begun):
                    fenced(self._mend, queue, cut)
            known = {item.update: item.extent for item in applied[:1]}  # one keystroke alone: the event is the update
            try:
                news = [known.get(event) or vet.parse(event) for event in events]
                changes = _authored(applied, events, news, begun)
                if not self.replica.as_foreseen(news, begun):
                    changes = self._surprised(applied, events, news, begun)
            except BadUpdate:  # yrs cannot write down what it took in (a character cut in two): what came in is right
                changes = [Change(item.update, item.sender) for item in applied]
                events = [change.update for change in changes]
        except Panic as panic:
            self._settled.clear()  # they come again with their updates
            raise Panicked(list(dict.fromkeys(inbox)), panic) from panic
        self._ask([peer for peer in lacking if self.gaps.waits(peer)], now)
        return changes, events

    def _surprised(
        self, applied: list[Incoming], events: list[bytes], news: list[Extent], begun: dict[int, int]
    ) -> list[Change]:
        """What the updates' structure let expect is not what the document reports. Its word counts."""
        self.replica.surprised(news, begun)
        for item in applied:  # all that it builds on was there, so nobody can help it by sending more
            if item.sender is not None and not item.extent.within(self.clocks):
                self._refuse(item, BadUpdate("the document does not take this update in whole"))
        return [Change(event, None) for event in events]

    def _refuse(self, item: Incoming, error: BadUpdate) -> None:
        if item.receipt is not None:
            self._settled.remove(item.receipt)
        if item.sender is not None:
            item.sender.refuse(error)

    def _mend(self, queue: Iterable[Incoming], points: set[Point]) -> None:
        """Turn the characters at `points`, and what else `queue` cuts in two, into what Yjs makes of them."""
        items = list(queue)
        for item, update in zip(items, self.replica.mend(points, [item.update for item in items]), strict=True):
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
        replica, clocks, settled = self.replica, self.clocks, self._settled
        with replica.doc.transaction():
            while queue:
                item = queue.popleft()
                part = item
                if lacks := item.extent.missing(clocks):
                    update = vet.split(item.update, clocks)
                    part = Incoming(update, vet.parse(update), item.sender)
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
                applied.append(part)
                if moved and self.gaps:
                    closed = self.gaps.closed(clocks)
                    inbox += closed  # they wait nowhere else any more
                    queue.extendleft(reversed(closed))
        return set()

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
