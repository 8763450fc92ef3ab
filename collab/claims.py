"""Whose an id of presence is, and what becomes of it when somebody else says something of it. Synchronous; no clock.

An id belongs to the connection that introduced it. Others repeat it, and that is ignored without a word. An echo never
has a higher clock than what was sent, so a higher one from another connection is either the same editor on a new
connection, whose old one hangs half open, or somebody who pretends to be it:

- Both have one subject: it is taken in at once.
- It is the first that this connection speaks of, and not of the other: likewise, unless their subjects differ.
- One of them has a subject, and not the other's: never, while the first is connected or was a moment ago.
- Neither has one: the first connection is asked for a sign of life (`Person.challenge`). When there is none within
  `PATIENCE_SECONDS` the newcomer has the id. So where nobody has a name, the id of an editor that the network has
  lost for so long can be taken by anybody; that of an editor who is there cannot.

An editor keeps its clock for as long as its tab is open, so it may come back to an id that somebody else has shown
meanwhile, with a higher clock. Clients believe whatever is higher, about themselves too, and lose their own state:

- The first words of a client are its own state (`first_words`). Of that id it is told nothing that others say, and of
  ids that have changed hands nothing at all before (`withheld`).
- What is its own to say counts with any clock. Others are told one clock more than they know, and the client that it
  has gone by that clock, which makes every y-protocols client step over it and show itself again (`Person.overtake`).
- Nobody gets further than `MAX_CLOCK`, so there is room above: clocks count cursor moves, and 2**31 are years of them.
- Whose an id is, by its subject, is remembered beyond the tombstone, of as many as a room shows (`former`).

Source: docs/reference/protocol.md, 2.5.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

PATIENCE_SECONDS = 4.0
"""How long a connection has to show that it lives, once it was asked."""
UNASKED_SECONDS = 17.0
"""The same for a connection that cannot be asked: its client renews its state every 15 s."""
MAX_CLOCK = 2**31
"""The highest clock that is believed of an id that nobody has moved so far already."""
MAX_STEP = 2**20
"""How far one message may move an id beyond that: those that stepped over somebody's `MAX_CLOCK` go on from there."""
ASK_SECONDS = 10.0
"""How often one connection is asked at most: whoever wants can be the cause."""


class Person(Protocol):
    """What an owner of ids may have; each attribute may be missing, and then means nothing special.

    Attributes:
        subject: Who it is, when that was proven. Two connections of one subject may take over each other's ids.
        user: What the `user` field of its states is made to say; the client's own keys stay beside these.
        may_be_seen: Whether its presence is shown at all (a `Level` of COMMENT or more).
    """

    subject: str | None
    user: Mapping[str, object] | None
    may_be_seen: bool

    def challenge(self) -> None:
        """Ask the client for a sign of life (`QueryAwareness`). Returns at once, does not call back."""

    def overtake(self, client: int, clock: int) -> None:
        """Make the client show `client`, its own id, with a clock over `clock`. Returns at once, does not call back."""


@dataclass(slots=True)
class Claim:
    """Somebody else says that an id is theirs. `asked` is when its owner was last asked for a sign of life."""

    owner: object
    clock: int
    json: str
    asked: float | None = None


@dataclass(slots=True)
class State:
    """One client's state: `json` is None once it is gone, `owner` is the connection that introduced it.

    `gone` counts the connections that had come before it went: their echoes of it may still be on their way.
    `subject` is the owner's, and outlives it. `base` is the owner's own clock as long as that is lower than `clock`,
    which others know. `second` says that the id was another connection's before, and nobody knows whether it is the
    same editor; `home`, that the owner's first words were about it.
    """

    clock: int
    json: str | None
    owner: object
    subject: str | None
    seen: float
    gone: int = 0
    claim: Claim | None = None
    base: int | None = None
    second: bool = False
    home: bool = False


LEFT = object()
"""The owner of an id whose connection has ended."""


