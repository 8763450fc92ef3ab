"""How many there may be at once, and how fast. Arithmetic on numbers and a clock value: no I/O, no clock of its own.

A limit slows down before it refuses, where it can: who sends too fast is read more slowly, and TCP tells it so. Nothing
here grows with what clients do: what is counted per key vanishes at zero, or the least recently seen key goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

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


class Shares:
    """How many each has, and how many each may have: clients per address, per user, per room.

    Args:
        what: What is counted, for the error.
        limit: How many one key may have.
        error: What is raised.
    """

    def __init__(self, what: str, limit: int, error: type[TooMany] = TooMany) -> None:
        self.what = what
        self.limit = limit
        self._error = error
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, key: Hashable) -> int:
        """How many `key` has."""
        return self._counts.get(key, 0)

    def take(self, key: Hashable) -> None:
        """One more for `key`; raises `TooMany` when it has all that it may have."""
        count = self._counts.get(key, 0)
        if count >= self.limit:
            raise self._error(self.what, self.limit)
        self._counts[key] = count + 1

    def give_back(self, key: Hashable) -> None:
        """One less for `key`, which has one."""
        count = self._counts[key]
        if count > 1:
            self._counts[key] = count - 1
        else:
            del self._counts[key]


class Bucket:
    """A token bucket: so much per second, and so much at once.

    Args:
        rate: What flows in per second.
        burst: What it holds; it is full at the beginning.
        now: Monotonic seconds.

    Attributes:
        level: What was left at the last look; below zero it is owed.
    """

    __slots__ = ("_at", "burst", "level", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = float(burst)
        self._at = now

    def take(self, n: float, now: float) -> float:
        """Take `n`, whether it is there or not; returns the seconds until what is owed has flowed in, 0 if nothing is.

        Whoever takes is to wait for so long before it takes more: pause reading.
        """
        level = self.level + (now - self._at) * self.rate
        self._at = now
        if level > self.burst:
            level = self.burst
        self.level = level = level - n
        return 0.0 if level >= 0 else -level / self.rate

    def try_take(self, n: float, now: float) -> bool:
        """Take `n` if all of it is there."""
        self.level = min(self.burst, self.level + (now - self._at) * self.rate)
        self._at = now
        if self.level < n:
            return False
        self.level -= n
        return True

    def put(self, n: float) -> None:
        """Put `n` back, as far as it fits."""
        self.level = min(self.burst, self.level + n)


class Pace:
    """How fast one client may send: two buckets, messages and bytes.

    Args:
        messages, bytes: Rate per second and burst of each.
        debt_seconds: How long a wait may get. Reading is paused for that long, so only what was on its way already can
            make it longer; a client that gets past it is closed.
        now: Monotonic seconds.
    """

    __slots__ = ("_bytes", "_debt", "_messages")

    def __init__(
        self, messages: tuple[float, float], bytes: tuple[float, float], debt_seconds: float, now: float
    ) -> None:
        self._messages = Bucket(*messages, now)
        self._bytes = Bucket(*bytes, now)
        self._debt = debt_seconds

    def take(self, size: int, now: float) -> float:
        """One message of `size` bytes came; returns the seconds for which reading should pause, 0.0 nearly always.

        The message itself is to be taken in: nothing is dropped while the connection lives.

        Raises:
            TooMany: The client got too far ahead.
        """
        wait = self._messages.take(1, now)
        other = self._bytes.take(size, now)
        if wait or other:
            if wait > self._debt:
                raise TooMany("messages per second", round(self._messages.rate))
            if other > self._debt:
                raise TooMany("bytes per second", round(self._bytes.rate))
            return max(wait, other)
        return 0.0

    def expect(self, size: int) -> None:
        """The client was told `size` bytes of what others show. y-websocket sends them back: that message is free."""
        self._messages.put(1)
        self._bytes.put(size)


class Rates:
    """How often each may do something.

    Args:
        what: What is counted, for the error.
        limit: How often each key may, per `seconds`.
        burst: How often at once.
        seconds: The time that `limit` is for.
        size: How many keys are remembered; the least recently seen go first, and begin anew with a full bucket.
    """

    def __init__(self, what: str, limit: float, burst: float, *, seconds: float = 1.0, size: int = 10_000) -> None:
        self.what = what
        self.limit = limit
        self._rate = limit / seconds
        self._burst = burst
        self._size = size
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, now: float) -> None:
        """Once more for `key`; raises `TooMany`. A refusal costs nothing, so whoever slows down gets in."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._rate, self._burst, now)
            if len(self._buckets) > self._size:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        if not bucket.try_take(1, now):
            raise TooMany(self.what, round(self.limit))


