"""Who is here, and where their cursor stands: the awareness states of one room. Synchronous; time is an argument.

A state is applied first and told to others only when its clock really moved: every y-websocket client sends back each
change it hears, and blind relaying turns one cursor move among 16 clients into 256 frames. A connection that leaves
takes the ids it introduced with it. Nothing here is ever stored.

An id belongs to the connection that introduced it. Others repeat it, and that is ignored without a word. An echo never
has a higher clock than what was sent, so a higher one from another connection is either the same editor on a new
connection, whose old one hangs half open, or somebody who pretends to be it:

- Both have one subject: it is taken in at once.
- It is the first that this connection speaks of, and not of the other: likewise, unless their subjects differ.
- One of them has a subject, and not the other's: never, while the first is connected or was a moment ago.
- Neither has one: the first connection is asked for a sign of life (`Person.challenge`). When there is none within
  `PATIENCE_SECONDS` the newcomer has the id. So where nobody has a name, the id of an editor that the network has
  lost for so long can be taken by anybody; that of an editor who is there cannot.

Source: y-protocols/awareness.js; docs/reference/protocol.md, 2.5.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from .errors import TooLarge
from .wire.lib0 import expect_end, read_var_string, read_var_uint, var_string, var_uint
from .wire.states import parse_state, stamped

TOMBSTONE_SECONDS = 60.0
"""How long the clock of someone who left is remembered, so that a late echo does not bring them back."""
PATIENCE_SECONDS = 4.0
"""How long a connection has to show that it lives, once it was asked."""
UNASKED_SECONDS = 17.0
"""The same for a connection that cannot be asked: its client renews its state every 15 s."""
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


@dataclass(slots=True)
class _Claim:
    """Somebody else says that an id is theirs. `asked` is when its owner was last asked for a sign of life."""

    owner: object
    clock: int
    json: str
    asked: float | None = None


@dataclass(slots=True)
class _State:
    """One client's state: `json` is None once it is gone, `owner` is the connection that introduced it.

    `gone` counts the connections that had come before it went: their echoes of it may still be on their way.
    `subject` is the owner's, and outlives it.
    """

    clock: int
    json: str | None
    owner: object
    subject: str | None
    seen: float
    gone: int = 0
    claim: _Claim | None = None


_LEFT = object()
"""The owner of an id whose connection has ended."""


class Presence:
    """The awareness states of one room.

    Args:
        forget_seconds: A state that was not renewed for so long is gone (clients renew every 15 s).
        max_bytes: The largest state of one client, in bytes.
        max_ids: How many ids are known at once; further ones are not taken in.
        max_ids_each: How many one connection may introduce; further ones are not taken in.

    Attributes:
        surplus: How many ids were not taken in, as there were too many.
        foreign: How often somebody said something new of another connection's id, and was not believed.
    """

    def __init__(
        self,
        *,
        forget_seconds: float = 30.0,
        max_bytes: int = 65_536,
        max_ids: int = 10_000,
        max_ids_each: int | None = None,
    ) -> None:
        self.forget_seconds = forget_seconds
        self.max_bytes = max_bytes
        self.max_ids = max_ids
        self.max_ids_each = max_ids if max_ids_each is None else max_ids_each
        self.surplus = 0
        self.foreign = 0
        self._states: dict[int, _State] = {}
        self._graves: dict[int, None] = {}
        self._claimed: dict[object, dict[int, None]] = {}
        self._home: dict[object, int | None] = {}
        self._came: dict[object, int] = {}
        self._heard: dict[object, float] = {}
        self._asked: dict[object, float] = {}
        self._owned: dict[object, int] = {}
        self._count = 0

    def enter(self, owner: object) -> None:
        """`owner` has come. What it says of somebody who went before that is no echo."""
        self._count += 1
        self._came[owner] = self._count

    def apply(self, update: bytes, owner: object, now: float) -> list[int]:
        """Take in an awareness update from `owner` (None is the server itself); returns the ids that really changed.

        Args:
            update: As y-protocols encodes it.
            owner: The connection, maybe a `Person`.
            now: Monotonic seconds.

        Raises:
            BadMessage: It is malformed, or a state is not JSON. Nothing was changed.
            TooLarge: A state is over `max_bytes`. Nothing was changed.
        """
        if owner is not None and not getattr(owner, "may_be_seen", True):
            return []
        entries = self._read(update, owner)
        self.alive(owner, now)
        if owner not in self._home and owner in self._came:
            self._at_home(update, owner)
        changed = []
        for client, clock, text in entries:
            known = self._states.get(client)
            if known is None:
                # An unknown client counts as clock 0, as in y-protocols: the first state `{}` of a client that has
                # nothing to say yet is not news, and other clients would not take it either.
                if clock == 0 or text is None or not self._has_place(owner):
                    continue
                self._states[client] = _State(clock, text, _LEFT, None, now)
                self._own(self._states[client], owner)
            elif text is None:
                # Only the connection that introduced an id may remove it: a tab that fell asleep lets its peers time
                # out and says so with their own clock, which would blank them for everybody.
                if known.owner is not owner or known.json is None or clock < known.clock:
                    continue
                known.clock = clock
                self._gone(client, known, now)
            elif clock > known.clock or (clock == known.clock and self._is_back(known, owner)):
                if not self._may_say(client, known, owner):
                    self._claim(client, known, _Claim(owner, clock, text), now)
                    continue
                self._set(client, known, owner, clock, text, now)
            else:
                continue
            changed.append(client)
        return changed

    def alive(self, owner: object, now: float) -> None:
        """`owner` said something. To be told of any message of a connection that was challenged."""
        if owner in self._came:
            self._heard[owner] = now
            for client in self._claimed.pop(owner, ()):
                self._states[client].claim = None

    def leave(self, owner: object, now: float) -> list[int]:
        """Remove all states that `owner` introduced; returns the ids that changed."""
        for known in (self._came, self._heard, self._asked, self._home):
            known.pop(owner, None)
        changed = []
        for client, state in self._states.items():
            if state.owner is not owner:
                continue
            claim, was_here = state.claim, state.json is not None
            self._drop_claim(client, state)
            state.owner = _LEFT
            if claim is not None and claim.owner in self._came:
                self._set(client, state, claim.owner, claim.clock, claim.json, now)
            elif was_here:
                self._gone(client, state, now)
            else:
                continue
            changed.append(client)
        self._owned.pop(owner, None)
        return changed

    def expire(self, now: float) -> list[int]:
        """Remove the states that were not renewed in time, renew the server's own; returns the ids that changed."""
        changed = self._settle(now)
        late, own = [], []
        for client, state in tuple(self._states.items()):
            age = now - state.seen
            if state.json is None:
                if age > TOMBSTONE_SECONDS:
                    self._forget(client)
            elif state.owner is not None:
                if age > self.forget_seconds:
                    late.append(client)
            elif age > self.forget_seconds / 2:
                state.clock, state.seen = state.clock + 1, now
                own.append(client)
        for client in late:
            self._gone(client, self._states[client], now)
        return changed + late + own

    # ------------------------------------------------------------------ whose is it

    def _at_home(self, update: bytes, owner: object) -> None:
        """The first that a client says is its own state alone, so that id is its own.

        Tabs of one browser tell each other (BroadcastChannel), and pass that on: a tab may be the first to speak of
        another one's id, and even be ahead of it.
        """
        count, at = read_var_uint(update, 0)
        if count == 0:
            return
        home = self._home[owner] = read_var_uint(update, at)[0] if count == 1 else None
        state = None if home is None else self._states.get(home)
        if (
            state is not None
            and state.json is not None
            and state.owner in self._came
            and self._home.get(state.owner) not in (home, None)
            and state.subject == getattr(owner, "subject", None)
        ):
            self._drop_claim(home or 0, state)
            self._own(state, owner)

    def _may_say(self, client: int, state: _State, owner: object) -> bool:
        """Whether what `owner` says of an id counts at once."""
        if owner is None or state.owner is owner:
            return True
        if state.owner is None:
            return False
        subject = getattr(owner, "subject", None)
        if state.subject is not None or subject is not None:
            return subject == state.subject or (state.subject is None and state.owner not in self._came)
        return state.owner not in self._came

    def _claim(self, client: int, state: _State, claim: _Claim, now: float) -> None:
        """Another connection says something new of an id: believed later, or never."""
        self.foreign += 1
        if state.owner is None or state.subject is not None or getattr(claim.owner, "subject", None) is not None:
            return
        if state.claim is not None and state.claim.owner in self._came:
            if state.claim.owner is not claim.owner:
                return  # the first to come is heard first
            claim.asked = state.claim.asked
        state.claim = claim
        self._claimed.setdefault(state.owner, {})[client] = None
        self._ask(state, claim, now)

    def _ask(self, state: _State, claim: _Claim, now: float) -> None:
        last = self._asked.get(state.owner)
        if last is not None and self._heard.get(state.owner, -math.inf) < last:
            claim.asked = last  # it has not answered yet
        elif last is None or now - last >= ASK_SECONDS:
            self._asked[state.owner] = claim.asked = now
            challenge = getattr(state.owner, "challenge", None)
            if challenge is not None:
                challenge()

    def _settle(self, now: float) -> list[int]:
        """Give ids to those who claim them, when nothing was heard of their owners."""
        changed = []
        for client in [client for clients in self._claimed.values() for client in clients]:
            state = self._states[client]
            claim = state.claim
            if claim is None or claim.owner not in self._came:
                self._drop_claim(client, state)
            elif claim.asked is None:
                self._ask(state, claim, now)
            elif now - claim.asked > (PATIENCE_SECONDS if hasattr(state.owner, "challenge") else UNASKED_SECONDS):
                self._set(client, state, claim.owner, claim.clock, claim.json, now)
                changed.append(client)
        return changed

    def _drop_claim(self, client: int, state: _State) -> None:
        if state.claim is not None:
            state.claim = None
            clients = self._claimed.get(state.owner, {})
            clients.pop(client, None)
            if not clients:
                self._claimed.pop(state.owner, None)

    def _is_back(self, state: _State, owner: object) -> bool:
        """Whether a clock that is known already says that a client has come back, on a connection that is new.

        An editor that reconnects announces itself with the clock it had. So does each echo of its last move, which
        arrives after it has gone.
        """
        return state.json is None and self._came.get(owner, 0) > state.gone

    # ------------------------------------------------------------------ the states

    def _set(self, client: int, state: _State, owner: object, clock: int, text: str, now: float) -> None:
        state.clock, state.json, state.seen = clock, text, now
        self._graves.pop(client, None)
        self._drop_claim(client, state)
        if owner is not None:  # the server speaks for the owner and does not become it
            self._own(state, owner)

    def _own(self, state: _State, owner: object) -> None:
        if state.owner is not owner:
            self._disown(state)
            state.owner = owner
            self._owned[owner] = self._owned.get(owner, 0) + 1
        state.subject = getattr(owner, "subject", None)

    def _disown(self, state: _State) -> None:
        left = self._owned.pop(state.owner, 0) - 1
        if left > 0:
            self._owned[state.owner] = left

    def _gone(self, client: int, state: _State, now: float) -> None:
        state.json, state.seen, state.gone = None, now, self._count
        self._graves[client] = None

    def _forget(self, client: int) -> None:
        state = self._states.pop(client)
        self._graves.pop(client, None)
        self._drop_claim(client, state)
        self._disown(state)

    def _has_place(self, owner: object) -> bool:
        """Whether `owner` may introduce one more id. Those who went make room for those who are here."""
        if self._owned.get(owner, 0) >= self.max_ids_each and owner is not None:
            self.surplus += 1
            return False
        if len(self._states) >= self.max_ids:
            if not self._graves:
                self.surplus += 1
                return False
            self._forget(next(iter(self._graves)))
        return True

    def ids(self) -> list[int]:
        """The ids of all who are here."""
        return [client for client, state in self._states.items() if state.json is not None]

    def states(self) -> dict[int, object]:
        """The states of all who are here, decoded."""
        return {client: json.loads(state.json) for client, state in self._states.items() if state.json is not None}

    def encode(self, ids: Iterable[int]) -> bytes:
        """The awareness update that tells the newest state of each of `ids` ("null" for who is gone)."""
        entries = [
            var_uint(client) + var_uint(state.clock) + var_string("null" if state.json is None else state.json)
            for client, state in ((client, self._states.get(client)) for client in ids)
            if state is not None
        ]
        return var_uint(len(entries)) + b"".join(entries)

    def _read(self, update: bytes, owner: object) -> list[tuple[int, int, str | None]]:
        user = None if owner is None else getattr(owner, "user", None)
        entries: list[tuple[int, int, str | None]] = []
        count, at = read_var_uint(update, 0)
        strangers = 0
        for number in range(count):
            client, at = read_var_uint(update, at)
            clock, at = read_var_uint(update, at)
            text, end = read_var_string(update, at)
            if end - at > self.max_bytes:
                raise TooLarge("an awareness state", end - at, self.max_bytes)
            at = end
            known = self._states.get(client)
            if known is None and owner is not None:
                strangers += 1
                if strangers > self.max_ids_each:  # the rest would cost time and not be taken in
                    self.surplus += count - number
                    return entries
            if known is not None and (clock < known.clock or (clock == known.clock and text == known.json)):
                continue  # echoes are not worth a look
            value = parse_state(text)
            if value is None:
                entries.append((client, clock, None))
            else:
                entries.append((client, clock, text if user is None else stamped(text, user)))
        expect_end(update, at)
        return entries