class Claims:
    """Who is here, and what each of them says of ids that belong to others.

    Args:
        states: All states, by id. Only claims in them are changed here.
        size: How many ids are remembered that are not among them any more.

    Attributes:
        came: How many connections had come, this one included, when each of those that are here came.
        home: The id that is each one's own, or None, of those that have spoken.
        own: The same, where it cannot have been an echo.
        met: Who has been told of all who are here.
        count: How many have come.
        foreign: How often somebody said something new of another connection's id, and was not believed.
    """

    def __init__(self, states: Mapping[int, State], size: int = 10_000) -> None:
        self.came: dict[object, int] = {}
        self.home: dict[object, int | None] = {}
        self.own: dict[object, int] = {}
        self.met: set[object] = set()
        self.count = 0
        self.foreign = 0
        self._states = states
        self._size = size
        self._former: dict[int, tuple[int, str | None]] = {}
        self._claimed: dict[object, dict[int, None]] = {}
        self._heard: dict[object, float] = {}
        self._asked: dict[object, float] = {}

    def enter(self, owner: object) -> None:
        """`owner` has come."""
        self.count += 1
        self.came[owner] = self.count

    def leave(self, owner: object) -> None:
        """`owner` has gone; its states, and what others claim of them, are somebody else's business."""
        for known in (self.came, self._heard, self._asked, self.home, self.own):
            known.pop(owner, None)
        self.met.discard(owner)

    def alive(self, owner: object, now: float) -> None:
        """`owner` said something: what others claim of its ids is not so."""
        if owner in self.came:
            self._heard[owner] = now
            for client in self._claimed.pop(owner, ()):
                self._states[client].claim = None

    def may_say(self, state: State, owner: object) -> bool:
        """Whether what `owner` says of an id counts at once."""
        if owner is None or state.owner is owner:
            return True
        if state.owner is None:
            return False
        subject = getattr(owner, "subject", None)
        if state.subject is not None or subject is not None:
            return subject == state.subject or (state.subject is None and state.owner not in self.came)
        return state.owner not in self.came

    def is_back(self, state: State, owner: object) -> bool:
        """Whether a clock that is known already says that a client has come back, on a connection that is new.

        An editor that reconnects announces itself with the clock it had. So does each echo of its last move, which
        arrives after it has gone.
        """
        return state.json is None and self.came.get(owner, 0) > state.gone

    def first_words(self, stood: Mapping[int, tuple[int, int, int]], owner: object) -> None:
        """`owner` says what `stood` says (`newest`); the first that a client says is its own state alone.

        It may be an echo, too, of a client without a state of its own. That has the clock of somebody who is here, whom
        it was told of.
        """
        if owner not in self.came or owner in self.home or not stood:
            return
        [(client, (clock, _, _)), *others] = stood.items()
        self.home[owner] = None if others else client
        state = self._states.get(client)
        if others or (state is not None and self.is_echo(state, clock, owner)):
            return
        self.own[owner] = client

    def is_echo(self, state: State, clock: int, owner: object) -> bool:
        """Whether `owner` may have that clock from what it was told."""
        if clock > state.clock or state.owner is owner or (state.second and owner not in self.met):
            return False
        return state.json is not None or not self.is_back(state, owner)

    def withheld(self, owner: object, ids: Collection[int]) -> list[int]:
        """Those of `ids` whose states `owner` is not to be told (that they have gone, it is)."""
        if owner in self.met:
            own = self.own.get(owner)
            ids = (own,) if own is not None and own in ids else ()
        return [client for client in ids if self._is_withheld(client, owner)]

    def _is_withheld(self, client: int, owner: object) -> bool:
        state = self._states.get(client)
        if state is None or state.json is None:
            return False
        if state.owner is owner:
            return state.base is not None
        return self.own.get(owner) == client or (state.second and owner not in self.met)

    def bury(self, client: int, state: State) -> None:
        """An id is not known any more; whose it is, and a clock that is not to be believed of others, may be."""
        if (state.home and state.subject is not None) or state.clock > MAX_CLOCK:
            self._former[client] = state.clock, state.subject
            if len(self._former) > self._size:
                del self._former[next(iter(self._former))]

    def dig_up(self, client: int, now: float) -> State | None:
        """What is remembered of an id that is not known any more."""
        clock, subject = self._former.pop(client, (None, None))
        return None if clock is None else State(clock, None, LEFT, subject, now, home=True)

    def make(self, client: int, state: State, claim: Claim, now: float) -> None:
        """Another connection says something new of an id: believed later, or never."""
        self.foreign += 1
        if state.owner is None or state.subject is not None or getattr(claim.owner, "subject", None) is not None:
            return
        if state.claim is not None and state.claim.owner in self.came:
            if state.claim.owner is not claim.owner:
                return  # the first to come is heard first
            claim.asked = state.claim.asked
        state.claim = claim
        self._claimed.setdefault(state.owner, {})[client] = None
        self._ask(state, claim, now)

    def _ask(self, state: State, claim: Claim, now: float) -> None:
        last = self._asked.get(state.owner)
        if last is not None and self._heard.get(state.owner, -math.inf) < last:
            claim.asked = last  # it has not answered yet
        elif last is None or now - last >= ASK_SECONDS:
            self._asked[state.owner] = claim.asked = now
            challenge = getattr(state.owner, "challenge", None)
            if challenge is not None:
                challenge()

    def settle(self, now: float) -> list[tuple[int, Claim]]:
        """The ids that those who claim them are to have, as nothing was heard of their owners."""
        settled = []
        for client in [client for clients in self._claimed.values() for client in clients]:
            state = self._states[client]
            claim = state.claim
            if claim is None or claim.owner not in self.came:
                self.drop(client, state)
            elif claim.asked is None:
                self._ask(state, claim, now)
            elif now - claim.asked > (PATIENCE_SECONDS if hasattr(state.owner, "challenge") else UNASKED_SECONDS):
                settled.append((client, claim))
        return settled

    def drop(self, client: int, state: State) -> None:
        """Nobody claims the id any more."""
        if state.claim is not None:
            state.claim = None
            clients = self._claimed.get(state.owner, {})
            clients.pop(client, None)
            if not clients:
                self._claimed.pop(state.owner, None)
