"""Is the client still there, does it take what it is sent, and does it hear of us often enough?

Connections die without a word: a cable is pulled, a laptop sleeps. Where the socket hears pongs, a client that says
nothing is asked by a ping; elsewhere by something of its own protocol that it answers. Clients give up in the same way
when they hear nothing for 30 s; the pings of the WebSocket protocol do not count for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .errors import SlowPeer
from .log import Logger
from .metrics import Metrics
from .seat import Seat
from .settings import Settings
from .transport import Socket
from .wire import hocuspocus, yjs
from .wire.messages import QueryAwareness


class Liveness:
    """The life of one socket. Times are monotonic seconds.

    Args:
        socket: What is looked at, and cut when the client has gone or takes nothing.
        settings: All settings.
        metrics: Where pings and cuts are counted.
        log: The connection's.
        send: Sends one frame.
        now: When it began.

    Attributes:
        heard_at: When the client last said something.
        spoke: Set when the client was sent something; `check` sees when.
        pings: Whether the client knows Hocuspocus' ping. Older clients are asked something of their document.
    """

    def __init__(
        self,
        socket: Socket,
        settings: Settings,
        metrics: Metrics,
        log: Logger,
        send: Callable[[bytes], None],
        now: float,
    ) -> None:
        self.heard_at = now
        self.spoke = False
        self.pings = False
        self._socket = socket
        self._settings = settings.liveness
        self._limits = settings.limits
        self._metrics = metrics
        self._log = log
        self._send = send
        self._checked_at = self._spoke_at = self._moved_at = now
        self._probes = 0
        self._written = 0

    def heard(self, now: float) -> None:
        """The client said something."""
        self.heard_at = now
        self._probes = 0

    def seated(self, now: float) -> None:
        """The client has a seat: whoever had to wait for the room is not blamed for it."""
        self.heard_at = self._moved_at = now

    def check(self, seats: Sequence[Seat], now: float) -> None:
        """Once a second, for a client that has `seats` (at least one)."""
        if self.spoke:  # since the last look, so rather too early than too late
            self.spoke, self._spoke_at = False, self._checked_at
        self._checked_at = now
        silent = now - self.heard_at
        if silent > self._settings.silent_seconds:
            self._log.info("client vanished", seconds=round(silent))
            self._socket.abort()
        elif self._stalls(now):
            waiting = sum(seat.waiting_bytes for seat in seats)
            slow = SlowPeer(self._socket.buffered + waiting, self._limits.outbox_bytes)
            self._metrics.count_error(slow)
            self._metrics.refused[str(slow.close_code)].inc()
            self._log.warning("connection cut", reason=str(slow), error=type(slow).__name__)
            self._socket.abort()
        else:
            self._talk(seats[0], silent, now)
            for seat in seats:
                seat.beat(now)

    def _stalls(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits for it, for too long."""
        if self._socket.written != self._written or not self._socket.buffered:
            self._written, self._moved_at = self._socket.written, now
            return False
        return now - self._moved_at > self._limits.stalled_seconds

    def _talk(self, seat: Seat, silent: float, now: float) -> None:
        """Ask for a sign of life, or give one. One is enough: clients watch the socket, not the document."""
        asked = silent > (self._probes + 1) * self._settings.probe_seconds
        if asked:
            self._probes += 1
        if asked and not self._socket.ping():
            if self.pings:
                self._ping()
            elif self._probes == 1:  # every client answers it that has presence
                seat.say(QueryAwareness())
            else:  # the others know only this
                seat.probe()
        elif now - self._spoke_at > self._settings.keepalive_seconds:
            self._ping() if self.pings else seat.say(yjs.NOTHING_NEW)

    def _ping(self) -> None:
        self._metrics.sent["ping"].add(1)
        self._send(hocuspocus.PING)