class Arrivals:
    """How fast new clients may come: all together, and from one address.

    Args:
        rate: All together, per second.
        rate_per_address: From one address, per second.
        size: How many addresses are remembered.
    """

    SECONDS_AT_ONCE = 5
    """What may come at once, in seconds' worth: when a server comes back, so do all its clients."""

    def __init__(self, rate: float, rate_per_address: float, *, size: int = 10_000) -> None:
        burst = self.SECONDS_AT_ONCE
        self.all = Rates("new clients per second", rate, burst * rate, size=1)
        self.each = Rates(
            "new clients per second from one address", rate_per_address, burst * rate_per_address, size=size
        )

    def come(self, block: str | None, now: float) -> None:
        """One more from `block` (None: an address that is not counted by itself); raises `TooMany`.

        One address is looked at first, so that what it is refused takes nothing from the others.
        """
        if block is not None:
            self.each.take(block, now)
        self.all.take(None, now)


class Lobby:
    """What is kept from all clients together while their access is being decided.

    Args:
        total_bytes: How much that may be for the whole process.
        messages, bytes, documents: How much it may be for one client.
        seconds: How long the decision may take.
    """

    def __init__(self, total_bytes: int, *, messages: int, bytes: int, documents: int, seconds: float) -> None:
        self.total_bytes = total_bytes
        self.messages = messages
        self.bytes = bytes
        self.documents = documents
        self.seconds = seconds
        self.held = 0

    def visitor(self, now: float) -> Visitor:
        """A client whose handshake is done at `now` (monotonic seconds)."""
        return Visitor(self, now)


class Visitor:
    """One client whose access is being decided. `leave` must be called in the end.

    The time it has counts from the handshake, whatever it sends (docs/reference/protocol.md).
    """

    __slots__ = ("_bytes", "_documents", "_lobby", "_messages", "_unfinished", "deadline")

    def __init__(self, lobby: Lobby, now: float) -> None:
        self._lobby = lobby
        self._messages = self._bytes = self._documents = self._unfinished = 0
        self.deadline = now + lobby.seconds

    def late(self, now: float) -> bool:
        """Whether it has had all the time there is."""
        return now >= self.deadline

    def message(self, size: int) -> None:
        """A message of `size` bytes came and is to be kept; raises `TooMany`, and then nothing is to be kept."""
        lobby = self._lobby
        self._grow(0)  # what was unfinished of it is whole now
        if self._messages >= lobby.messages:
            raise TooMany("messages before access was granted", lobby.messages)
        if self._bytes + size > lobby.bytes:
            raise TooMany("bytes before access was granted", lobby.bytes)
        if lobby.held + size > lobby.total_bytes:
            raise TooMany("bytes of clients without access", lobby.total_bytes)
        self._messages += 1
        self._bytes += size
        lobby.held += size

    def unfinished(self, size: int) -> None:
        """`size` bytes are here of a message whose end is not; raises `TooMany`, and then they are not to be kept."""
        lobby = self._lobby
        self._grow(size)
        if self._bytes + size > lobby.bytes:
            self._grow(0)
            raise TooMany("bytes before access was granted", lobby.bytes)
        if size and lobby.held > lobby.total_bytes:
            self._grow(0)
            raise TooMany("bytes of clients without access", lobby.total_bytes)

    def _grow(self, size: int) -> None:
        self._lobby.held += size - self._unfinished
        self._unfinished = size

    def document(self) -> None:
        """It asks for one more document; raises `TooMany`."""
        if self._documents >= self._lobby.documents:
            raise TooMany("documents before access was granted", self._lobby.documents)
        self._documents += 1

    def leave(self) -> None:
        """Access was decided, or the client went: nothing is kept here any more. Harmless when repeated."""
        self._lobby.held -= self._bytes + self._unfinished
        self._messages = self._bytes = self._documents = self._unfinished = 0


@lru_cache(maxsize=10_000)
def block_of(address: str) -> str:
    """What counts as one address: an IPv6 /64, which one client has to itself; IPv4 in IPv6 clothes is IPv4."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ip_network((found, 64), strict=False))
    return str(found)


class Refusals:
    """Who was refused for good a moment ago, so that a client which comes back all the same can be told from others.

    y-websocket up to 3.0 knows no terminal close code and would come back nine times a second
    (docs/reference/protocol.md, "Close codes"). The second refusal within `window` seconds is the sign.

    Args:
        window: How long a refusal is remembered, in seconds.
        size: How many are remembered; the oldest go first.
        held: How many of one address may be held that show no sign of an editor.
    """

    def __init__(self, window: float, size: int = 10_000, held: int = 100) -> None:
        self.window = window
        self.size = size
        self._held = Shares("held clients of one address", held)
        self._last: OrderedDict[object, float] = OrderedDict()

    def again(self, who: object, now: float) -> bool:
        """Note that `who` is refused at `now` (monotonic seconds); True when that happened within the window before."""
        last = self._last.pop(who, None)
        self._last[who] = now
        if len(self._last) > self.size:
            self._last.popitem(last=False)
        return last is not None and now - last <= self.window

    def hold(self, address: str) -> bool:
        """One more client of `address` is to be held; False when there are as many as there may be."""
        if self._held.count(address) >= self._held.limit:
            return False
        self._held.take(address)
        return True

    def let_go(self, address: str) -> None:
        """One that was held is held no more."""
        self._held.give_back(address)


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
