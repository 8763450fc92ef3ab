"""One socket: its dialect, its limits, its places in rooms, and how it ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Protocol

from .addresses import Addresses
from .auth import Authorize, Grant, everyone
from .errors import BadMessage, BadRoomName, CollabError, TooLarge, TooMany, TooManyDocuments, Unauthorized
from .farewell import Farewell
from .fence import Panic
from .hub import Hub
from .intake import Intake
from .limits import Pace, Refusals, Visitor
from .liveness import Liveness
from .log import Logger, get_logger
from .outlet import Dialect
from .place import Place
from .transport import Socket
from .wire import hocuspocus, yjs
from .wire.messages import TokenWanted

log = get_logger(__name__)

_numbers = itertools.count(1)

GRACE_SECONDS = 0.5
"""How long a Hocuspocus client that asks for a document has to show its token: version 2 shows none if it has none."""
AHEAD_SECONDS = 10.0
"""How long before its access ends a client is asked for a new token."""
DENIED_SECONDS = 60.0
"""How long a client that was let in nowhere may stay, to show a better token."""
LINES = 10
"""So many documents of one client have a line each in the log when they are joined."""


class Guest(Protocol):
    """What one user, or one address, may have of this server, all their connections together."""

    def is_user(self, subject: str | None) -> None:
        """Access was granted as `subject`; raises `TooMany`."""

    def sits(self, subject: str | None) -> Callable[[], None]:
        """A seat is taken as `subject`; returns what gives it back, raises `TooManyDocuments`."""

    def creates_room(self, subject: str | None, name: str) -> None:
        """Room `name` is made by entering it; raises `TooMany`."""


class Connection:
    """A client on a socket of its own. Every method returns at once; frames come in by `received`.

    A path that names a room is taken for y-websocket, until the first frame tells that it is Hocuspocus.

    Args:
        hub: All rooms.
        socket: What carries the frames.
        name: The room's name, if the path has one.
        address: Where the client is, for the log and for telling who comes back.
        path: What it asked for, likewise.
        refusals: Who was refused a moment ago.
        clock: Gives monotonic seconds.
        ended: Called once, when nothing is left to do for this client.
        authorize: Decides who may come in.
        token: What the client showed in its request.
        origin: The page it comes from.
        wall: Seconds since the epoch.
        guest: What its user and its address may have, all their connections together.
        visitor, pace: What is kept of it before it has access, and how fast it may send.
        revoked: Whether a grant counts no more.
    """

    def __init__(
        self,
        hub: Hub,
        socket: Socket,
        name: str | None,
        *,
        address: str,
        path: bytes,
        refusals: Refusals,
        clock: Callable[[], float],
        ended: Callable[[Connection], None],
        authorize: Authorize = everyone,
        token: str | None = None,
        origin: str | None = None,
        wall: Callable[[], float] = lambda: 0.0,
        guest: Guest | None = None,
        visitor: Visitor | None = None,
        pace: Pace | None = None,
        revoked: Callable[[Grant], bool] = lambda grant: False,
    ) -> None:
        self.hub = hub
        self.socket = socket
        self.name = name
        self.number = next(_numbers)
        self.log: Logger = log.bind(connection=self.number, client=address)
        self.address = address
        self.origin = origin
        self.authorize = authorize
        self.clock = clock
        self.places: dict[str, Place] = {}
        self._wall = wall
        self._guest = guest
        self.revoked = revoked
        self.token = token
        self._ended = ended
        self._farewell = Farewell(hub, socket, refusals, address, path)
        self._limits = hub.settings.limits
        self._dialect: Dialect | None = None  # of the whole socket; None for Hocuspocus, and while nobody knows
        self._speaks: str | None = None
        self._verdict: CollabError | None = None
        self._denied = False
        self._refused: CollabError | None = None
        self._is_editor = False
        self._closing = False
        self._gone = False
        self._over = False
        self._began = now = clock()
        self.liveness = Liveness(socket, hub.settings, hub.metrics, self.log, self.send, now)
        self.intake = Intake(socket, self._limits, hub.metrics, self.refuse, hub.call_later, visitor=visitor, pace=pace)
        self._addresses = Addresses(self)

    # ------------------------------------------------------------------ how it begins

    def begin(self, error: CollabError | None = None) -> None:
        """Greet the client, when the path says whom; or refuse it, when an `error` is known already."""
        self.hub.beats.add(self.beat)
        if error is not None:
            self._dialect = yjs
            self.refuse(error)
        elif self.name is not None:
            self._dialect = yjs
            place = self.places[""] = Place(self, self.name, yjs)
            place.knock(self.token)

    def _recognise(self, frame: bytes) -> None:
        """The first frame tells what the client speaks."""
        if hocuspocus.opens(frame, surely=self.name is not None):
            for place in self.places.values():
                place.leave()
                place.over = True
            self.places.clear()
            self._verdict = self._dialect = None
            self._speaks = hocuspocus.__name__
            self._is_editor = True
            return
        self._speaks = yjs.NAME
        shows_token = frame[:2] == yjs.TOKEN
        self._is_editor = shows_token or frame[:2] == b"\x00\x00"  # how every y-websocket client begins
        if self._dialect is None:
            self._dialect = yjs
            self.refuse(BadRoomName("the room's name is empty") if self._is_editor else BadMessage("unknown protocol"))
        elif self._verdict is not None and not shows_token:
            self.refuse(self._verdict)

    # ------------------------------------------------------------------ what comes in (transport.Receiver)

    def received(self, frame: bytes | str) -> None:
        """One message of the client."""
        self.liveness.heard(now := self.clock())
        if isinstance(frame, str):
            self._invalid(len(frame))
            return self.refuse(BadMessage("text messages are not understood here"))
        if self._speaks is None:
            self._recognise(frame)
        self.intake.take(len(frame), now)
        if self._refused is not None:
            if frame[:2] == b"\x00\x00":
                self._is_editor = True
            return
        try:
            if self._dialect is None:
                self._addresses.received(frame)
            else:
                self.places[""].hear(frame)
        except BadMessage as error:
            self._invalid(len(frame))
            self.refuse(error)

    def _invalid(self, size: int) -> None:
        self.hub.metrics.received["invalid"].add(size)

    def too_large(self, size: int) -> None:
        """A message was larger than any that is taken."""
        if self._refused is None:
            self._invalid(size)
            self.refuse(TooLarge("a message", size, self._limits.message_bytes))

    def unfinished(self, size: int) -> bool:
        """So much is here of a message whose end is not."""
        return self.intake.unfinished(size)

    def ponged(self) -> None:
        """The client is there, though it has nothing to say."""
        self.liveness.heard(self.clock())

    def overworked(self) -> None:
        """The client sends nothing but work."""
        self.intake.overworked()

    def drained(self) -> None:
        """The socket can take more."""
        for seat in [place.seat for place in self.places.values() if place.seat is not None]:
            seat.drained()

    def closed(self, code: int) -> None:
        """The socket is gone."""
        if self._gone:
            return
        self._gone = self.intake.stopped = True
        self.hub.beats.discard(self.beat)
        self.hub.floods.log(
            "info", "client left", key=(self.address, code), connection=self.number, client=self.address, code=code
        )
        self._farewell.gone()
        for place in self.places.values():
            place.close()
        self.done()

    # ------------------------------------------------------------------ what its places say (place.Door)

    def send(self, frame: bytes) -> None:
        """Send one frame."""
        if self._refused is None:
            self.liveness.spoke = True
            self.socket.send(frame)

    def keep(self, size: int) -> None:
        """A frame has to wait for its place: within bounds."""
        self.intake.keep(size, may_pause=not self._addresses.unasked)

    @property
    def deadline(self) -> float:
        """When a decision about access has to be there (monotonic seconds)."""
        return self.intake.deadline(self.clock())

    def admitted(self, place: Place) -> None:
        """The client may come in somewhere."""
        self._addresses.undecided.discard(place)
        self.intake.admitted()

    @property
    def crowded(self) -> bool:
        """Whether the client has so many places that the log has no line for each."""
        return len(self.places) > LINES

    def greet(self, name: str, grant: Grant, *, new: bool) -> Callable[[], None]:
        """The client is about to sit down, in a room that is `new`; raises `TooMany`."""
        if self._guest is None:
            return lambda: None
        self._guest.is_user(grant.subject)
        if new:
            self._guest.creates_room(grant.subject, name)
        return self._guest.sits(grant.subject)

    def entered(self, place: Place) -> None:
        """The client has a seat."""
        self.liveness.seated(self.clock())

    def denied(self, place: Place, error: CollabError) -> None:
        """No seat there. Hocuspocus hears so in band, and may try again; y-websocket has to go."""
        if self._dialect is not None:
            if self._speaks is None and not self._gone:
                self._verdict = error  # its first frame may still tell that it shows its token there
            else:
                self.refuse(error)
        elif error.retry and not isinstance(error, TooManyDocuments):
            self.refuse(error)
        elif not place.over:
            self.count(place, error)
            self._addresses.shut(place, error)
            if not self._denied:  # once: nobody stays for ever by being denied again and again
                self._denied = True
                self._began = self.clock() + DENIED_SECONDS - self._limits.auth_seconds

    def shown(self, place: Place, token: str) -> None:
        """A client that speaks y-websocket shows a token: what was thought of it without one does not count."""
        self._dialect, self._verdict = yjs.ASKING, None
        place.ask(token or self.token)

    def trouble(self, place: Place, error: CollabError) -> None:
        """A client with a seat has to go; of a Hocuspocus client only this document."""
        if isinstance(error, Panic):
            place.reload(error)
        elif self._dialect is not None or error.retry:
            self.refuse(error)
        elif not place.over:
            self.count(place, error)
            self._addresses.shut(place, error)

    def count(self, place: Place, error: CollabError) -> None:
        """One document is refused, and not the whole socket."""
        self.hub.metrics.count_error(error)
        self._log_refusal("document refused", place.name, error.close_code, error)

    def _log_refusal(self, what: str, room: str | None, code: int, error: CollabError) -> None:
        self.hub.floods.log(
            "warning", what, key=(self.address, reason := str(error)), connection=self.number, room=room,
            client=self.address, code=code, error=type(error).__name__, reason=reason,
        )  # fmt: skip

    def done(self) -> None:
        """Once the socket is gone and nothing runs any more, nothing is left to do."""
        if self._gone and not self._over and not any(place.busy or place.seat for place in self.places.values()):
            self._over = True
            self.intake.leave()  # not before: what came ahead of a decision waits for it, and is counted
            self._ended(self)

    # ------------------------------------------------------------------ how it ends

    def refuse(self, error: CollabError) -> None:
        """Nothing more is taken of the client: it is told why, and has to go (`Farewell`)."""
        if self._refused is not None:
            return
        self._refused = error.with_traceback(None)  # which would hold on to the frame that was refused
        self.intake.stop()
        code = self._code(error)
        self._log_refusal("connection refused", self.name, code, error)
        for place in self.places.values():
            place.drop(flooded=isinstance(error, TooMany) and not self.intake.granted)
        self._farewell.say(error, code, self._dialect, self.clock())

    def _code(self, error: CollabError) -> int:
        """The close code; for Hocuspocus, what cannot be read and what was too much before access is a reset."""
        if self._speaks == hocuspocus.__name__ and (
            isinstance(error, BadMessage | Unauthorized) or (isinstance(error, TooMany) and self.intake.flooded)
        ):
            return hocuspocus.RESET
        return error.close_code

    def close(self, error: CollabError) -> None:
        """Close the socket for no fault of the client: what it sent before it heard of it is still taken in."""
        self._closing = True
        self.socket.close(error.close_code, str(error))

    # ------------------------------------------------------------------ once a second

    def beat(self, now: float) -> None:
        """Look after the client: is it there, does it hear of us, does it take what it is sent?"""
        if self._refused is not None:
            self._farewell.beat(now, is_editor=self._is_editor)
            return
        if self._closing:
            return
        if self._verdict is not None and now - self._began > GRACE_SECONDS:
            self._speaks = yjs.NAME
            self.refuse(self._verdict)
            return
        for place in tuple(self.places.values()):
            self._check_access(place, now)
        if self._refused is not None:
            return
        seats = [place.seat for place in self.places.values() if place.seat is not None]
        if seats and self.intake.held:
            self.liveness.seated(now)  # it may be there and have said a lot
        elif seats:
            self.liveness.check(seats, now)
        elif not any(place.grant for place in self.places.values()):
            self._check_deadline(now)

    def _check_access(self, place: Place, now: float) -> None:
        if not place.asked and now - place.began > GRACE_SECONDS:
            self._addresses.unasked.discard(place)
            place.knock(self.token)
        grant = place.grant
        if grant is None:
            return
        revoked = self.revoked(grant)
        left = 0.0 if revoked else math.inf if grant.expires is None else grant.expires - self._wall()
        if left <= 0:
            # The whole socket, and not a word in band: Hocuspocus clients get a fresh token only when they come back,
            # and providers 2.9 to 2.15 take a `Denied` for the end of the document, after which they hear nothing.
            self.refuse(Unauthorized("the token is not valid any more" if revoked else "the token has expired"))
        elif left <= AHEAD_SECONDS and not place.wanted and place.seat is not None:
            place.wanted = True
            place.say(TokenWanted())
            self.hub.call_later(left + 0.01, lambda: None if self._gone else self.beat(self.clock()))  # not a beat late

    def _check_deadline(self, now: float) -> None:
        """Nobody stays for long without access, whatever they send."""
        if now - self._began > self._limits.auth_seconds:
            code = hocuspocus.IDLE if self._dialect is None else Unauthorized.close_code
            self.hub.metrics.refused[str(code)].inc()
            self._closing = True
            self.socket.close(code, "no access was granted in time")
