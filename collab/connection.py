"""One socket: its dialect, its limits, its place in a room, and how it ends."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

from .errors import BadMessage, CollabError, Forbidden, SlowPeer, TooLarge, TooMany
from .fence import Panic
from .hub import Hub, Opened
from .limits import Refusals
from .log import Logger, get_logger
from .seat import Dialect, Seat
from .transport import Socket
from .wire import yjs
from .wire.messages import Awareness, Denied, Message, QueryAwareness, SyncStep1, SyncStep2, Update

log = get_logger(__name__)

_numbers = itertools.count(1)

RECEIVED: dict[type[Message], str] = {
    SyncStep1: "sync_step1",
    SyncStep2: "sync_step2",
    Update: "update",
    Awareness: "awareness",
    QueryAwareness: "query_awareness",
    Denied: "denied",
}


SYNC_STEP1 = b"\x00\x00"
"""How the first frame of every y-websocket client begins."""

EDITOR_SECONDS = 1.0
"""How long a client that was refused before has to show that it is an editor, by its first frame."""


class Connection:
    """A client on a socket of its own, in one room. Every method returns at once; frames come in by `received`.

    Frames that come before the room is there wait, within bounds, and are taken in even when the client has gone by
    then: whatever reached the server counts.

    Args:
        hub: All rooms.
        socket: What carries the frames.
        name: The room's name.
        address: Where the client is, for the log and for telling who comes back.
        path: What it asked for, likewise.
        refusals: Who was refused a moment ago.
        clock: Gives monotonic seconds.
        ended: Called once, when nothing is left to do for this client.
    """

    def __init__(
        self,
        hub: Hub,
        socket: Socket,
        name: str,
        *,
        address: str,
        path: bytes,
        refusals: Refusals,
        clock: Callable[[], float],
        ended: Callable[[Connection], None],
        dialect: Dialect = yjs,
    ) -> None:
        self.hub = hub
        self.socket = socket
        self.name = name
        self.number = next(_numbers)
        self.log: Logger = log.bind(connection=self.number, room=name, client=address)
        self._address = address
        self._path = path
        self._refusals = refusals
        self._clock = clock
        self._ended = ended
        self._dialect = dialect
        self._limits = hub.settings.limits
        self._liveness = hub.settings.liveness
        self._opened: Opened | None = None
        self._seat: Seat | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._refused: CollabError | None = None
        self._refused_at: float | None = None
        self._is_editor = False
        self._opening = False
        self._closing = False
        self._gone = False
        now = clock()
        self._heard_at = self._spoke_at = self._moved_at = now
        self._probes = 0
        self._written = 0

    # ------------------------------------------------------------------ how it begins

    def begin(self, error: CollabError | None = None) -> None:
        """Find the room, or have it opened, and take a seat; or be refused, when an `error` is known already."""
        self.hub.beats.add(self.beat)
        if error is not None:
            self.refuse(error)
            return
        opened = self.hub.find(self.name)
        if opened is not None:
            self.hub.hold(opened)
            self._enter(opened)
        else:
            self._opening = True
            self.hub.start_soon(self._open)

    async def _open(self) -> None:
        try:
            opened = await self.hub.open(self.name)
        except CollabError as error:
            self._opening = False
            self.refuse(error)
        else:
            self._opening = False
            self._enter(opened)
        if self._gone:
            self._leave()
            self._ended(self)

    def _enter(self, opened: Opened) -> None:
        """Sit down, and take in what waited for it."""
        self._opened = opened
        limit = self._limits.connections_per_room
        if opened.seats >= limit:
            self._waiting.clear()
            self.refuse(TooMany("clients in this room", limit))
            self._leave()
            return
        opened.seats += 1
        now = self._heard_at = self._moved_at = self._clock()  # whoever had to wait for the room is not blamed for it
        self._seat = Seat(
            opened.core,
            self._dialect,
            self,
            outbox_bytes=self._limits.outbox_bytes,
            metrics=self.hub.metrics,
            trouble=self._trouble,
            now=now,
        )
        self._seat.enter()
        self.log.info("client joined", clients=opened.seats)
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for frame in waiting:
            if self._seat is not None:
                self._handle(frame)
        if self._refused is None:
            self.socket.resume()
        else:  # in the meantime, for what came after these
            self._leave()

    # ------------------------------------------------------------------ what comes in (transport.Receiver)

    def received(self, frame: bytes | str) -> None:
        """One message of the client."""
        self._heard_at = self._clock()
        self._probes = 0
        if frame[:2] == SYNC_STEP1:
            self._is_editor = True
        if self._refused is not None:
            return
        if isinstance(frame, str):
            self.hub.metrics.received["invalid"].add(len(frame))
            self.refuse(BadMessage("text messages are not understood here"))
        elif self._seat is not None:
            self._handle(frame)
        elif (
            len(self._waiting) >= self._limits.waiting_messages
            or self._waiting_bytes + len(frame) > self._limits.waiting_bytes
        ):
            # Not refused for what it sends: reading is paused below, so this is more than the network had in store.
            self.refuse(TooMany("messages before the room is open", self._limits.waiting_messages))
        else:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)
            if 2 * self._waiting_bytes > self._limits.waiting_bytes:
                self.socket.pause()

    def _handle(self, frame: bytes) -> None:
        metrics = self.hub.metrics
        try:
            message = self._dialect.decode(frame)
        except BadMessage as error:
            metrics.received["invalid"].add(len(frame))
            self.refuse(error)
            return
        metrics.received[RECEIVED[type(message)]].add(len(frame))
        assert self._seat is not None
        try:
            self._seat.hear(message, self._heard_at)
        except Forbidden as error:  # a reader's editor may not know that it is one: it goes on reading
            metrics.count_error(error)
        except CollabError as error:
            self._trouble(error)

    def too_large(self, size: int) -> None:
        """A message was larger than any that is taken."""
        if self._refused is None:
            self.hub.metrics.received["invalid"].add(size)
            self.refuse(TooLarge("a message", size, self._limits.message_bytes))

    def drained(self) -> None:
        """The socket can take more."""
        if self._seat is not None:
            self._seat.drained()

    def closed(self, code: int) -> None:
        """The socket is gone."""
        if self._gone:
            return
        self._gone = True
        self.hub.beats.discard(self.beat)
        self.log.info("client left", code=code)
        if not self._opening:  # else what the client sent is still to be taken in
            self._leave()
            self._ended(self)

    # ------------------------------------------------------------------ what goes out (seat.Outlet)

    @property
    def buffered(self) -> int:
        """Bytes that the socket accepted and has not written.

        More than any seat will wait for while the room is read anew: what its document says then is not to be trusted.
        """
        return sys.maxsize if self._opened is not None and self._opened.reloading else self.socket.buffered

    def send(self, frame: bytes) -> None:
        """Send one frame."""
        if self._refused is None:
            self._spoke_at = self._clock()
            self.socket.send(frame)

    # ------------------------------------------------------------------ how it ends

    def _trouble(self, error: CollabError) -> None:
        if isinstance(error, Panic) and self._opened is not None:
            self.hub.reload(self._opened, error)
        else:
            self.refuse(error)

    def refuse(self, error: CollabError) -> None:
        """Say why, and close: at once for most, later for an editor that would only come back at once.

        y-websocket before 3.1 knows no code that means "stay away" and reconnects nine times a second. When somebody
        who was refused for good is back within the window, and speaks like y-websocket, the socket is held, silent,
        and closed later. No editor sends malformed frames again and again, so those are never held.
        """
        if self._refused is not None:
            return
        self._refused = error
        metrics = self.hub.metrics
        metrics.count_error(error)
        metrics.refused[str(error.close_code)].inc()
        self.hub.floods.log(
            "warning",
            "connection refused",
            key=(self._address, str(error)),
            connection=self.number,
            room=self.name,
            client=self._address,
            code=error.close_code,
            error=type(error).__name__,
            reason=str(error),
        )
        self._leave()
        if not self._opening:
            self._waiting.clear()
        denied = self._dialect.encode(Denied(str(error)))
        metrics.sent["denied"].add(len(denied))
        self.socket.send(denied)
        now = self._clock()
        if type(error) is BadMessage or not self._refusals.again((self._address, self._path), now):
            self.socket.close(error.close_code, str(error))
        else:
            self._refused_at = now

    def close(self, error: CollabError) -> None:
        """Close the socket for no fault of the client: what it sent before it heard of it is still taken in."""
        self._closing = True
        self.socket.close(error.close_code, str(error))

    def _leave(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            if self._seat is not None:
                self._seat.leave(self._clock())
                self._seat = None
                opened.seats -= 1
            self.hub.release(opened)

    # ------------------------------------------------------------------ once a second

    def beat(self, now: float) -> None:
        """Look after the client: is it there, does it hear of us, does it take what it is sent?"""
        if self._refused is not None:
            if self._refused_at is not None:
                held = self._limits.hold_seconds if self._is_editor else EDITOR_SECONDS
                if now - self._refused_at >= held:
                    self.socket.close(self._refused.close_code, str(self._refused))
            return
        if self._seat is None or self._closing:
            return
        liveness = self._liveness
        silent = now - self._heard_at
        if silent > liveness.silent_seconds:
            self.log.info("client vanished", seconds=round(silent))
            self.socket.abort()
            return
        if self.socket.written != self._written or not self.socket.buffered:
            self._written, self._moved_at = self.socket.written, now
        elif now - self._moved_at > self._limits.stalled_seconds:
            slow = SlowPeer(self.socket.buffered + self._seat.waiting_bytes, self._limits.outbox_bytes)
            self.hub.metrics.count_error(slow)
            self.hub.metrics.refused[str(slow.close_code)].inc()
            self.log.warning("connection cut", reason=str(slow), error=type(slow).__name__)
            self.socket.abort()
            return
        if silent > (self._probes + 1) * liveness.probe_seconds:
            # Every y-websocket client answers the first question; pycrdt's Provider knows only the second.
            self._probes += 1
            self._seat.say(QueryAwareness() if self._probes == 1 else SyncStep1(self._seat.core.state_vector()))
        elif now - self._spoke_at > liveness.keepalive_seconds:
            self._seat.say(yjs.NOTHING_NEW)
        self._seat.beat(now)
