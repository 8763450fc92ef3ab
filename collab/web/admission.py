"""Who gets in before the handshake, and how fast. What is refused here costs no room, no seat and no task.

One `Admission` serves one app. It asks, cheapest first: may this page connect, is there a place, do too many come at
once. Everything that is refused is counted by the limit it met (`collab_limited_total`), and gets a status instead of
a handshake: clients of every age back off from that.
"""

from __future__ import annotations

import resource
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, MutableMapping
from contextlib import ExitStack, asynccontextmanager
from inspect import isawaitable
from typing import Any

import anyio

from ..auth import Authorize, Grant, Knock
from ..errors import Forbidden, TooMany, TooManyDocuments, Unavailable
from ..limits import Arrivals, Gauge, Lobby, Pace, Rates, Shares, Visitor, block_of
from ..log import get_logger
from ..metrics import Metrics
from ..settings import Settings
from ..settings.values import parse_list, parse_networks
from .edge import Origins, client_address, is_loopback, is_trusted

log = get_logger(__name__)

RESERVED_FILES = 64
"""File descriptors that clients never get: the store, health checks and the log need some."""
HOUR_SECONDS = 3600.0


class Admitted:
    """A client that was let in. `leave` must be called when it has gone.

    Attributes:
        address: Where it is, after trusted proxies.
        block: What is counted as its address; None when it is not counted by itself.
        origin: The page it comes from, if a browser says so.
    """

    def __init__(
        self, admission: Admission, address: str, block: str | None, origin: str | None, taken: ExitStack
    ) -> None:
        self.address = address
        self.block = block
        self.origin = origin
        self._admission = admission
        self._users: set[str] = set()
        self._taken = taken
        self._left = False

    def is_user(self, subject: str | None) -> None:
        """Its access was granted as `subject`; None is nobody in particular and is not counted.

        Raises:
            TooMany: This user has all the connections that one may have. Nothing was taken.
        """
        if subject is not None and subject not in self._users and not self._left:
            users = self._admission.users
            self._admission.count("connections_per_user", lambda: users.take(subject))
            self._taken.callback(users.give_back, subject)
            self._users.add(subject)

    def sits(self, subject: str | None) -> Callable[[], None]:
        """It takes a seat in a document as `subject`; what this returns gives it back.

        Raises:
            TooManyDocuments: This user, or all users of this address, have all that they may have. Nothing was taken.
        """
        admission = self._admission
        with ExitStack() as taken:
            if self.block is not None:
                admission.count("documents_per_address", lambda: admission.seats_of_address.take(self.block))
                taken.callback(admission.seats_of_address.give_back, self.block)
            if subject is not None:
                admission.count("documents_per_user", lambda: admission.seats_of_user.take(subject))
                taken.callback(admission.seats_of_user.give_back, subject)
            return taken.pop_all().close

    def creates_room(self, subject: str | None, name: str) -> None:
        """It is about to make room `name` by entering it; raises `TooMany`."""
        self._admission.create_room(subject if subject is not None else self.block, name, named=subject is not None)

    def leave(self) -> None:
        """It has gone. Harmless when repeated."""
        self._left = True
        self._taken.close()


