"""A client's way into one room: the question whether it may, the room on its way into memory, the seat, the end.

A socket that speaks y-websocket has one place, one that speaks Hocuspocus has one for each address.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from .auth import Authorize, Grant, Knock, Level
from .auth.tokens import NOT_VALID
from .decisions import Decisions
from .errors import CollabError, Forbidden, TooMany, Unauthorized
from .fence import Panic
from .hub import Hub
from .intake import Intake
from .log import Logger
from .looks import Looks, is_long
from .opened import Opened
from .outlet import KINDS, Dialect
from .seat import Seat
from .store.outbox import Event
from .transport import Socket
from .wire import vet, yjs
from .wire.messages import Close, Denied, Granted, Message, Stateless, SyncStep2, Update


class Door(Protocol):
    """What a place knows of the connection it belongs to."""

    hub: Hub
    socket: Socket
    intake: Intake
    log: Logger
    number: int
    address: str
    origin: str | None
    authorize: Authorize
    revoked: Callable[[Grant], bool]

    def clock(self) -> float:
        """Monotonic seconds."""

    def send(self, frame: bytes) -> None:
        """Send one frame."""

    def keep(self, size: int) -> None:
        """A frame of `size` bytes has to wait; too many are refused here, all of them."""

    def denied(self, place: Place, error: CollabError) -> None:
        """The client gets no seat there."""

    def shown(self, place: Place, token: str) -> None:
        """A client that speaks y-websocket shows a token there."""

    def trouble(self, place: Place, error: CollabError) -> None:
        """The client, which has a seat, has to go."""

    def admitted(self, place: Place) -> None:
        """It is known that the client may come in there; the room may still be on its way."""

    @property
    def crowded(self) -> bool:
        """Whether the client has so many places that the log has no line for each."""

    def greet(self, name: str, grant: Grant, *, new: bool) -> Callable[[], None]:
        """The client is about to sit down in room `name`, which is `new`; raises `TooMany`. What it returns is called
        when the seat is given back."""

    def entered(self, place: Place) -> None:
        """The client has its seat, and what waited was taken in."""

    def done(self) -> None:
        """Something that ran in the background has ended."""


class Place:
    """One attachment of one socket to one room. What comes before the seat is there waits, and is taken in even when
    the client has gone by then: whatever reached the server counts.

    Attributes:
        grant: What the client may do, once that is known.
        asked: Whether it showed a token, or the want of one.
        over: Set when nothing is taken in any more.
        wanted: Whether a new token was asked for.
    """

    def __init__(self, door: Door, name: str, dialect: Dialect) -> None:
        self.door = door
        self.name = name
        self.dialect = dialect
        self.began = door.clock()
        self.expect = door.intake.expect  # (seat.Outlet)
        self.grant: Grant | None = None
        self.seat: Seat | None = None
        self.asked = False
        self.over = False
        self.gone = False
        self.wanted = False
        self._decisions = Decisions(
            door.hub.start_soon, door.log, self.admit, lambda error: door.denied(self, error), door.done
        )
        self._opening = False
        self._give_back: Callable[[], None] | None = None
        self._warned = False
        self._opened: Opened | None = None
        self._waiting: list[tuple[bytes, Message]] = []
        self._looks: Looks | None = None
        self._joined = False

    @property
    def busy(self) -> bool:
        """Whether something runs in the background."""
        return self._opening or self._decisions.waiting > 0

    # ------------------------------------------------------------------ the way in

    def ask(self, token: str | None) -> None:
        """The client shows its token in the way of `yjs.Asking`, and waits to hear what it is worth."""
        self.dialect = yjs.ASKING
        self._warned = True  # "denied" would be the end for it; that it only reads it hears beside the grant
        self.knock(token)

    def knock(self, token: str | None) -> None:
        """Ask whether the client may come in; or, when it is in already, whether it may stay."""
        self.asked = True
        self._decisions.ask()
        door = self.door
        try:
            answer = door.authorize(Knock(self.name, token, door.address, door.origin))
        except CollabError as error:
            door.denied(self, error)
            return
        if isinstance(answer, Grant):
            self.admit(answer)
        else:
            self._decisions.wait(answer)

    def admit(self, grant: Grant) -> None:
        """The client may do what `grant` says."""
        if self.over and not self._waiting:
            return
        if self.door.revoked(grant):
            self.door.denied(self, Unauthorized(NOT_VALID))
        elif grant.level <= Level.NONE:
            self.door.denied(self, Forbidden("no access to this room"))
        elif self.seat is not None:
            self._change(self.seat, grant)
        else:
            known, self.grant = self.grant, grant
            if known is not None:  # the room is on its way
                return
            self.door.admitted(self)
            hub = self.door.hub
            opened = hub.find(self.name)
            if opened is not None:
                hub.hold(opened)
                self._enter(opened)
            else:
                self._opening = True
                hub.start_soon(self._open)

    def _change(self, seat: Seat, grant: Grant) -> None:
        """The client showed a new token. What it may do now counts from here on."""
        could_write, self.grant, self.wanted = seat.may_write, grant, False
        seat.allow(grant)
        self.say(Granted(seat.may_write))
        if could_write and not (seat.may_write or self.dialect.ACKNOWLEDGES):
            # It would go on typing and nobody would see it: y-websocket has no word for "read only".
            self.door.trouble(self, Forbidden("this room may only be read from now on"))

    async def _open(self) -> None:
        try:
            opened = await self.door.hub.open(self.name)
        except CollabError as error:
            self._opening = False
            self.door.denied(self, error)
        else:
            self._opening = False
            self._enter(opened)
        self.door.done()

    def _enter(self, opened: Opened) -> None:
        """Sit down, and take in what waited for it."""
        self._opened = opened
        door, grant = self.door, self.grant
        assert grant is not None
        limit = door.hub.settings.limits.connections_per_room
        refusal: CollabError | None = None
        if opened.seats >= limit:
            refusal = TooMany("clients in this room", limit)
        elif (new := not opened.core.clocks) and not grant.may_create:
            refusal = Forbidden("there is no such room, and you may not make it")
        else:
            try:
                self._give_back = door.greet(self.name, grant, new=new)
            except TooMany as error:
                refusal = error
        opened.seats += 1
        self.seat = Seat(
            opened.core,
            self.dialect,
            self,
            outbox_bytes=door.hub.settings.limits.outbox_bytes,
            metrics=door.hub.metrics,
            trouble=lambda error: door.trouble(self, error),
            now=door.clock(),
            ledger=opened.journal,
            clock=door.clock,
        )
        self.seat.allow(grant)
        if refusal is not None:
            self._forget()
            self.leave()
            door.denied(self, refusal)
            return
        self.seat.say(Granted(grant.level >= Level.WRITE))
        self.seat.enter()
        door.hub.floods.log(
            "info", "client joined", key=(door.address, None if door.crowded else self.name), connection=door.number,
            client=door.address, room=self.name, clients=opened.seats,
        )  # fmt: skip
        self._tell(Event.JOINED, opened)
        for frame, message in self._forget():
            self._hear(frame, message)
        if not self.over:
            door.entered(self)
        self._leave_if_due()

    def _leave_if_due(self) -> None:
        """Whoever is gone, or was refused, leaves when what came before that has been taken in."""
        if (self.over or self.gone) and self.seat is not None and self._looks is None:
            self.leave()

    # ------------------------------------------------------------------ what comes in

    def hear(self, frame: bytes, message: Message | None = None) -> None:
        """One frame of the client for this room, and the `message` in it, if somebody has read that already.

        Raises:
            BadMessage: It is malformed.
        """
        if self.over:
            return
        if message is None:
            if self.type(frame):
                return
            message = self.dialect.decode(frame)
            if isinstance(message, Denied):  # of a client that is its token (`yjs.Asking`)
                self.door.hub.metrics.received["auth"].add(len(frame))
                self.door.shown(self, message.reason)
                return
        self.door.hub.metrics.received[KINDS[type(message)]].add(len(frame))
        if self.seat is not None:
            self._hear(frame, message)
        else:
            self._waiting.append((frame, message))
            self.door.keep(len(frame))

    def _hear(self, frame: bytes, message: Message) -> None:
        if self._looks is None and is_long(message):
            self._looks = Looks(self.door.hub, self.name, self.door.intake, self._looked_at, self._done)
        if self._looks is not None:
            self._looks.add(frame, message)
        elif self.seat is not None:
            self._take(frame, message)

    def _looked_at(self, frame: bytes, message: Message) -> bool:
        """What stood in line may be taken in, or not any more; so may what stands behind it."""
        was_over = self.over
        if self.seat is not None:
            self._take(frame, message)
        return self.seat is not None and self.over == was_over

    def _done(self) -> None:
        self._looks = None
        self._leave_if_due()
        self.door.done()

    def type(self, frame: bytes) -> bool:
        """`hear` for a keystroke, if there is nothing more to it; else nothing was done."""
        door, seat = self.door, self.seat
        if seat is None or self._looks is not None or self.over or (update := self.dialect.typed(frame)) is None:
            return False
        hub = door.hub
        if seat.core.bytes > hub.settings.limits.document_bytes or not seat.type(update, door.clock):
            return False
        hub.metrics.received["update"].add(len(frame))
        return True

    def _take(self, frame: bytes, message: Message) -> None:
        assert self.seat is not None
        hub = self.door.hub
        if isinstance(message, Stateless):
            hub.stateless(self.name, message.text, self.seat)
            return
        try:
            if isinstance(message, Update | SyncStep2) and message.update != vet.EMPTY:
                self.seat.core.check_size(hub.settings.limits.document_bytes)
            self.seat.hear(message, self.door.clock())
        except Forbidden as error:  # its editor may not know that it only reads: it is told once, and goes on reading
            hub.metrics.count_error(error)
            if not self._warned and not self.dialect.ACKNOWLEDGES:
                self._warned = True
                self.say(Denied(str(error)))
        except CollabError as error:
            self.door.trouble(self, error)

    # ------------------------------------------------------------------ what goes out (seat.Outlet)

    @property
    def buffered(self) -> int:
        """Bytes that the socket accepted and has not written.

        More than any seat will wait for while the room is read anew: what its document says then is not to be trusted.
        """
        return sys.maxsize if self._opened is not None and self._opened.reloading else self.door.socket.buffered

    def send(self, frame: bytes) -> None:
        """Send one frame."""
        if not self.over:
            self.door.send(frame)

    def say(self, message: Message) -> None:
        """Send a message that needs no seat."""
        frame = self.dialect.encode(message)
        if frame is not None:
            self.door.hub.metrics.sent[KINDS[type(message)]].add(len(frame))
            self.door.send(frame)

    # ------------------------------------------------------------------ the end

    def end(self, error: CollabError) -> None:
        """Tell the client that it is over, and why; its socket stays."""
        if self.over:
            return
        self.say(Denied(str(error)) if self.seat is None else Close(str(error)))
        self.over = True
        self._forget()
        self.leave()

    def close(self) -> None:
        """The socket is gone: leave, once what it sent before has been taken in."""
        self.gone = True
        if not self._waiting:
            self._decisions.give_up()
        if not self.busy:
            self._forget()
        self._leave_if_due()

    def drop(self, *, flooded: bool = False) -> None:
        """Take in nothing more, except what waits for a room that is on its way, or for a decision; but what is
        `flooded` waits for none."""
        if flooded or not self.busy:
            self._forget()
        if not self._waiting:
            self._decisions.give_up()
        self.over = True
        self._leave_if_due()

    def leave(self) -> None:
        """Give the seat back."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            if self.seat is not None:
                self.seat.leave(self.door.clock())
                self.seat = None
                opened.seats -= 1
                if self._joined:
                    self._tell(Event.LEFT, opened)
            if self._give_back is not None:
                self._give_back()
                self._give_back = None
            self.door.hub.release(opened)

    def _tell(self, event: Event, opened: Opened) -> None:
        """Say that the client came or went."""
        self._joined = event is Event.JOINED
        user = None if self.grant is None else self.grant.subject
        self.door.hub.news(event, self.name, {"client": self.door.number, "user": user, "clients": opened.seats})

    def _forget(self) -> list[tuple[bytes, Message]]:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.door.intake.kept(len(waiting), sum(len(frame) for frame, _ in waiting))
        return waiting

    def reload(self, panic: Panic) -> None:
        """The room's document failed."""
        if self._opened is not None:
            self.door.hub.reload(self._opened, panic)
