"""Words between an application and its editors, beside the document: never stored, for whoever is here now.

Only Hocuspocus has a word for them (`provider.sendStateless`, event `stateless`); y-websocket clients hear nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .room import RoomCore
from .seat import Seat
from .wire.messages import Stateless


@dataclass(frozen=True, slots=True)
class Letter:
    """What one editor said to the application.

    Attributes:
        room: The room's name.
        text: What was said. Anybody with access to the room may say anything.
        author: Who said it, if access names users.
        may_write: Whether the sender may change the document.
    """

    room: str
    text: str
    author: str | None
    may_write: bool
    _seat: Seat = field(repr=False)

    def answer(self, text: str) -> None:
        """Say something to the sender alone. Nothing happens when it has gone."""
        if self._seat in self._seat.core.peers:
            self._seat.say(Stateless(text))

    def broadcast(self, text: str) -> None:
        """Say something to everybody in the room, the sender too."""
        broadcast(self._seat.core, text)


def broadcast(core: RoomCore, text: str) -> None:
    """Say something to everybody in a room."""
    for peer in tuple(core.peers):
        if isinstance(peer, Seat):
            peer.say(Stateless(text))