class Admission:
    """The gate of one app.

    Args:
        settings: Sections `server` and `limits`.
        metrics: Where refusals are counted.
        cookies: Whether a cookie gives access, so that a browser brings it along from any page.
        clock: Gives monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        cookies: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = self._limits = settings.limits
        self.metrics = metrics
        self.clock = clock
        self.trusted = parse_networks(settings.server.trusted_proxies)
        self.origins = Origins(parse_list(settings.server.allowed_origins), cookies=cookies)
        self.open = Gauge("connections", _connections(limits.connections))
        metrics.connections_max.set(self.open.limit)
        self.addresses = Shares("connections from one address", limits.connections_per_address)
        self.users = Shares("connections of one user", limits.connections_per_user)
        self.seats_of_address = Shares(
            "open documents from one address", limits.documents_per_address, TooManyDocuments
        )
        self.seats_of_user = Shares("open documents of one user", limits.documents_per_user, TooManyDocuments)
        self.arrivals = Arrivals(limits.new_connections_per_second, limits.new_connections_per_second_per_address)
        self.lobby = Lobby(
            limits.unauthenticated_total_bytes,
            messages=limits.unauthenticated_messages,
            bytes=limits.unauthenticated_bytes,
            documents=limits.unauthenticated_documents,
            seconds=limits.auth_seconds,
        )
        self._created = Rates(
            "new rooms per hour", limits.rooms_created_per_user, limits.rooms_created_per_user, seconds=HOUR_SECONDS
        )
        self._made = _Lately(HOUR_SECONDS)
        self._decisions = anyio.Semaphore(limits.auth_concurrency)
        self._turns: dict[str, _Turns] = {}
        self._warned_of_proxy = False

    # ------------------------------------------------------------------ before the handshake

    def admit(self, scope: MutableMapping[str, Any]) -> Admitted:
        """Let one client in.

        Raises:
            Forbidden: The page it comes from may not connect.
            TooMany: The server is full, or too many come at once.
        """
        peer = scope["client"][0] if scope.get("client") else None
        headers = scope.get("headers", ())
        refusal = self.origins.refusal(headers, secure=scope.get("scheme") in ("https", "wss"))
        if refusal is not None:
            self.metrics.limited["origin"].inc()
            raise Forbidden(refusal)
        address = client_address(peer, headers, self.trusted)
        block = self._block(peer, address)
        try:
            with ExitStack() as taken:
                if block is not None:
                    self.count("connections_per_address", lambda: self.addresses.take(block))
                    taken.callback(self.addresses.give_back, block)
                self.count("connections", self.open.take)
                taken.callback(self.open.give_back)
                self._arrive(block)
                return Admitted(self, address, block, _one(headers, b"origin"), taken.pop_all())
        except TooMany:
            self._look_for_proxy(peer, headers)
            raise

    def _arrive(self, block: str | None) -> None:
        try:
            self.arrivals.come(block, self.clock())
        except TooMany as error:
            of_one = error.what == self.arrivals.each.what
            self.metrics.limited[f"new_connections_per_second{'_per_address' if of_one else ''}"].inc()
            raise

    def _block(self, peer: str | None, address: str) -> str | None:
        """What is counted as this client's address.

        None for this machine's own clients (tests, load generators, a proxy on the same machine that nobody told us
        of), unless this machine's address is a trusted proxy's: then a client could claim to be one of them.
        """
        if peer is None or (is_loopback(peer) and not is_trusted(peer, self.trusted)):
            return None
        return block_of(address)

    def _look_for_proxy(self, peer: str | None, headers: Any) -> None:
        """Say once that everybody seems to have one address, when that is because a proxy is not trusted."""
        if self._warned_of_proxy or not any(name.lower() in (b"x-forwarded-for", b"forwarded") for name, _ in headers):
            return
        if peer is not None and not is_trusted(peer, self.trusted):
            self._warned_of_proxy = True
            log.warning(
                "a proxy is not trusted",
                peer=peer,
                consequence="its clients share the limits of one address",
                advice="set COLLAB_SERVER__TRUSTED_PROXIES to its address if it is yours",
            )

    def count(self, limit: str, take: Callable[[], object]) -> None:
        """`take()`; when it raises `TooMany` that is counted as `limit`."""
        try:
            take()
        except TooMany:
            self.metrics.limited[limit].inc()
            raise

    # ------------------------------------------------------------------ until access is granted, and after

    def visitor(self) -> Visitor:
        """What is kept of a client from its handshake until its access is decided."""
        return self.lobby.visitor(self.clock())

    def pace(self) -> Pace:
        """How fast one client may send."""
        limits = self._limits
        return Pace(
            (limits.messages_per_second, limits.messages_burst),
            (limits.bytes_per_second, max(limits.bytes_burst, limits.message_bytes)),
            limits.debt_seconds,
            self.clock(),
        )

    def create_room(self, key: str | None, name: str, *, named: bool) -> None:
        """A user (`named`) or an address makes room `name`; None is not counted. Raises `TooMany`.

        A room in which nobody writes is new each time that somebody enters it, and is counted once.
        """
        now = self.clock()
        if key is not None and not self._made.has((named, key, name), now):
            self.count("rooms_created_per_user", lambda: self._created.take((named, key), now))
            self._made.add((named, key, name), now)

    @asynccontextmanager
    async def _turn(self, block: str | None) -> AsyncIterator[None]:
        if block is None:
            yield
            return
        turns = self._turns.setdefault(block, _Turns(max(1, self._limits.auth_concurrency // 4)))
        turns.users += 1
        try:
            async with turns.semaphore:
                yield
        finally:
            turns.users -= 1
            if not turns.users:
                del self._turns[block]

    async def decide(self, authorize: Authorize, knock: Knock, *, block: str | None, deadline: float) -> Grant:
        """Ask `authorize`; what it answers at once costs no place among those who wait.

        Args:
            authorize: Decides.
            knock: What the client says of itself.
            block: What is counted as its address, so that one alone cannot take all places.
            deadline: Monotonic seconds (`Visitor.deadline`).

        Raises:
            Unauthorized, Forbidden, TooMany, Unavailable: As `authorize` does; `Unavailable` too when there is no
                answer, or no place to wait for it, by the deadline.
        """
        answer = authorize(knock)
        if not isawaitable(answer):
            return answer
        started = False
        try:
            with anyio.move_on_after(deadline - self.clock()):
                async with self._turn(block), self._decisions:
                    started = True
                    return await answer
        finally:
            if not started:
                _let_go(answer)
        self.metrics.limited["auth_seconds" if started else "auth_concurrency"].inc()
        raise Unavailable("the decision about access")


class _Turns:
    """The decisions that one address waits for: so many at once, the others in order."""

    def __init__(self, at_once: int) -> None:
        self.semaphore = anyio.Semaphore(at_once)
        self.users = 0


class _Lately:
    """What happened within the last `seconds`; of more than `size` things the oldest are forgotten before."""

    def __init__(self, seconds: float, size: int = 10_000) -> None:
        self._seconds = seconds
        self._size = size
        self._times: OrderedDict[Hashable, float] = OrderedDict()

    def has(self, what: Hashable, now: float) -> bool:
        """Whether `what` happened; forgets what is too old."""
        while self._times and now - next(iter(self._times.values())) >= self._seconds:
            self._times.popitem(last=False)
        return what in self._times

    def add(self, what: Hashable, now: float) -> None:
        """It happened, for the first time."""
        self._times[what] = now
        if len(self._times) > self._size:
            self._times.popitem(last=False)


def _let_go(answer: Any) -> None:
    close = getattr(answer, "close", None) or getattr(answer, "cancel", None)
    if close is not None:
        close()


def _connections(wanted: int) -> int:
    """How many clients there can be: a server without a file descriptor left cannot even say that it is full."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or wanted <= files - RESERVED_FILES:
        return wanted
    possible = max(1, files - RESERVED_FILES)
    log.warning("fewer connections than set", connections=possible, set=wanted, open_files=files)
    return possible


def _one(headers: Any, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == wanted), None)
