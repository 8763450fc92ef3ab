"""What has to be looked through before it is taken in, and what its client sent behind it.

Long updates are looked through on another thread (`vetting.py`). Meanwhile nothing more is read of their client, and
what came already waits: each client's messages are taken in in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

from anyio.lowlevel import checkpoint as let_others_run

from . import vetting
from .errors import BadMessage, BadUpdate
from .hub import Hub
from .intake import Intake
from .replica import Replica
from .wire import ahead, vet
from .wire.messages import Message, SyncStep1, SyncStep2, Update
from .wire.seams import in_pieces


class Looks:
    """The line of one client in one room, from the first that is long until nobody is left in it.

    Args:
        hub: Runs the looks.
        room: Its name.
        intake: What is held meanwhile.
        take: Takes one message in; says whether the next may follow.
        done: Called when the line has come to its end.
    """

    def __init__(
        self, hub: Hub, room: str, intake: Intake, take: Callable[[bytes, Message], bool], done: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._room = room
        self._intake = intake
        self._take = take
        self._done = done
        self._line: deque[tuple[bytes, Message]] = deque()

    def add(self, frame: bytes, message: Message) -> None:
        """`message` came, and waits for its turn."""
        self._line.append((frame, message))
        if len(self._line) == 1:
            self._intake.hold()
            self._hub.start_soon(self._look)

    async def _look(self) -> None:
        go_on = True
        while go_on and self._line:
            frame, message = self._line[0]
            replica: Replica | None = None
            if is_long(message):
                size = len(message.state_vector if isinstance(message, SyncStep1) else message.update)
                opened = self._hub.find(self._room)
                replica = None if opened is None else opened.core.replica
                message = await vetting.aside(size, _looked_at, message, replica)
            go_on = self._take(frame, message)
            self._line.popleft()
            if replica is not None:
                await let_others_run()  # it is taken in by the tick
                ahead.overlook(replica.pairs, replica.nesting, replica.keyed)
        self._line.clear()
        self._intake.let_go()
        self._done()


def is_long(message: Message) -> TypeGuard[Update | SyncStep2 | SyncStep1]:
    """Whether it takes a while to look through `message`."""
    if isinstance(message, SyncStep1):
        return len(message.state_vector) >= vetting.LONG
    return isinstance(message, Update | SyncStep2) and len(message.update) >= vetting.LONG


def _looked_at(message: Update | SyncStep2 | SyncStep1, replica: Replica | None) -> Message:
    """`message`, and what came of looking through it; `replica` is that of its room, if it is there."""
    if isinstance(message, SyncStep1):
        try:
            return replace(message, vetted=message.clocks())
        except BadMessage as error:
            return replace(message, vetted=error)
    try:
        extent = message.extent()
        if (pieces := in_pieces(message.update, extent)) is not message.update:
            message, extent = replace(message, update=pieces), vet.parse(pieces)
        if replica is None:
            return replace(message, vetted=extent)
        clocks = dict(replica.clocks)
        if not extent.missing(clocks):
            ahead.look(replica.pairs, replica.nesting, replica.keyed, message.update, extent, replica.clocks)
            return replace(message, vetted=extent)
        part = vet.split(message.update, clocks)  # fits later, too: clocks only grow
        fits = vet.parse(part)
        ahead.look(replica.pairs, replica.nesting, replica.keyed, part, fits, replica.clocks)
        return replace(message, vetted=extent, fits=(part, fits))
    except BadUpdate as error:
        return replace(message, vetted=error)
