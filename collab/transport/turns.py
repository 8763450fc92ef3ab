"""How much of one connection is worked through before the others have their turn, and what counts as work for nothing.

Frames that are no message (pings, pongs, empty pieces of one) are counted by no limit of a connection, which never sees
them; 40,000 of them fit into one read of the event loop.
"""

from __future__ import annotations

from ..limits import Bucket

LITTLE_BYTES = 1024
"""A read that is not worth a look at the clock: its smallest frames are 170, and take half a millisecond."""
TURN_BYTES = 4096
"""What is read between two looks at the clock, and at the least before a pause counts."""
TURN_SECONDS = 0.001

PIECE_BYTES = 64
"""A piece of a message that is smaller than this is work for nothing: nobody sends such pieces for a good reason."""
CHAFF_AT_ONCE = 200
"""So many of them are counted together, so that those who answer a ping now and then cost nothing."""
CHAFF_PER_SECOND, CHAFF_BURST = 2000, 2000
PATIENCE_SECONDS = 10.0
"""For how long a connection may be slowed down without a pause; then it is cut off."""


class Chaff:
    """The frames of one connection that say nothing.

    Args:
        now: Monotonic seconds, as everywhere here.
    """

    __slots__ = ("_bucket", "_slowed_since")

    def __init__(self, now: float) -> None:
        self._bucket = Bucket(CHAFF_PER_SECOND, CHAFF_BURST, now)
        self._slowed_since: float | None = None

    def take(self, frames: int, now: float) -> float:
        """So many came; returns the seconds for which nothing more is to be read."""
        wait = self._bucket.take(frames, now)
        if not wait:
            self._slowed_since = None
        elif self._slowed_since is None:
            self._slowed_since = now
        return wait

    def too_long(self, now: float) -> bool:
        """Whether slowing down has not helped."""
        return self._slowed_since is not None and now - self._slowed_since > PATIENCE_SECONDS
