"""One client's place in one room: what it is told, in its dialect, and the lag rule when it cannot keep up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .errors import CollabError
from .fence import Panic
from .metrics import Metrics
from .peers import Backlog, Tick
from .room import RoomCore
from .wire import vet
from .wire.messages import Awareness, Message, QueryAwareness, SyncStep1, SyncStep2, Update

HIGH_WATER = 64 * 1024
"""Bytes that an outlet may have accepted and not written before frames wait in the seat instead."""
PATIENCE_SECONDS = 2.0
"""How long a seat waits for its client's sync step 1 before it is told what changes all the same."""

KINDS: dict[type[Message], str] = {
    SyncStep1: "sync_step1",
    SyncStep2: "sync_step2",
    Update: "update",
    Awareness: "awareness",
}


class Dialect(Protocol):
    """A module of `collab.wire` that turns frames into messages and back."""

    NAME: str

    def decode(self, frame: bytes, /) -> Message:
        """The message of a frame; raises `BadMessage`."""

    def encode(self, message: Message, /) -> bytes:
        """The frame that says `message`."""


class Outlet(Protocol):
    """Where a seat's frames go."""

    @property
    def buffered(self) -> int:
        """Bytes that were accepted and are not yet on their way."""

    def send(self, frame: bytes) -> None:
        """Take one frame; returns at once and never raises."""


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
    ) -> None:
        self.core = core
        self.author = author
        self.may_write = may_write
        self._dialect = dialect
        self._outlet = outlet
        self._metrics = metrics
        self._trouble = trouble
        self._backlog: Backlog[bytes] = Backlog(outbox_bytes)
        self._live = False
        self._unanswered: SyncStep1 | None = None
        self._since = now

    # ------------------------------------------------------------------ the client speaks

    def enter(self) -> None:
        """Join the room and say what it has and who is here."""
        self.core.join(self)
        self.say(SyncStep1(self.core.state_vector()))
        ids = self.core.presence.ids()
        if ids:
            self.say(Awareness(self.core.presence.encode(ids)))

    def hear(self, message: Message, now: float) -> None:
        """One message of the client.

        Raises:
            BadMessage, TooLarge, Forbidden: The room does not take it.
            Panic: The document failed.
        """
        if self._outlet.buffered > HIGH_WATER:
            # Asking again and again without reading must not pile up answers: it gets one, when it can take it.
            if isinstance(message, SyncStep1):
                vet.parse_state_vector(message.state_vector)
                self._unanswered = message
                return
            if isinstance(message, QueryAwareness):
                self._backlog.ids.update(self.core.presence.ids())
                return
        try:
            answer = self.core.receive(self, message, now)
        except Panic:
            if isinstance(message, SyncStep1):
                self._unanswered = message
            raise
        if isinstance(answer, SyncStep2):  # it has all that waited
            self._backlog.items.clear()
            self._backlog.bytes = 0
            self._backlog.since = None
            self._live = True
        if answer is not None:
            self.say(answer)

    def leave(self, now: float) -> None:
        """Leave the room; what the client sent is still taken in."""
        self.core.leave(self, now)
        self._backlog.clear()
        self._unanswered = None

    # ------------------------------------------------------------------ the room speaks

    def say(self, message: Message) -> None:
        """Send one message now."""
        frame = self._dialect.encode(message)
        self._send(frame, KINDS.get(type(message), "query_awareness"))

    def take(self, tick: Tick) -> None:
        """Tell the client what changed. Frames are encoded once per dialect and shared."""
        if tick.merged and tick.sole is not self:
            frames = tick.frames.get(self._dialect.NAME)
            if frames is None:
                frames = tuple(self._dialect.encode(Update(update)) for update in tick.merged)
                tick.frames[self._dialect.NAME] = frames
            for frame in frames:
                if self._ready:
                    self._send(frame, "update")
                elif self._backlog.add(frame, len(frame), tick.before):
                    self._metrics.resyncs["client"].inc()
        if tick.presence is not None:
            if self._outlet.buffered > HIGH_WATER:
                self._backlog.ids.update(tick.ids)
                return
            key = self._dialect.NAME + " presence"
            frames = tick.frames.get(key)
            if frames is None:
                frames = tick.frames[key] = (self._dialect.encode(Awareness(tick.presence)),)
            self._send(frames[0], "awareness")

    def ask(self, state_vector: bytes) -> None:
        """The room lacks something that the client has built on, or was made anew."""
        self.say(SyncStep1(state_vector))
        self.drained()

    def refuse(self, error: CollabError) -> None:
        """An update of the client will never be taken in."""
        self._trouble(error)

    @property
    def _ready(self) -> bool:
        owed = self._backlog or self._unanswered
        return self._live and not owed and self._outlet.buffered <= HIGH_WATER

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
            self.hear(question, self._since)
        elif not self._live or not backlog:
            return False
        elif backlog.since is not None:
            update = self.core.difference(backlog.since)
            backlog.since = None
            self._send(self._dialect.encode(Update(update)), "update")
        elif backlog.items:
            self._send(backlog.pop(len), "update")
        else:
            frame = self._dialect.encode(Awareness(self.core.presence.encode(backlog.ids)))
            backlog.ids.clear()
            self._send(frame, "awareness")
        return True

    def beat(self, now: float) -> None:
        """Once a second: a client that never asked for the document has waited long enough; nothing is left lying."""
        if now - self._since > PATIENCE_SECONDS:
            self._live = True
        self.drained()

    def _send(self, frame: bytes, kind: str) -> None:
        self._metrics.sent[kind].add(len(frame))
        self._outlet.send(frame)
