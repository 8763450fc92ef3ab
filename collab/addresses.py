"""The documents of one socket that speaks Hocuspocus: each address is a place of its own."""

from __future__ import annotations

from typing import Protocol

from .errors import BadMessage, BadRoomName, CollabError, TooMany, TooManyDocuments
from .intake import Intake
from .liveness import Liveness
from .names import checked_name
from .place import Door, Place
from .wire import hocuspocus
from .wire.hocuspocus import Hocuspocus
from .wire.messages import Auth, Close, Denied

CLOSED_ADDRESSES = 100
"""How many closed documents of one socket are remembered, so that what is still sent there is not taken for a knock."""
SESSION_LENGTH = 256
"""How many characters of an address may name a session: all that is said there begins with them."""


class House(Door, Protocol):
    """What is needed of the connection beside what each place needs."""

    places: dict[str, Place]
    token: str | None
    intake: Intake
    liveness: Liveness

    def refuse(self, error: CollabError) -> None:
        """The whole socket has to go."""

    def count(self, place: Place, error: CollabError) -> None:
        """One document is refused."""


class Addresses:
    """Brings frames to the places of a `house`, and makes and ends these.

    Attributes:
        undecided: Places of which nobody has said yet that the client may come in.
        unasked: Places where it has not shown a token yet, nor the want of one.
    """

    def __init__(self, house: House) -> None:
        self.undecided: set[Place] = set()
        self.unasked: set[Place] = set()
        self._house = house
        self._sessions: dict[str, int] = {}
        self._closed: dict[str, None] = {}
        self._latest: Place | None = None

    def received(self, frame: bytes) -> None:
        """One frame.

        Raises:
            BadMessage: It is malformed, and there is no document that could be closed for it.
        """
        if self._latest is not None and self._latest.type(frame):
            return
        house, metrics = self._house, self._house.hub.metrics
        if frame == hocuspocus.PONG:
            metrics.received["ping"].add(1)
            return
        address, at = hocuspocus.split(frame)
        place = house.places.get(address)
        try:
            message = hocuspocus.decode(frame, at)
        except BadMessage as error:
            if place is None or place.seat is None:
                raise
            metrics.received["invalid"].add(len(frame))
            house.trouble(place, error)
            return
        if isinstance(message, Auth):
            metrics.received["auth"].add(len(frame))
            self._knocked(address, place, message)
        elif isinstance(message, Close):
            metrics.received["close"].add(len(frame))
            if place is not None:
                place.say(Close("provider_initiated"))
                place.close()
                self._remove(address)
        elif place is not None:
            self._latest = place
            place.hear(frame, message)
        elif address not in self._closed:
            place = self._made(address)
            if place is not None:
                self.unasked.add(place)
                place.hear(frame, message)

    def _made(self, address: str) -> Place | None:
        """A new place at `address`, if that is the address of a document, and there may be one more."""
        house = self._house
        limits, rooms = house.hub.settings.limits, house.hub.settings.rooms
        limit = limits.unauthenticated_documents
        if len(self.undecided) >= limit:
            house.intake.flooded = True
            house.refuse(TooMany("documents before access is granted", limit))
            return None
        dialect = Hocuspocus(address)
        try:
            name = checked_name(hocuspocus.document(address).encode(), max_bytes=rooms.name_bytes)
            if len(address) - len(name) > SESSION_LENGTH:
                raise BadRoomName("the session's name is too long")
        except BadRoomName as error:
            house.hub.metrics.count_error(error)
            Place(house, "", dialect).say(Denied(str(error)))
            return None
        place = Place(house, name, dialect)
        refusal = self._too_many(name)
        if refusal is not None:
            house.count(place, refusal)
            place.end(refusal)
            self._close(address)
            return None
        house.places[address] = place
        self.undecided.add(place)
        self._sessions[name] = self._sessions.get(name, 0) + 1
        return place

    def _too_many(self, name: str) -> TooManyDocuments | None:
        """Why there may be no further place in room `name`. Closing the socket would help nobody: it would be back,
        and so would all that it asks for."""
        limits = self._house.hub.settings.limits
        if len(self._house.places) >= limits.documents_per_connection:
            return TooManyDocuments("documents on one connection", limits.documents_per_connection)
        if self._sessions.get(name, 0) >= limits.sessions_per_document:
            return TooManyDocuments("sessions of one document on one connection", limits.sessions_per_document)
        return None

    def _remove(self, address: str) -> bool:
        """There is no place at `address` any more; whether there was one."""
        self._latest = None
        place = self._house.places.pop(address, None)
        if place is None:
            return False
        self.undecided.discard(place)
        self.unasked.discard(place)
        self._sessions[place.name] -= 1
        if not self._sessions[place.name]:
            del self._sessions[place.name]
        return True

    def _close(self, address: str) -> None:
        if len(self._closed) >= CLOSED_ADDRESSES:
            self._closed.pop(next(iter(self._closed)))
        self._closed[address] = None

    def _knocked(self, address: str, place: Place | None, message: Auth) -> None:
        if message.version is not None:
            self._house.liveness.pings = True
        self._closed.pop(address, None)
        place = self._made(address) if place is None else place
        if place is not None:
            self.unasked.discard(place)
            place.knock(message.token or self._house.token)

    def shut(self, place: Place, error: CollabError) -> None:
        """It is over for one document; what the client still sends there, until it shows a token, is not answered."""
        place.end(error)
        address = place.dialect.NAME.partition(" ")[2]
        if self._remove(address):
            self._close(address)
