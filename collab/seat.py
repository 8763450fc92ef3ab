"""One client's place in one room: what it is told, in its dialect, and the lag rule when it cannot keep up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from .auth import Grant, Level
from .errors import BadUpdate, CollabError
from .fence import Panic
from .limits import Bucket
from .metrics import Metrics
from .outlet import HIGH_WATER, KINDS, Dialect, Outlet
from .peers import Backlog, Tick
from .receipts import Claims, Ledger, Receipt, Receipts
from .room import RoomCore
from .wire import vet
from .wire.awareness import entry, joined
from .wire.messages import (
    Awareness,
    Echo,
    Message,
    QueryAwareness,
    Saved,
    SyncStep1,
    SyncStep2,
    Update,
)

PATIENCE_SECONDS = 2.0
"""How long a seat waits for its client's sync step 1 before it is told what changes all the same."""
SHY_SECONDS = 1.0
"""How long a client may say nothing before it is told of everybody (`Claims.withheld`)."""
_SOUND: Mapping[int, int] = {}
"""In the place of a state vector's clocks: it is well-formed, and nobody wants to know more."""
ANSWER_BYTES_PER_SECOND = 256 * 1024
"""How much a client gets for asking who is here; it may ask again once that much time has passed. A question has one
byte and its answer may have millions, so it is this, and not what it sends, that bounds what it gets (S18)."""


