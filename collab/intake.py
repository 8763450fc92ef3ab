"""How much one client may send: how fast, and what is kept of it until its rooms are there."""

from __future__ import annotations

from collections.abc import Callable

from .errors import CollabError, TooMany
from .limits import Pace, Visitor
from .metrics import Metrics
from .settings.limits import LimitSettings
from .transport import Socket
from .transport.turns import CHAFF_PER_SECOND

_PACES = {"bytes per second": "bytes_per_second", "messages per second": "messages_per_second"}


class Intake:
    """The bounds of one socket. Past them reading is paused first; what was read is never dropped.

    Args:
        socket: What is paused.
        limits: The bounds.
        metrics: Where those that were met are counted.
        refuse: Told when the client has to go.
        call_later: Calls back after so many seconds.
        visitor: What is kept of the client before it has access.
        pace: How fast it may send.

    Attributes:
        granted: Whether the client may come in somewhere.
        flooded: Whether too much came before that.
        stopped: Set when nothing more is read.
        held: How many have asked not to read on for now.
    """

    def __init__(
        self,
        socket: Socket,
        limits: LimitSettings,
        metrics: Metrics,
        refuse: Callable[[CollabError], None],
        call_later: Callable[[float, Callable[[], None]], None],
        *,
        visitor: Visitor | None,
        pace: Pace | None,
    ) -> None:
        self.granted = False
        self.flooded = False
        self.stopped = False
        self.held = 0
        self._socket = socket
        self._limits = limits
        self._metrics = metrics
        self._refuse = refuse
        self._call_later = call_later
        self._visitor = visitor
        self._pace = pace
        self._slowed = False
        self._waiting = 0
        self._waiting_bytes = self._longest = 0
        self._before = 0
        self._before_bytes = 0

    def take(self, size: int, now: float) -> None:
        """A message came. Whoever sends too fast is read more slowly, and closed only when that does not help.

        Whoever was refused, and goes on, is not read any more.
        """
        if self._pace is None:
            return
        try:
            wait = self._pace.take(size, now)
        except TooMany as error:
            if self.stopped:
                self._socket.pause()
                return
            self._metrics.limited[_PACES.get(error.what, "messages_per_second")].inc()
            self._refuse(error)
            return
        if wait > 0 and not self._slowed:
            self._slowed = True
            self._socket.pause()
            self._call_later(wait, self._go_on)

    def stop(self) -> None:
        """The client was refused."""
        self.stopped = True
        if self._visitor is not None:
            self._visitor.unfinished(0)
        self._socket.distrust()

    def overworked(self) -> None:
        """It sends frames that say nothing, and slowing down did not help."""
        self._metrics.limited["processor"].inc()
        self._refuse(TooMany("frames that say nothing per second", CHAFF_PER_SECOND))

    def _go_on(self) -> None:
        self._slowed = False
        self._resume()

    def _resume(self) -> None:
        if not (self.stopped or self._slowed or self.held):
            self._socket.resume()

    def hold(self) -> None:
        """Read nothing more until `let_go` was called as often."""
        self.held += 1
        self._socket.pause()

    def let_go(self) -> None:
        """Whoever called `hold` is done."""
        self.held -= 1
        self._resume()

    def expect(self, size: int) -> None:
        """The client is told of others, and will repeat `size` bytes of it."""
        if self._pace is not None:
            self._pace.expect(size)

    def deadline(self, now: float) -> float:
        """When a decision about access has to be there (monotonic seconds)."""
        if self.granted or self._visitor is None:
            return now + self._limits.auth_seconds
        return self._visitor.deadline

    def keep(self, size: int, *, may_pause: bool) -> None:
        """A message has to wait for its room. Nothing is paused while something that the room waits for may come."""
        self._waiting += 1
        self._waiting_bytes += size
        self._longest = max(self._longest, size)
        known = self.granted
        if self._visitor is not None and not known:
            try:
                self._visitor.message(size)
            except TooMany as error:
                self._metrics.limited["unauthenticated"].inc()
                self.flooded = True
                self._refuse(error)
                return
        limits = self._limits
        most = self._before + limits.waiting_messages if known else limits.unauthenticated_messages
        largest = self._before_bytes + limits.waiting_bytes if known else limits.unauthenticated_bytes
        self.flooded = not known
        if self._waiting > most:
            self._refuse(TooMany("messages before the room is open", most))
        elif self._waiting_bytes - (self._longest if known else 0) > largest:
            # Not refused for what it sends, be it one message that is longer: reading is paused below, so this is more
            # than the network had in store.
            self._refuse(TooMany("bytes before the room is open", largest))
        elif known and 2 * self._waiting_bytes > largest and may_pause:
            self._socket.pause()

    def unfinished(self, size: int) -> bool:
        """So much is here of a message whose end is not; whether that counts, and is to be told again.

        What is here, and not what its head says: the access may be granted before the rest has come.
        """
        if self.granted or self.stopped or self._visitor is None:
            return False
        try:
            self._visitor.unfinished(size)
        except TooMany as error:
            self._metrics.limited["unauthenticated"].inc()
            self.flooded = True
            self._refuse(error)
        return True

    def kept(self, messages: int, size: int) -> None:
        """They wait no longer."""
        self._waiting -= messages
        self._waiting_bytes -= size
        if not self._waiting:
            self._longest = 0
        self._resume()

    def admitted(self) -> None:
        """The client may come in somewhere: other bounds count from here on, for what comes from here on."""
        if not self.granted:
            self.granted = True
            self._before, self._before_bytes = self._waiting, self._waiting_bytes
            self.leave()

    def leave(self) -> None:
        """What was kept of it before it had access is kept no more."""
        if self._visitor is not None:
            self._visitor.leave()
