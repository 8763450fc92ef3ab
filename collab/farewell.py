"""How a client that has to go is told so: at once for most, later for an editor that would only come back at once."""

from __future__ import annotations

from .errors import BadMessage, CollabError, TooLarge
from .hub import Hub
from .limits import Refusals
from .outlet import Dialect
from .transport import Socket
from .wire.messages import Denied

EDITOR_SECONDS = 1.0
"""How long a client that was refused before has to show that it is an editor, by its first frame."""


class Farewell:
    """The end of one socket whose client is refused.

    y-websocket before 3.1 knows no code that means "stay away" and reconnects nine times a second; Hocuspocus knows
    none at all. When somebody who was refused for good is back within the window, and speaks like an editor, the
    socket is held, silent, and closed later. Editors of other makes, which speak so that nothing can be made of it,
    come back at once as well, hundreds of times a second: they are held whatever their first frame was, as many of one
    address as may be.

    Args:
        hub: Counts.
        socket: What is closed.
        refusals: Who was refused a moment ago.
        address, path: Where the client is and what it asked for: who comes back is known by both.
    """

    def __init__(self, hub: Hub, socket: Socket, refusals: Refusals, address: str, path: bytes) -> None:
        self._metrics = hub.metrics
        self._hold_seconds = hub.settings.limits.hold_seconds
        self._socket = socket
        self._refusals = refusals
        self._who = address, path
        self._code = 0
        self._reason = ""
        self._held_since: float | None = None
        self._malformed = False  # and held for it

    def say(self, error: CollabError, code: int, dialect: Dialect | None, now: float) -> None:
        """Say why, and close, or hold.

        Args:
            error: Why.
            code: The close code.
            dialect: What the client is told in; None for Hocuspocus, where only documents can be denied.
            now: Monotonic seconds.
        """
        self._code, self._reason = code, str(error)
        self._metrics.count_error(error)
        self._metrics.refused[str(code)].inc()
        if dialect is not None:
            denied = dialect.encode(Denied(self._reason))
            assert denied is not None
            self._metrics.sent["denied"].add(len(denied))
            self._socket.send(denied)
        # All Hocuspocus clients of an address share one path: only what each repeats is told apart.
        is_told = dialect is not None or isinstance(error, TooLarge)
        if not is_told or not self._refusals.again(self._who, now):
            self._close()
        elif type(error) is not BadMessage:
            self._held_since = now
        elif self._refusals.hold(self._who[0]):
            self._held_since, self._malformed = now, True
        else:
            self._close()

    def beat(self, now: float, *, is_editor: bool) -> None:
        """Once a second after that: close what was held for long enough."""
        if self._held_since is not None:
            held = self._hold_seconds if is_editor or self._malformed else EDITOR_SECONDS
            if now - self._held_since >= held:
                self._close()

    def gone(self) -> None:
        """The socket is gone, or will be in a moment. Harmless when repeated."""
        if self._malformed:
            self._malformed = False
            self._refusals.let_go(self._who[0])

    def _close(self) -> None:
        self._held_since = None
        self.gone()
        self._socket.close(self._code, self._reason)
