"""Counts of what there may be at once. Arithmetic on numbers and a clock value: no I/O, no clock of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from .errors import TooMany


class Gauge:
    """How many of something there are now, and how many there may be."""

    def __init__(self, what: str, limit: int) -> None:
        self.what = what
        self.limit = limit
        self.count = 0

    def take(self) -> None:
        """One more; raises `TooMany` when the limit is reached."""
        if self.count >= self.limit:
            raise TooMany(self.what, self.limit)
        self.count += 1

    def give_back(self) -> None:
        """One less."""
        self.count -= 1


class Refusals:
    """Who was refused for good a moment ago, so that a client which comes back all the same can be told from others.

    y-websocket up to 3.0 knows no terminal close code and would come back nine times a second
    (docs/reference/protocol.md, "Close codes"). The second refusal within `window` seconds is the sign.

    Args:
        window: How long a refusal is remembered, in seconds.
        size: How many are remembered; the oldest go first.
    """

    def __init__(self, window: float, size: int = 10_000) -> None:
        self.window = window
        self.size = size
        self._last: OrderedDict[object, float] = OrderedDict()

    def again(self, who: object, now: float) -> bool:
        """Note that `who` is refused at `now` (monotonic seconds); True when that happened within the window before."""
        last = self._last.pop(who, None)
        self._last[who] = now
        if len(self._last) > self.size:
            self._last.popitem(last=False)
        return last is not None and now - last <= self.window


class Warm:
    """What is kept although nobody needs it right now: by name, least recently needed first, up to a count and a size.

    Args:
        max_count: How many there may be.
        max_bytes: How large they may be together.
    """

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.bytes = 0
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    @property
    def over(self) -> bool:
        """Whether something has to go."""
        return bool(self._sizes) and (len(self._sizes) > self.max_count or self.bytes > self.max_bytes)

    def put(self, name: str, size: int) -> None:
        """Nobody needs `name` any more, which has `size` bytes. One that is here already keeps its place."""
        self.bytes += size - self._sizes.get(name, 0)
        self._sizes[name] = size

    def take(self, name: str) -> None:
        """`name` is needed again, or has gone."""
        self.bytes -= self._sizes.pop(name, 0)