class Seat:
    """The peer that stands for one client.

    It is told of changes from its first sync step 1 on, which is answered with all there is: an update that overtakes
    the answer would build on things that the client does not have.

    Args:
        core: The room.
        dialect: How the client speaks.
        outlet: Where its frames go.
        outbox_bytes: How much may wait for a slow client before it is owed a difference instead.
        metrics: Where messages are counted.
        trouble: Told when the client has to go (`BadUpdate`), or when the document failed (`Panic`).
        now: Monotonic seconds.
        ledger: The room's journal, when updates are to be acknowledged.
        clock: Gives monotonic seconds.
    """

    backstage = False

    def __init__(
        self,
        core: RoomCore,
        dialect: Dialect,
        outlet: Outlet,
        *,
        outbox_bytes: int,
        metrics: Metrics,
        trouble: Callable[[CollabError], None],
        now: float,
        author: str | None = None,
        may_write: bool = True,
        ledger: Ledger | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.core = core
        self.author = author
        self.may_write = may_write
        self.subject: str | None = None
        self.user: Mapping[str, object] | None = None
        self.may_be_seen = True
        self._dialect = dialect
        self._outlet = outlet
        self._metrics = metrics
        self._trouble = trouble
        self._backlog: Backlog[bytes] = Backlog(outbox_bytes)
        self._live = False
        self._unanswered: SyncStep1 | None = None
        self._since = now
        self._claims = Claims({})
        self._answers = Bucket(ANSWER_BYTES_PER_SECOND, ANSWER_BYTES_PER_SECOND, now)
        self._queried = self._met = False
        self._receipts = None if ledger is None else Receipts(ledger, self.say, metrics.ack_seconds, clock)
        self._confirms = dialect.ACKNOWLEDGES and ledger is not None

    # ------------------------------------------------------------------ the client speaks

    def allow(self, grant: Grant) -> None:
        """From now on the client may do what `grant` says; what it sent before counts."""
        self.author = self.subject = grant.subject
        self.user = grant.user
        self.may_write = grant.level >= Level.WRITE
        self.may_be_seen = grant.level >= Level.COMMENT

    def enter(self) -> None:
        """Join the room and say what it has and who is here."""
        self.core.join(self)
        if not self._dialect.ACKNOWLEDGES:
            self._ask(self.core.state_vector(), own=True)
        if self.core.presence.ids():
            self._show(self.core.presence.ids())

    def hear(self, message: Message, now: float) -> None:
        """One message of the client.

        Raises:
            BadMessage, TooLarge, Forbidden: The room does not take it.
            Panic: The document failed.
        """
        if isinstance(message, SyncStep1):
            clocks = message.clocks()
            message = replace(message, vetted=_SOUND)  # the clocks of all who ever wrote are not to lie about
            if self._receipts is not None and self._dialect.ACKNOWLEDGES:  # others count nothing
                self._claims = Claims(clocks)
                if clocks:  # whoever has nothing has not sent anything that could be counted anew
                    self._receipts.restart()
        if isinstance(message, SyncStep1) and self._receipts is not None and self.core.once_told(self.drained):
            # What came in the same turn, of this client too, belongs into the answer, and is not in the document yet.
            self._unanswered = message
            return
        if self._outlet.buffered > HIGH_WATER:
            # Asking again and again without reading must not pile up answers: it gets one, when it can take it.
            if isinstance(message, SyncStep1):
                self._unanswered = message
                return
        if isinstance(message, QueryAwareness):
            self._queried = True
            self._answer(now)
            return
        if not self._met and isinstance(message, SyncStep2):  # what it had to say of itself, it said before
            self._meet()
        self._take_in(message, now)
        if not self._met and isinstance(message, Awareness):
            self._meet()

    def type(self, update: bytes, clock: Callable[[], float]) -> bool:
        """`hear` for an `Update`, if there is nothing more to it than to take it in; else nothing was done."""
        if not self._confirms:
            return self.core.type(self, update)
        receipts = self._receipts
        if receipts is None or receipts.asked or self._unanswered is not None:
            return False
        return self.core.type(self, update, lambda: receipts.update(clock()))

    def _take_in(self, message: Message, now: float) -> None:
        receipt = self._receipt(message, now)
        surplus = self.core.presence.surplus
        if isinstance(message, Echo):
            message = Update(vet.EMPTY)
        try:
            answer = self.core.receive(self, message, now, receipt)
        except Panic:
            if isinstance(message, SyncStep1):
                self._unanswered = message
            raise
        except CollabError:
            if self._receipts is not None and isinstance(message, Update | SyncStep2):
                self._metrics.updates_refused.inc()
                self._receipts.refused(receipt)
            raise
        if isinstance(answer, SyncStep2):  # it has all that waited
            if self._dialect.ACKNOWLEDGES and isinstance(message, SyncStep1):
                self._ask(self.core.state_vector(), own=False)
            self._backlog.items.clear()
            self._backlog.bytes = 0
            self._backlog.since = None
            self._live = True
        if answer is not None:
            self.say(answer)
        if isinstance(message, Awareness) and (surplus := self.core.presence.surplus - surplus):
            self._metrics.limited["awareness_ids_per_connection"].inc(surplus)

    def _receipt(self, message: Message, now: float) -> Receipt | None:
        """A receipt for `message`, if it is one that the client waits to hear of."""
        if self._receipts is None or (not self._confirms and type(message) is Update):
            return None
        match message:
            case Update() if self._confirms:
                greeting = self._unanswered is not None or self._receipts.greeting
                return self._receipts.update(now, counted=not (greeting and self._claimed(message)))
            case SyncStep2():
                if self._confirms:
                    return self._receipts.answer(now)
                self._receipts.answered()
                return None
            case Echo(data) if not self._receipts.spoiled:
                if not self._confirms:  # from now on it matters what becomes of updates; those before count as one
                    self._confirms = True
                    if self.core.gaps.waits(self):
                        self._receipts.owed(now)
                return self._receipts.echo(data, now)
            case _:
                return None

    def _claimed(self, message: Update) -> bool:
        """Whether the client had this update when it sent its sync step 1. Providers send what was typed before the
        socket was open once more, as an update of its own, but have set their count of unsaved changes to one by then:
        that one is the answer to our sync step 1. One acknowledgement more, and version 2 says "saved" for ever.
        """
        structs = message.extent().structs
        return bool(structs) and all(self._claims.has(client, end) for client, _, end in structs)

    def leave(self, now: float) -> None:
        """Leave the room; what the client sent is still taken in."""
        self.core.leave(self, now)
        if self._receipts is not None:
            self._receipts.close()
        self._backlog.clear()
        self._unanswered = None

    # ------------------------------------------------------------------ the room speaks

    def _answer(self, now: float) -> None:
        """Say who is here to a client that asked; if it asked often, or does not read, once for all and later."""
        if self._queried and self._outlet.buffered <= HIGH_WATER and not self._answers.take(0, now):
            self._queried = False
            self._answers.take(self._show(self.core.presence.ids()), now)

    def _meet(self) -> None:
        """Who the client is, is known as well as it will be: tell it of those that it may have been."""
        self._met = True
        if ids := self.core.presence.meet(self):
            self._show(ids)

    def _show(self, ids: Iterable[int], *, relayed: bool = False) -> int:
        """Tell the states of `ids`, but for those that are not for this client; returns the bytes."""
        presence = self.core.presence
        ids = dict.fromkeys(ids)
        for client in presence.withheld(self, ids):
            del ids[client]
        if relayed and not ids:
            return 0
        update, own = presence.tell(ids)
        frame = self._frame(Awareness(update))
        if relayed:
            self._relay(frame, own)
        else:
            self._send(frame, "awareness")
        return len(frame)

    def _relay(self, frame: bytes, own: Mapping[object, int]) -> None:
        """Send what was shown by others, or by all but it: clients repeat what is new to them, and only that is free.

        What the client itself said costs it its share: else whoever talks to itself would have no limit.
        """
        said = own.get(self, 0)
        if len(own) > 1 or not said:
            self._outlet.expect(len(frame) - said)
        self._send(frame, "awareness")

    def say(self, message: Message) -> None:
        """Send one message now."""
        frame = self._dialect.encode(message)
        if frame is not None:
            self._send(frame, KINDS[type(message)])

    def take(self, tick: Tick) -> None:
        """Tell the client what changed. Frames are encoded once per dialect and shared."""
        if tick.merged and tick.sole is not self:
            frames = tick.frames.get(self._dialect.NAME)
            if frames is None:
                frames = tuple([self._frame(Update(update)) for update in tick.merged])
                tick.frames[self._dialect.NAME] = frames
            for frame in frames:
                if self._ready:
                    self._metrics.sent["update"].add(len(frame))
                    self._outlet.send(frame)
                elif self._backlog.add(frame, len(frame), tick.begun, tick.vector):
                    self._metrics.resyncs["client"].inc()
        if tick.presence is not None:
            if self._outlet.buffered > HIGH_WATER:
                self._backlog.ids.update(tick.ids)
                return
            if self.core.presence.withheld(self, tick.ids):
                self._show(tick.ids, relayed=True)
                return
            key = self._dialect.NAME + " presence"
            frames = tick.frames.get(key)
            if frames is None:
                frames = tick.frames[key] = (self._frame(Awareness(tick.presence)),)
            self._relay(frames[0], tick.own)

    def ask(self, state_vector: bytes) -> None:
        """The room lacks something that the client has built on, or was made anew."""
        self._ask(state_vector, own=True)
        self.drained()

    def _ask(self, state_vector: bytes, *, own: bool, covers: bool = True) -> None:
        if self._receipts is not None:
            self._receipts.asks(own=own, covers=covers)
        self.say(SyncStep1(state_vector))

    def challenge(self) -> None:
        """Ask the client for a sign of life."""
        self.say(QueryAwareness())

    def overtake(self, client: int, clock: int) -> None:
        """Say that the client has gone by `clock`: it shows itself again, with one that is higher."""
        self.say(Awareness(joined([entry(client, clock, None)])))

    def probe(self) -> None:
        """Say something that every client answers, and that changes nothing."""
        self._ask(self.core.state_vector(), own=True, covers=False)  # the room may be about to be read anew

    def refuse(self, error: CollabError) -> None:
        """An update of the client will never be taken in."""
        if self._receipts is not None and isinstance(error, BadUpdate):
            self._metrics.updates_refused.inc()
            self._receipts.refused(None)
            self.say(Saved(False))
        self._trouble(error)

    @property
    def _ready(self) -> bool:
        if not self._live or self._unanswered is not None or self._backlog:
            return False
        return self._outlet.buffered <= HIGH_WATER

    @property
    def behind(self) -> bool:
        """Whether the client is owed a difference instead of what it missed."""
        return self._backlog.since is not None

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the client here."""
        return self._backlog.bytes

    def drained(self) -> None:
        """The outlet can take more."""
        try:
            while self._outlet.buffered <= HIGH_WATER and self._give():
                pass
        except Panic as panic:
            self._trouble(panic)

    def _give(self) -> bool:
        """Send the next thing that is owed; False when nothing is."""
        backlog = self._backlog
        if self._unanswered is not None:
            question, self._unanswered = self._unanswered, None
            self._take_in(question, self._since)
        elif not self._live or not backlog:
            return False
        elif backlog.since is not None:
            update = self.core.difference(backlog.since)
            backlog.since = None
            self._send(self._frame(Update(update)), "update")
        elif backlog.items:
            self._send(backlog.pop(len), "update")
        else:
            ids = tuple(backlog.ids)
            backlog.ids.clear()
            self._show(ids, relayed=True)
        return True

    def beat(self, now: float) -> None:
        """Once a second: a client that never asked for the document has waited long enough; nothing is left lying."""
        if now - self._since > PATIENCE_SECONDS:
            self._live = True
        if not self._met and now - self._since > SHY_SECONDS:
            self._meet()
        self._answer(now)
        self.drained()

    def _frame(self, message: Message) -> bytes:
        """The frame of a message that every dialect has a word for."""
        frame = self._dialect.encode(message)
        assert frame is not None
        return frame

    def _send(self, frame: bytes, kind: str) -> None:
        self._metrics.sent[kind].add(len(frame))
        self._outlet.send(frame)
