"""The core of a room: the document, who is here, and the tick. Synchronous: no I/O, no asyncio, no clock of its own.

All that arrives in one turn of the event loop is gathered (`receive`) and applied in one transaction (`tick`), which
yields one merged update for everybody. An update that builds on something which is not here yet never touches the
document as a whole: the part that fits is taken in, the rest is held for a while, and its sender is asked for all that
the room lacks. So the document never has pending parts, and what it reports is exactly what it took in.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pycrdt import Doc

from .errors import BadMessage, BadUpdate, Forbidden, TooLarge
from .gaps import Gaps, Incoming, Receipt
from .peers import Change, Peer, Tick
from .presence import Presence
from .replica import Replica
from .uptake import Panicked, Uptake
from .wire import vet
from .wire.keyed import Keyed
from .wire.messages import Awareness, Message, QueryAwareness, SyncStep1, SyncStep2, Update
from .wire.nesting import Nesting


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
        uptake: How updates become part of the document.
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
        self._once_told: list[Callable[[], object]] = []
        self.replica = Replica(Doc() if doc is None else doc, nesting, self._rouse, keyed)
        self.uptake = Uptake(self.replica, self.gaps)

    @property
    def doc(self) -> Doc[Any]:
        """The document. Another object after a panic (`Replica.replace`) and after a character was cut in two.

        Who asks for it may keep it and look at it at any time: from then on nothing is taken in late.

        Raises:
            Panic: yrs failed at what it was to take in late. The room needs a new document.
        """
        self.replica.at_once = True
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
        """`peer` is told nothing more, its presence ends, and what it sent is still taken in, if it fits."""
        if peer in self.peers:
            del self.peers[peer]
            self.gaps.forget(peer)
            self.uptake.forget(peer)
            self.move(self.presence.leave(peer, now))

    # ------------------------------------------------------------------ what comes in

    def receive(self, peer: Peer, message: Message, now: float, receipt: Receipt | None = None) -> Message | None:
        """Take in one message of `peer`; returns the answer, if there is one. `receipt` hears of an update's fate.

        Only here and in `type` is write access tested.

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
                    if isinstance(message, Update) or not self.replica.has(message.extent()):
                        raise Forbidden("this connection may read only")
                    message = Update(update := vet.EMPTY)
                extent = message.extent()
                self._inbox.append(Incoming(update, extent, peer, receipt, message.fits))
                self._rouse()
                return None
            case Awareness(update):
                self.move(self.presence.apply(update, peer, now))
                return None
            case SyncStep1(state_vector):
                message.clocks()
                return SyncStep2(self.difference(state_vector))
            case QueryAwareness():
                return Awareness(self.presence.encode(self.presence.ids()))
            case _:
                raise BadMessage(f"a client has no business sending {type(message).__name__}")

    def type(self, peer: Peer, update: bytes, receipt: Callable[[], Receipt] | None = None) -> bool:
        """`receive` for what nine of ten messages are; `receipt` makes one, if somebody wants it.

        Returns False when there is more to it, and nothing was done.
        """
        if not peer.may_write or update == vet.EMPTY:
            return False
        try:
            extent = vet.parse(update)
        except BadUpdate:
            return False
        self._inbox.append(Incoming(update, extent, peer, None if receipt is None else receipt()))
        if not self._woken:
            self._woken = True
            self.wake()
        return True

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

    def check_size(self, limit: int) -> None:
        """Raises `TooLarge` when the document has more than `limit` bytes."""
        if self.bytes > limit:
            self.bytes = len(self.difference(b"\x00"))  # what was counted is all that ever came
        if self.bytes > limit:
            raise TooLarge("the document", self.bytes, limit)

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
        changes: list[Change] = []
        events: list[bytes] = []
        before: dict[int, int] = {}
        if self.replica.outside:
            earlier: dict[int, int] = {}
            outside = self.replica.take_outside(earlier)
            begun = ChainMap(earlier, before)  # peers are told of both ticks when both are done
            ticks.append(self._made([Change(update, None) for update in outside], outside, begun, (), wall))
        if self._inbox:
            inbox, self._inbox = self._inbox, []
            try:
                changes, events, lacking = self.uptake.take_in(inbox, before)
            except Panicked:
                self.tell(ticks)  # what the application did before is not lost with the rest
                raise
            self._ask(lacking, now)
        moved, self._moved = self._moved, {}
        if events or moved:
            ticks.append(self._made(changes, events, before, moved, wall))
        return ticks

    def tell(self, ticks: list[Tick]) -> None:
        """The second half of `tick`: hand `ticks` to every peer."""
        for tick in ticks:
            for peer in tuple(self.peers):
                peer.take(tick)
        if self.uptake.settled:  # the journal has been told by now, so there is a position that covers them
            settled, self.uptake.settled = self.uptake.settled, []
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
        self, changes: list[Change], merged: list[bytes], before: Mapping[int, int], ids: Collection[int], wall: float
    ) -> Tick:
        """One tick; `before` has the clocks that it moved, as they were."""
        if merged:
            self.replica.told()
            self.bytes += sum(map(len, merged))
        sole = changes[0].sender if changes else None
        if len(changes) > 1 and any(change.sender is not sole for change in changes):
            sole = None
        presence, own = self.presence.tell(ids) if ids else (None, {})
        return Tick(tuple(changes), tuple(merged), sole, presence, ids, wall, before, self.replica.state_vector, own)

    # ------------------------------------------------------------------ what lacks something

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
